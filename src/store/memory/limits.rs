use std::time::Duration;

/// What a [`MemoryStore`](super::MemoryStore) holds at most, and how long it remembers what is gone.
///
/// ```
/// use std::time::Duration;
/// use tower_lro::store::{Clock, MemoryLimits, MemoryStore};
///
/// let limits = MemoryLimits::default().operations(1_000).tombstone_for(Duration::from_secs(3_600));
/// let store = MemoryStore::new(limits, Clock::system());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryLimits {
    pub(super) operations: u64,
    pub(super) bytes: u64,
    pub(super) tombstones: u64,
    pub(super) tombstone_for: Duration,
}

impl Default for MemoryLimits {
    /// 100,000 operations, 256 MiB, 100,000 tombstones, each for 24 hours.
    fn default() -> Self {
        Self {
            operations: 100_000,
            bytes: 256 << 20,
            tombstones: 100_000,
            tombstone_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl MemoryLimits {
    /// Operations, pending and ended. Default: 100,000.
    pub const fn operations(mut self, at_most: u64) -> Self {
        self.operations = at_most;
        self
    }

    /// Bytes of responses, those that are coming in included, and of requests that wait for a worker. Default: 256 MiB.
    ///
    /// What the store needs beside them for each operation is bounded by their [number](Self::operations): about 400 bytes,
    /// as much again where it has an owner of its own and a key, the target of its request
    /// ([`Limits::target`](crate::Limits::target)), and what its handler has told.
    pub const fn bytes(mut self, at_most: u64) -> Self {
        self.bytes = at_most;
        self
    }

    /// Tombstones: what is remembered of operations that are gone. Above it the oldest go first, and their operations
    /// were never here. Default: 100,000.
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
}
