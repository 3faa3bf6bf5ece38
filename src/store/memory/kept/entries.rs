//! The entries of a shard, by id and in the order of their creation.

use super::{Entry, SMALL};
use crate::{record::OperationId, store::memory::time::Tick};
use hashbrown::HashTable;
use std::{collections::VecDeque, mem};

pub(crate) type Line = VecDeque<Slot>;
pub(crate) type Numbers = HashTable<u32>;

/// Entries stand in a line, and a table tells where.
///
/// Ids come in no order, so what is looked up by them is kept small enough for caches: four bytes of each operation.
#[derive(Default)]
pub(crate) struct Entries {
    /// Oldest first. The first is never one that has gone; of the others, those that have outnumber those that are here
    /// by [`SMALL`] at most.
    line: Line,
    /// The number of the first in the line; the next has the next, and the greatest is followed by zero.
    first: u32,
    /// Numbers, by the hashes of their entries.
    numbers: Numbers,
}

/// A place in the line.
pub(crate) enum Slot {
    Here(Entry),
    /// Somebody in the midst has gone.
    Gone {
        sequence: u64,
        hash: u64,
    },
}

impl Slot {
    fn here(&self) -> Option<&Entry> {
        match self {
            Self::Here(entry) => Some(entry),
            Self::Gone { .. } => None,
        }
    }

    fn sequence(&self) -> u64 {
        match self {
            Self::Here(entry) => entry.sequence(),
            Self::Gone { sequence, .. } => *sequence,
        }
    }

    fn hash(&self) -> u64 {
        match self {
            Self::Here(entry) => entry.hash,
            Self::Gone { hash, .. } => *hash,
        }
    }
}

/// Where a number is in a line that begins with `first`.
fn position(first: u32, number: u32) -> usize {
    number.wrapping_sub(first) as usize
}

