//! One transaction, and what verbs are made of.

use super::{
    Shared,
    error::Fault,
    room::Need,
    row::{self, Row, number, signed, unsigned},
    sql,
    time::{Tick, after, micros, micros_of},
    writer::Done,
};
use crate::{
    record::{BlobId, Ending, OperationId, Record, StoredResponse, Timestamp, UniqueKey},
    store::{Change, StoreErrorKind},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, params};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// How long a blob that nothing names is left to whoever writes or reads it.
const BLOB_GRACE: Duration = Duration::from_secs(60 * 60);

/// How long of that it is left to readers while there is anything else that can be let go.
const READ_ON: Duration = Duration::from_secs(5 * 60);

/// What the writer knows that is not in the file.
#[derive(Default)]
pub(super) struct Mind {
    /// This process, in the table of nodes; none before its first claim, and after it was taken for dead.
    pub(super) node: Option<i64>,
    /// This process's claims, by token. What is no claim any more is found out sooner or later.
    pub(super) held: HashMap<i64, Watched>,
    /// The other processes.
    pub(super) others: HashMap<i64, Other>,
}

pub(super) struct Watched {
    pub(super) place: i64,
    /// When a sweep first saw it after it was last renewed, by the process's own clock.
    pub(super) seen: Option<Tick>,
}

pub(super) struct Other {
    pub(super) beat: i64,
    /// Its own, in microseconds.
    pub(super) lease: Tick,
    /// When that heartbeat was first seen, by this process's clock.
    pub(super) seen: Tick,
}

impl Mind {
    /// Whoever holds claims is given a lease to show that it lives.
    pub(super) fn see_anew(&mut self) {
        self.others.clear();
        for watched in self.held.values_mut() {
            watched.seen = None;
        }
    }

    /// What was done has been committed: only then is it so. The tokens of what was rolled back are drawn again.
    pub(super) fn settle(&mut self, node: Option<i64>, held: Vec<(i64, i64)>, void: Vec<i64>) {
        self.node = node;
        for (token, place) in held {
            self.held.insert(token, Watched { place, seen: None });
        }
        for token in void {
            self.held.remove(&token);
        }
    }
}

/// An operation that is here, as its row says.
pub(super) struct Kept {
    pub(super) row: Row,
    pub(super) record: Record,
}

/// What a name leads to.
pub(super) enum Named {
    Here(Box<Kept>),
    /// Expired, or a tombstone.
    Gone,
    Nothing,
}

/// How an operation goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    /// Its time is up, or it is forgotten. Its body may be being read.
    Leaves,
    /// Its room is needed.
    Evicted,
}

/// A blob that no operation names.
pub(super) struct Unnamed {
    pub(super) number: i64,
    counted: i64,
    size: u64,
}

/// What is counted of a blob when its operation is gone. See the schema.
const LEFT: i64 = 2;

impl Unnamed {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            counted: row.get(1)?,
            size: unsigned(row.get(2)?),
        })
    }
}

pub(super) struct Tx<'w> {
    sql: &'w Connection,
    pub(super) shared: &'w Shared,
    pub(super) mind: &'w mut Mind,
    pub(super) now: Tick,
    pub(super) wall: Timestamp,
    pub(super) done: Done,
    has_beaten: bool,
    may_grow: Option<bool>,
}

impl<'w> Tx<'w> {
    pub(super) fn new(sql: &'w Connection, shared: &'w Shared, mind: &'w mut Mind) -> Self {
        Self {
            sql,
            shared,
            now: shared.time.now(),
            wall: shared.time.wall(),
            done: Done {
                node: mind.node,
                ..Done::default()
            },
            mind,
            has_beaten: false,
            may_grow: None,
        }
    }

