//! What one shard keeps, under its lock.

mod entries;
mod entry;
mod fit;

use self::{
    entries::Entries,
    entry::{READ, RERUN, Right, drop_rerun},
};
pub(super) use self::{
    entries::{Line, Numbers},
    entry::{Entry, Rerun, Tombstone},
    fit::Part,
};
use super::{ledger::Ledger, time::Tick};
use crate::{
    record::{
        Ending, Event, OperationId, Owner, Phase, Queue, Record, Sighting, Stop, Timestamp,
        UniqueKey,
    },
    store::{Claim, Claimed, Held, Lookup, Settled},
};
use hashbrown::HashTable;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    mem,
    sync::Arc,
};

/// Queues and tables below this many items are not worth making smaller.
const SMALL: usize = 64;

/// Moments and hashes, the first moment first.
pub(super) type Timeline = BinaryHeap<Reverse<(Tick, u64)>>;
pub(super) type Tombstones = HashTable<Tombstone>;
pub(super) type Burials = VecDeque<(Tick, u64)>;

/// What a shard keeps, and the queues that tell what is due.
///
/// The queues name entries by time and hash, and are not told when an entry goes: items that name nothing any more
/// are stale. Their first items never are, and stale ones are swept out when they outnumber the others.
#[derive(Default)]
pub(super) struct Kept {
    entries: Entries,
    /// Entries with a due time.
    dated: usize,
    /// What is due next.
    agenda: Timeline,
    /// Entries whose result was read.
    read: usize,
    /// Of those, the first to end first.
    evictable: Timeline,
    tombstones: Tombstones,
    /// What falls next. In order because each tombstone stands equally long from when it is set, be it late: so none has to
    /// be put in between.
    burials: Burials,
    /// What can be run by others, by its place in the order of creation.
    reruns: HashMap<u64, Rerun>,
}

/// What was taken out under a lock, to be accounted for and dropped outside of it.
#[derive(Default)]
pub(super) struct Debris {
    pub(super) removed: Vec<Entry>,
    /// Tombstones that were set for them.
    pub(super) set: u64,
    /// Tombstones that fell.
    pub(super) fallen: u64,
    /// What keys no longer name.
    pub(super) keys: Vec<(UniqueKey, OperationId)>,
    /// What can no longer be run by others.
    pub(super) reruns: Vec<(u64, Rerun)>,
    owners: Vec<Owner>,
}

/// What was due.
pub(super) enum Due {
    Expired,
    Ended(Arc<Record>),
}

impl Kept {
    pub(super) fn next_due(&self) -> Option<Tick> {
        self.agenda.peek().map(|Reverse((due, _))| *due)
    }

    pub(super) fn next_fall(&self) -> Option<Tick> {
        self.burials.front().map(|(falls, _)| *falls)
    }

    /// When the first ended of the results that were read.
    pub(super) fn next_evictable(&self) -> Option<Tick> {
        self.evictable.peek().map(|Reverse((ended, _))| *ended)
    }

    pub(super) fn find(&self, id: OperationId) -> Option<&Entry> {
        self.entries
            .find(id.hash64(), |entry| entry.record.id == id)
    }

    /// Asks what time it is only where that matters: reading the clock costs as much as looking up.
    pub(super) fn look_up(&self, id: OperationId, now: impl Fn() -> Tick) -> Lookup {
        let gone = |owner: &Option<Owner>| Lookup::Gone {
            owner: owner.clone(),
        };
        if let Some(entry) = self.find(id) {
            return if entry.due.is_some() && entry.has_expired(now()) {
                gone(&entry.record.submission.owner)
            } else {
                Lookup::Found(entry.record.clone())
            };
        }
        let standing = |tombstone: &Tombstone| tombstone.id == id && tombstone.falls > now();
        match self.tombstones.find(id.hash64(), standing) {
            Some(tombstone) => gone(&tombstone.owner),
            None => Lookup::Unknown,
        }
    }

    /// The record created at `sequence`, if it is still here.
    pub(super) fn created_at(&self, sequence: u64, hash: u64, now: Tick) -> Option<Arc<Record>> {
        let entry = self
            .entries
            .find(hash, |entry| entry.sequence() == sequence)?;
        (!entry.has_expired(now)).then(|| entry.record.clone())
    }

    /// Place and hash of what was created last before `sequence`. It may be gone.
    pub(super) fn created_before(&self, sequence: u64) -> Option<(u64, u64)> {
        self.entries.before(sequence)
    }

