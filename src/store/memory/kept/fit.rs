//! Whether tables and queues are as large as what is in them needs, and moving them to others that are.

use super::{Burials, Kept, Line, Numbers, SMALL, Timeline, Tombstone, Tombstones};
use std::{collections::VecDeque, mem};

/// What is to be moved to an allocation of another size. See [`Kept::misfit`].
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Numbers,
    Line,
    Agenda,
    Evictable,
    Tombstones,
    Burials,
}

impl Kept {
    /// The first part that is full or mostly empty, and the capacity that it should have instead.
    ///
    /// A part that is filled up before somebody has seen to this grows by itself.
    pub(crate) fn misfit(&self) -> Option<(Part, usize)> {
        let [numbers, room_for_numbers, buckets] = self.entries.table_size();
        let [line, room_in_line] = self.entries.line_size();
        let parts = [
            (Part::Numbers, numbers, room_for_numbers, buckets),
            (Part::Line, line, room_in_line, room_in_line),
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

    pub(crate) fn refit_numbers(&mut self, new: &mut Numbers) {
        self.entries.refit_numbers(new);
    }

    pub(crate) fn refit_line(&mut self, new: &mut Line) {
        self.entries.refit_line(new);
    }

    pub(crate) fn refit_agenda(&mut self, new: &mut Timeline) {
        redraw(&mut self.agenda, new);
    }

    pub(crate) fn refit_evictable(&mut self, new: &mut Timeline) {
        redraw(&mut self.evictable, new);
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

pub(super) fn refill<T>(queue: &mut VecDeque<T>, new: &mut VecDeque<T>) {
    if new.capacity() > queue.len() {
        new.extend(queue.drain(..));
        mem::swap(queue, new);
    }
}
