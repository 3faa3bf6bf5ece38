use super::{Engine, Heartbeat, audience::Audience, duty::Duty};
use crate::{record::OperationId, store::Change, sync::lock};
use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};
use tokio::sync::Notify;

/// Wakes whoever waits for an operation to change, whether it changes here or elsewhere.
#[derive(Default)]
pub(crate) struct Hub {
    topics: Mutex<HashMap<OperationId, Arc<Topic>>>,
    /// All readers, so that nothing is locked while nobody waits.
    readers: Audience,
    listening: Duty,
    /// Told when there may be nothing left to listen for, be it that the engine goes.
    enough: Arc<Notify>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.enough.notify_one();
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
    /// There may be nothing left to listen for.
    pub(super) fn enough(&self) {
        self.enough.notify_one();
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Topic>>> {
        lock(&self.topics)
    }

    pub(crate) fn readers(&self) -> usize {
        self.readers.count()
    }

    fn topic(&self, id: OperationId) -> Option<Arc<Topic>> {
        // The record is written before this, and read by who waits after it has joined.
        if self.readers.is_there() {
            self.topics().get(&id).cloned()
        } else {
            None
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

    /// What one task did for all who wait is done no longer: they are to look again, and one of them takes it on. Not if it
    /// went by a panic of the store's, which would come again at once.
    pub(super) fn left(&self) {
        if !std::thread::panicking() {
            self.all();
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
        let mut topics = hub.topics();
        let here = topics
            .get(&id)
            .map_or(0, |topic| topic.readers.load(Ordering::Relaxed));
        if hub.readers() >= in_all || here >= per_operation {
            return None;
        }
        let topic = topics.entry(id).or_default();
        topic.readers.fetch_add(1, Ordering::Relaxed);
        hub.readers.join();
        Some(Self {
            engine: engine.clone(),
            id,
            topic: topic.clone(),
        })
    }

    /// Resolves at the next change that comes after the future was made.
    pub(crate) fn news(&self, until: Until) -> tokio::sync::futures::Notified<'_> {
        // Who listened may have gone with another runtime.
        listen(&self.engine);
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
        hub.readers.leave();
        if self.topic.readers.fetch_sub(1, Ordering::Relaxed) == 1 {
            topics.remove(&self.id);
        }
    }
}

/// Whether anybody needs the store's hints: who waits, and what runs here and may be ended elsewhere.
fn is_wanted(engine: &Engine) -> bool {
    let beats = engine.heartbeat.as_ref().is_some_and(Heartbeat::beats);
    beats || engine.hub.readers.is_there()
}

/// Passes the store's hints on, as long as anybody needs them.
pub(super) fn listen(engine: &Arc<Engine>) {
    if !engine.hub.listening.take() {
        return;
    }
    let listening = Listening(Arc::downgrade(engine));
    let mut changes = engine.store.changes();
    // Who has come since somebody listened last has looked, perhaps, before a change of which nobody here was told.
    engine.hub.all();
    let enough = engine.hub.enough.clone();
    tokio::spawn(async move {
        loop {
            let change = {
                let (mut next, mut enough) = (changes.next(), pin!(enough.notified()));
                let change = poll_fn(|cx| match enough.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => next.as_mut().poll(cx).map(Some),
                });
                change.await
            };
            let Some(engine) = listening.0.upgrade() else {
                return;
            };
            match change {
                Some(Change::Operation(id)) => engine.hub.ended(id),
                Some(Change::Resync) => engine.hub.all(),
                Some(Change::Claimable) | None => {}
            }
            if let (Some(heartbeat), Some(change)) = (&engine.heartbeat, change) {
                heartbeat.hear(change);
            }
            if !is_wanted(&engine) {
                drop(listening);
                // Whoever came in between may have found it listening still.
                if is_wanted(&engine) {
                    listen(&engine);
                }
                return;
            }
        }
    });
}

/// Says that nobody listens any more when the task goes, be it with its runtime. Whoever waits elsewhere goes on with it.
struct Listening(Weak<Engine>);

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.hub.listening.give_up();
            engine.hub.left();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operations;

    #[tokio::test]
    async fn nothing_is_kept_of_an_operation_that_nobody_waits_for_any_more() {
        let operations = Operations::builder().build().unwrap();
        let engine = &operations.engine;
        let id = OperationId::random();
        let [first, second] = [(); 2].map(|()| Reader::join(engine, id).unwrap());
        drop(first);
        assert_eq!(engine.hub.topics().len(), 1);
        drop(second);
        assert!(engine.hub.topics().is_empty());
    }
}
