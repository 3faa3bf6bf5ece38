//! A store of one's own: plain maps behind one lock, written outside of the crate.
//!
//! It bounds nothing and ends with the process, so a server is better off with the default. What it shows is what every
//! store owes, in the fewest lines: one atomic step for each verb, claims that lapse unless they are renewed, one agenda for
//! all that is due, and hints that are sent once the lock is let go. `mod tests`, at the end, is the crate's conformance
//! suite; `cargo test --example store` runs it.
//!
//! ```text
//! cargo run --example store                 # or on another address: -- 127.0.0.1:8080
//!
//! # 202, and where to look for it.
//! curl -i -d 'three little words' http://127.0.0.1:3000/words
//!
//! # How it stands (put the `Location` in); who wants to wait up to 10 s for it is answered in one go.
//! curl -i -H 'Prefer: wait=10' http://127.0.0.1:3000/operations/ID
//!
//! # No more interest in the result. From then on it is gone: 410.
//! curl -i -X DELETE http://127.0.0.1:3000/operations/ID/result
//! curl -i http://127.0.0.1:3000/operations/ID
//! ```
//!
//! Ends on ctrl-c.

use axum::{Router, routing::post};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
    future::{Future, pending},
    num::{NonZeroU16, NonZeroU32},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::broadcast;
use tower_lro::{
    Operations,
    record::{
        Ending, OperationId, Owner, Phase, Queue, Record, Sighting, Stop, StoredRequest, Timestamp,
        UniqueKey,
    },
    store::{
        Change, Changes, Claim, Claimed, Clock, Created, Cursor, Forget, Held, Intent, ListQuery,
        Lookup, Page, Settled, Store, StoreFuture, StoreUsage, Swept,
    },
};

/// Who does not renew a claim for as long is taken for dead.
const LEASE: Duration = Duration::from_secs(30);

/// How many hints a subscriber may be behind before it is told to read everything again.
const HINTS: usize = 1_024;

#[derive(Debug)]
struct PlainStore {
    kept: Mutex<Kept>,
    changes: broadcast::Sender<Change>,
    clock: Clock,
    tombstone_for: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    operations: HashMap<OperationId, Operation>,
    tombstones: HashMap<OperationId, Tombstone>,
    /// Whose a key is: an operation's, or a tombstone's.
    keys: HashMap<UniqueKey, OperationId>,
    /// In the order of creation.
    order: BTreeMap<u64, OperationId>,
    /// What can be claimed, by queue and in the order of creation.
    waiting: BTreeMap<(Queue, u64), OperationId>,
    /// When something is due for each operation and tombstone.
    agenda: BTreeSet<(Duration, OperationId)>,
    /// The last place, or token, that was given.
    last: u64,
    /// Of responses, of requests that are kept, and set aside.
    bytes: u64,
    unread: u64,
    /// To be sent when the lock has been let go: hints wake tasks.
    hints: Vec<Change>,
}

#[derive(Debug)]
struct Operation {
    record: Arc<Record>,
    /// In the order of creation.
    place: u64,
    request: Option<StoredRequest>,
    right: Right,
    /// When it expires, if it has ended, or else when `right` does.
    due: Duration,
    is_read: bool,
}

/// Who has the right to run an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Who holds the claim with this token, until it lapses.
    Held(u64),
    /// Who claims it in time.
    Offered,
    /// Nobody: who held the claim with this token has detached it, and another is to end it in time.
    Detached(u64),
    /// Nobody: it has ended.
    Nobody,
}

#[derive(Debug)]
struct Tombstone {
    owner: Option<Owner>,
    key: Option<UniqueKey>,
    falls: Duration,
}

impl Operation {
    /// What has expired is gone, swept or not.
    fn has_expired(&self, now: Duration) -> bool {
        self.record.phase().is_ended() && self.due <= now
    }
}