/// Whether an entry that is meant stands at a number of the line that begins with `first`.
fn stands_at(
    line: &Line,
    first: u32,
    hash: u64,
    is_it: impl Fn(&Entry) -> bool,
) -> impl Fn(&u32) -> bool {
    move |number| {
        let entry = line.get(position(first, *number)).and_then(Slot::here);
        entry.is_some_and(|entry| entry.hash == hash && is_it(entry))
    }
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "memory ends before numbers do"
    )]
    fn number(&self, position: usize) -> u32 {
        self.first.wrapping_add(position as u32)
    }

    /// Where an entry stands.
    fn find_position(&self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<usize> {
        let stands_there = stands_at(&self.line, self.first, hash, is_it);
        let number = self.numbers.find(hash, stands_there)?;
        Some(position(self.first, *number))
    }

    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.line.get(self.find_position(hash, is_it)?)?.here()
    }

    pub(super) fn find_mut(
        &mut self,
        hash: u64,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Option<&mut Entry> {
        let position = self.find_position(hash, is_it)?;
        match self.line.get_mut(position)? {
            Slot::Here(entry) => Some(entry),
            Slot::Gone { .. } => None,
        }
    }

    /// The entry of an operation, if it has not expired.
    pub(super) fn here_mut(&mut self, id: OperationId, now: Tick) -> Option<&mut Entry> {
        self.find_mut(id.hash64(), |entry| entry.record.id == id)
            .filter(|entry| !entry.has_expired(now))
    }

    /// Sequence and hash of the last before `sequence`. It may be gone.
    pub(super) fn before(&self, sequence: u64) -> Option<(u64, u64)> {
        let newer = self.line.partition_point(|slot| slot.sequence() < sequence);
        let slot = self.line.get(newer.checked_sub(1)?)?;
        Some((slot.sequence(), slot.hash()))
    }

    /// Puts an entry in, which must not be here and whose sequence must be the greatest so far.
    pub(super) fn insert(&mut self, entry: Entry) {
        let (hash, number) = (entry.hash, self.number(self.line.len()));
        self.line.push_back(Slot::Here(entry));
        let Self {
            line,
            first,
            numbers,
        } = self;
        let hash_of = |number: &u32| line[position(*first, *number)].hash();
        numbers.insert_unique(hash, number, hash_of);
    }

    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let stands_there = stands_at(&self.line, self.first, hash, is_it);
        let found = self.numbers.find_entry(hash, stands_there).ok()?;
        let (number, _) = found.remove();
        let slot = self.line.get_mut(position(self.first, number))?;
        let gone = Slot::Gone {
            sequence: slot.sequence(),
            hash,
        };
        let taken = mem::replace(slot, gone);
        while let Some(Slot::Gone { .. }) = self.line.front() {
            self.line.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        if self.line.len() > 2 * self.len() + SMALL {
            self.close_up();
        }
        match taken {
            Slot::Here(entry) => Some(entry),
            Slot::Gone { .. } => None,
        }
    }

    /// Takes those that have gone out of the line. Each of the others gets a new number.
    fn close_up(&mut self) {
        self.line.retain(|slot| slot.here().is_some());
        let mut numbers = mem::take(&mut self.numbers);
        numbers.clear();
        self.renumber(&mut numbers);
        self.numbers = numbers;
    }

    /// Fills a table that is empty and large enough.
    fn renumber(&self, numbers: &mut Numbers) {
        let numbered = (0..).zip(&self.line).filter_map(|(position, slot)| {
            let entry = slot.here()?;
            Some((entry.hash, self.number(position)))
        });
        for (hash, number) in numbered {
            numbers.insert_unique(hash, number, |number| {
                self.line[position(self.first, *number)].hash()
            });
        }
    }

    /// Items of the line, and how many would have room.
    pub(super) fn line_size(&self) -> [usize; 2] {
        [self.line.len(), self.line.capacity()]
    }

    /// Items of the table, how many would have room before it grows, and how many it is as large as.
    pub(super) fn table_size(&self) -> [usize; 3] {
        let numbers = &self.numbers;
        [numbers.len(), numbers.capacity(), numbers.num_buckets()]
    }

    /// Moves the numbers to `new`, if they fit. What is in `new` then is to be freed.
    pub(super) fn refit_numbers(&mut self, new: &mut Numbers) {
        if new.capacity() > self.len() {
            self.renumber(new);
            mem::swap(&mut self.numbers, new);
        }
    }

    /// Moves the line to `new`, if it fits.
    pub(super) fn refit_line(&mut self, new: &mut Line) {
        super::fit::refill(&mut self.line, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, Submission, Timestamp};
    use std::{sync::Arc, time::Duration};

    fn entry(sequence: u64) -> Entry {
        let day = Duration::from_secs(86_400);
        let submission = Submission::new(http::Method::POST, "/".into(), "/".into(), day);
        let now = Timestamp::from_micros(1);
        let record = Record::new(OperationId::random(), submission, now);
        Entry::new(Arc::new(record), sequence)
    }

    /// What is found of each, and what comes before each, against all that were put in and not taken out.
    fn check(entries: &Entries, hashes: &[(u64, u64)], is_here: impl Fn(u64) -> bool) {
        let here = hashes.iter().filter(|(sequence, _)| is_here(*sequence));
        assert_eq!(entries.len(), here.count());
        for (sequence, hash) in hashes {
            let found = entries.find(*hash, |_| true).map(Entry::sequence);
            assert_eq!(found, is_here(*sequence).then_some(*sequence));
        }
        let mut end = u64::MAX;
        let back = std::iter::from_fn(|| {
            let (sequence, hash) = entries.before(end)?;
            end = sequence;
            Some((sequence, hash))
        });
        let mut back: Vec<_> = back.filter(|(sequence, _)| is_here(*sequence)).collect();
        back.reverse();
        let here = hashes.iter().copied();
        let here: Vec<_> = here.filter(|(sequence, _)| is_here(*sequence)).collect();
        assert_eq!(back, here);
    }

    #[test]
    fn a_place_in_the_line_is_half_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 32);
    }

    /// Puts 500 in, three sequences apart, and gives what they are named by.
    fn fill(entries: &mut Entries, from: u64) -> Vec<(u64, u64)> {
        let fill = |number| {
            let entry = entry(3 * (from + number));
            let named = (entry.sequence(), entry.hash);
            entries.insert(entry);
            named
        };
        (0..500).map(fill).collect()
    }

    #[test]
    fn entries_are_found_and_in_order_whichever_were_taken_out() {
        let takes: [fn(u64) -> bool; 6] = [
            |_| false,
            |_| true,
            |number| number % 2 == 0,
            |number| number < 150,
            |number| number >= 100,
            // So many that those that are left close up, behind one that stays in front.
            |number| number > 0 && number % 50 != 0,
        ];
        // With the others, the greatest number is passed on the way.
        for (first, is_backward) in [0, u32::MAX - 200, u32::MAX - 499]
            .into_iter()
            .flat_map(|first| [(first, false), (first, true)])
        {
            for take in takes {
                let mut entries = Entries {
                    first,
                    ..Entries::default()
                };
                let mut hashes = fill(&mut entries, 0);
                check(&entries, &hashes, |_| true);
                let is_here = |sequence| sequence >= 1_500 || !take(sequence / 3);
                let mut taken: Vec<_> = hashes.clone();
                taken.retain(|(sequence, _)| !is_here(*sequence));
                if is_backward {
                    taken.reverse();
                }
                for (sequence, hash) in taken {
                    let taken = entries.remove(hash, |entry| entry.sequence() == sequence);
                    assert_eq!(taken.map(|entry| entry.sequence()), Some(sequence));
                    assert!(entries.remove(hash, |_| true).is_none());
                }
                check(&entries, &hashes, is_here);
                assert!(entries.line.len() <= 2 * entries.len() + SMALL);
                assert!(matches!(entries.line.front(), None | Some(Slot::Here(_))));
                // The same in a new table and a new line, and with others behind.
                let room = 2 * entries.len() + SMALL + 1;
                let mut numbers = Numbers::with_capacity(room);
                entries.refit_numbers(&mut numbers);
                check(&entries, &hashes, is_here);
                let mut line = Line::with_capacity(room);
                entries.refit_line(&mut line);
                check(&entries, &hashes, is_here);
                hashes.extend(fill(&mut entries, 500));
                check(&entries, &hashes, is_here);
            }
        }
    }

    #[test]
    fn what_does_not_fit_stays_where_it_is() {
        let mut entries = Entries::default();
        for sequence in 0..100 {
            entries.insert(entry(sequence));
        }
        let (mut numbers, mut line) = (Numbers::with_capacity(10), Line::with_capacity(10));
        entries.refit_numbers(&mut numbers);
        entries.refit_line(&mut line);
        assert_eq!((numbers.len(), line.len()), (0, 0));
        assert_eq!(entries.len(), 100);
    }
}
