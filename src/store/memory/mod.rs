mod heap;
mod index;
mod kept;
mod ledger;
mod limits;
mod list;
mod queues;
mod shard;
mod time;

pub use self::limits::MemoryLimits;

use self::{
    index::{Keys, Owners},
    kept::{Debris, Due, Entry, Rerun},
    ledger::{Ledger, Need},
    queues::Queues,
    shard::Shard,
    time::Tick,
};
use super::{
    Change, Changes, Claim, Claimed, Clock, Created, Forget, Held, Intent, ListQuery, Lookup, Page,
    Settled, Store, StoreError, StoreErrorKind, StoreFuture, StoreUsage, Swept, hints::Hints,
};
use crate::{
    record::{Ending, OperationId, Queue, Record, Sighting, UniqueKey},
    sync::lock,
};
use std::{
    fmt,
    num::{NonZeroU16, NonZeroU32},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

const SHARDS: usize = 64;

/// Due things that are done before the shard's lock is let go for a moment.
const AT_ONCE: u32 = 32;

/// Keeps operations in memory, bounded by [`MemoryLimits`]; they end with the process.
///
/// Every verb answers [at once](StoreFuture::ready), and none costs more when more is stored. Creating, finding, ending and
/// forgetting take one lock of 64 for the time of a table lookup (and, with a key or an owner, another such for each);
/// expiry is a queue; and what is let go is freed outside of the locks. A [page](Store::list) looks at no more than 1,000
/// records beyond those it shows, and may therefore be short though more follow. Up to 1,024 hints of
/// [changes](Store::changes) wait for each subscriber.
///
/// When something is due is decided by [`Clock::elapsed`] alone. Claims hold for ever: there is no other process that
/// could go on where this one ends. Of requests only those of [queued](Intent::Queue) operations are kept, until their
/// end; they count as stored bytes.
///
/// It is for one engine. Two [`Operations`](crate::Operations) that are built on it both see what it holds, but a cancel by one
/// does not stop what the other runs: for further mounts there is [`also`](crate::Operations::also).
///
/// # Making room
///
/// When one of the limits is reached, results that have been [read](Store::mark_read) are let go, the first to end
/// first; each leaves a tombstone. An end without a response counts as a result here: it may be let go once a client
/// has seen it. When there is none to let go, the answer is [`StoreErrorKind::Full`].
///
/// ```
/// use tower_lro::store::{Clock, MemoryLimits, MemoryStore, Store};
///
/// let store = MemoryStore::new(MemoryLimits::default().bytes(64 << 20), Clock::system());
/// assert_eq!(store.usage().operations, 0);
/// ```
pub struct MemoryStore {
    // Locks are taken in this order, and of each kind one at most; of the last two not both.
    making_room: Mutex<()>,
    keys: Keys,
    shards: Box<[Shard]>,
    owners: Owners,
    queues: Queues,
    ledger: Ledger,
    hints: Hints,
    clock: Clock,
    /// The place of the next operation in the order of creation.
    next: AtomicU64,
    /// The shard where the next sweep begins.
    turn: AtomicUsize,
}

impl Default for MemoryStore {
    /// A store with the default limits, by the system's clock.
    fn default() -> Self {
        Self::new(MemoryLimits::default(), Clock::system())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: MemoryLimits, clock: Clock) -> Self {
        Self {
            making_room: Mutex::new(()),
            keys: Keys::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            owners: Owners::default(),
            queues: Queues::default(),
            ledger: Ledger::new(limits),
            hints: Hints::default(),
            clock,
            next: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
        }
    }

    fn now(&self) -> Tick {
        Tick::new(self.clock.elapsed())
    }

    /// How many operations were ever created, and one.
    fn created(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// When a tombstone falls that is set now. None is set if none may stand.
    fn falls(&self, now: Tick) -> Option<Tick> {
        let limits = self.ledger.limits();
        (limits.tombstones != 0 && !limits.tombstone_for.is_zero())
            .then(|| now.after(limits.tombstone_for))
    }

    fn shard(&self, id: OperationId) -> &Shard {
        self.shard_of(id.hash64())
    }

    fn shard_of(&self, hash: u64) -> &Shard {
        &self.shards[OperationId::part(hash, SHARDS)]
    }

    fn look_up(&self, id: OperationId) -> Lookup {
        self.shard(id).read(|kept| kept.look_up(id, || self.now()))
    }

    fn look_up_key(&self, key: &UniqueKey) -> Lookup {
        let named = self.keys.lock(key);
        named.get().map_or(Lookup::Unknown, |id| self.look_up(id))
    }

    fn create_now(&self, record: &Arc<Record>, intent: Intent<'_>) -> Result<Created, StoreError> {
        loop {
            match self.try_create(record, intent) {
                Ok(created) => return Ok(created),
                Err(need) => self.make_room(need, self.now())?,
            }
        }
    }

    /// Or what there is no room for.
    fn try_create(&self, record: &Arc<Record>, intent: Intent<'_>) -> Result<Created, Need> {
        let id = record.id;
        let used = record.submission.key.as_ref();
        let names_request = used.is_some_and(|used| used.fingerprint.is_none());
        let mut named = used.map(|used| self.keys.lock(&used.key));
        if let Some(other) = named
            .as_ref()
            .and_then(|named| named.get())
            .filter(|other| *other != id)
        {
            match self.look_up(other) {
                Lookup::Found(record) => return Ok(Created::Existing(record)),
                Lookup::Gone { .. } if !names_request => return Ok(Created::Gone),
                Lookup::Gone { .. } => {}
                // Its tombstone has fallen, and the key is about to be freed.
                Lookup::Unknown => {}
            }
        }
        let created = self.shard(id).write(|kept| {
            match kept.look_up(id, || self.now()) {
                Lookup::Found(record) => {
                    return Ok(match (intent, kept.claim_of(id)) {
                        (Intent::Queue(_), _) => Created::Queued,
                        (Intent::Run(_), Some(claim)) => Created::New(claim),
                        (Intent::Run(_), None) => Created::Existing(record),
                    });
                }
                Lookup::Gone { .. } => return Ok(Created::Gone),
                Lookup::Unknown => {}
            }
            if !self.ledger.reserve_operation() {
                return Err(Need::Operation);
            }
            if let Some(request) = intent.request() {
                let size = request.size() as u64;
                if !self.ledger.reserve_bytes(size) {
                    self.ledger.release_operation();
                    return Err(Need::Bytes(size));
                }
            }
            let draw = || self.next.fetch_add(1, Relaxed);
            let sequence = match &record.submission.owner {
                Some(owner) => self.owners.insert(owner, id.hash64(), draw),
                None => draw(),
            };
            let entry = Entry::new(record.clone(), sequence);
            match intent {
                Intent::Run(None) => kept.insert(entry),
                Intent::Run(Some(request)) => {
                    kept.insert_rerun(
                        entry,
                        Rerun::new(record, request, Some(sequence)),
                        self.now(),
                    );
                }
                Intent::Queue(request) => {
                    let rerun = Rerun::new(record, request, None);
                    self.queues.insert(&rerun.queue, sequence, id.hash64());
                    kept.insert_rerun(entry, rerun, self.now());
                    return Ok(Created::Queued);
                }
            }
            Ok(Created::New(Claim::new(id, record.attempt, sequence)))
        });
        if let (Some(named), Ok(Created::New(_) | Created::Queued)) = (&mut named, &created) {
            named.set(id);
        }
        if let Ok(Created::Queued) = &created {
            self.hints.send(Change::Claimable);
        }
        created
    }

    fn claim_now(&self, queue: &Queue, at_most: NonZeroU16) -> Vec<Claimed> {
        let now = self.now();
        let mut claimed = Vec::new();
        while claimed.len() < usize::from(at_most.get())
            && let Some((sequence, hash)) = self.queues.pop(queue)
        {
            let token = self.next.fetch_add(1, Relaxed);
            let taken = self
                .shard_of(hash)
                .write(|kept| kept.take(sequence, hash, token, now));
            claimed.extend(taken);
        }
        claimed
    }

    fn renew_now(&self, held: &[Held]) -> Vec<OperationId> {
        let now = self.now();
        let mut void = Vec::new();
        for held in held {
            let holds = self.shard(held.id).write(|kept| kept.renew(held, now));
            if !holds {
                void.push(held.id);
            } else if held.sighting.is_some() {
                self.hints.send(Change::Operation(held.id));
            }
        }
        void
    }

    fn release_now(&self, claim: &Claim, sighting: &Sighting) -> Settled {
        let now = self.now();
        let settled = self.shard(claim.id()).write(|kept| {
            kept.release(claim, sighting, now, |queue, sequence, hash| {
                self.queues.insert(queue, sequence, hash);
            })
        });
        if let Settled::Done(_) = settled {
            self.hints.send(Change::Claimable);
        }
        self.tell(settled)
    }

    fn end(
        &self,
        id: OperationId,
        by: Option<&Claim>,
        sighting: Option<&Sighting>,
        ending: &mut Option<Ending>,
    ) -> Result<Settled, StoreError> {
        let now = self.now();
        let response = ending.as_ref().and_then(|ending| ending.response.as_ref());
        let size = response.map_or(0, |response| response.size() as u64);
        let mut debris = Debris::default();
        loop {
            let settled = self
                .shard(id)
                .write(|kept| kept.end(id, by, sighting, ending, now, &self.ledger, &mut debris));
            if let Some(settled) = settled {
                self.drop_reruns(&debris);
                heap::keep_ahead(&self.ledger);
                return Ok(self.tell(settled));
            }
            self.make_room(Need::Bytes(size), now)?;
        }
    }

    /// Hints at what was done.
    fn tell(&self, settled: Settled) -> Settled {
        if let Settled::Done(record) = &settled {
            self.hints.send(Change::Operation(record.id));
        }
        settled
    }

    /// Lets go of what has expired, or else of the result that was read and ended first.
    ///
    /// One at a time: what another has let go must be accounted for before anybody may say that there is no room.
    fn make_room(&self, need: Need, now: Tick) -> Result<(), StoreError> {
        let mut debris = Debris::default();
        let turn = lock(&self.making_room);
        let is_made = self.ledger.has_room(need)
            || self.expire_one(now, &mut debris)
            || self.evict_one(need, now, &mut debris);
        self.settle(&debris);
        drop(turn);
        if is_made {
            Ok(())
        } else {
            Err(StoreError::new(StoreErrorKind::Full))
        }
    }

    fn expire_one(&self, now: Tick, debris: &mut Debris) -> bool {
        let falls = self.falls(now);
        self.shards
            .iter()
            .filter(|shard| shard.next_due().is_some_and(|due| due <= now))
            .any(|shard| shard.write(|kept| kept.expire(now, falls, debris)))
    }

    fn evict_one(&self, need: Need, now: Tick, debris: &mut Debris) -> bool {
        let falls = self.falls(now);
        while self.ledger.can_make_room(need) {
            let firsts = self
                .shards
                .iter()
                .filter_map(|shard| Some((shard.next_evictable()?, shard)));
            let Some((ended, shard)) = firsts.min_by_key(|(ended, _)| *ended) else {
                break;
            };
            // Or it has been forgotten or swept just now, and another is the first.
            if shard.write(|kept| kept.evict(ended, falls, debris)) {
                return true;
            }
        }
        false
    }

    fn sweep_now(&self, at_most: u32) -> Swept {
        let (now, wall) = (self.now(), self.clock.wall());
        let falls = self.falls(now);
        let is_due = |due: Option<Tick>| due.is_some_and(|due| due <= now);
        let mut swept = Swept::default();
        let first = self.turn.fetch_add(1, Relaxed);
        for index in 0..SHARDS {
            let shard = &self.shards[first.wrapping_add(index) % SHARDS];
            while swept.done < at_most && (is_due(shard.next_due()) || is_due(shard.next_fall())) {
                let mut debris = Debris::default();
                let before = swept.done;
                shard.write(|kept| {
                    while swept.done < at_most && swept.done - before < AT_ONCE {
                        if !kept.fall(|falls| falls <= now, &mut debris) {
                            match kept.do_due(now, wall, falls, &self.ledger, &mut debris) {
                                Some(Due::Ended(record)) => swept.ended.push(record),
                                Some(Due::Expired) => {}
                                None => break,
                            }
                        }
                        swept.done += 1;
                    }
                });
                self.settle(&debris);
                if swept.done == before {
                    break;
                }
            }
        }
        for record in &swept.ended {
            self.hints.send(Change::Operation(record.id));
        }
        let dues = self
            .shards
            .iter()
            .flat_map(|shard| [shard.next_due(), shard.next_fall()]);
        swept.next = dues.flatten().min().map(|due| due.since(now));
        swept
    }

    /// Accounts for what was taken out. Wakes tasks and takes locks, so it is not for those who hold one.
    fn settle(&self, debris: &Debris) {
        for entry in &debris.removed {
            if let Some(owner) = &entry.record.submission.owner {
                self.owners.remove(owner, entry.sequence());
            }
            self.ledger.removed(entry);
            self.hints.send(Change::Operation(entry.record.id));
        }
        self.drop_reruns(debris);
        self.ledger.tombstones_set(debris.set);
        self.ledger.tombstones_fell(debris.fallen);
        self.free_keys(debris);
        while self.ledger.has_too_many_tombstones() {
            let oldest = self
                .shards
                .iter()
                .filter_map(|shard| Some((shard.next_fall()?, shard)));
            let Some((_, shard)) = oldest.min_by_key(|(falls, _)| *falls) else {
                break;
            };
            let mut debris = Debris::default();
            shard.write(|kept| kept.fall(|_| true, &mut debris));
            self.ledger.tombstones_fell(debris.fallen);
            self.free_keys(&debris);
        }
    }

    fn drop_reruns(&self, debris: &Debris) {
        for (sequence, rerun) in &debris.reruns {
            self.queues.remove(&rerun.queue, *sequence);
            self.ledger.release_bytes(rerun.size());
        }
    }

    fn free_keys(&self, debris: &Debris) {
        for (key, id) in &debris.keys {
            self.keys.remove(key, *id);
        }
    }
}

impl Store for MemoryStore {
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created> {
        StoreFuture::ready(self.create_now(record, intent))
    }

    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>> {
        StoreFuture::ready(Ok(self.claim_now(queue, at_most)))
    }

    fn renew<'a>(&'a self, held: &'a [Held]) -> StoreFuture<'a, Vec<OperationId>> {
        StoreFuture::ready(Ok(self.renew_now(held)))
    }

    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled> {
        StoreFuture::ready(Ok(self.release_now(claim, sighting)))
    }

    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup> {
        StoreFuture::ready(Ok(self.look_up(id)))
    }

    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup> {
        StoreFuture::ready(Ok(self.look_up_key(key)))
    }

    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page> {
        StoreFuture::ready(Ok(self.page(query)))
    }

    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled> {
        StoreFuture::ready(self.end(claim.id(), Some(claim), Some(sighting), ending))
    }

    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled> {
        // Left here if it is refused, to be freed outside of the lock.
        let mut ending = Some(ending);
        StoreFuture::ready(self.end(id, None, sighting.as_ref(), &mut ending))
    }

    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled> {
        let now = self.now();
        let mut debris = Debris::default();
        let settled = self
            .shard(claim.id())
            .write(|kept| kept.detach(claim, sighting, now.after(within), now, &mut debris));
        self.drop_reruns(&debris);
        StoreFuture::ready(Ok(self.tell(settled)))
    }

    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled> {
        let even_pending = which == Forget::Any;
        let now = self.now();
        let falls = self.falls(now);
        let mut debris = Debris::default();
        let settled = self
            .shard(id)
            .write(|kept| kept.forget(id, even_pending, now, falls, &mut debris));
        self.settle(&debris);
        StoreFuture::ready(Ok(settled))
    }

    fn mark_read(&self, id: OperationId) {
        self.shard(id)
            .write_if(|kept| kept.mark_read(id, &self.ledger));
    }

    fn set_aside(&self, bytes: u64) -> bool {
        while !self.ledger.reserve_bytes(bytes) {
            if self.make_room(Need::Bytes(bytes), self.now()).is_err() {
                return false;
            }
        }
        true
    }

    fn give_back(&self, bytes: u64) {
        self.ledger.release_bytes(bytes);
    }

    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept> {
        StoreFuture::ready(Ok(self.sweep_now(at_most.get())))
    }

    fn usage(&self) -> StoreUsage {
        self.ledger.usage()
    }

    fn changes(&self) -> Box<dyn Changes> {
        Box::new(self.hints.subscribe())
    }
}
