use super::SqliteOptions;
use crate::{store::StoreUsage, sync::lock};
use std::sync::{Mutex, MutexGuard};

/// What is counted in the file, so that nothing need be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) next: i64,
    pub(super) operations: u64,
    pub(super) bytes: u64,
    pub(super) unread: u64,
    pub(super) tombstones: u64,
    /// Operations that have ended and were read.
    pub(super) evictable: u64,
    /// Theirs, and those of blobs whose operations are gone.
    pub(super) evictable_bytes: u64,
}

/// What there is to be room for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    Operation,
    Bytes(u64),
}

/// What is kept, and what this process has set aside: never above the limits, since room is reserved before anything is
/// put into it.
#[derive(Debug)]
pub(super) struct Room {
    operations: u64,
    bytes: u64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) totals: Totals,
    aside: u64,
}

impl Room {
    pub(super) fn new(options: &SqliteOptions, totals: Totals) -> Self {
        Self {
            operations: options.operations,
            bytes: options.bytes,
            taken: Mutex::new(Taken { totals, aside: 0 }),
        }
    }

    /// Held for no longer than a few sums take.
    pub(super) fn taken(&self) -> MutexGuard<'_, Taken> {
        lock(&self.taken)
    }

    /// Whether there would be room if so many operations with so many bytes were gone.
    fn would_fit(&self, taken: &Taken, need: Need, operations: u64, bytes: u64) -> bool {
        let operations = taken.totals.operations.saturating_sub(operations);
        let bytes = (taken.totals.bytes + taken.aside).saturating_sub(bytes);
        match need {
            Need::Operation => operations < self.operations && bytes < self.bytes,
            Need::Bytes(more) => bytes.checked_add(more).is_some_and(|sum| sum <= self.bytes),
        }
    }

    /// Takes the room, if it is there.
    pub(super) fn reserve(&self, need: Need) -> bool {
        let mut taken = self.taken();
        let fits = self.would_fit(&taken, need, 0, 0);
        if fits {
            match need {
                Need::Operation => taken.totals.operations += 1,
                Need::Bytes(more) => taken.totals.bytes += more,
            }
        }
        fits
    }

    /// Whether it is bytes that there is no room for.
    pub(super) fn lacks_bytes(&self, need: Need) -> bool {
        !self.would_fit(&self.taken(), need, u64::MAX, 0)
    }

    pub(super) fn has(&self, need: Need) -> bool {
        self.would_fit(&self.taken(), need, 0, 0)
    }

    /// Whether letting go of all that can be let go would make the room.
    pub(super) fn can_have(&self, need: Need) -> bool {
        let taken = self.taken();
        let Totals {
            evictable,
            evictable_bytes,
            ..
        } = taken.totals;
        self.would_fit(&taken, need, evictable, evictable_bytes)
    }

    /// Sets bytes aside, trusting that what can be let go will be: then it gives `Some(false)`.
    pub(super) fn set_aside(&self, bytes: u64) -> Option<bool> {
        let mut taken = self.taken();
        let need = Need::Bytes(bytes);
        let Totals {
            evictable,
            evictable_bytes,
            ..
        } = taken.totals;
        if !self.would_fit(&taken, need, evictable, evictable_bytes) {
            return None;
        }
        let fits = self.would_fit(&taken, need, 0, 0);
        taken.aside += bytes;
        Some(fits)
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let mut taken = self.taken();
        taken.aside = taken.aside.saturating_sub(bytes);
    }

    pub(super) fn usage(&self) -> StoreUsage {
        let Taken { totals, aside } = &*self.taken();
        StoreUsage {
            operations: totals.operations,
            bytes: totals.bytes + aside,
            unread: totals.unread,
            tombstones: totals.tombstones,
        }
    }
}
