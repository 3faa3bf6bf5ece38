//! A store that can be made to fail, and to take its time.

use super::secs;
use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tower_lro::{
    MemoryStore, OperationId, Record, Store,
    record::{Ending, Queue, Sighting, UniqueKey},
    store::{
        Changes, Claim, Claimed, Created, Forget, Intent, ListQuery, Lookup, Page, Settled,
        StoreError, StoreErrorKind, StoreFuture, StoreUsage, Swept,
    },
};

/// Clones are one store.
#[derive(Clone, Debug, Default)]
pub struct Faulty(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    store: MemoryStore,
    down: AtomicBool,
    seconds: AtomicU64,
}

impl Faulty {
    /// From here on it can't be reached, or can again.
    pub fn set_down(&self, down: bool) {
        self.0.down.store(down, SeqCst);
    }

    /// From here on every answer takes so long.
    pub fn set_slow(&self, seconds: u64) {
        self.0.seconds.store(seconds, SeqCst);
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        step: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        StoreFuture::new(async move {
            let pause = secs(self.0.seconds.load(SeqCst));
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if self.0.down.load(SeqCst) {
                return Err(StoreError::new(StoreErrorKind::Unavailable));
            }
            step(&self.0.store).await
        })
    }
}

impl Store for Faulty {
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created> {
        self.answer(move |store| store.create(record, intent))
    }
    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>> {
        self.answer(move |store| store.claim(queue, at_most))
    }
    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled> {
        self.answer(move |store| store.release(claim, sighting))
    }
    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup> {
        self.answer(move |store| store.find(id))
    }
    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup> {
        self.answer(move |store| store.find_key(key))
    }
    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page> {
        self.answer(move |store| store.list(query))
    }
    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled> {
        self.answer(move |store| store.finish(claim, sighting, ending))
    }
    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled> {
        self.answer(move |store| store.complete(id, ending, sighting))
    }
    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled> {
        self.answer(move |store| store.detach(claim, sighting, within))
    }
    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled> {
        self.answer(move |store| store.forget(id, which))
    }
    fn mark_read(&self, id: OperationId) {
        self.0.store.mark_read(id);
    }
    fn set_aside(&self, bytes: u64) -> bool {
        self.0.store.set_aside(bytes)
    }
    fn give_back(&self, bytes: u64) {
        self.0.store.give_back(bytes);
    }
    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept> {
        self.answer(move |store| store.sweep(at_most))
    }
    fn usage(&self) -> StoreUsage {
        self.0.store.usage()
    }
    fn changes(&self) -> Box<dyn Changes> {
        self.0.store.changes()
    }
}
