//! Whether tables and queues are as large as what is in them needs, and moving them to others that are.

use super::{Burials, Entries, Entry, Kept, Order, SMALL, Timeline, Tombstone, Tombstones};
use std::{collections::VecDeque, mem};

/// What is to be moved to an allocation of another size. See [`Kept::misfit`].
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Entries,
    Agenda,
    Evictable,
    Order,
    Tombstones,
    Burials,
}

impl Kept {
    /// The first part that is full or mostly empty, and the capacity that it should have instead.
    ///
    /// A part that is filled up before somebody has seen to this grows by itself.
    pub(crate) fn misfit(&self) -> Option<(Part, usize)> {
        let parts = [
            (
                Part::Entries,
                self.entries.len(),
                self.entries.capacity(),
                self.entries.num_buckets(),
            ),
            (
                Part::Agenda,
                self.agenda.len(),
                self.agenda.capacity(),
                self.agenda.capacity(),
            ),
            (
                Part::Evictable,
                self.evictable.len(),
                self.evictable.capacity(),
                self.evictable.capacity(),
            ),
            (
                Part::Order,
                self.order.len(),
                self.order.capacity(),
                self.order.capacity(),
            ),
            (
                Part::Tombstones,
                self.tombstones.len(),
                self.tombstones.capacity(),
                self.tombstones.num_buckets(),
            ),
            (
                Part::Burials,
                self.burials.len(),
                self.burials.capacity(),
                self.burials.capacity(),
            ),
        ];
        parts.into_iter().find_map(|(part, len, capacity, size)| {
            let is_full = len == capacity && len > 0;
            let is_mostly_empty = size > SMALL && len < size / 16;
            (is_full || is_mostly_empty).then(|| (part, (2 * len).max(4)))
        })
    }

    /// Moves the entries to `new`, if they fit. What is in `new` then is to be freed.
    pub(crate) fn refit_entries(&mut self, new: &mut Entries) {
        if new.capacity() <= self.entries.len() {
            return;
        }
        // By the queue, which has the hashes at hand, and not by the records, which are all over the memory.
        for &(sequence, hash) in &self.order {
            let found = self
                .entries
                .find_entry(hash, |entry| entry.sequence() == sequence);
            if let Ok(found) = found {
                new.insert_unique(hash, found.remove().0, Entry::hash);
            }
        }
        debug_assert!(
            self.entries.is_empty(),
            "all that was created stands in the queue"
        );
        mem::swap(&mut self.entries, new);
    }

    pub(crate) fn refit_agenda(&mut self, new: &mut Timeline) {
        redraw(&mut self.agenda, new);
    }

    pub(crate) fn refit_evictable(&mut self, new: &mut Timeline) {
        redraw(&mut self.evictable, new);
    }

    pub(crate) fn refit_order(&mut self, new: &mut Order) {
        refill(&mut self.order, new);
    }

    pub(crate) fn refit_tombstones(&mut self, new: &mut Tombstones) {
        if new.capacity() > self.tombstones.len() {
            for tombstone in self.tombstones.drain() {
                new.insert_unique(tombstone.hash(), tombstone, Tombstone::hash);
            }
            mem::swap(&mut self.tombstones, new);
        }
    }

    pub(crate) fn refit_burials(&mut self, new: &mut Burials) {
        refill(&mut self.burials, new);
    }
}

fn redraw(timeline: &mut Timeline, new: &mut Timeline) {
    if new.capacity() > timeline.len() {
        // Not by `append` of the heaps, which may leave the items where they are and take the others in there.
        let (mut items, mut room) = (mem::take(timeline).into_vec(), mem::take(new).into_vec());
        room.append(&mut items);
        (*timeline, *new) = (room.into(), items.into());
    }
}

fn refill<T>(queue: &mut VecDeque<T>, new: &mut VecDeque<T>) {
    if new.capacity() > queue.len() {
        new.extend(queue.drain(..));
        mem::swap(queue, new);
    }
}