    pub(super) fn prepare(&self, statement: &str) -> rusqlite::Result<CachedStatement<'w>> {
        self.shared.counts.statements.fetch_add(1, Relaxed);
        self.sql.prepare_cached(statement)
    }

    /// Gives the number of rows that were written.
    pub(super) fn write(
        &mut self,
        statement: &str,
        values: impl Params,
    ) -> rusqlite::Result<usize> {
        let written = self.prepare(statement)?.execute(values)?;
        self.done.has_written |= written > 0;
        Ok(written)
    }

    /// Writes at most one row, and reads what it returns.
    pub(super) fn write_returning<T>(
        &mut self,
        statement: &str,
        values: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let mut prepared = self.prepare(statement)?;
        let mut rows = prepared.query(values)?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let returned = read(row)?;
        // To its end, or it is not done.
        while rows.next()?.is_some() {}
        self.done.has_written = true;
        Ok(Some(returned))
    }

    pub(super) fn read<T>(
        &self,
        statement: &str,
        values: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.prepare(statement)?.query_row(values, read).optional()
    }

    pub(super) fn read_all<T>(
        &self,
        statement: &str,
        values: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.prepare(statement)?.query_map(values, read)?.collect()
    }

    /// A number that was never drawn before, by any process.
    pub(super) fn draw(&mut self) -> i64 {
        let mut taken = self.shared.room.taken();
        let drawn = taken.totals.next;
        taken.totals.next += 1;
        drawn
    }

    /// Hints at a change, here and elsewhere.
    pub(super) fn tell(&mut self, change: Change) -> Result<(), Fault> {
        let id = match change {
            Change::Operation(id) => Some(*id.as_uuid().as_bytes()),
            Change::Claimable | Change::Resync => None,
        };
        self.write(sql::LOG, [id])?;
        self.done.logged = Some(self.sql.last_insert_rowid());
        self.done.hints.push(change);
        Ok(())
    }

    // --- operations

    /// The first row, with its record where it is wanted.
    pub(super) fn row(
        &self,
        statement: &str,
        values: impl Params,
    ) -> Result<Option<(Row, Option<Record>)>, Fault> {
        let mut prepared = self.prepare(statement)?;
        let mut rows = prepared.query(values)?;
        let Some(found) = rows.next()? else {
            return Ok(None);
        };
        let row = Row::read(found)?;
        let is_operation = !row.is_stone();
        let record = is_operation.then(|| row::record(&row, found)).transpose()?;
        Ok(Some((row, record)))
    }

    /// The first row alone.
    pub(super) fn slot(&self, statement: &str, values: impl Params) -> Result<Option<Row>, Fault> {
        let mut prepared = self.prepare(statement)?;
        let mut rows = prepared.query(values)?;
        rows.next()?.map(Row::read).transpose()
    }

    pub(super) fn by_id(&self, id: OperationId) -> Result<Option<(Row, Option<Record>)>, Fault> {
        self.row(sql::BY_ID, [id.as_uuid().as_bytes()])
    }

    /// The operation, if it is here.
    pub(super) fn kept(&self, id: OperationId) -> Result<Option<Box<Kept>>, Fault> {
        Ok(match self.by_id(id)? {
            Some((row, Some(record))) if row.is_here(self.now) => {
                Some(Box::new(Kept { row, record }))
            }
            _ => None,
        })
    }

    /// What an id or a key leads to. What has fallen and is not swept yet is: it would be in the way.
    pub(super) fn resolve(&mut self, found: Option<(Row, Option<Record>)>) -> Result<Named, Fault> {
        Ok(match found {
            None => Named::Nothing,
            Some((row, Some(record))) if row.is_here(self.now) => {
                Named::Here(Box::new(Kept { row, record }))
            }
            Some((row, _)) if row.has_fallen(self.now) => {
                self.fall(row.place)?;
                Named::Nothing
            }
            Some(_) => Named::Gone,
        })
    }

    pub(super) fn by_key(&mut self, key: &UniqueKey) -> Result<Named, Fault> {
        let found = self.row(sql::BY_KEY, [key.as_hash()])?;
        self.resolve(found)
    }

    /// This process, which is about to hold a claim. It shows that it lives: it may have been idle, and so have been
    /// taken for dead but for the claims.
    pub(super) fn node(&mut self) -> Result<i64, Fault> {
        if let Some(node) = self.done.node
            && (self.has_beaten || self.beat(node)?)
        {
            return Ok(node);
        }
        let node = self.draw();
        self.write(sql::INSERT_NODE, params![node, micros(self.shared.lease)])?;
        self.done.node = Some(node);
        self.has_beaten = true;
        Ok(node)
    }

    /// `false` when this process was taken for dead.
    pub(super) fn beat(&mut self, node: i64) -> Result<bool, Fault> {
        let is_known = self.write(sql::BEAT, [node])? > 0;
        if !is_known {
            self.done.node = None;
        }
        self.has_beaten = is_known;
        Ok(is_known)
    }

    pub(super) fn hold(&mut self, token: i64, place: i64) {
        self.done.held.push((token, place));
    }

    pub(super) fn void(&mut self, row: &Row) {
        self.done.void.extend(row.held());
    }

    /// Writes down how a pending operation stands.
    pub(super) fn update(
        &mut self,
        place: i64,
        record: &Record,
        standing: Standing<'_>,
    ) -> Result<(), Fault> {
        let (due, node, token, queue) = match standing {
            Standing::Held { node, token } => (None, Some(node), Some(token), None),
            Standing::Waits { queue, due } => (Some(due), None, None, Some(queue)),
            Standing::Detached { token, due } => (Some(due), None, Some(token), None),
        };
        let values = params![
            place,
            number(record.phase()),
            signed(record.revision.0),
            record.attempt,
            record.started.map(micros_of),
            micros_of(record.updated),
            due,
            node,
            token,
            queue,
            record.report.as_ref().map(|report| report.encode()),
        ];
        self.write(sql::UPDATE, values)?;
        Ok(())
    }

    /// Has a pending operation wait in its queue, for whoever claims it. `false` if it is for nobody else to run.
    pub(super) fn enqueue(&mut self, row: &Row, record: &Record) -> Result<bool, Fault> {
        let rerun = record.submission.rerun.as_ref();
        let Some(rerun) = rerun.filter(|_| !record.phase().is_ended()) else {
            return Ok(false);
        };
        let standing = Standing::Waits {
            queue: rerun.queue.name(),
            due: after(self.now, rerun.start_within),
        };
        self.void(row);
        self.update(row.place, record, standing)?;
        self.tell(Change::Operation(record.id))?;
        self.tell(Change::Claimable)?;
        Ok(true)
    }

    /// Ends an operation whose record has ended already.
    pub(super) fn end(
        &mut self,
        row: &Row,
        record: Record,
        ending: &[u8],
    ) -> Result<Arc<Record>, Fault> {
        let blob = record.ending().and_then(Ending::blob);
        let mut size = record.size() as u64;
        if let Some(blob) = blob {
            let len = record.response().map_or(0, StoredResponse::body_len);
            size += self.name_blob(blob, len)?;
        }
        let now = self.now;
        let values = params![
            row.place,
            number(record.phase()),
            signed(record.revision.0),
            record.started.map(micros_of),
            micros_of(record.updated),
            after(now, record.submission.keep_for),
            now,
            signed(size),
            record.report.as_ref().map(|report| report.encode()),
            blob.map(|blob| *blob.as_uuid().as_bytes()),
            ending,
        ];
        self.write(sql::END, values)?;
        if record.submission.rerun.is_some() {
            self.drop_request(row.place)?;
        }
        self.shared.room.taken().totals.unread += 1;
        self.void(row);
        self.tell(Change::Operation(record.id))?;
        Ok(Arc::new(record))
    }

    /// Ends an operation without a response, of its own accord.
    pub(super) fn stop(
        &mut self,
        row: &Row,
        mut record: Record,
        ending: Ending,
    ) -> Result<Arc<Record>, Fault> {
        let encoded = ending.encode();
        if !record.end(ending) {
            return Err(StoreErrorKind::Corrupt.into());
        }
        self.end(row, record, &encoded)
    }

    pub(super) fn drop_request(&mut self, place: i64) -> Result<(), Fault> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, Option<[u8; 16]>>(1)?));
        if let Some((size, blob)) = self.write_returning(sql::DELETE_REQUEST, [place], read)? {
            let mut size = unsigned(size);
            if let Some(blob) = blob {
                size = size.saturating_sub(self.drop_blob(blob, Going::Leaves)?);
            }
            self.release(size);
        }
        Ok(())
    }

    /// Lets go of an operation, and leaves a tombstone.
    pub(super) fn bury(&mut self, row: &Row, going: Going) -> Result<(), Fault> {
        let mut size = row.size;
        if let Some(blob) = row.response {
            let kept = self.drop_blob(*blob.as_uuid().as_bytes(), going)?;
            if going == Going::Leaves {
                size = size.saturating_sub(kept);
            }
        }
        if !row.is_ended() {
            self.drop_request(row.place)?;
        }
        self.release(size);
        {
            let totals = &mut self.shared.room.taken().totals;
            totals.operations = totals.operations.saturating_sub(1);
            match (row.is_ended(), row.is_read) {
                (true, true) => {
                    totals.evictable = totals.evictable.saturating_sub(1);
                    totals.evictable_bytes = totals.evictable_bytes.saturating_sub(row.size);
                }
                (true, false) => totals.unread = totals.unread.saturating_sub(1),
                (false, _) => {}
            }
        }
        self.void(row);
        self.tell(Change::Operation(row.id))?;
        let Shared {
            tombstones,
            tombstone_for,
            ..
        } = *self.shared;
        if tombstones == 0 || tombstone_for.is_zero() {
            self.write(sql::DELETE, [row.place])?;
            return Ok(());
        }
        let falls = after(self.now, tombstone_for);
        self.write(sql::BURY, params![row.place, falls])?;
        self.shared.room.taken().totals.tombstones += 1;
        self.drop_surplus()?;
        Ok(())
    }

    /// Drops the oldest tombstone, if there are more than may be. One at a time: the limit may have been lowered by many,
    /// which is for sweeps to see to.
    pub(super) fn drop_surplus(&mut self) -> Result<bool, Fault> {
        if self.shared.room.taken().totals.tombstones <= self.shared.tombstones {
            return Ok(false);
        }
        let oldest = self.read(sql::OLDEST_TOMBSTONE, [], |row| row.get(0))?;
        if let Some(oldest) = oldest {
            self.fall(oldest)?;
        }
        Ok(oldest.is_some())
    }

    /// Drops a tombstone.
    pub(super) fn fall(&mut self, place: i64) -> Result<(), Fault> {
        self.write(sql::DELETE, [place])?;
        let totals = &mut self.shared.room.taken().totals;
        totals.tombstones = totals.tombstones.saturating_sub(1);
        Ok(())
    }

    // --- room

    /// Takes room, letting go of what has expired, or else of what was read and ended first.
    pub(super) fn reserve(&mut self, need: Need) -> Result<(), Fault> {
        while !self.shared.room.reserve(need) {
            self.make_room(need)?;
        }
        Ok(())
    }

    /// Refuses what would grow a file that has as many pages as it may. Looked at once in each group.
    pub(super) fn may_grow(&mut self) -> Result<(), Fault> {
        if self.may_grow.is_none() {
            self.may_grow = Some(
                self.shared.pages >= u64::from(u32::MAX) || self.used_pages()? < self.shared.pages,
            );
        }
        match self.may_grow {
            Some(false) => Err(StoreErrorKind::Full.into()),
            _ => Ok(()),
        }
    }

    fn used_pages(&self) -> Result<u64, Fault> {
        let (all, free) = self.pages()?;
        Ok(all.saturating_sub(free).into())
    }

    /// All pages of the file, and those that are free.
    pub(super) fn pages(&self) -> Result<(u32, u32), Fault> {
        let count = |statement| self.read(statement, [], |row| row.get::<_, u32>(0));
        Ok((
            count(sql::PAGES)?.unwrap_or(0),
            count(sql::FREE_PAGES)?.unwrap_or(0),
        ))
    }

    /// Lets go of one thing.
    pub(super) fn make_room(&mut self, need: Need) -> Result<(), Fault> {
        if let Some(row) = self.slot(sql::NEXT_EXPIRED, [self.now])? {
            return self.bury(&row, Going::Evicted);
        }
        let room = &self.shared.room;
        let lacks_bytes = room.lacks_bytes(need);
        if lacks_bytes && let Some(dead) = self.read(sql::DEAD_BLOB, [self.now], Unnamed::read)? {
            return self.let_go(&dead);
        }
        if !room.can_have(need) {
            return Err(StoreErrorKind::Full.into());
        }
        // Who was reading it when it was left has had some time; of those left just now, only if nothing else can go.
        let left_by = |tx: &Self, due: Tick| match lacks_bytes {
            true => tx.read(sql::LEFT_BLOB, [due], Unnamed::read),
            false => Ok(None),
        };
        if let Some(left) = left_by(self, after(self.now, BLOB_GRACE - READ_ON))? {
            return self.let_go(&left);
        }
        if let Some(row) = self.slot(sql::NEXT_EVICTABLE, [0])? {
            return self.bury(&row, Going::Evicted);
        }
        match left_by(self, Tick::MAX)? {
            Some(left) => self.let_go(&left),
            None => Err(StoreErrorKind::Full.into()),
        }
    }

    pub(super) fn release(&mut self, bytes: u64) {
        let totals = &mut self.shared.room.taken().totals;
        totals.bytes = totals.bytes.saturating_sub(bytes);
    }

    // --- blobs

    /// The blob is an operation's from here on, and so are its bytes: so many, or it is not the whole body.
    pub(super) fn name_blob(&mut self, blob: BlobId, len: u64) -> Result<u64, Fault> {
        let size = self.write_returning(sql::NAME_BLOB, [blob.as_uuid().as_bytes()], |row| {
            row.get(0)
        })?;
        // What was swept away meanwhile is not to be found missing by whoever reads it.
        let whole = size.map(unsigned).filter(|size| *size == len);
        Ok(whole.ok_or(StoreErrorKind::Corrupt)?)
    }

    /// The blob is nobody's from here on. Gives its bytes, which go on to count until their room is needed, unless that is
    /// now.
    fn drop_blob(&mut self, blob: [u8; 16], going: Going) -> Result<u64, Fault> {
        let (due, counted) = match going {
            Going::Leaves => (after(self.now, BLOB_GRACE), LEFT),
            Going::Evicted => (self.now, 0),
        };
        let size = self.write_returning(sql::DROP_BLOB, params![blob, due, counted], |row| {
            row.get(0)
        })?;
        let size = size.map_or(0, unsigned);
        if counted == LEFT {
            self.shared.room.taken().totals.evictable_bytes += size;
        }
        Ok(size)
    }

    /// Whoever reads it or writes it finds it no more, and its bytes count no longer. The sweep takes its chunks, in small
    /// steps.
    pub(super) fn let_go(&mut self, blob: &Unnamed) -> Result<(), Fault> {
        if blob.counted != 0 {
            self.release(blob.size);
        }
        if blob.counted == LEFT {
            let totals = &mut self.shared.room.taken().totals;
            totals.evictable_bytes = totals.evictable_bytes.saturating_sub(blob.size);
        }
        self.write(sql::LET_GO_OF_BLOB, [blob.number])?;
        Ok(())
    }

    pub(super) fn append(&mut self, blob: BlobId, index: u32, chunk: &[u8]) -> Result<(), Fault> {
        self.may_grow()?;
        self.reserve(Need::Bytes(chunk.len() as u64))?;
        let due = after(self.now, BLOB_GRACE);
        let touched = self.write_returning(
            sql::TOUCH_BLOB,
            params![blob.as_uuid().as_bytes(), due],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (number, size): (i64, i64) = touched.ok_or(StoreErrorKind::Corrupt)?;
        // The sweep has taken what came before: what is made of the rest would have a hole.
        if index > 0 && size == 0 {
            self.release(chunk.len() as u64);
            return Err(StoreErrorKind::Corrupt.into());
        }
        if self.write(
            sql::INSERT_CHUNK,
            params![chunk_at(number) + i64::from(index), chunk],
        )? == 0
        {
            // It was here before.
            self.release(chunk.len() as u64);
            return Ok(());
        }
        self.write(sql::GROW_BLOB, params![number, signed(chunk.len() as u64)])?;
        Ok(())
    }

    /// Gives the blob's number if some of it is left to be [dropped](Self::drop_chunks).
    pub(super) fn remove_blob(&mut self, blob: BlobId) -> Result<Option<i64>, Fault> {
        let id = blob.as_uuid().as_bytes();
        let Some(unnamed) = self.read(sql::UNNAMED_BLOB, [id], Unnamed::read)? else {
            return Ok(None);
        };
        self.let_go(&unnamed)?;
        self.drop_chunks(unnamed.number)
    }

    /// Drops some chunks of a blob, and the blob with the last of them. Gives its number if there are more.
    pub(super) fn drop_chunks(&mut self, number: i64) -> Result<Option<i64>, Fault> {
        /// 4 MiB, of those that this crate makes.
        const AT_ONCE: u32 = 16;
        let (from, to) = (chunk_at(number), chunk_at(number + 1));
        for _ in 0..AT_ONCE {
            let first: Option<i64> = self.read(sql::FIRST_CHUNK, [from, to], |row| row.get(0))?;
            let Some(at) = first else {
                self.write(sql::DELETE_BLOB, [number])?;
                return Ok(None);
            };
            self.write(sql::DELETE_CHUNK, [at])?;
        }
        Ok(Some(number))
    }
}

/// Where the chunks of a blob begin. See the schema.
fn chunk_at(number: i64) -> i64 {
    number << 24
}

/// How a pending operation stands.
#[derive(Clone, Copy)]
pub(super) enum Standing<'a> {
    Held { node: i64, token: i64 },
    Waits { queue: &'a str, due: Tick },
    Detached { token: i64, due: Tick },
}
