mod error;
mod file;
mod options;
mod readers;
mod room;
mod row;
mod schema;
mod sql;
mod sweep;
mod time;
mod tx;
mod verbs;
mod writer;

pub use self::{
    error::{SqliteError, SqliteErrorKind},
    options::SqliteOptions,
};

use self::{
    file::File,
    readers::Readers,
    room::{Need, Room},
    time::Time,
    verbs::{New, NewEnd},
    writer::{Jobs, Sync, Writer},
};
use super::{
    Blobs, Changes, Claim, Claimed, Created, Forget, Held, Intent, ListQuery, Lookup, Page,
    Settled, Store, StoreFuture, StoreUsage, Swept, hints::Hints,
};
use crate::record::{BlobId, Ending, OperationId, Queue, Record, Sighting, UniqueKey};
use bytes::Bytes;
use std::{
    fmt,
    num::{NonZeroU16, NonZeroU32},
    path::Path,
    sync::{Arc, atomic::AtomicU64, mpsc::sync_channel},
    thread,
    time::Duration,
};

/// Keeps operations in one file, by SQLite; they survive the process, and the machine. (Feature `sqlite`, with the
/// library of the system, 3.45.3 or later; `sqlite-bundled` builds one in.)
///
/// ```
/// use tower_lro::{Operations, store::SqliteStore};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("operations.db");
/// let store = SqliteStore::open(path)?;
/// let operations = Operations::builder().mount("/operations").store(store).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is on disk when
///
/// What a 202 or an end depends on is synced before it is answered: what was created, claimed, released, detached, ended
/// or forgotten is there after a crash of the process, the system, or a loss of power. One thread writes: verbs that come
/// while it syncs share the next sync. Heartbeats, progress, chunks of bodies and notes of what was read are written
/// without a sync of their own; a chunk is synced at the latest with what names it.
///
/// While the disk is full, verbs that write are [`Unavailable`](super::StoreErrorKind::Unavailable): new operations are
/// refused, results are held in memory until there is room again, and what is on disk can be read.
///
/// Beside the file stand its write-ahead log (`-wal`) and the log's index (`-shm`), which belong to it: what was written
/// last is in the log alone, and of a young file that is all. The file must be on a disk of this machine: file systems of a
/// network have neither the locks nor the memory that it is shared by. A symbolic link is followed once, when it is opened.
///
/// Where one of the three is removed, moved or replaced while the file is open, it is missed: every verb is
/// [`Unavailable`](super::StoreErrorKind::Unavailable) until it is back. (Not on Windows, which lets nobody do so.) What was
/// in a log that does not come back is lost.
///
/// # Several processes
///
/// Any number of processes of one machine may open the file; each waits up to 5 s for the locks of another before a verb
/// is [`Unavailable`](super::StoreErrorKind::Unavailable). Changes by others are heard of within
/// [`poll_every`](SqliteOptions::poll_every).
///
/// Claims lapse. A process shows that it lives by a counter that grows with each heartbeat; another that has seen it stand
/// still for the [lease](SqliteOptions::lease), by its own monotonic clock, takes the process for dead, at its next
/// sweep. A process that wakes up after that finds its claims void. Nobody's wall clock matters. While nothing can be
/// written, as on a full disk, processes of one lease, of a second or more, take nobody for dead: before they judge they
/// write, too.
///
/// # Clocks
///
/// When something is due is decided by a clock in the file. It goes by the monotonic clocks of the processes that write,
/// and while there are none, by the time of day: so setting the wall clock expires nothing, except by what it was set
/// while nobody wrote.
///
/// # Limits
///
/// Those of [`SqliteOptions`]. Room is made as in the [`MemoryStore`](super::MemoryStore#making-room). Every verb costs
/// what it touches, never what is stored; a [page](Store::list) looks at no more than 1,000 records beyond those it shows,
/// and may therefore be short though more follow. What is deleted gives its pages back to the file system bit by bit, in
/// sweeps, when more than a quarter of the file is free. The log beside it begins anew when it has reached 64 MiB, however
/// many read; but not while a process stands still that reads.
///
/// Bodies beyond the [inline limit](SqliteOptions::inline_limit) are kept in chunks, written and read one at a time. Those
/// of operations that have expired or were forgotten stay, and count, for an hour more, since somebody may be reading them.
/// Where there is no room for others they go earlier: after five minutes before any result, else after those that were read.
///
/// # Upgrades
///
/// A file of an earlier version of this crate is brought up to date when it is opened; one of a later version is
/// [refused](SqliteErrorKind::Newer), and left as it is. What a process finds in a file all the same that it can't understand,
/// since a later version has the file open too or it is damaged, it passes over: only what names that operation is
/// [`Corrupt`](super::StoreErrorKind::Corrupt). Where nobody understands it, it stays.
pub struct SqliteStore {
    shared: Arc<Shared>,
    writer: Jobs,
    readers: Readers,
}

