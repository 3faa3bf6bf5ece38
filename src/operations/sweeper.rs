use super::{Engine, Heartbeat, duty::Duty, plan::Plan};
use crate::trace;
use std::{
    num::NonZeroU32,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify};

/// Lets go of what is due. Sleeps until something is: costs nothing while nothing expires, whatever is stored.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    awake: Duty,
    /// The task has gone with its runtime, and with it what was planned.
    lost: AtomicBool,
    /// In milliseconds on the engine's clock.
    plan: Plan,
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
        if delay >= LONGEST && sweeper.awake.is_taken() {
            return;
        }
        let at = millis(engine.clock.elapsed().saturating_add(delay));
        if sweeper.awake.is_taken() {
            sweeper.plan_for(at);
        } else if let Ok(runtime) = Handle::try_current() {
            if sweeper.lost.swap(false, Ordering::Relaxed) {
                sweeper.plan_for(0);
            }
            // Told before the task is there, lest somebody who finds it awake be told of no plan.
            sweeper.plan_for(at);
            if sweeper.awake.take() {
                let awake = Awake(Arc::downgrade(engine));
                runtime.spawn(sweep(awake, sweeper.sooner.clone()));
            }
        }
    }

    /// Something may be due by what others did, or no longer do.
    pub(crate) fn wake(engine: &Arc<Engine>) {
        Self::due(engine, LONGEST);
    }

    /// Somebody looks at what may be due: goes on with it here, if the runtime in which it was seen to is gone.
    pub(crate) fn revive(engine: &Arc<Engine>) {
        if engine.sweeper.lost.load(Ordering::Relaxed) {
            Self::due(engine, Duration::ZERO);
        }
    }

    fn plan_for(&self, at: u64) {
        if self.plan.due(at) {
            self.sooner.notify_one();
        }
    }

    /// How long to sleep until the next round.
    fn rest(&self, now: Duration) -> Duration {
        let at = Duration::from_millis(self.plan.at());
        at.saturating_sub(now).clamp(GAP, LONGEST)
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
            engine.sweeper.plan.take_back();
            engine.sweeper.awake.give_up();
            engine.sweeper.lost.store(true, Ordering::Relaxed);
            engine.hub.left();
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // The engine goes: so does the task that sleeps on its behalf.
        self.sooner.notify_one();
    }
}

/// How often a process looks that may have to judge who is dead. What another no longer renews is noticed within half a
/// lease of its lapse.
fn look_every(lease: Duration) -> Duration {
    (lease / 4).clamp(GAP, LONGEST)
}

/// Notices that this process stood still.
///
/// Perhaps the whole machine did, and nobody renewed anything: who is first to wake up must not take the others for dead.
/// They are given a lease to show that they live.
struct Watch {
    looked: Duration,
    /// Nobody is judged before.
    from: Duration,
}

impl Watch {
    fn begin(engine: &Engine) -> Self {
        Self {
            looked: engine.clock.elapsed(),
            from: Duration::ZERO,
        }
    }

    /// Whether the claims that the store takes for lapsed may be seen to.
    fn may_judge(&mut self, engine: &Engine) -> bool {
        let Some(heartbeat) = &engine.heartbeat else {
            return true;
        };
        let (now, lease) = (engine.clock.elapsed(), heartbeat.lease());
        if now.saturating_sub(self.looked) > 2 * look_every(lease) {
            self.from = now.saturating_add(lease);
        }
        self.looked = now;
        // Its own claims have lapsed, perhaps, because the store could not be reached.
        now >= self.from && !heartbeat.is_late()
    }
}

async fn sweep(awake: Awake, sooner: Arc<Notify>) {
    let Some(mut watch) = awake.0.upgrade().map(|engine| Watch::begin(&engine)) else {
        return;
    };
    loop {
        let rest = match awake.0.upgrade() {
            Some(engine) => {
                let rest = engine.sweeper.rest(engine.clock.elapsed());
                let lease = engine.heartbeat.as_ref().map(Heartbeat::lease);
                rest.min(lease.map_or(LONGEST, look_every))
            }
            None => return,
        };
        let is_told = tokio::time::timeout(rest, sooner.notified()).await.is_ok();
        let Some(engine) = awake.0.upgrade() else {
            return;
        };
        let may_judge = watch.may_judge(&engine);
        if is_told {
            continue;
        }
        if !may_judge {
            let now = millis(engine.clock.elapsed());
            engine.sweeper.plan.next(now);
            continue;
        }
        engine.sweeper.plan.take_back();
        let next = loop {
            let swept = match engine.store.sweep(BATCH).await {
                Ok(swept) => swept,
                Err(error) => {
                    trace::store_failed("sweep", &error);
                    break LONGEST;
                }
            };
            for record in &swept.ended {
                trace::swept(record);
                engine.ended_from_outside(record);
            }
            if swept.done < BATCH.get() {
                break swept.next.map_or(LONGEST, |next| next.min(LONGEST));
            }
            tokio::task::yield_now().await;
            if !watch.may_judge(&engine) {
                break Duration::ZERO;
            }
        };
        let at = millis(engine.clock.elapsed().saturating_add(next));
        engine.sweeper.plan.next(at);
    }
}
