//! One of the parts that a store is cut into, so that few callers meet at one lock.

use super::{
    kept::{Burials, Kept, Line, Numbers, Part, Timeline, Tombstones},
    time::Tick,
};
use crate::sync::lock;
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering::Relaxed},
};

#[derive(Default)]
pub(super) struct Shard {
    kept: Mutex<Kept>,
    /// When something is due here, so that nobody takes the lock to learn that nothing is.
    next_due: AtomicU64,
    /// When its oldest tombstone falls.
    next_fall: AtomicU64,
    /// When the first of its results that were read has ended.
    next_evictable: AtomicU64,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Looks, changing nothing.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.lock())
    }

    /// Changes something. What is to be freed is to be handed out of `change`, to be dropped outside of the lock.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.lock();
        let answer = change(&mut kept);
        self.changed(kept);
        answer
    }

    /// Changes something, unless it is as it should be: then `change` says `false`.
    pub(super) fn write_if(&self, change: impl FnOnce(&mut Kept) -> bool) {
        let mut kept = self.lock();
        if change(&mut kept) {
            self.changed(kept);
        }
    }

    fn changed(&self, kept: MutexGuard<'_, Kept>) {
        self.next_due.store(Tick::encode(kept.next_due()), Relaxed);
        self.next_fall
            .store(Tick::encode(kept.next_fall()), Relaxed);
        self.next_evictable
            .store(Tick::encode(kept.next_evictable()), Relaxed);
        let mut misfit = kept.misfit();
        drop(kept);
        while let Some((part, capacity)) = misfit {
            misfit = self.refit(part, capacity);
        }
    }

    /// Moves what has become too small or too large. Gives what is to be moved next.
    ///
    /// How long an allocator takes is not bounded, above all after much was freed, so nobody waits for it under the
    /// lock: memory is had before, and given back after.
    #[cold]
    fn refit(&self, part: Part, capacity: usize) -> Option<(Part, usize)> {
        match part {
            Part::Numbers => self.exchange(Numbers::with_capacity(capacity), Kept::refit_numbers),
            Part::Line => self.exchange(Line::with_capacity(capacity), Kept::refit_line),
            Part::Agenda => self.exchange(Timeline::with_capacity(capacity), Kept::refit_agenda),
            Part::Evictable => {
                self.exchange(Timeline::with_capacity(capacity), Kept::refit_evictable)
            }
            Part::Tombstones => {
                self.exchange(Tombstones::with_capacity(capacity), Kept::refit_tombstones)
            }
            Part::Burials => self.exchange(Burials::with_capacity(capacity), Kept::refit_burials),
        }
    }

    fn exchange<P>(&self, mut part: P, refit: fn(&mut Kept, &mut P)) -> Option<(Part, usize)> {
        let mut kept = self.lock();
        refit(&mut kept, &mut part);
        let next = kept.misfit();
        drop(kept);
        drop(part);
        next
    }

    /// When the first record here is due.
    pub(super) fn next_due(&self) -> Option<Tick> {
        Tick::decode(self.next_due.load(Relaxed))
    }

    /// When the oldest tombstone here falls.
    pub(super) fn next_fall(&self) -> Option<Tick> {
        Tick::decode(self.next_fall.load(Relaxed))
    }

    /// When the first of the results here that were read has ended.
    pub(super) fn next_evictable(&self) -> Option<Tick> {
        Tick::decode(self.next_evictable.load(Relaxed))
    }
}