/// What all threads of a store see.
#[derive(Debug)]
struct Shared {
    file: File,
    room: Room,
    time: Time,
    hints: Hints,
    counts: Counts,
    lease: Duration,
    inline_limit: usize,
    tombstones: u64,
    tombstone_for: Duration,
    /// What the file may have that are not free.
    pages: u64,
}

#[derive(Debug, Default)]
struct Counts {
    commits: AtomicU64,
    syncs: AtomicU64,
    statements: AtomicU64,
}

/// What the writer of a [`SqliteStore`] has done so far. See [`SqliteStore::work`].
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteWork {
    /// Transactions that wrote something.
    pub commits: u64,
    /// Of these, those that were synced before they were answered.
    pub syncs: u64,
    /// Statements, those that begin and end transactions not counted.
    pub statements: u64,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store in this file with the [default options](SqliteOptions); makes it if it is not there. Blocks until
    /// that is done.
    ///
    /// # Errors
    ///
    /// See [`SqliteErrorKind`]. The file is left as it was, but for what SQLite itself undoes of a program's that died.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        SqliteOptions::default().open(path)
    }

    fn open_with(path: &Path, options: SqliteOptions) -> Result<Self, SqliteError> {
        let failed = |error| SqliteError::caused_by(error, path);
        let sql = schema::open(path, options.clock.wall())?;
        let (totals, (tick, wall)) = writer::read_meta(&sql).map_err(failed)?;
        let shared = Arc::new(Shared {
            file: File::at(path).map_err(|error| SqliteError::of_the_system(error, path))?,
            room: Room::new(&options, totals),
            time: Time::new(options.clock, tick, wall),
            hints: Hints::default(),
            counts: Counts::default(),
            lease: options.lease,
            inline_limit: options.inline_limit,
            tombstones: options.tombstones,
            tombstone_for: options.tombstone_for,
            pages: options.file_bytes / u64::from(schema::PAGE),
        });
        let readers = Readers::start(path, options.readers, options.waiting, &shared)?;
        let (sender, jobs) = sync_channel(options.waiting.get());
        let writer = Writer::new(sql, shared.clone()).map_err(failed)?;
        thread::Builder::new()
            .name("tower-lro-write".into())
            .spawn(move || writer.run(&jobs, options.poll_every))
            .map_err(|error| SqliteError::of_the_system(error, path))?;
        Ok(Self {
            shared,
            writer: Jobs(sender),
            readers,
        })
    }

    /// What its writer has done so far: for tests that count.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn work(&self) -> SqliteWork {
        use std::sync::atomic::Ordering::Relaxed;
        let Counts {
            commits,
            syncs,
            statements,
        } = &self.shared.counts;
        SqliteWork {
            commits: commits.load(Relaxed),
            syncs: syncs.load(Relaxed),
            statements: statements.load(Relaxed),
        }
    }
}

impl Store for SqliteStore {
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created> {
        StoreFuture::new(async move {
            let request = intent
                .request()
                .map(|request| (request.clone(), request.encode()));
            let new = New {
                record: record.clone(),
                submission: record.submission.encode(),
                request,
                queued: matches!(intent, Intent::Queue(_)),
            };
            self.writer.ask(Sync::Now, move |tx| tx.create(&new)).await
        })
    }

    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>> {
        let queue = queue.clone();
        let claim = self
            .writer
            .ask(Sync::Now, move |tx| tx.claim(&queue, at_most.get()));
        StoreFuture::new(claim)
    }

