use super::Engine;
use std::{
    num::NonZeroU32,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Lets go of what is due. Sleeps until something is: costs nothing while nothing expires, whatever is stored.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    awake: AtomicBool,
    /// Milliseconds on the engine's clock at which the next round is planned.
    planned: AtomicU64,
    sooner: Arc<Notify>,
}

/// Things done in one go, before other tasks get their turn.
const BATCH: NonZeroU32 = const { NonZeroU32::new(64).unwrap() };

/// Rounds are at least so far apart, so that a steady trickle is swept together. What is due is gone for readers at
/// once, swept or not.
const GAP: Duration = Duration::from_millis(250);

/// Rounds are at most so far apart, so that nobody need look at the clock for what is due later.
const LONGEST: Duration = Duration::from_secs(60);

impl Sweeper {
    /// Something will be due after `delay`.
    pub(crate) fn due(engine: &Arc<Engine>, delay: Duration) {
        let sweeper = &engine.sweeper;
        if delay >= LONGEST && sweeper.awake.load(Ordering::Acquire) {
            return;
        }
        let at = millis(engine.clock.elapsed().saturating_add(delay));
        if sweeper.awake.load(Ordering::Acquire) {
            if at < sweeper.planned.load(Ordering::Relaxed) {
                sweeper.planned.fetch_min(at, Ordering::Relaxed);
                sweeper.sooner.notify_one();
            }
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !sweeper.awake.swap(true, Ordering::AcqRel)
        {
            sweeper.planned.store(at, Ordering::Relaxed);
            let awake = Awake(Arc::downgrade(engine));
            let first = delay.min(LONGEST);
            runtime.spawn(sweep(awake, sweeper.sooner.clone(), first));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Says that the task has gone, be it with its runtime.
struct Awake(Weak<Engine>);

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.sweeper.awake.store(false, Ordering::Release);
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // The engine goes: so does the task that sleeps on its behalf.
        self.sooner.notify_one();
    }
}

async fn sweep(awake: Awake, sooner: Arc<Notify>, first: Duration) {
    let mut sleep = first;
    loop {
        let sooner = tokio::time::timeout(sleep.max(GAP), sooner.notified()).await;
        let Some(engine) = awake.0.upgrade() else {
            return;
        };
        if sooner.is_ok() {
            let at = Duration::from_millis(engine.sweeper.planned.load(Ordering::Relaxed));
            sleep = at.saturating_sub(engine.clock.elapsed());
            continue;
        }
        sleep = loop {
            // An error is a store that can't be reached: it is tried again a little later.
            let swept = engine.store.sweep(BATCH).await.unwrap_or_default();
            for record in &swept.ended {
                engine.ended_from_outside(record);
            }
            if swept.done < BATCH.get() {
                break swept.next.map_or(LONGEST, |next| next.min(LONGEST));
            }
            tokio::task::yield_now().await;
        };
        let at = millis(engine.clock.elapsed().saturating_add(sleep));
        engine.sweeper.planned.store(at, Ordering::Relaxed);
    }
}