/// The right to run an operation that nobody runs any more, and for how long it is so.
fn settled(record: &Record) -> (Right, Duration) {
    match (record.phase(), &record.submission.rerun) {
        (Phase::Accepted, Some(rerun)) => (Right::Offered, rerun.start_within),
        _ => (Right::Nobody, record.submission.keep_for),
    }
}

impl Kept {
    fn token(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn look_up(&self, id: OperationId, now: Duration) -> Lookup {
        let gone = |owner: &Option<Owner>| Lookup::Gone {
            owner: owner.clone(),
        };
        match (self.operations.get(&id), self.tombstones.get(&id)) {
            (Some(kept), _) if kept.has_expired(now) => gone(&kept.record.submission.owner),
            (Some(kept), _) => Lookup::Found(kept.record.clone()),
            (None, Some(tombstone)) if now < tombstone.falls => gone(&tombstone.owner),
            _ => Lookup::Unknown,
        }
    }

    fn create(&mut self, record: &Arc<Record>, intent: Intent<'_>, now: Duration) -> Created {
        let id = record.id;
        let used = record.submission.key.as_deref();
        if let Some(used) = used
            && let Some(&other) = self.keys.get(&used.key)
            && other != id
        {
            match self.look_up(other, now) {
                Lookup::Found(record) => return Created::Existing(record),
                Lookup::Gone { .. } if used.fingerprint.is_some() => return Created::Gone,
                Lookup::Gone { .. } | Lookup::Unknown => {}
            }
        }
        match (self.look_up(id, now), intent) {
            (Lookup::Found(_), Intent::Queue(_)) => return Created::Queued,
            (Lookup::Found(record), Intent::Run(_)) => {
                return match self.operations[&id].right {
                    Right::Held(token) => Created::New(Claim::new(id, record.attempt, token)),
                    _ => Created::Existing(record),
                };
            }
            (Lookup::Gone { .. }, _) => return Created::Gone,
            // There may be a tombstone that was to fall and was not swept yet.
            (Lookup::Unknown, _) => self.fall(id),
        }
        let place = self.token();
        let (right, lasts, created) = match intent {
            Intent::Run(_) => {
                let claim = Claim::new(id, record.attempt, place);
                (Right::Held(place), LEASE, Created::New(claim))
            }
            Intent::Queue(_) => {
                let (right, lasts) = settled(record);
                (right, lasts, Created::Queued)
            }
        };
        let request = intent.request();
        self.bytes += request.map_or(0, |request| request.size() as u64);
        let operation = Operation {
            record: record.clone(),
            place,
            request: request.cloned(),
            right,
            due: now,
            is_read: false,
        };
        self.operations.insert(id, operation);
        self.order.insert(place, id);
        self.keys.extend(used.map(|used| (used.key.clone(), id)));
        self.pass(id, right, now.saturating_add(lasts));
        created
    }

    /// Passes the right to run an operation on. All that depends on it is seen to here.
    fn pass(&mut self, id: OperationId, right: Right, due: Duration) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        if let Some(rerun) = &operation.record.submission.rerun {
            let waiting = (rerun.queue.clone(), operation.place);
            if right == Right::Offered {
                self.waiting.insert(waiting, id);
                self.hints.push(Change::Claimable);
            } else {
                self.waiting.remove(&waiting);
            }
        }
        if let Right::Detached(_) | Right::Nobody = right
            && let Some(request) = operation.request.take()
        {
            self.bytes -= request.size() as u64;
        }
        operation.right = right;
        self.agenda.remove(&(operation.due, id));
        self.agenda.insert((due, id));
        operation.due = due;
    }