    fn renew<'a>(&'a self, held: &'a [Held]) -> StoreFuture<'a, Vec<OperationId>> {
        let held = held.to_vec();
        StoreFuture::new(self.writer.ask(Sync::Later, move |tx| tx.renew(&held)))
    }

    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled> {
        let (claim, sighting) = (copy(claim), sighting.clone());
        let release = self
            .writer
            .ask(Sync::Now, move |tx| tx.give_back_claim(&claim, &sighting));
        StoreFuture::new(release)
    }

    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup> {
        StoreFuture::new(self.readers.ask(move |reader| reader.find(id)))
    }

    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup> {
        let key = key.clone();
        StoreFuture::new(self.readers.ask(move |reader| reader.find_key(&key)))
    }

    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page> {
        let query = query.clone();
        StoreFuture::new(self.readers.ask(move |reader| reader.page(&query)))
    }

    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled> {
        StoreFuture::new(async move {
            let by = copy(claim);
            // A copy of names: the bytes of the response are shared.
            let end = ending
                .clone()
                .ok_or(super::StoreErrorKind::Corrupt)
                .map_err(super::StoreError::new)?;
            let new = NewEnd::new(end, Some(sighting.clone()));
            let settled = self
                .writer
                .ask(Sync::Now, move |tx| tx.end_by(by.id(), Some(&by), &new))
                .await?;
            if let Settled::Done(_) = settled {
                *ending = None;
            }
            Ok(settled)
        })
    }

    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled> {
        StoreFuture::new(async move {
            let new = NewEnd::new(ending, sighting);
            self.writer
                .ask(Sync::Now, move |tx| tx.end_by(id, None, &new))
                .await
        })
    }

    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled> {
        let (claim, sighting) = (copy(claim), sighting.clone());
        let detach = self
            .writer
            .ask(Sync::Now, move |tx| tx.detach(&claim, &sighting, within));
        StoreFuture::new(detach)
    }

    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled> {
        StoreFuture::new(self.writer.ask(Sync::Now, move |tx| tx.forget(id, which)))
    }

    fn mark_read(&self, id: OperationId) {
        self.writer.note(move |tx| tx.mark_read(id));
    }

    fn set_aside(&self, bytes: u64) -> bool {
        let Some(fits) = self.shared.room.set_aside(bytes) else {
            return false;
        };
        if !fits {
            self.writer.note(move |tx| {
                while !tx.shared.room.has(Need::Bytes(0)) {
                    tx.make_room(Need::Bytes(0))?;
                }
                Ok(())
            });
        }
        true
    }

    fn give_back(&self, bytes: u64) {
        self.shared.room.give_back(bytes);
    }

    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept> {
        // Whoever asks has looked whether this process stands still. What comes between here and the file it has not seen.
        let asked = self.shared.time.elapsed();
        let sweep = self
            .writer
            .ask(Sync::Now, move |tx| tx.sweep(at_most.get(), asked));
        StoreFuture::new(sweep)
    }

    fn usage(&self) -> StoreUsage {
        self.shared.room.usage()
    }

    fn changes(&self) -> Box<dyn Changes> {
        let subscription = self.shared.hints.subscribe();
        // From here on it looks for what others have changed, if it slept.
        self.writer.note(|_| Ok(()));
        Box::new(subscription)
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.shared.lease)
    }

    fn keeps_requests(&self) -> bool {
        true
    }

    fn blobs(&self) -> Option<&dyn Blobs> {
        Some(self)
    }
}

impl Blobs for SqliteStore {
    fn inline_limit(&self) -> usize {
        self.shared.inline_limit
    }

    fn append(&self, blob: BlobId, index: u32, chunk: Bytes) -> StoreFuture<'_, ()> {
        let append = self
            .writer
            .ask(Sync::Later, move |tx| tx.append(blob, index, &chunk));
        StoreFuture::new(append)
    }

    fn read(&self, blob: BlobId, index: u32) -> StoreFuture<'_, Option<Bytes>> {
        StoreFuture::new(self.readers.ask(move |reader| reader.chunk(blob, index)))
    }

    fn remove(&self, blob: BlobId) -> StoreFuture<'_, ()> {
        StoreFuture::new(async move {
            let removed = self.writer.ask(Sync::Later, move |tx| tx.remove_blob(blob));
            let mut left = removed.await?;
            // To its end: the next sweep may be long in coming. It is gone for everybody now: what fails here is left to that.
            while let Some(number) = left {
                let dropped = self
                    .writer
                    .ask(Sync::Later, move |tx| tx.drop_chunks(number));
                left = dropped.await.ok().flatten();
            }
            Ok(())
        })
    }
}

/// To be sent to the writer.
fn copy(claim: &Claim) -> Claim {
    Claim::new(claim.id(), claim.attempt(), claim.token())
}
