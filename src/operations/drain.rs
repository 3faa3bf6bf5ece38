use super::{Operations, Signal};
use std::{sync::atomic::Ordering, time::Duration};

/// What came of a [drain](Operations::drain).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Operations that ended by themselves while there was time, and requests whose reading did.
    pub finished: u64,
    /// Operations that were ended as interrupted.
    pub interrupted: u64,
    /// Ended operations in the store whose result nobody has read: lost with the process if the store is in memory.
    pub unread: u64,
}

/// Time that tasks get, after the deadline, to give up what they hold.
const WIND_UP: Duration = Duration::from_millis(500);

impl Operations {
    /// Prepares the end of the process: refuses new work (503 `draining`), answers every waiting reader with the present
    /// state, gives running work the time of `deadline`, ends the rest as interrupted. Returns when nothing is left, and
    /// half a second after the deadline at the latest, even if a handler blocks its thread. What was
    /// [detached](crate::OperationHandle::detach) and is to be completed from elsewhere is not waited for.
    ///
    /// The status service goes on answering: stop the server after this, not before, as the
    /// [guide](crate#shutdown) shows. There is no way back. Called again, it waits again, and tells what is unread by then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves new work refused, and what runs running.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let engine = &self.engine;
        engine.draining.store(true, Ordering::SeqCst);
        engine.hub.all();
        let before = engine.places.taken();
        let in_time = tokio::time::timeout(deadline, self.idle()).await.is_ok();
        let mut interrupted = 0;
        if !in_time {
            let left = engine.live.all();
            interrupted = left.iter().filter(|live| !live.is_detached()).count() as u64;
            for live in &left {
                live.raise(Signal::Interrupt);
            }
            if tokio::time::timeout(WIND_UP, self.idle()).await.is_err() {
                // Their threads are blocked: nobody else can end them.
                for live in engine.live.all() {
                    live.abandon();
                }
            }
        }
        let finished = before.saturating_sub(interrupted);
        Drained {
            finished,
            interrupted,
            unread: engine.store.usage().unread,
        }
    }

    /// Waits until nothing runs and nothing waits to run.
    async fn idle(&self) {
        loop {
            let idle = self.engine.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.engine.places.taken() == 0 {
                return;
            }
            idle.await;
        }
    }
}
