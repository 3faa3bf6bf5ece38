//! The one thread that writes. What has come while it synced, it writes and syncs together.

use super::{
    Shared,
    error::{Fault, kind},
    room::Totals,
    row::{signed, unsigned},
    schema, sql,
    time::{Tick, micros_of},
    tx::{Mind, Tx},
};
use crate::{
    record::OperationId,
    store::{Change, StoreError, StoreErrorKind},
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::{
    mem,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    time::Duration,
};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Verbs that share a transaction at most.
const GROUP: usize = 256;

/// Changes that are remembered for other processes. Who is further behind is told to read everything again.
const REMEMBERED: i64 = 10_000;

/// Whether an answer may only be given once it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Now,
    /// With the next that is, or not at all: what is lost with the machine is done again, or not missed.
    Later,
}

/// What waits for the writer.
pub(super) trait Job: Send {
    fn sync(&self) -> Sync;

    /// May be run again, after what it wrote was taken back.
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;

    /// Answers, with what it came to if it was committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Verb<T, F> {
    sync: Sync,
    act: F,
    done: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Verb<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send,
{
    fn sync(&self) -> Sync {
        self.sync
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.done = match (self.act)(tx) {
            Ok(done) => Ok(done),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Failed(error)) => return Err(error),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // Whoever asked may be gone.
        let _ = self.reply.send(committed.and(self.done));
    }
}

/// A hint: nobody waits for it.
struct Note<F>(F);

impl<F: FnMut(&mut Tx<'_>) -> Result<(), Fault> + Send> Job for Note<F> {
    fn sync(&self) -> Sync {
        Sync::Later
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        match (self.0)(tx) {
            Err(Fault::Failed(error)) => Err(error),
            Ok(()) | Err(Fault::Refused(_)) => Ok(()),
        }
    }

    fn answer(self: Box<Self>, _: Result<(), StoreError>) {}
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Jobs(pub(super) SyncSender<Box<dyn Job>>);

impl Jobs {
    /// Has it done, and waits for the answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        sync: Sync,
        act: impl FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let verb = Verb {
            sync,
            act,
            done: Err(StoreError::new(StoreErrorKind::Unavailable)),
            reply,
        };
        self.0
            .try_send(Box::new(verb))
            .map_err(|error| refused(&error))?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Uncertain)))
    }

    /// Has it done, if there is room for it.
    pub(super) fn note(&self, act: impl FnMut(&mut Tx<'_>) -> Result<(), Fault> + Send + 'static) {
        let _ = self.0.try_send(Box::new(Note(act)));
    }
}

pub(super) fn refused<T>(error: &TrySendError<T>) -> StoreError {
    let cause = match error {
        TrySendError::Full(_) => "too many wait already",
        TrySendError::Disconnected(_) => "its thread is gone",
    };
    StoreError::caused_by(StoreErrorKind::Unavailable, cause)
}

pub(super) struct Writer {
    sql: Connection,
    shared: Arc<Shared>,
    mind: Mind,
    /// What the pragma is set to.
    sync: Option<Sync>,
    /// Changes when another connection has written.
    version: i64,
    /// The last change that was told here.
    told: i64,
    /// Above so many bytes the log is to begin anew.
    log: u64,
}

/// Where a group failed, and so what its verbs are to be told.
enum Failed {
    /// Before anything was done: all of them.
    Begin(rusqlite::Error),
    /// One of them, which is to be found.
    Run(rusqlite::Error),
    /// At the end: all of them, and nobody knows what is on the disk.
    Commit(rusqlite::Error),
}

impl Writer {
    pub(super) fn new(sql: Connection, shared: Arc<Shared>) -> rusqlite::Result<Self> {
        let told = sql.query_row(sql::LAST_CHANGE, [], |row| row.get::<_, Option<i64>>(0))?;
        Ok(Self {
            sql,
            shared,
            mind: Mind::default(),
            sync: None,
            version: 0,
            told: told.unwrap_or(0),
            log: schema::LOG.into(),
        })
    }

