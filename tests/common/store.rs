//! A store that can be told to fail, to hang, to answer late, or not to know what it did.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::HashMap,
    fmt,
    future::pending,
    num::{NonZeroU16, NonZeroU32},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use tower_lro::{
    MemoryStore, OperationId, Record, Store,
    record::{Ending, Queue, Sighting, UniqueKey},
    store::{
        Change, Changes, Claim, Claimed, Clock, Created, Forget, Intent, ListQuery, Lookup,
        MemoryLimits, Page, Settled, StoreError, StoreErrorKind, StoreFuture, StoreUsage, Swept,
    },
};

/// Stands in the cause of every error of this store.
pub(crate) const CAUSE: &str = "store-detail-4712";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Create,
    Claim,
    Release,
    Find,
    FindKey,
    List,
    Finish,
    Complete,
    Detach,
    Forget,
    Sweep,
}

impl Verb {
    const ALL: [Self; 11] = [
        Self::Create,
        Self::Claim,
        Self::Release,
        Self::Find,
        Self::FindKey,
        Self::List,
        Self::Finish,
        Self::Complete,
        Self::Detach,
        Self::Forget,
        Self::Sweep,
    ];
}

#[derive(Clone, Debug)]
pub(crate) enum How {
    /// Does nothing, and says why.
    Fail(StoreErrorKind),
    /// Does it, and says that it does not know.
    Uncertain,
    /// Does it after a while.
    Late(Duration),
    /// Does it, and says so only with a permit.
    Gated(Arc<Semaphore>),
    /// Neither does nor says anything.
    Hang,
    Panic,
}

/// A store in memory whose verbs do as they are told. Clones share everything.
#[derive(Clone)]
pub(crate) struct Faulty {
    inner: Arc<MemoryStore>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    rules: Mutex<HashMap<Verb, (How, usize)>>,
    calls: Mutex<Vec<(Verb, Instant)>>,
    /// Nothing is answered at once, as by a store elsewhere.
    remote: AtomicBool,
    /// Nobody is told of changes.
    mute: AtomicBool,
    /// Where set, a call in four goes wrong in one way or another.
    luck: Mutex<Option<u64>>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl Default for Faulty {
    fn default() -> Self {
        Self::new(MemoryLimits::default())
    }
}

impl Faulty {
    pub(crate) fn new(limits: MemoryLimits) -> Self {
        Self {
            inner: Arc::new(MemoryStore::new(limits, Clock::system())),
            state: Arc::default(),
        }
    }

    /// A store that answers nothing at once.
    pub(crate) fn remote() -> Self {
        let store = Self::default();
        store.state.remote.store(true, Ordering::SeqCst);
        store
    }

    /// A store that hints at nothing.
    pub(crate) fn mute() -> Self {
        let store = Self::default();
        store.state.mute.store(true, Ordering::SeqCst);
        store
    }

    /// A store that answers nothing at once, and now and then fails, is late, or does not know what it did.
    pub(crate) fn moody(seed: u64) -> Self {
        let store = Self::remote();
        *store.state.luck.lock().unwrap() = Some(seed | 1);
        store
    }

    /// How the next call goes, where that is a matter of luck.
    fn mood(&self) -> Option<How> {
        let mut luck = self.state.luck.lock().unwrap();
        let dice = luck.as_mut()?;
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        match *dice % 12 {
            0 => Some(How::Fail(StoreErrorKind::Unavailable)),
            1 => Some(How::Uncertain),
            2 => Some(How::Late(Duration::from_millis(*dice % 4))),
            _ => None,
        }
    }

    /// From now on.
    pub(crate) fn set(&self, verb: Verb, how: How) {
        self.times(verb, how, usize::MAX);
    }

    /// For the next so many calls.
    pub(crate) fn times(&self, verb: Verb, how: How, times: usize) {
        self.state.rules.lock().unwrap().insert(verb, (how, times));
    }

    /// From now on, every verb.
    pub(crate) fn set_all(&self, how: &How) {
        for verb in Verb::ALL {
            self.set(verb, how.clone());
        }
    }

    /// No longer.
    pub(crate) fn heal(&self) {
        *self.state.luck.lock().unwrap() = None;
        self.state.rules.lock().unwrap().clear();
    }