    /// Moves an operation on, if `by` is the token of its claim or none is asked for. `step` makes the move, or refuses
    /// to, and tells who has the right to run it from then on, and for how long.
    fn change(
        &mut self,
        (id, by): (OperationId, Option<u64>),
        sighting: Option<&Sighting>,
        now: Duration,
        step: impl FnOnce(&mut Record) -> Option<(Right, Duration)>,
    ) -> Settled {
        let kept = self.operations.get_mut(&id);
        let Some(operation) = kept.filter(|operation| !operation.has_expired(now)) else {
            return Settled::Unknown;
        };
        let stands = operation.record.clone();
        if by.is_some_and(|token| operation.right != Right::Held(token)) {
            return Settled::Stands(stands);
        }
        let mut record = Record::clone(&stands);
        if let Some(sighting) = sighting {
            record.observe(sighting);
        }
        let Some((right, lasts)) = step(&mut record) else {
            return Settled::Stands(stands);
        };
        if record.phase().is_ended() {
            self.bytes += record.size() as u64;
            self.unread += 1;
        }
        if record.revision != stands.revision {
            self.hints.push(Change::Operation(id));
        }
        operation.record = Arc::new(record);
        let done = operation.record.clone();
        self.pass(id, right, now.saturating_add(lasts));
        Settled::Done(done)
    }

    fn end(
        &mut self,
        by: (OperationId, Option<u64>),
        sighting: Option<&Sighting>,
        ending: &mut Option<Ending>,
        now: Duration,
    ) -> Settled {
        let done = self.change(by, sighting, now, |record| {
            record.end(ending.clone()?).then(|| settled(record))
        });
        if let Settled::Done(_) = done {
            *ending = None;
        }
        done
    }

    fn claim(&mut self, queue: &Queue, at_most: NonZeroU16, now: Duration) -> Vec<Claimed> {
        let waiting = self.waiting.range((queue.clone(), 0)..);
        let waiting = waiting.take_while(|((name, _), _)| name == queue);
        // What is late is for the sweep to end.
        let in_time = waiting.filter(|(_, id)| now < self.operations[*id].due);
        let ids: Vec<_> = in_time
            .map(|(_, id)| *id)
            .take(at_most.get().into())
            .collect();
        let claim = |id| {
            let right = Right::Held(self.token());
            let held = self.change((id, None), None, now, |_| Some((right, LEASE)));
            let (Settled::Done(record), Right::Held(token)) = (held, right) else {
                return None;
            };
            Some(Claimed {
                claim: Claim::new(id, record.attempt, token),
                record,
                request: self.operations[&id].request.clone()?,
            })
        };
        ids.into_iter().filter_map(claim).collect()
    }

    fn list(&self, query: &ListQuery, now: Duration) -> Page {
        let end = query.after.map_or(u64::MAX, |Cursor(place)| place);
        let mut page = Page::default();
        for (place, id) in self.order.range(..end).rev() {
            let Lookup::Found(record) = self.look_up(*id, now) else {
                continue;
            };
            if page.records.len() == usize::from(query.limit.get()) {
                // Right behind the last that is on this page.
                page.next = Some(Cursor(place + 1));
                break;
            }
            if query.wants(&record) {
                page.records.push(record);
            }
        }
        page
    }

    /// Lets go of an operation. A tombstone takes its place, in the agenda too.
    fn bury(&mut self, id: OperationId, falls: Duration) {
        self.pass(id, Right::Nobody, falls);
        let Some(operation) = self.operations.remove(&id) else {
            return;
        };
        self.order.remove(&operation.place);
        if operation.record.phase().is_ended() {
            self.bytes -= operation.record.size() as u64;
            self.unread -= u64::from(!operation.is_read);
        }
        let submission = &operation.record.submission;
        let key = submission.key.as_ref().map(|used| used.key.clone());
        let owner = submission.owner.clone();
        self.tombstones.insert(id, Tombstone { owner, key, falls });
        self.hints.push(Change::Operation(id));
    }

    fn fall(&mut self, id: OperationId) {
        let Some(tombstone) = self.tombstones.remove(&id) else {
            return;
        };
        self.agenda.remove(&(tombstone.falls, id));
        // Another operation may have the key by now.
        if let Some(key) = tombstone.key
            && self.keys.get(&key) == Some(&id)
        {
            self.keys.remove(&key);
        }
    }

