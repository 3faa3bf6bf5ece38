use super::{Engine, Heartbeat, Live, Signal};
use crate::{
    record::{OperationId, Sighting},
    sync::lock,
};
use hashbrown::HashTable;
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

const SHARDS: usize = 16;

/// What this process runs. One operation is mostly run once at a time; but twice while its claim has lapsed, this process
/// has taken it over, and who had it before has not noticed.
#[derive(Default)]
pub(crate) struct Registry {
    shards: [Shard; SHARDS],
}

#[derive(Default)]
struct Shard {
    live: Mutex<HashTable<Arc<Live>>>,
    /// How many have been removed.
    removed: AtomicUsize,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashTable<Arc<Live>>> {
        lock(&self.live)
    }

    /// Nothing is freed under the lock: whoever removes it has it.
    fn remove(&self, id: OperationId, is_it: impl FnMut(&Arc<Live>) -> bool) -> Option<Arc<Live>> {
        let mut live = self.lock();
        let entry = live.find_entry(id.hash64(), is_it).ok()?;
        // Written under the lock only.
        let removed = self.removed.load(Ordering::Relaxed).wrapping_add(1);
        self.removed.store(removed, Ordering::Release);
        Some(entry.remove().0)
    }
}

impl Registry {
    fn shard(&self, id: OperationId) -> &Shard {
        &self.shards[OperationId::part(id.hash64(), SHARDS)]
    }

    /// Grows when what is known of an operation is removed, and of some others.
    pub(crate) fn removals(&self, id: OperationId) -> usize {
        self.shard(id).removed.load(Ordering::Acquire)
    }

    pub(crate) fn insert(&self, live: Arc<Live>) {
        let id = live.id();
        self.shard(id)
            .lock()
            .insert_unique(id.hash64(), live, |live| live.id().hash64());
    }

    /// The operation was ended by another: all that goes on of it here is told.
    pub(crate) fn end(&self, id: OperationId) {
        while let Some(live) = self.remove(id) {
            live.raise(Signal::Ended);
        }
    }

    /// The operation was let go of: what runs of it runs on, and what only waited for its end is told.
    pub(super) fn forsake(&self, engine: &Engine, id: OperationId) {
        let all: Vec<_> = {
            let shard = self.shard(id).lock();
            let all = shard.iter_hash(id.hash64()).filter(|live| live.id() == id);
            all.cloned().collect()
        };
        for live in all {
            Heartbeat::forsake(engine, &live);
            if live.forsake() {
                self.remove_this(&live);
                live.raise(Signal::Ended);
            }
        }
    }

    fn remove(&self, id: OperationId) -> Option<Arc<Live>> {
        self.shard(id).remove(id, |live| live.id() == id)
    }

    /// Not another of the same operation.
    pub(crate) fn remove_this(&self, live: &Live) {
        self.shard(live.id())
            .remove(live.id(), |other| std::ptr::eq(&**other, live));
    }

    /// What is seen here of an attempt at an operation.
    pub(crate) fn sighting(&self, id: OperationId, attempt: u16) -> Option<Sighting> {
        let shard = self.shard(id).lock();
        let mut all = shard.iter_hash(id.hash64()).filter(|live| live.id() == id);
        all.find_map(|live| live.sighting_of(attempt))
    }

    /// What runs the last attempt that this process knows of.
    pub(crate) fn last(&self, id: OperationId) -> Option<Arc<Live>> {
        let shard = self.shard(id).lock();
        let all = shard.iter_hash(id.hash64()).filter(|live| live.id() == id);
        all.max_by_key(|live| live.attempt()).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        let of = |shard: &Shard| -> Vec<_> { shard.lock().iter().cloned().collect() };
        self.shards.iter().flat_map(of).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}
