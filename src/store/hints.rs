use super::{Change, Changes};
use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// Hints that a subscriber may be behind before it is told to read everything again.
const QUEUE: usize = 1024;

/// Tells subscribers what changed. Costs one load while there are none.
#[derive(Debug, Default)]
pub(in crate::store) struct Hints(Arc<Hub>);

#[derive(Debug, Default)]
struct Hub {
    subscribers: AtomicUsize,
    /// Its queue is only made for the first subscriber.
    sender: OnceLock<Sender<Change>>,
}

impl Hints {
    /// Wakes tasks, so that it must not be called under a lock.
    pub(in crate::store) fn send(&self, change: Change) {
        // Relaxed is enough: who subscribes and then reads either comes to the record's lock after the change, and
        // reads it, or before it, and then the lock has carried the count here.
        if self.0.subscribers.load(Ordering::Relaxed) != 0
            && let Some(sender) = self.0.sender.get()
        {
            let _ = sender.send(change);
        }
    }

    #[cfg(feature = "sqlite")]
    pub(in crate::store) fn has_subscribers(&self) -> bool {
        self.0.subscribers.load(Ordering::Relaxed) != 0
    }

    pub(in crate::store) fn subscribe(&self) -> Subscription {
        let receiver = self.0.sender.get_or_init(|| Sender::new(QUEUE)).subscribe();
        self.0.subscribers.fetch_add(1, Ordering::Relaxed);
        Subscription {
            receiver,
            hub: self.0.clone(),
        }
    }
}

#[derive(Debug)]
pub(in crate::store) struct Subscription {
    receiver: Receiver<Change>,
    hub: Arc<Hub>,
}

impl Changes for Subscription {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(async {
            match self.receiver.recv().await {
                Ok(change) => change,
                Err(RecvError::Lagged(_)) => Change::Resync,
                // Not while this subscription keeps the hub.
                Err(RecvError::Closed) => pending().await,
            }
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_not_told() {
        let hints = Hints::default();
        let [first, second] = [(); 2].map(|()| hints.subscribe());
        drop(first);
        assert!(hints.has_subscribers());
        drop(second);
        assert!(!hints.has_subscribers());
    }
}