    /// Until nobody can ask any more.
    pub(super) fn run(mut self, jobs: &Receiver<Box<dyn Job>>, poll_every: Duration) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let first = if self.shared.hints.has_subscribers() {
                match jobs.recv_timeout(poll_every) {
                    Err(RecvTimeoutError::Timeout) => {
                        // An error shows itself to whoever asks for something.
                        let _ = self.catch_up();
                        continue;
                    }
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Disconnected) => None,
                }
            } else {
                jobs.recv().ok()
            };
            let Some(first) = first else { break };
            group.push(first);
            group.extend(jobs.try_iter().take(GROUP - 1));
            self.see_to(&mut group);
            self.bound_log();
        }
        self.sign_off();
    }

    /// Has the log begin anew when it has become long. After each commit SQLite tries to, but does not wait: while there is
    /// always somebody who reads, it would grow for ever.
    ///
    /// Who reads for too long, as a process that stands still does, is not waited for again before it has grown as much.
    fn bound_log(&mut self) {
        let len = self.shared.file.log_len();
        if len > self.log {
            let begins = schema::begin_log(&mut self.sql).is_ok_and(|begins| begins);
            self.log = schema::LOG.into();
            if !begins {
                self.log += len;
            }
        }
    }

    fn see_to(&mut self, group: &mut Vec<Box<dyn Job>>) {
        if let Err(missing) = self.shared.file.stands() {
            self.mind.see_anew();
            let missing = Arc::new(StoreError::from(missing));
            for job in group.drain(..) {
                let kind = StoreErrorKind::Unavailable;
                job.answer(Err(StoreError::caused_by(kind, missing.clone())));
            }
            return;
        }
        match self.attempt(group) {
            Ok(()) => {
                for job in group.drain(..) {
                    job.answer(Ok(()));
                }
            }
            // Each on its own, so that the others do not suffer for it.
            Err(Failed::Run(_)) if group.len() > 1 => {
                for job in mem::take(group) {
                    self.see_to(&mut vec![job]);
                }
            }
            Err(failed) => {
                let (kind, error) = match failed {
                    Failed::Begin(error) | Failed::Run(error) => (kind(&error), error),
                    Failed::Commit(error) => match error.sqlite_error_code() {
                        // What makes a commit one comes last, and did not fit.
                        Some(ErrorCode::DiskFull) => (kind(&error), error),
                        _ => (StoreErrorKind::Uncertain, error),
                    },
                };
                if kind != StoreErrorKind::Corrupt {
                    // Nor could anybody else write, perhaps: that claims were not renewed tells nothing.
                    self.mind.see_anew();
                }
                let error = Arc::new(error);
                for job in group.drain(..) {
                    job.answer(Err(StoreError::caused_by(kind, error.clone())));
                }
            }
        }
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        let sync = match group.iter().any(|job| job.sync() == Sync::Now) {
            true => Sync::Now,
            false => Sync::Later,
        };
        self.begin(sync).map_err(Failed::Begin)?;
        let before = self.shared.room.taken().totals;
        let mut tx = Tx::new(&self.sql, &self.shared, &mut self.mind);
        let ran = group.iter_mut().try_for_each(|job| job.run(&mut tx));
        let done = ran.and_then(|()| tx.finish());
        let committed = match done {
            Err(error) => Err(Failed::Run(error)),
            Ok(done) => match run(&self.sql, sql::COMMIT) {
                Ok(()) => Ok(done),
                Err(error) => Err(Failed::Commit(error)),
            },
        };
        match committed {
            Ok(done) => {
                if done.has_written {
                    self.shared.counts.commits.fetch_add(1, Relaxed);
                    if sync == Sync::Now {
                        self.shared.counts.syncs.fetch_add(1, Relaxed);
                    }
                }
                self.told = done.logged.unwrap_or(self.told);
                self.mind.settle(done.node, done.held, done.void);
                for hint in done.hints {
                    self.shared.hints.send(hint);
                }
                Ok(())
            }
            Err(failed) => {
                if !self.sql.is_autocommit() {
                    // What can't be taken back now is, when the log is next read.
                    let _ = self.sql.execute_batch("ROLLBACK");
                }
                self.shared.room.taken().totals = before;
                Err(failed)
            }
        }
    }

    fn begin(&mut self, sync: Sync) -> rusqlite::Result<()> {
        if self.sync != Some(sync) {
            let mode = match sync {
                Sync::Now => "FULL",
                Sync::Later => "NORMAL",
            };
            self.sql.pragma_update(None, "synchronous", mode)?;
            self.sync = Some(sync);
        }
        run(&self.sql, sql::BEGIN)?;
        let caught_up = self.catch_up();
        if caught_up.is_err() {
            let _ = self.sql.execute_batch("ROLLBACK");
        }
        caught_up
    }

    /// Takes in what other processes have done, if they have.
    fn catch_up(&mut self) -> rusqlite::Result<()> {
        let version = self
            .sql
            .prepare_cached(sql::DATA_VERSION)?
            .query_row([], |row| row.get(0))?;
        if version == self.version {
            return Ok(());
        }
        let (totals, (tick, _)) = read_meta(&self.sql)?;
        self.shared.room.taken().totals = totals;
        self.shared.time.go_on_from(tick);
        if let Some(node) = self.mind.node
            && self
                .sql
                .prepare_cached(sql::HAS_NODE)?
                .query_row([node], |_| Ok(()))
                .optional()?
                .is_none()
        {
            // Taken for dead: so are all its claims.
            self.mind.node = None;
        }
        self.tell()?;
        self.version = version;
        Ok(())
    }

    /// Hints at what others have changed.
    fn tell(&mut self) -> rusqlite::Result<()> {
        let mut told = self.told;
        let mut hints = Vec::new();
        {
            let mut since = self.sql.prepare_cached(sql::CHANGES_SINCE)?;
            let mut rows = since.query(params![told, REMEMBERED])?;
            while let Some(row) = rows.next()? {
                let seq: i64 = row.get(0)?;
                if seq != told + 1 {
                    hints.push(Change::Resync);
                }
                told = seq;
                let id: Option<[u8; 16]> = row.get(1)?;
                hints.push(id.map_or(Change::Claimable, |id| {
                    Change::Operation(OperationId::from_uuid(Uuid::from_bytes(id)))
                }));
            }
        }
        self.told = told;
        for hint in hints {
            self.shared.hints.send(hint);
        }
        Ok(())
    }

    /// Leaves nothing to be found dead, if it holds nothing.
    fn sign_off(&mut self) {
        let Some(node) = self.mind.node else { return };
        let holds = self
            .sql
            .query_row(sql::OF_NODE, params![node, 1], |_| Ok(()))
            .optional();
        if let Ok(None) = holds {
            let _ = self.sql.execute(sql::DELETE_NODE, [node]);
        }
    }
}

