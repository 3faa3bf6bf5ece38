use super::Engine;
use crate::{record::OperationId, store::Change};
use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};
use tokio::sync::Notify;

/// Wakes whoever waits for an operation to change, whether it changes here or elsewhere.
#[derive(Default)]
pub(crate) struct Hub {
    topics: Mutex<HashMap<OperationId, Arc<Topic>>>,
    /// All readers, so that nothing is locked while nobody waits.
    readers: AtomicUsize,
    listening: AtomicBool,
    /// Told when the engine goes, and with it the task that listens on its behalf.
    gone: Arc<Notify>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.gone.notify_one();
    }
}

#[derive(Default)]
struct Topic {
    readers: AtomicUsize,
    /// Most wait for the end; they are not woken for every step towards it.
    ended: Notify,
    changed: Notify,
}

/// What a reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Ended,
    Changed,
}

impl Hub {
    fn topics(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Topic>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn readers(&self) -> usize {
        self.readers.load(Ordering::SeqCst)
    }

    fn topic(&self, id: OperationId) -> Option<Arc<Topic>> {
        // A reader counts itself before it reads the record, and the record is written before this: one sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.readers() == 0 {
            None
        } else {
            self.topics().get(&id).cloned()
        }
    }

    /// The operation has changed.
    pub(crate) fn changed(&self, id: OperationId) {
        if let Some(topic) = self.topic(id) {
            topic.changed.notify_waiters();
        }
    }

    /// The operation has ended, or is gone.
    pub(crate) fn ended(&self, id: OperationId) {
        if let Some(topic) = self.topic(id) {
            topic.changed.notify_waiters();
            topic.ended.notify_waiters();
        }
    }

    /// Everybody is to look again.
    pub(crate) fn all(&self) {
        let topics: Vec<_> = self.topics().values().cloned().collect();
        for topic in topics {
            topic.changed.notify_waiters();
            topic.ended.notify_waiters();
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("readers", &self.readers())
            .finish_non_exhaustive()
    }
}

/// A place among those who wait for an operation.
pub(crate) struct Reader {
    engine: Arc<Engine>,
    id: OperationId,
    topic: Arc<Topic>,
}

impl Reader {
    /// Takes a place, or gives `None` where there are as many readers as there may be.
    pub(crate) fn join(engine: &Arc<Engine>, id: OperationId) -> Option<Self> {
        let limits = &engine.limits;
        Self::join_within(engine, id, limits.readers, limits.readers_per_operation)
    }

    /// Takes a place, however many there are.
    pub(crate) fn watch(engine: &Arc<Engine>, id: OperationId) -> Self {
        Self::join_within(engine, id, usize::MAX, usize::MAX).expect("there is no bound")
    }

    fn join_within(
        engine: &Arc<Engine>,
        id: OperationId,
        in_all: usize,
        per_operation: usize,
    ) -> Option<Self> {
        let hub = &engine.hub;
        let reader = {
            let mut topics = hub.topics();
            let here = topics
                .get(&id)
                .map_or(0, |topic| topic.readers.load(Ordering::Relaxed));
            if hub.readers() >= in_all || here >= per_operation {
                return None;
            }
            let topic = topics.entry(id).or_default();
            topic.readers.fetch_add(1, Ordering::Relaxed);
            hub.readers.fetch_add(1, Ordering::SeqCst);
            Self {
                engine: engine.clone(),
                id,
                topic: topic.clone(),
            }
        };
        std::sync::atomic::fence(Ordering::SeqCst);
        listen(engine);
        Some(reader)
    }

    /// Resolves at the next change that comes after the future was made.
    pub(crate) fn news(&self, until: Until) -> tokio::sync::futures::Notified<'_> {
        match until {
            Until::Ended => self.topic.ended.notified(),
            Until::Changed => self.topic.changed.notified(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let hub = &self.engine.hub;
        let mut topics = hub.topics();
        hub.readers.fetch_sub(1, Ordering::SeqCst);
        if self.topic.readers.fetch_sub(1, Ordering::Relaxed) == 1 {
            topics.remove(&self.id);
        }
    }
}

/// Passes the store's hints on, as long as somebody waits for them.
fn listen(engine: &Arc<Engine>) {
    if engine.hub.listening.swap(true, Ordering::SeqCst) {
        return;
    }
    let mut changes = engine.store.changes();
    // Who has come since somebody listened last has looked, perhaps, before a change of which nobody here was told.
    engine.hub.all();
    let (listening, gone) = (Listening(Arc::downgrade(engine)), engine.hub.gone.clone());
    tokio::spawn(async move {
        let mut gone = pin!(gone.notified());
        loop {
            let mut next = changes.next();
            let change = poll_fn(|cx| match gone.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => next.as_mut().poll(cx).map(Some),
            });
            let (Some(change), Some(engine)) = (change.await, listening.0.upgrade()) else {
                return;
            };
            drop(next);
            match change {
                Change::Operation(id) => engine.hub.ended(id),
                Change::Claimable => {}
                Change::Resync => engine.hub.all(),
            }
            if engine.hub.readers() == 0 {
                drop(listening);
                // Whoever came in between may have found it listening still.
                if engine.hub.readers() > 0 {
                    listen(&engine);
                }
                return;
            }
        }
    });
}

/// Says that nobody listens any more when the task goes, be it with its runtime.
struct Listening(Weak<Engine>);

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.hub.listening.store(false, Ordering::SeqCst);
        }
    }
}
