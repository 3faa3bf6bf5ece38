use super::{
    ledger::{Ledger, Need},
    time::Tick,
};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The results that were read and may be let go to make room.
#[derive(Default)]
pub(super) struct Evictable(Mutex<Read>);

#[derive(Default)]
pub(super) struct Read {
    /// The first to end first; see [`Entry::eviction`](super::kept::Entry::eviction).
    queue: BTreeSet<(Tick, u64)>,
    /// Bytes of them. An entry counts until it is accounted for as removed.
    bytes: u64,
}

impl Evictable {
    pub(super) fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.bytes == 0
    }

    pub(super) fn insert(&mut self, entry: (Tick, u64), bytes: u64) {
        self.queue.insert(entry);
        self.bytes += bytes;
    }

    /// Accounts for one that was removed from its shard, for whatever reason.
    pub(super) fn removed(&mut self, entry: (Tick, u64), bytes: u64) {
        self.queue.remove(&entry);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The first to let go, unless letting go of all would not make the room that is needed.
    pub(super) fn next_for(&mut self, need: Need, ledger: &Ledger) -> Option<(Tick, u64)> {
        if ledger.would_have_room(need, self.queue.len() as u64, self.bytes) {
            self.queue.pop_first()
        } else {
            None
        }
    }
}
