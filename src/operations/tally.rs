use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The places that are taken, and how many of these are pending. In one word, so that a place is given back in one step:
/// who sees the end of what it was for, as a drain does, is not to see half of it held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally(u64);

/// One place.
pub(super) const TAKEN: u64 = 1;
/// One operation that was taken on for good: read, and neither refused nor ended.
pub(super) const PENDING: u64 = 1 << 32;
/// Nothing more is taken on.
const CLOSED: u64 = 1 << 63;

impl Tally {
    pub(super) fn taken(self) -> u64 {
        self.0 & (PENDING - 1)
    }

    pub(super) fn pending(self) -> u64 {
        (self.0 & !CLOSED) / PENDING
    }

    pub(super) fn is_open(self) -> bool {
        self.0 & CLOSED == 0
    }
}

#[derive(Debug, Default)]
pub(super) struct AtomicTally(AtomicU64);

impl AtomicTally {
    pub(super) fn load(&self) -> Tally {
        Tally(self.0.load(SeqCst))
    }

    /// Adds `more`, if what is held allows it.
    pub(super) fn add_if(&self, more: u64, allows: impl Fn(Tally) -> bool) -> bool {
        let add = |now| allows(Tally(now)).then_some(now + more);
        self.0.fetch_update(SeqCst, SeqCst, add).is_ok()
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, SeqCst);
    }

    /// Takes `less` away, and gives what is left.
    pub(super) fn sub(&self, less: u64) -> Tally {
        Tally(self.0.fetch_sub(less, SeqCst) - less)
    }

    /// Gives what is held when it is closed.
    pub(super) fn close(&self) -> Tally {
        Tally(self.0.fetch_or(CLOSED, SeqCst))
    }
}