fn run(sql: &Connection, statement: &str) -> rusqlite::Result<()> {
    sql.prepare_cached(statement)?.execute([]).map(drop)
}

pub(super) fn read_meta(sql: &Connection) -> rusqlite::Result<(Totals, (Tick, i64))> {
    sql.prepare_cached(sql::READ_META)?.query_row([], |row| {
        let count = |at| row.get(at).map(unsigned);
        let totals = Totals {
            next: row.get(0)?,
            operations: count(1)?,
            bytes: count(2)?,
            unread: count(3)?,
            tombstones: count(4)?,
            evictable: count(5)?,
            evictable_bytes: count(6)?,
        };
        Ok((totals, (row.get(7)?, row.get(8)?)))
    })
}

impl Tx<'_> {
    /// What is left to do before the commit, and what after it.
    fn finish(mut self) -> rusqlite::Result<Done> {
        if let Some(logged) = self.done.logged {
            self.write(sql::TRIM_CHANGES, [logged - REMEMBERED])?;
        }
        if self.done.has_written {
            let Totals {
                next,
                operations,
                bytes,
                unread,
                tombstones,
                evictable,
                evictable_bytes,
            } = self.shared.room.taken().totals;
            let now = self.now;
            let values = params![
                next,
                signed(operations),
                signed(bytes),
                signed(unread),
                signed(tombstones),
                signed(evictable),
                signed(evictable_bytes),
                now,
                micros_of(self.wall),
            ];
            self.write(sql::WRITE_META, values)?;
        }
        Ok(self.done)
    }
}

/// What a transaction has done, for when it is committed.
#[derive(Default)]
pub(super) struct Done {
    pub(super) has_written: bool,
    /// The last change that it wrote down for others.
    pub(super) logged: Option<i64>,
    pub(super) hints: Vec<Change>,
    pub(super) node: Option<i64>,
    /// Claims that were taken or renewed: tokens and places.
    pub(super) held: Vec<(i64, i64)>,
    /// Tokens of claims that no longer are.
    pub(super) void: Vec<i64>,
}