    /// When a verb was called.
    pub(crate) fn calls(&self, verb: Verb) -> Vec<Instant> {
        let calls = self.state.calls.lock().unwrap();
        let mut calls = calls.clone();
        calls.retain(|(called, _)| *called == verb);
        calls.into_iter().map(|(_, at)| at).collect()
    }

    fn rule(&self, verb: Verb) -> Option<How> {
        let rules = self.state.rules.lock().unwrap();
        Some(rules.get(&verb)?.0.clone())
    }

    /// The verb is called: what it is to do.
    fn called(&self, verb: Verb) -> Option<How> {
        self.state
            .calls
            .lock()
            .unwrap()
            .push((verb, Instant::now()));
        let mut rules = self.state.rules.lock().unwrap();
        let Some((how, times)) = rules.get_mut(&verb) else {
            return self.mood();
        };
        let how = how.clone();
        *times -= 1;
        if *times == 0 {
            rules.remove(&verb);
        }
        Some(how)
    }

    /// `act` is told whether what it does is to be kept from the caller.
    fn ruled<'a, T: Send + 'a>(
        &'a self,
        verb: Verb,
        act: impl FnOnce(bool) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let waits = matches!(
            self.rule(verb),
            Some(How::Late(_) | How::Gated(_) | How::Hang)
        );
        if waits || self.state.remote.load(Ordering::SeqCst) {
            return StoreFuture::new(async move {
                // A future that was never polled has done nothing, nor was it called.
                tokio::task::yield_now().await;
                match self.called(verb) {
                    None => act(false).await,
                    Some(How::Late(delay)) => {
                        tokio::time::sleep(delay).await;
                        act(false).await
                    }
                    Some(How::Gated(gate)) => {
                        let done = act(false).await;
                        gate.acquire().await.unwrap().forget();
                        done
                    }
                    Some(How::Hang) => pending().await,
                    Some(How::Fail(kind)) => Err(StoreError::caused_by(kind, CAUSE)),
                    Some(How::Uncertain) => {
                        act(true).await?;
                        Err(StoreError::caused_by(StoreErrorKind::Uncertain, CAUSE))
                    }
                    Some(How::Panic) => panic!("{CAUSE}"),
                }
            });
        }
        match self.called(verb) {
            Some(How::Fail(kind)) => StoreFuture::ready(Err(StoreError::caused_by(kind, CAUSE))),
            Some(How::Uncertain) => {
                let done = act(true).now().expect("memory answers at once");
                let unknown = |_| Err(StoreError::caused_by(StoreErrorKind::Uncertain, CAUSE));
                StoreFuture::ready(done.and_then(unknown))
            }
            Some(How::Panic) => panic!("{CAUSE}"),
            _ => act(false),
        }
    }
}

#[derive(Debug)]
struct Silence;

impl Changes for Silence {
    fn next(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(pending())
    }
}

impl Store for Faulty {
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created> {
        self.ruled(Verb::Create, move |_| self.inner.create(record, intent))
    }

    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>> {
        self.ruled(Verb::Claim, move |_| self.inner.claim(queue, at_most))
    }

    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled> {
        self.ruled(Verb::Release, move |_| self.inner.release(claim, sighting))
    }

    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup> {
        self.ruled(Verb::Find, move |_| self.inner.find(id))
    }

    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup> {
        self.ruled(Verb::FindKey, |_| self.inner.find_key(key))
    }

    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page> {
        self.ruled(Verb::List, |_| self.inner.list(query))
    }

    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled> {
        self.ruled(Verb::Finish, move |hidden| {
            let mut copy = ending.clone();
            let taken = if hidden { &mut copy } else { ending };
            let settled = self.inner.finish(claim, sighting, taken).now();
            StoreFuture::ready(settled.expect("memory answers at once"))
        })
    }

    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled> {
        self.ruled(Verb::Complete, move |_| {
            self.inner.complete(id, ending, sighting)
        })
    }

    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled> {
        self.ruled(Verb::Detach, move |_| {
            self.inner.detach(claim, sighting, within)
        })
    }

    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled> {
        self.ruled(Verb::Forget, move |_| self.inner.forget(id, which))
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
        self.ruled(Verb::Sweep, move |_| self.inner.sweep(at_most))
    }

    fn usage(&self) -> StoreUsage {
        self.inner.usage()
    }

    fn changes(&self) -> Box<dyn Changes> {
        if self.state.mute.load(Ordering::SeqCst) {
            Box::new(Silence)
        } else {
            self.inner.changes()
        }
    }
}
