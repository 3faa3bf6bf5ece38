use super::{SqliteError, SqliteStore};
use crate::store::Clock;
use std::{num::NonZeroUsize, path::Path, time::Duration};

/// How a [`SqliteStore`] is opened, and what it holds at most.
///
/// The bounds are those of the file: processes that share it are to be given the same.
///
/// ```
/// use std::time::Duration;
/// use tower_lro::store::SqliteOptions;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("operations.db");
/// let store = SqliteOptions::default()
///     .lease(Duration::from_secs(5))
///     .bytes(1 << 30)
///     .open(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteOptions {
    pub(super) lease: Duration,
    pub(super) inline_limit: usize,
    pub(super) operations: u64,
    pub(super) bytes: u64,
    pub(super) tombstones: u64,
    pub(super) tombstone_for: Duration,
    pub(super) file_bytes: u64,
    pub(super) poll_every: Duration,
    pub(super) waiting: NonZeroUsize,
    pub(super) readers: NonZeroUsize,
    pub(super) clock: Clock,
}

impl Default for SqliteOptions {
    /// A lease of 15 s, bodies of up to 64 KiB in their records, 1,000,000 operations, 4 GiB, 1,000,000 tombstones, each
    /// for 24 hours, no bound for the file itself, changes of other processes within 100 ms, 4,096 waiting, 4 readers.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            inline_limit: 64 << 10,
            operations: 1_000_000,
            bytes: 4 << 30,
            tombstones: 1_000_000,
            tombstone_for: Duration::from_secs(24 * 60 * 60),
            file_bytes: u64::MAX,
            poll_every: Duration::from_millis(100),
            waiting: const { NonZeroUsize::new(4096).unwrap() },
            readers: const { NonZeroUsize::new(4).unwrap() },
            clock: Clock::system(),
        }
    }
}

impl SqliteOptions {
    /// How long the claims of a process hold that shows no sign of life. Default: 15 s, at least 1 ms.
    ///
    /// A process that is dead is noticed within two leases, by the next [sweep](crate::store::Store::sweep) of
    /// another. One that is stopped for longer than this, or whose disk is, loses what it runs.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time.max(Duration::from_millis(1));
        self
    }

    /// Bytes of a body up to which it is kept in its record; longer ones are kept in chunks. Default: 64 KiB.
    pub const fn inline_limit(mut self, bytes: usize) -> Self {
        self.inline_limit = bytes;
        self
    }

    /// Operations, pending and ended. Default: 1,000,000.
    pub const fn operations(mut self, at_most: u64) -> Self {
        self.operations = at_most;
        self
    }

    /// Bytes of requests, until their ends, and of responses, those that are coming in included. Default: 4 GiB.
    ///
    /// The file takes about 500 bytes beside them for each operation, the target of its request, and what its handler has
    /// told.
    pub const fn bytes(mut self, at_most: u64) -> Self {
        self.bytes = at_most;
        self
    }

    /// Tombstones: what is remembered of operations that are gone. Above it the oldest go first, and their operations
    /// were never here; of a file that has more, in sweeps. Default: 1,000,000.
    pub const fn tombstones(mut self, at_most: u64) -> Self {
        self.tombstones = at_most;
        self
    }

    /// How long a tombstone stands, and with it the idempotency key. Default: 24 hours.
    ///
    /// It counts from when the operation is let go: of one that expires, from the sweep, a minute later at most while the
    /// engine runs. From the expiry on it is gone in any case.
    pub const fn tombstone_for(mut self, time: Duration) -> Self {
        self.tombstone_for = time;
        self
    }

    /// Bytes of the file itself, its write-ahead log and what is free in it not counted. Above it new operations, and
    /// chunks of long bodies, are refused as [full](crate::store::StoreErrorKind::Full); what has been accepted
    /// can still end, and be forgotten. Default: as many as the disk has.
    pub const fn file_bytes(mut self, at_most: u64) -> Self {
        self.file_bytes = at_most;
        self
    }

    /// How often it looks whether other processes have changed anything, while somebody waits for
    /// [changes](crate::store::Store::changes). Default: 100 ms, at least 1 ms.
    pub fn poll_every(mut self, time: Duration) -> Self {
        self.poll_every = time.max(Duration::from_millis(1));
        self
    }

    /// Verbs that wait for the writer, and as many that wait for readers. Above it they are
    /// [refused](crate::store::StoreErrorKind::Unavailable) at once. Default: 4,096, at most 1,048,576: room for all of them is
    /// taken when the store is opened.
    pub const fn waiting(mut self, at_most: NonZeroUsize) -> Self {
        const MOST: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
        self.waiting = if at_most.get() < MOST.get() {
            at_most
        } else {
            MOST
        };
        self
    }

    /// Threads that read, each with a connection of its own. Default: 4.
    pub const fn readers(mut self, threads: NonZeroUsize) -> Self {
        self.readers = threads;
        self
    }

    /// Where the time comes from. Default: [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store in this file, which is made if it is not there. Blocks until that is done.
    ///
    /// # Errors
    ///
    /// See [`SqliteErrorKind`](super::SqliteErrorKind). The file is left as it was, but for what SQLite itself undoes of a
    /// program's that died.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, SqliteError> {
        SqliteStore::open_with(path.as_ref(), self)
    }
}
