use super::{Engine, Operations, Signal};
use crate::{
    record::{Record, Stop},
    sync::lock,
};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// What came of a [drain](Operations::drain).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Operations that ended in time: by themselves, by a limit, or by a cancel. Not those that were
    /// [detached](crate::OperationHandle::detach) and are to end elsewhere.
    pub finished: u64,
    /// Operations that did not end in time and were given back, for another process to run: those that had not begun, or
    /// have [attempts](crate::DeferLayer::attempts) left. There are none where the store keeps no requests.
    pub handed_back: u64,
    /// Operations that did not end in time and were ended as interrupted, or of which the store could not be told.
    pub interrupted: u64,
    /// Ended operations in the store whose result nobody has read: lost with the process if the store is in memory.
    pub unread: u64,
}

/// Whether the end of the process is being prepared, and what has to be known for it.
#[derive(Debug, Default)]
pub(super) struct Drain {
    is_on: AtomicBool,
    /// When the last one began, and how long it takes at most.
    time: Mutex<Option<(Instant, Duration)>>,
    /// Operations that were ended as interrupted.
    interrupted: AtomicU64,
    /// Operations that were given back for others to run.
    handed_back: AtomicU64,
    /// Operations that were detached, had not ended, and whose tasks are over.
    left_detached: AtomicU64,
    /// Told when it begins.
    begun: Notify,
    /// Told when nothing is pending any more.
    idle: Notify,
}

impl Drain {
    /// How many operations were interrupted, handed back, and left to others, ever.
    fn tally(&self) -> [u64; 3] {
        [&self.interrupted, &self.handed_back, &self.left_detached]
            .map(|count| count.load(Ordering::SeqCst))
    }

    /// Takes so long at most from now. Of several drains, the one that ends last counts.
    fn last_for(&self, time: Duration) {
        let mut last = lock(&self.time);
        if left(*last) < time {
            *last = Some((Instant::now(), time));
        }
    }

    /// Time until it is over.
    fn left(&self) -> Duration {
        left(*lock(&self.time))
    }
}

/// Time that tasks get, after the deadline, to give up what they hold.
const WIND_UP: Duration = Duration::from_millis(500);

impl Operations {
    /// Prepares the end of the process: refuses new work (503 `draining`), answers every waiting reader with the present
    /// state, and gives running work until `deadline` to end. What has not ended by then is given back for others to run
    /// where possible, and ends as interrupted otherwise.
    ///
    /// Returns when nothing is left, half a second after the deadline at the latest, even if a handler blocks its thread.
    /// It does not wait for operations that were [detached](crate::OperationHandle::detach), once their handlers have
    /// returned, nor for requests that are being read: these are refused when they have arrived.
    ///
    /// The status service goes on answering: stop the server after this, not before, as the
    /// [guide](crate#shutdown) shows. A drain can't be undone. Called again, it waits again, and tells what is unread by then.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves new work refused, and what runs running.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let engine = &self.engine;
        engine.drain.last_for(deadline.saturating_add(WIND_UP));
        let before = engine.drain.tally();
        engine.drain.is_on.store(true, Ordering::SeqCst);
        engine.drain.begun.notify_waiters();
        let pending = engine.places.close();
        engine.hub.all();
        let mut unreachable = 0;
        let in_time = tokio::time::timeout(deadline, self.idle()).await.is_ok();
        if !in_time && !self.interrupt().await {
            // Their threads are blocked, or have their grace: nobody else can end them.
            for live in engine.live.all() {
                unreachable += u64::from(!live.end_orphaned(Stop::Interrupted));
            }
        }
        let after = engine.drain.tally();
        let [interrupted, handed_back, detached] = [0, 1, 2].map(|of| after[of] - before[of]);
        let interrupted = interrupted + unreachable;
        Drained {
            finished: pending.saturating_sub(interrupted + handed_back + detached),
            handed_back,
            interrupted,
            unread: engine.store.usage().unread,
        }
    }

    /// Has everything given back, or end as interrupted. Whether it has, after a while.
    async fn interrupt(&self) -> bool {
        // More than once: what was accepted just before the drain may not have been there yet.
        for _ in 0..10 {
            for live in self.engine.live.all() {
                live.raise(Signal::Interrupt);
            }
            if tokio::time::timeout(WIND_UP / 10, self.idle())
                .await
                .is_ok()
            {
                return true;
            }
        }
        false
    }

    /// Waits until nothing runs and nothing waits to run.
    async fn idle(&self) {
        loop {
            let idle = self.engine.drain.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.engine.places.are_empty() {
                return;
            }
            idle.await;
        }
    }
}

impl Engine {
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_on.load(Ordering::SeqCst)
    }

    /// Waits until a drain begins.
    pub(crate) async fn draining(&self) {
        let begun = self.drain.begun.notified();
        tokio::pin!(begun);
        begun.as_mut().enable();
        if !self.is_draining() {
            begun.await;
        }
    }

    /// Work was interrupted, kept or not.
    pub(crate) fn interrupted(&self) {
        self.drain.interrupted.fetch_add(1, Ordering::SeqCst);
    }

    /// An operation was given back for others to run.
    pub(crate) fn handed_back(&self, record: &Record) {
        self.drain.handed_back.fetch_add(1, Ordering::SeqCst);
        self.hub.changed(record.id);
    }

    /// The task is over of an operation that was detached and has not ended.
    pub(super) fn left_detached(&self) {
        self.drain.left_detached.fetch_add(1, Ordering::SeqCst);
    }

    /// There may be nothing left to wait for. A drain says that it is one before it looks, so that one sees the other.
    pub(super) fn tell_drains(&self) {
        if self.is_draining() {
            self.drain.idle.notify_waiters();
        }
    }

    /// Time until a drain is over, that to wind up included.
    pub(crate) fn drain_left(&self) -> Duration {
        self.drain.left()
    }
}

/// What is left of a drain that began then, and takes so long at most.
fn left(drain: Option<(Instant, Duration)>) -> Duration {
    drain.map_or(Duration::ZERO, |(began, time)| {
        time.saturating_sub(began.elapsed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Barrier, thread};

    #[test]
    fn of_two_drains_that_begin_at_once_the_longer_counts() {
        let (short, long) = (Duration::from_secs(10), Duration::from_secs(3600));
        for _ in 0..5_000 {
            let (drain, start) = (Drain::default(), Barrier::new(2));
            thread::scope(|scope| {
                for time in [short, long] {
                    let (drain, start) = (&drain, &start);
                    scope.spawn(move || {
                        start.wait();
                        drain.last_for(time);
                    });
                }
            });
            assert!(drain.left() > short);
        }
    }
}