    /// Does what is due for an operation or a tombstone. Gives the operation if it ended by it.
    fn do_due(
        &mut self,
        id: OperationId,
        (now, wall): (Duration, Timestamp),
        falls: Duration,
    ) -> Option<Arc<Record>> {
        let Some(operation) = self.operations.get(&id) else {
            self.fall(id);
            return None;
        };
        if operation.has_expired(now) {
            self.bury(id, falls);
            return None;
        }
        let right = operation.right;
        let done = self.change((id, None), None, now, |record| {
            let moved = match right {
                Right::Held(_) => record.lapse(wall),
                Right::Offered => record.end(Ending::without_response(Stop::NotStarted, wall)),
                Right::Detached(_) => record.end(Ending::without_response(Stop::TimedOut, wall)),
                Right::Nobody => false,
            };
            moved.then(|| settled(record))
        });
        match done {
            Settled::Done(record) => Some(record).filter(|record| record.phase().is_ended()),
            Settled::Stands(_) | Settled::Unknown => None,
        }
    }
}

impl PlainStore {
    fn new(clock: Clock, tombstone_for: Duration) -> Self {
        Self {
            kept: Mutex::default(),
            changes: broadcast::Sender::new(HINTS),
            clock,
            tombstone_for,
        }
    }

    /// Takes one step under the lock, at one time, and then sends the hints of what it changed.
    fn step<T>(&self, step: impl FnOnce(&mut Kept, Duration) -> T) -> T {
        let mut kept = self.kept.lock().expect("nothing panics under the lock");
        let answer = step(&mut kept, self.clock.elapsed());
        let hints = std::mem::take(&mut kept.hints);
        drop(kept);
        for hint in hints {
            // Refused where nobody listens.
            let _ = self.changes.send(hint);
        }
        answer
    }

    /// Takes one step, all at once: memory is not waited for. A store elsewhere gives [`StoreFuture::new`] its round trip.
    fn answer<'a, T>(&self, step: impl FnOnce(&mut Kept, Duration) -> T) -> StoreFuture<'a, T> {
        StoreFuture::ready(Ok(self.step(step)))
    }
}

impl Store for PlainStore {
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created> {
        self.answer(|kept, now| kept.create(record, intent, now))
    }

    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>> {
        self.answer(|kept, now| kept.claim(queue, at_most, now))
    }

    fn renew<'a>(&'a self, held: &'a [Held]) -> StoreFuture<'a, Vec<OperationId>> {
        self.answer(|kept, now| {
            let is_void = |held: &&Held| {
                let by = (held.id, Some(held.token));
                let right = Right::Held(held.token);
                let renewed =
                    kept.change(by, held.sighting.as_ref(), now, |_| Some((right, LEASE)));
                !matches!(renewed, Settled::Done(_))
            };
            held.iter().filter(is_void).map(|held| held.id).collect()
        })
    }

    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled> {
        let by = (claim.id(), Some(claim.token()));
        self.answer(|kept, now| {
            kept.change(by, Some(sighting), now, |record| {
                record.release(sighting.at).then(|| settled(record))
            })
        })
    }

    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup> {
        self.answer(|kept, now| kept.look_up(id, now))
    }

    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup> {
        self.answer(|kept, now| match kept.keys.get(key) {
            Some(id) => kept.look_up(*id, now),
            None => Lookup::Unknown,
        })
    }

    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page> {
        self.answer(|kept, now| kept.list(query, now))
    }

    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled> {
        let by = (claim.id(), Some(claim.token()));
        self.answer(|kept, now| kept.end(by, Some(sighting), ending, now))
    }

    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled> {
        let mut ending = Some(ending);
        self.answer(|kept, now| kept.end((id, None), sighting.as_ref(), &mut ending, now))
    }

    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled> {
        let (id, detached) = (claim.id(), Right::Detached(claim.token()));
        self.answer(|kept, now| match kept.operations.get(&id) {
            // Done before, which who was cut off from the store may not know.
            Some(operation) if operation.right == detached => {
                Settled::Done(operation.record.clone())
            }
            _ => kept.change((id, Some(claim.token())), Some(sighting), now, |record| {
                (record.phase() == Phase::Running).then_some((detached, within))
            }),
        })
    }

    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled> {
        self.answer(|kept, now| match kept.look_up(id, now) {
            Lookup::Found(record) if which == Forget::Any || record.phase().is_ended() => {
                kept.bury(id, now.saturating_add(self.tombstone_for));
                Settled::Done(record)
            }
            Lookup::Found(record) => Settled::Stands(record),
            Lookup::Gone { .. } | Lookup::Unknown => Settled::Unknown,
        })
    }