    /// The claim of an operation, while it holds.
    pub(super) fn claim_of(&self, id: OperationId) -> Option<Claim> {
        self.find(id)?.claim(&self.reruns)
    }

    /// Keeps a new entry that others can run, as [`insert`](Self::insert) does; without a claim it is due to be claimed.
    pub(super) fn insert_rerun(&mut self, mut entry: Entry, rerun: Rerun, now: Tick) {
        entry.place |= RERUN;
        if let Right::Offered = rerun.right {
            let due = now.after(rerun.start_within);
            entry.due = Some(due);
            self.dated += 1;
            self.agenda.push(Reverse((due, entry.hash)));
        }
        self.reruns.insert(entry.sequence(), rerun);
        self.insert(entry);
    }

    /// Gives the claim to what waits at a place in its queue. It may be gone, or late.
    pub(super) fn take(
        &mut self,
        sequence: u64,
        hash: u64,
        token: u64,
        now: Tick,
    ) -> Option<Claimed> {
        let entry = self
            .entries
            .find_mut(hash, |entry| entry.sequence() == sequence)
            .filter(|entry| entry.is_rerun() && entry.due.is_some_and(|due| due > now))?;
        let rerun = self.reruns.get_mut(&sequence)?;
        let claimed = Claimed {
            claim: Claim::new(entry.record.id, entry.record.attempt, token),
            record: entry.record.clone(),
            request: rerun.request.clone()?,
        };
        rerun.right = Right::Held(token);
        entry.due = None;
        self.dated -= 1;
        self.drop_stale();
        Some(claimed)
    }

    /// Takes the claim back, so that others can run the operation. `enqueue` is called if they can.
    pub(super) fn release(
        &mut self,
        claim: &Claim,
        sighting: &Sighting,
        now: Tick,
        enqueue: impl FnOnce(&Queue, u64, u64),
    ) -> Settled {
        let Some(entry) = self.entries.here_mut(claim.id(), now) else {
            return Settled::Unknown;
        };
        let sequence = entry.sequence();
        let holds = entry.claim(&self.reruns).as_ref() == Some(claim);
        let mut released = Record::clone(&entry.record);
        released.observe(sighting);
        let (true, Some(rerun), true) = (
            holds,
            self.reruns.get_mut(&sequence),
            released.release(sighting.at),
        ) else {
            return Settled::Stands(entry.record.clone());
        };
        *Arc::make_mut(&mut entry.record) = released;
        rerun.right = Right::Offered;
        let due = now.after(rerun.start_within);
        entry.due = Some(due);
        self.dated += 1;
        self.agenda.push(Reverse((due, entry.hash)));
        enqueue(&rerun.queue, sequence, entry.hash);
        Settled::Done(entry.record.clone())
    }

    /// Takes in what was seen of an operation. `false` if the claim is void.
    pub(super) fn renew(&mut self, held: &Held, now: Tick) -> bool {
        let Some(entry) = self.entries.here_mut(held.id, now) else {
            return false;
        };
        let claim = entry.claim(&self.reruns);
        if claim.is_none_or(|claim| claim.token() != held.token) {
            return false;
        }
        if let Some(sighting) = &held.sighting {
            Arc::make_mut(&mut entry.record).observe(sighting);
        }
        true
    }

