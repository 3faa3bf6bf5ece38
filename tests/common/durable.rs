//! A store as one on disk would be, for several engines at once: its claims lapse, it keeps every request, and long
//! bodies elsewhere. In memory all the same.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    num::{NonZeroU16, NonZeroU32},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tower_lro::{
    MemoryStore, OperationId, Queue, Record, Store,
    record::{BlobId, Content, Ending, Sighting, Stop, StoredRequest, UniqueKey},
    store::{
        Blobs, Change, Changes, Claim, Claimed, Clock, Created, Forget, Held, Intent, ListQuery,
        Lookup, MemoryLimits, Page, Settled, StoreError, StoreErrorKind, StoreFuture, StoreUsage,
        Swept,
    },
};

pub(crate) const LEASE: Duration = Duration::from_secs(12);
pub(crate) const INLINE: usize = 64;
const HOUR: Duration = Duration::from_secs(3600);

/// Clones are one store, as processes that share a file have it.
#[derive(Clone)]
pub(crate) struct Durable {
    inner: Arc<MemoryStore>,
    clock: Clock,
    shared: Arc<Shared>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Shared {
    claims: Mutex<HashMap<OperationId, Lease>>,
    blobs: Mutex<HashMap<BlobId, Blob>>,
    /// Where set, a chunk is appended only with a permit.
    gate: Mutex<Option<Arc<Semaphore>>>,
    /// Chunks that were read and are still held by somebody; and the most there ever were.
    chunks: Arc<[AtomicUsize; 2]>,
    renewals: AtomicUsize,
    /// Those who hear of changes.
    listeners: Arc<AtomicUsize>,
    /// Which operation wants a blob.
    names: Mutex<HashMap<BlobId, OperationId>>,
    /// Where set, whoever claims is told of it only with a permit.
    claim_gate: Mutex<Option<Arc<Semaphore>>>,
}

/// What goes wrong for one process, until it is set anew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Nothing can be reached.
    pub(crate) down: bool,
    /// Renewals are not answered.
    pub(crate) renewals_hang: bool,
    /// Chunks from this one on can't be written, for this reason.
    pub(crate) append: Option<(u32, StoreErrorKind)>,
    /// Nothing can be finished, for this reason.
    pub(crate) finish: Option<StoreErrorKind>,
    /// Nothing can be completed, for this reason.
    pub(crate) complete: Option<StoreErrorKind>,
    /// Chunks from this one on can't be read, for this reason.
    pub(crate) read: Option<(u32, StoreErrorKind)>,
}

#[derive(Default)]
struct Blob {
    chunks: Vec<Bytes>,
    /// When it was written to, or was named still.
    wanted: Duration,
}

struct Lease {
    attempt: u16,
    token: u64,
    renewed: Duration,
}

impl Lease {
    fn claim(&self, id: OperationId) -> Claim {
        Claim::new(id, self.attempt, self.token)
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Durable")
    }
}

impl Default for Durable {
    fn default() -> Self {
        Self::new(MemoryLimits::default(), Clock::system())
    }
}