    fn mark_read(&self, id: OperationId) {
        self.step(|kept, _| {
            if let Some(operation) = kept.operations.get_mut(&id)
                && operation.record.phase().is_ended()
                && !operation.is_read
            {
                operation.is_read = true;
                kept.unread -= 1;
            }
        });
    }

    fn set_aside(&self, bytes: u64) -> bool {
        self.step(|kept, _| kept.bytes += bytes);
        true
    }

    fn give_back(&self, bytes: u64) {
        self.step(|kept, _| kept.bytes = kept.bytes.saturating_sub(bytes));
    }

    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept> {
        let wall = self.clock.wall();
        self.answer(|kept, now| {
            let falls = now.saturating_add(self.tombstone_for);
            let mut swept = Swept::default();
            while swept.done < at_most.get()
                && let Some(&(due, id)) = kept.agenda.first()
                && due <= now
            {
                swept.ended.extend(kept.do_due(id, (now, wall), falls));
                swept.done += 1;
            }
            let next = kept.agenda.first();
            swept.next = next.map(|(due, _)| due.saturating_sub(now));
            swept
        })
    }

    fn usage(&self) -> StoreUsage {
        self.step(|kept, _| {
            let mut usage = StoreUsage::default();
            usage.operations = kept.operations.len() as u64;
            usage.bytes = kept.bytes;
            usage.unread = kept.unread;
            usage.tombstones = kept.tombstones.len() as u64;
            usage
        })
    }

    fn changes(&self) -> Box<dyn Changes> {
        Box::new(Subscription(self.changes.subscribe()))
    }

    fn lease(&self) -> Option<Duration> {
        Some(LEASE)
    }
}

#[derive(Debug)]
struct Subscription(broadcast::Receiver<Change>);

impl Changes for Subscription {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        use broadcast::error::RecvError::{Closed, Lagged};

        Box::pin(async {
            match self.0.recv().await {
                Ok(change) => change,
                Err(Lagged(_)) => Change::Resync,
                // The store is gone: nothing changes any more.
                Err(Closed) => pending().await,
            }
        })
    }
}

async fn count(text: String) -> String {
    tokio::time::sleep(Duration::from_secs(2)).await;
    format!("{} words\n", text.split_whitespace().count())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = tokio::net::TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000"));
    let listener = listener.await?;
    println!("listening on http://{}", listener.local_addr()?);

    let store = PlainStore::new(Clock::system(), Duration::from_secs(600));
    let operations = Operations::builder()
        .mount("/operations")
        .store(store)
        .build()?;
    let app = Router::new()
        .route("/words", post(count).route_layer(operations.layer()))
        .nest_service("/operations", operations.status_service());
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            operations.drain(Duration::from_secs(5)).await;
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::PlainStore;
    use std::{sync::Arc, time::SystemTime};
    use tower_lro::store::{
        Clock,
        conformance::{Subject, Wanted},
    };

    fn plain(wanted: Wanted) -> Subject {
        let clock = Clock::manual(SystemTime::now());
        let store = PlainStore::new(clock.clone(), wanted.tombstone_for);
        Subject::new(Arc::new(store), clock)
    }

    tower_lro::store_conformance!(plain, unbounded, leases);
}