    /// Keeps a new entry, whose id must not be here and whose sequence must be the greatest so far.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry);
    }

    /// Ends an operation, if `by` may. `None` if the ledger has no room; `ending` is then left where it is.
    #[expect(clippy::too_many_arguments, reason = "a verb, and all that it touches")]
    pub(super) fn end(
        &mut self,
        id: OperationId,
        by: Option<&Claim>,
        sighting: Option<&Sighting>,
        ending: &mut Option<Ending>,
        now: Tick,
        ledger: &Ledger,
        debris: &mut Debris,
    ) -> Option<Settled> {
        let Some(entry) = self.entries.here_mut(id, now) else {
            return Some(Settled::Unknown);
        };
        let fenced = by.is_some_and(|claim| entry.claim(&self.reruns).as_ref() != Some(claim));
        let outcome = ending.as_ref()?.outcome;
        let phase = seen(&entry.record, sighting).after(Event::End(outcome));
        if fenced || phase.is_none() {
            return Some(Settled::Stands(entry.record.clone()));
        }
        let size = ending
            .as_ref()
            .and_then(|ending| ending.response.as_ref())
            .map_or(0, |r| r.size());
        if !ledger.reserve_bytes(size as u64) {
            return None;
        }
        let record = Arc::make_mut(&mut entry.record);
        if let Some(sighting) = sighting {
            record.observe(sighting);
        }
        let ended = record.end(ending.take()?);
        debug_assert!(ended, "the move was found lawful");
        ledger.ended();
        let done = entry.record.clone();
        let due = now.after(done.submission.keep_for);
        let was_dated = entry.due.replace(due).is_some();
        debris.reruns.extend(drop_rerun(entry, &mut self.reruns));
        self.agenda.push(Reverse((due, entry.hash)));
        if was_dated {
            self.drop_stale();
        } else {
            self.dated += 1;
        }
        Some(Settled::Done(done))
    }

    /// Voids the claim, and has the operation timed out at `deadline`.
    pub(super) fn detach(
        &mut self,
        claim: &Claim,
        sighting: &Sighting,
        deadline: Tick,
        now: Tick,
        debris: &mut Debris,
    ) -> Settled {
        let Some(entry) = self.entries.here_mut(claim.id(), now) else {
            return Settled::Unknown;
        };
        if entry.was_given_up(claim, &self.reruns) {
            return Settled::Done(entry.record.clone());
        }
        let lawful = seen(&entry.record, Some(sighting))
            .after(Event::Report)
            .is_some();
        if !lawful || entry.claim(&self.reruns).as_ref() != Some(claim) {
            return Settled::Stands(entry.record.clone());
        }
        // Whoever ends it from here on, nobody runs it again.
        if let Some(rerun) = self.reruns.get_mut(&entry.sequence()) {
            let given_up = Rerun {
                queue: rerun.queue.clone(),
                request: None,
                start_within: rerun.start_within,
                right: Right::GivenUp(claim.token()),
            };
            let rerun = mem::replace(rerun, given_up);
            debris.reruns.push((entry.sequence(), rerun));
        }
        Arc::make_mut(&mut entry.record).observe(sighting);
        entry.due = Some(deadline);
        self.dated += 1;
        self.agenda.push(Reverse((deadline, entry.hash)));
        Settled::Done(entry.record.clone())
    }

    /// Notes that the result was read; `false` if there is none, or it is noted already.
    /// What has expired meanwhile may be marked all the same: it goes as soon as it is swept.
    pub(super) fn mark_read(&mut self, id: OperationId, ledger: &Ledger) -> bool {
        let hash = id.hash64();
        let found = self.entries.find_mut(hash, |entry| entry.record.id == id);
        let Some(entry) = found.filter(|entry| entry.is_unread()) else {
            return false;
        };
        entry.place |= READ;
        self.read += 1;
        self.evictable.extend(entry.eviction().map(Reverse));
        ledger.was_read(entry.record.size() as u64);
        true
    }

    /// Lets go of an operation that has ended, or of any.
    pub(super) fn forget(
        &mut self,
        id: OperationId,
        even_pending: bool,
        now: Tick,
        falls: Option<Tick>,
        debris: &mut Debris,
    ) -> Settled {
        match self.find(id).filter(|entry| !entry.has_expired(now)) {
            None => Settled::Unknown,
            Some(entry) if !even_pending && !entry.record.phase().is_ended() => {
                Settled::Stands(entry.record.clone())
            }
            Some(entry) => {
                let record = entry.record.clone();
                self.remove(id.hash64(), |entry| entry.record.id == id, falls, debris);
                Settled::Done(record)
            }
        }
    }

    /// Lets go of the first of the results that were read, if that one ended then.
    pub(super) fn evict(&mut self, ended: Tick, falls: Option<Tick>, debris: &mut Debris) -> bool {
        match self.evictable.peek() {
            Some(&Reverse(first)) if first.0 == ended => {
                let is_first = |entry: &Entry| entry.eviction() == Some(first);
                self.remove(first.1, is_first, falls, debris)
            }
            _ => false,
        }
    }

    /// Does the first thing of the agenda if it is due.
    pub(super) fn do_due(
        &mut self,
        now: Tick,
        wall: Timestamp,
        falls: Option<Tick>,
        ledger: &Ledger,
        debris: &mut Debris,
    ) -> Option<Due> {
        if self.expire(now, falls, debris) {
            return Some(Due::Expired);
        }
        let Reverse((due, hash)) = self
            .agenda
            .peek()
            .filter(|Reverse((due, _))| *due <= now)
            .copied()?;
        self.agenda.pop();
        let entry = self.entries.find_mut(hash, |entry| entry.is_due(due))?;
        let stop = match entry.right(&self.reruns) {
            Some(Right::Offered) => Stop::NotStarted,
            _ => Stop::TimedOut,
        };
        let ended = Arc::make_mut(&mut entry.record).end(Ending::without_response(stop, wall));
        debug_assert!(
            ended,
            "only what runs can be detached, and what waits in a queue does not run"
        );
        debris.reruns.extend(drop_rerun(entry, &mut self.reruns));
        ledger.ended();
        let record = entry.record.clone();
        let due = now.after(record.submission.keep_for);
        entry.due = Some(due);
        self.agenda.push(Reverse((due, hash)));
        self.drop_stale();
        Some(Due::Ended(record))
    }

    /// Lets go of the first thing of the agenda if it has expired.
    pub(super) fn expire(&mut self, now: Tick, falls: Option<Tick>, debris: &mut Debris) -> bool {
        let Some(Reverse((due, hash))) = self
            .agenda
            .peek()
            .filter(|Reverse((due, _))| *due <= now)
            .copied()
        else {
            return false;
        };
        self.remove(
            hash,
            |entry| entry.is_due(due) && entry.has_expired(now),
            falls,
            debris,
        )
    }

    /// Drops the oldest tombstone, if `wanted`.
    pub(super) fn fall(&mut self, wanted: impl FnOnce(Tick) -> bool, debris: &mut Debris) -> bool {
        let Some((falls, hash)) = self
            .burials
            .front()
            .copied()
            .filter(|(falls, _)| wanted(*falls))
        else {
            return false;
        };
        self.burials.pop_front();
        let found = self.tombstones.find_entry(hash, |stone| {
            stone.falls == falls && stone.id.hash64() == hash
        });
        if let Ok(found) = found {
            let (stone, _) = found.remove();
            debris.keys.extend(stone.key.map(|key| (key, stone.id)));
            debris.owners.extend(stone.owner);
            debris.fallen += 1;
        }
        true
    }

    /// Takes an entry out and leaves a tombstone, which falls when it is told to.
    fn remove(
        &mut self,
        hash: u64,
        is_it: impl Fn(&Entry) -> bool,
        falls: Option<Tick>,
        debris: &mut Debris,
    ) -> bool {
        let Some(mut entry) = self.entries.remove(hash, is_it) else {
            return false;
        };
        debris
            .reruns
            .extend(drop_rerun(&mut entry, &mut self.reruns));
        self.dated -= usize::from(entry.due.is_some());
        self.read -= usize::from(entry.is_read());
        let Record { id, submission, .. } = &*entry.record;
        let key = submission.key.as_ref().map(|used| used.key.clone());
        match falls {
            Some(falls) => {
                let stone = Tombstone {
                    id: *id,
                    owner: submission.owner.clone(),
                    key,
                    falls,
                };
                self.tombstones.insert_unique(hash, stone, Tombstone::hash);
                self.burials.push_back((falls, hash));
                debris.set += 1;
            }
            None => debris.keys.extend(key.map(|key| (key, *id))),
        }
        debris.removed.push(entry);
        self.drop_stale();
        true
    }

    /// Keeps the queues' first items fresh, and most of the others.
    fn drop_stale(&mut self) {
        let Self {
            entries,
            agenda,
            evictable,
            ..
        } = self;
        let is_due = |&Reverse((due, hash)): &Reverse<(Tick, u64)>| {
            entries.find(hash, |entry| entry.is_due(due)).is_some()
        };
        let was_read = |&Reverse(named): &Reverse<(Tick, u64)>| {
            entries
                .find(named.1, |entry| entry.eviction() == Some(named))
                .is_some()
        };
        while agenda.peek().is_some_and(|item| !is_due(item)) {
            agenda.pop();
        }
        while evictable.peek().is_some_and(|item| !was_read(item)) {
            evictable.pop();
        }
        if agenda.len() > 2 * self.dated + SMALL {
            agenda.retain(is_due);
        }
        if evictable.len() > 2 * self.read + SMALL {
            evictable.retain(was_read);
        }
    }
}