impl Durable {
    pub(crate) fn new(limits: MemoryLimits, clock: Clock) -> Self {
        Self {
            inner: Arc::new(MemoryStore::new(limits, clock.clone())),
            clock,
            shared: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// The same store, as another process has it: what goes wrong is each one's own.
    pub(crate) fn apart(&self) -> Self {
        Self {
            faults: Arc::default(),
            ..self.clone()
        }
    }

    /// Rounds of renewals so far.
    pub(crate) fn renewals(&self) -> usize {
        self.shared.renewals.load(SeqCst)
    }

    /// Those who hear of changes.
    pub(crate) fn listeners(&self) -> usize {
        self.shared.listeners.load(SeqCst)
    }

    /// From here on a chunk is appended only with a permit.
    pub(crate) fn gate_chunks(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.shared.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// From here on whoever claims is told of it only with a permit.
    pub(crate) fn gate_claims(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.shared.claim_gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// Lengths of the chunks of every blob.
    pub(crate) fn chunks(&self) -> Vec<Vec<usize>> {
        let blobs = self.shared.blobs.lock().unwrap();
        let lengths = |blob: &Blob| blob.chunks.iter().map(Bytes::len).collect();
        blobs.values().map(lengths).collect()
    }

    /// The most chunks that were read and not let go of at any time.
    pub(crate) fn most_chunks_held(&self) -> usize {
        self.shared.chunks[1].load(SeqCst)
    }

    pub(crate) fn break_down(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap()
    }

    /// As a store elsewhere answers: not at once.
    fn later<'a, T: Send + 'a>(
        &'a self,
        step: impl FnOnce() -> Result<T, StoreError> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        StoreFuture::new(async move {
            tokio::task::yield_now().await;
            if self.faults().down {
                return Err(StoreError::new(StoreErrorKind::Unavailable));
            }
            step()
        })
    }

    /// From here on an operation wants a blob.
    fn name(&self, blob: Option<BlobId>, id: OperationId) {
        self.shared
            .names
            .lock()
            .unwrap()
            .extend(blob.map(|blob| (blob, id)));
    }

    /// Removes what no operation has wanted for an hour.
    fn sweep_blobs(&self) {
        let now = self.clock.elapsed();
        let names = self.shared.names.lock().unwrap();
        let is_wanted = |id: &BlobId| {
            let Some(Lookup::Found(record)) = names.get(id).map(|by| at_once(self.inner.find(*by)))
            else {
                return false;
            };
            record
                .ending()
                .is_none_or(|ending| ending.blob() == Some(*id))
        };
        self.shared.blobs.lock().unwrap().retain(|id, blob| {
            if is_wanted(id) {
                blob.wanted = now;
            }
            now < blob.wanted + HOUR
        });
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<OperationId, Lease>> {
        self.shared.claims.lock().unwrap()
    }

    fn note(&self, claim: &Claim) {
        let lease = Lease {
            attempt: claim.attempt(),
            token: claim.token(),
            renewed: self.clock.elapsed(),
        };
        self.claims().insert(claim.id(), lease);
    }

    /// Sees to claims that nobody has renewed. What has ended by it.
    fn lapse(&self) -> Vec<Arc<Record>> {
        let now = self.clock.elapsed();
        let mut lapsed = Vec::new();
        self.claims().retain(|id, lease| {
            let holds = lease.renewed + LEASE > now;
            if !holds {
                lapsed.push(lease.claim(*id));
            }
            holds
        });
        let mut ended = Vec::new();
        for claim in lapsed {
            let Lookup::Found(record) = at_once(self.inner.find(claim.id())) else {
                continue;
            };
            // Whoever had it may have begun, for all that is known.
            let seen = Sighting {
                revision: record.revision.next(),
                at: self.clock.wall(),
                started: Some(record.started.unwrap_or(self.clock.wall())),
                report: record.report.clone(),
            };
            if let Settled::Stands(_) = at_once(self.inner.release(&claim, &seen)) {
                let mut lost = Some(Ending::without_response(Stop::Lost, self.clock.wall()));
                let settled = at_once(self.inner.finish(&claim, &seen, &mut lost));
                ended.extend(match settled {
                    Settled::Done(record) => Some(record),
                    _ => None,
                });
            }
        }
        ended
    }

    fn settled(&self, id: OperationId, settled: Settled) -> Settled {
        if let Settled::Done(_) = settled {
            self.claims().remove(&id);
        }
        settled
    }
}

fn at_once<T>(answer: StoreFuture<'_, T>) -> T {
    now(answer).expect("memory answers")
}

fn now<T>(answer: StoreFuture<'_, T>) -> Result<T, StoreError> {
    match answer.now() {
        Ok(answer) => answer,
        Err(_) => panic!("memory answers at once"),
    }
}

impl Store for Durable {
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created> {
        self.later(move || {
            let created = now(self.inner.create(record, intent))?;
            let body = intent.request().map(StoredRequest::body);
            self.name(body.and_then(Content::blob), record.id);
            if let Created::New(claim) = &created {
                self.note(claim);
            }
            Ok(created)
        })
    }

    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup> {
        self.later(move || now(self.inner.find(id)))
    }

    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup> {
        self.later(move || now(self.inner.find_key(key)))
    }

    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page> {
        self.later(move || now(self.inner.list(query)))
    }

    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>> {
        let claim = self.later(move || {
            let claimed = now(self.inner.claim(queue, at_most))?;
            claimed.iter().for_each(|claimed| self.note(&claimed.claim));
            Ok(claimed)
        });
        StoreFuture::new(async move {
            let claimed = claim.await?;
            let gate = self.shared.claim_gate.lock().unwrap().clone();
            if let Some(gate) = gate
                && !claimed.is_empty()
            {
                gate.acquire().await.unwrap().forget();
            }
            Ok(claimed)
        })
    }

    fn renew<'a>(&'a self, held: &'a [Held]) -> StoreFuture<'a, Vec<OperationId>> {
        if self.faults().renewals_hang {
            return StoreFuture::new(std::future::pending());
        }
        self.shared.renewals.fetch_add(1, SeqCst);
        self.later(move || {
            let void = now(self.inner.renew(held))?;
            let mut claims = self.claims();
            for held in held {
                if let Some(lease) = claims.get_mut(&held.id)
                    && lease.token == held.token
                {
                    lease.renewed = self.clock.elapsed();
                }
            }
            Ok(void)
        })
    }

    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled> {
        self.later(move || {
            let settled = now(self.inner.release(claim, sighting))?;
            Ok(self.settled(claim.id(), settled))
        })
    }

    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled> {
        self.later(move || {
            if let Some(kind) = self.faults().finish {
                return Err(StoreError::new(kind));
            }
            let blob = ending.as_ref().and_then(Ending::blob);
            let settled = now(self.inner.finish(claim, sighting, ending))?;
            self.name(blob.filter(|_| ending.is_none()), claim.id());
            Ok(self.settled(claim.id(), settled))
        })
    }

    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled> {
        self.later(move || {
            if let Some(kind) = self.faults().complete {
                return Err(StoreError::new(kind));
            }
            let blob = ending.blob();
            let settled = now(self.inner.complete(id, ending, sighting))?;
            if let Settled::Done(_) = settled {
                self.name(blob, id);
            }
            Ok(self.settled(id, settled))
        })
    }

    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled> {
        self.later(move || {
            let settled = now(self.inner.detach(claim, sighting, within))?;
            Ok(self.settled(claim.id(), settled))
        })
    }

    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled> {
        self.later(move || {
            let settled = now(self.inner.forget(id, which))?;
            Ok(self.settled(id, settled))
        })
    }

    fn mark_read(&self, id: OperationId) {
        self.inner.mark_read(id);
    }

    fn set_aside(&self, bytes: u64) -> bool {
        self.inner.set_aside(bytes)
    }

    fn give_back(&self, bytes: u64) {
        self.inner.give_back(bytes);
    }

    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept> {
        self.later(move || {
            let lost = self.lapse();
            self.sweep_blobs();
            let mut swept = now(self.inner.sweep(at_most))?;
            swept.ended.extend(lost);
            let oldest = self.claims().values().map(|lease| lease.renewed).min();
            let lapses = oldest.map(|oldest| (oldest + LEASE).saturating_sub(self.clock.elapsed()));
            swept.next = swept.next.into_iter().chain(lapses).min();
            Ok(swept)
        })
    }

    fn usage(&self) -> StoreUsage {
        self.inner.usage()
    }

    fn changes(&self) -> Box<dyn Changes> {
        let listeners = self.shared.listeners.clone();
        listeners.fetch_add(1, SeqCst);
        Box::new(Listener(self.inner.changes(), listeners))
    }

    fn lease(&self) -> Option<Duration> {
        Some(LEASE)
    }

    fn keeps_requests(&self) -> bool {
        true
    }

    fn blobs(&self) -> Option<&dyn Blobs> {
        Some(self)
    }
}

impl Blobs for Durable {
    fn inline_limit(&self) -> usize {
        INLINE
    }

    fn append(&self, blob: BlobId, index: u32, chunk: Bytes) -> StoreFuture<'_, ()> {
        StoreFuture::new(async move {
            let gate = self.shared.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            tokio::task::yield_now().await;
            if let Some((from, kind)) = self.faults().append
                && index >= from
            {
                return Err(StoreError::new(kind));
            }
            let mut blobs = self.shared.blobs.lock().unwrap();
            let Blob { chunks, wanted } = blobs.entry(blob).or_default();
            *wanted = self.clock.elapsed();
            match chunks.len().cmp(&(index as usize)) {
                std::cmp::Ordering::Equal => chunks.push(chunk),
                std::cmp::Ordering::Greater => assert_eq!(chunks[index as usize], chunk),
                std::cmp::Ordering::Less => return Err(StoreError::new(StoreErrorKind::Corrupt)),
            }
            Ok(())
        })
    }

    fn read(&self, blob: BlobId, index: u32) -> StoreFuture<'_, Option<Bytes>> {
        StoreFuture::new(async move {
            tokio::task::yield_now().await;
            if let Some((from, kind)) = self.faults().read
                && index >= from
            {
                return Err(StoreError::new(kind));
            }
            let blobs = self.shared.blobs.lock().unwrap();
            let chunk = blobs
                .get(&blob)
                .and_then(|blob| blob.chunks.get(index as usize));
            Ok(chunk.map(|chunk| Bytes::from_owner(Counted::new(chunk, &self.shared.chunks))))
        })
    }

    fn remove(&self, blob: BlobId) -> StoreFuture<'_, ()> {
        self.later(move || {
            self.shared.blobs.lock().unwrap().remove(&blob);
            Ok(())
        })
    }
}

/// Counts who hears of changes.
#[derive(Debug)]
struct Listener(Box<dyn Changes>, Arc<AtomicUsize>);

impl Changes for Listener {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        self.0.next()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

/// Counts who holds a chunk.
struct Counted(Bytes, Arc<[AtomicUsize; 2]>);

impl Counted {
    fn new(chunk: &Bytes, count: &Arc<[AtomicUsize; 2]>) -> Self {
        let held = count[0].fetch_add(1, SeqCst) + 1;
        count[1].fetch_max(held, SeqCst);
        Self(chunk.clone(), count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1[0].fetch_sub(1, SeqCst);
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