/// How an operation stands with what was seen of it taken in.
fn seen(record: &Record, sighting: Option<&Sighting>) -> Phase {
    let phase = record.phase();
    match sighting {
        Some(Sighting {
            revision,
            started: Some(_),
            ..
        }) if *revision > record.revision => phase.after(Event::Start).unwrap_or(phase),
        _ => phase,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{StoredRequest, Submission},
        store::{Clock, Created, Forget, Intent, MemoryLimits, MemoryStore, Store, StoreErrorKind},
    };
    use std::{
        num::NonZeroU32,
        time::{Duration, SystemTime},
    };

    const OPERATIONS: usize = 20_000;

    fn create(store: &MemoryStore, clock: &Clock) -> Claim {
        let keep_for = Duration::from_secs(60);
        let submission = Submission::new(http::Method::POST, "/".into(), "/".into(), keep_for);
        let record = Record::new(OperationId::random(), submission, clock.wall());
        match store.create(&Arc::new(record), Intent::Run(None)).now() {
            Ok(Ok(Created::New(claim))) => claim,
            other => panic!("expected a new operation, got {other:?}"),
        }
    }

    fn end(store: &MemoryStore, clock: &Clock, id: OperationId) {
        let ending = Ending::without_response(Stop::Cancelled, clock.wall());
        assert!(matches!(
            store.complete(id, ending, None).now(),
            Ok(Ok(Settled::Done(_)))
        ));
    }

    /// What tables and queues hold, and what they could hold.
    fn sizes(store: &MemoryStore) -> [usize; 2] {
        let of = |kept: &Kept| {
            let queues = [
                [kept.agenda.len(), kept.agenda.capacity()],
                [kept.evictable.len(), kept.evictable.capacity()],
                kept.entries.line_size(),
                [kept.burials.len(), kept.burials.capacity()],
            ];
            let [items, capacities] =
                [0, 1].map(|at| queues.iter().map(|queue| queue[at]).sum::<usize>());
            let [numbers, _, buckets] = kept.entries.table_size();
            [
                numbers + kept.tombstones.len() + items,
                buckets + kept.tombstones.num_buckets() + capacities,
            ]
        };
        let all = store.shards.iter().map(|shard| shard.read(of));
        all.fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]])
    }

    #[test]
    fn queues_do_not_grow_with_what_is_gone() {
        let clock = Clock::manual(SystemTime::now());
        let store = MemoryStore::new(MemoryLimits::default().tombstones(0), clock.clone());
        // One that stays in front of all queues: it was read, and expires after the others are gone.
        let first = create(&store, &clock).id();
        end(&store, &clock, first);
        store.mark_read(first);
        for _ in 0..OPERATIONS {
            clock.advance(Duration::from_millis(1));
            let id = create(&store, &clock).id();
            end(&store, &clock, id);
            store.mark_read(id);
            let _ = store.forget(id, Forget::Ended).now();
        }
        // Some 300 have come and gone behind it.
        store.shard(first).read(|kept| {
            let [line, _] = kept.entries.line_size();
            let queues = [kept.agenda.len(), kept.evictable.len(), line];
            assert!(queues.iter().all(|len| *len <= SMALL + 2), "{queues:?}");
        });
        let [items, room] = sizes(&store);
        assert!(
            items <= 64 * 3 * SMALL && room <= 2 * 64 * 3 * SMALL,
            "{items} in {room}"
        );
    }

    #[test]
    fn deadlines_that_were_met_do_not_stay() {
        let clock = Clock::manual(SystemTime::now());
        let store = MemoryStore::new(MemoryLimits::default(), clock.clone());
        let sighting = Sighting {
            revision: crate::record::Revision(2),
            at: clock.wall(),
            started: Some(clock.wall()),
            report: None,
        };
        for _ in 0..OPERATIONS {
            let claim = create(&store, &clock);
            let _ = store
                .detach(&claim, &sighting, Duration::from_secs(1_000))
                .now();
            end(&store, &clock, claim.id());
        }
        let agenda: usize = store
            .shards
            .iter()
            .map(|shard| shard.read(|kept| kept.agenda.len()))
            .sum();
        assert!(agenda <= 2 * OPERATIONS + 64 * SMALL, "{agenda}");
    }

    #[test]
    fn an_emptied_store_is_small_again() {
        let clock = Clock::manual(SystemTime::now());
        let store = MemoryStore::new(MemoryLimits::default(), clock.clone());
        for _ in 0..OPERATIONS {
            let id = create(&store, &clock).id();
            end(&store, &clock, id);
            store.mark_read(id);
        }
        for _ in 0..2 {
            clock.advance(Duration::from_secs(100_000));
            let _ = store.sweep(NonZeroU32::MAX).now();
        }
        let [items, room] = sizes(&store);
        assert_eq!(items, 0);
        assert!(room <= 64 * 5 * SMALL, "{room}");
    }

    #[test]
    fn other_ways_to_an_operation_go_with_it() {
        let clock = Clock::manual(SystemTime::now());
        let store = MemoryStore::new(MemoryLimits::default().operations(2_000), clock.clone());
        for number in 0..4_000 {
            clock.advance(Duration::from_millis(1));
            let keep_for = Duration::from_secs(60);
            let mut submission =
                Submission::new(http::Method::POST, "/".into(), "/".into(), keep_for);
            submission.owner = Some(Owner::new((number % 100).to_string()));
            submission.key = Some(Box::new(crate::record::KeyUse {
                key: UniqueKey::shared(&number.to_string()),
                fingerprint: Some(crate::record::Fingerprint::from_hash([0; 32])),
            }));
            let record = Record::new(OperationId::random(), submission, clock.wall());
            let id = record.id;
            assert!(matches!(
                store.create(&Arc::new(record), Intent::Run(None)).now(),
                Ok(Ok(Created::New(_)))
            ));
            end(&store, &clock, id);
            store.mark_read(id);
            if number % 3 == 0 {
                let _ = store.forget(id, Forget::Ended).now();
            }
        }
        assert_eq!((store.owners.len(), store.keys.len()), (100, 4_000));
        clock.advance(Duration::from_secs(60));
        let _ = store.sweep(NonZeroU32::MAX).now();
        assert_eq!((store.owners.len(), store.keys.len()), (0, 4_000));
        let evictable: usize = store
            .shards
            .iter()
            .map(|shard| shard.read(|kept| kept.evictable.len() + kept.read))
            .sum();
        assert_eq!(evictable, 0);
        assert_eq!(store.ledger.evictable(), [0, 0]);
        clock.advance(Duration::from_secs(100_000));
        let _ = store.sweep(NonZeroU32::MAX).now();
        assert_eq!(store.keys.len(), 0);
    }

    #[test]
    fn what_waited_in_a_queue_leaves_nothing_there() {
        let clock = Clock::manual(SystemTime::now());
        let store = MemoryStore::new(MemoryLimits::default(), clock.clone());
        let head = http::Request::post("/").body(()).unwrap().into_parts().0;
        let body = crate::record::Content::Inline("some data".into());
        let request = StoredRequest::capture(&head, &head.uri, body, None, &[]);
        for _ in 0..OPERATIONS {
            let keep_for = Duration::from_secs(60);
            let submission = Submission::new(http::Method::POST, "/".into(), "/".into(), keep_for);
            let record = Record::new(OperationId::random(), submission, clock.wall());
            let (id, record) = (record.id, Arc::new(record));
            let created = store.create(&record, Intent::Queue(&request)).now();
            assert!(matches!(created, Ok(Ok(Created::Queued))));
            assert_eq!(store.usage().bytes, request.size() as u64);
            end(&store, &clock, id);
            assert_eq!(store.usage().bytes, 0);
        }
        assert_eq!(store.queues.len(), 0);
        let reruns = |shard: &super::super::Shard| shard.read(|kept| kept.reruns.len());
        assert_eq!(store.shards.iter().map(reruns).sum::<usize>(), 0);
    }

    #[test]
    fn a_request_without_room_leaves_nothing() {
        let clock = Clock::manual(SystemTime::now());
        let store = MemoryStore::new(MemoryLimits::default().bytes(8), clock.clone());
        let head = http::Request::post("/").body(()).unwrap().into_parts().0;
        let body = crate::record::Content::Inline("more than fits".into());
        let request = StoredRequest::capture(&head, &head.uri, body, None, &[]);
        for intent in [Intent::Queue(&request), Intent::Run(Some(&request))] {
            let keep_for = Duration::from_secs(60);
            let submission = Submission::new(http::Method::POST, "/".into(), "/".into(), keep_for);
            let record = Record::new(OperationId::random(), submission, clock.wall());
            let record = Arc::new(record);
            let refused = store.create(&record, intent).now();
            assert!(matches!(refused, Ok(Err(error)) if error.kind() == StoreErrorKind::Full));
            let usage = store.usage();
            assert_eq!((usage.operations, usage.bytes), (0, 0));
        }
    }
}
