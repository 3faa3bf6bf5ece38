use super::{Engine, Live, Signal, Sweeper, hub};
use crate::{
    record::{OperationId, Revision},
    store::{Change, Claim, Held, Lookup},
    sync::lock,
    trace,
};
use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};
use tokio::{
    runtime::{Handle, Id},
    time::Instant,
};

/// Renews the claims of this process, all in one round trip, and hears which of them are void.
///
/// Only there where claims lapse. It beats three times in a lease, so that one beat may fail. In between, what has been seen
/// of an operation is told within a second; and of one that the store hints at, as when it was cancelled elsewhere, it is
/// asked within a second whether its claim is void. So it is of what was detached here, whether it has ended.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    lease: Duration,
    held: Mutex<Claims>,
}

#[derive(Debug, Default)]
struct Claims {
    by_operation: HashMap<OperationId, Beat>,
    /// What was detached here, and has not ended as far as is known.
    detached: HashMap<OperationId, Detached>,
    /// Whether there is a task that sees to them.
    beating: bool,
    /// When they were all renewed last, or there were none.
    renewed: Option<Instant>,
}

impl Claims {
    fn let_go(&mut self, live: &Live) {
        // Another claim of the same operation may have taken its place.
        let mine = |beat: &Beat| std::ptr::eq(&*beat.live, live);
        if self.by_operation.get(&live.id()).is_some_and(mine) {
            self.by_operation.remove(&live.id());
        }
    }

    /// A runtime in which something goes on that is to be seen to.
    fn runtime(&self, is_it: impl Fn(&Handle) -> bool) -> Option<Handle> {
        let running = self.by_operation.values().map(|beat| &beat.runtime);
        let detached = self.detached.values().map(|detached| &detached.runtime);
        running
            .chain(detached)
            .find(|runtime| is_it(runtime))
            .cloned()
    }
}

#[derive(Debug)]
struct Beat {
    token: u64,
    live: Arc<Live>,
    /// What the store knows.
    told: Revision,
    /// The store has hinted at it.
    in_doubt: bool,
    /// Where it runs.
    runtime: Handle,
}

#[derive(Debug)]
struct Detached {
    live: Arc<Live>,
    /// How often the store has hinted at it, and how often it had when it was last asked.
    hints: u64,
    asked: u64,
    runtime: Handle,
}

impl Detached {
    fn is_over(&self) -> bool {
        matches!(self.live.signal(), Some(Signal::Ended | Signal::Over))
    }
}

/// What has been seen is told no more often than this.
const NEWS: Duration = Duration::from_secs(1);

impl Heartbeat {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            held: Mutex::default(),
        }
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Whether the claims of this process should have been renewed a good while ago.
    pub(super) fn is_late(&self) -> bool {
        let claims = self.claims();
        let late = |renewed: Instant| renewed.elapsed() > self.lease / 2;
        !claims.by_operation.is_empty() && claims.renewed.is_some_and(late)
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        lock(&self.held)
    }

    /// Renews a claim from now on.
    pub(crate) fn keep(engine: &Arc<Engine>, claim: &Claim, live: &Arc<Live>) {
        let Some(heartbeat) = &engine.heartbeat else {
            return;
        };
        Sweeper::due(engine, heartbeat.lease);
        // There is one: the operation's task is about to be spawned, or is this one.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let beat = Beat {
            token: claim.token(),
            told: live.sighting().revision,
            live: live.clone(),
            in_doubt: false,
            runtime: runtime.clone(),
        };
        let mut claims = heartbeat.claims();
        let known = claims.by_operation.get(&claim.id());
        // Two claims of one operation: the earlier has lapsed, and nobody need ask the store to know.
        let void = if known.is_some_and(|known| known.live.attempt() > live.attempt()) {
            Some(beat)
        } else {
            claims.by_operation.insert(claim.id(), beat)
        };
        heartbeat.ensure(claims, engine, &runtime);
        if let Some(void) = void {
            void.live.raise(Signal::Ended);
        }
    }

    /// Has somebody see to the claims.
    fn ensure(&self, mut claims: MutexGuard<'_, Claims>, engine: &Arc<Engine>, runtime: &Handle) {
        let begins = !mem::replace(&mut claims.beating, true);
        if begins {
            claims.renewed = Some(Instant::now());
        }
        drop(claims);
        if begins {
            self.begin(engine, runtime, Vec::new());
            hub::listen(engine);
        }
    }

    /// It was said already that somebody sees to the claims.
    fn begin(&self, engine: &Arc<Engine>, runtime: &Handle, mut gone: Vec<Id>) {
        gone.push(runtime.id());
        let beating = Beating {
            engine: Arc::downgrade(engine),
            runtimes: gone,
            over: false,
        };
        runtime.spawn(renew(beating, self.lease / 3));
    }

    /// The claim was given up, and the end comes from elsewhere: looks out for it.
    pub(crate) fn hand_over(engine: &Arc<Engine>, live: &Arc<Live>) {
        if let Some(heartbeat) = &engine.heartbeat
            && let Ok(runtime) = Handle::try_current()
        {
            let mut claims = heartbeat.claims();
            claims.let_go(live);
            let detached = Detached {
                live: live.clone(),
                // What came while it was being given up was hinted at before.
                hints: 1,
                asked: 0,
                runtime: runtime.clone(),
            };
            claims.detached.insert(live.id(), detached);
            heartbeat.ensure(claims, engine, &runtime);
        }
    }

    /// Whether there are claims to see to.
    pub(super) fn beats(&self) -> bool {
        self.claims().beating
    }

    /// The store hints at a change. It may be one's own, which is no reason to ask at once.
    pub(super) fn hear(&self, change: Change) {
        let mut claims = self.claims();
        match change {
            Change::Operation(id) => {
                if let Some(beat) = claims.by_operation.get_mut(&id) {
                    beat.in_doubt = true;
                }
                if let Some(detached) = claims.detached.get_mut(&id) {
                    detached.hints += 1;
                }
            }
            Change::Resync => {
                for beat in claims.by_operation.values_mut() {
                    beat.in_doubt = true;
                }
                for detached in claims.detached.values_mut() {
                    detached.hints += 1;
                }
            }
            Change::Claimable => {}
        }
    }

    /// Renews it no longer.
    pub(crate) fn let_go(engine: &Engine, live: &Live) {
        let Some(heartbeat) = &engine.heartbeat else {
            return;
        };
        heartbeat.claims().let_go(live);
    }

    /// The operation was let go of, which is no reason to stop what runs of it here: hears of it no longer.
    pub(super) fn forsake(engine: &Engine, live: &Live) {
        let Some(heartbeat) = &engine.heartbeat else {
            return;
        };
        let mut claims = heartbeat.claims();
        claims.let_go(live);
        let mine = |detached: &Detached| std::ptr::eq(&*detached.live, live);
        if claims.detached.get(&live.id()).is_some_and(mine) {
            claims.detached.remove(&live.id());
        }
    }

    /// What to tell the store: of everything, or of what has changed, be it here or there. `None` when there is nothing left
    /// to see to.
    fn news(&self, everything: bool) -> Option<Vec<Held>> {
        let mut claims = self.claims();
        claims.detached.retain(|_, detached| !detached.is_over());
        if claims.by_operation.is_empty() && claims.detached.is_empty() {
            claims.beating = false;
            claims.by_operation = HashMap::new();
            claims.detached = HashMap::new();
            return None;
        }
        let held = claims.by_operation.iter_mut().filter_map(|(id, beat)| {
            let sighting = beat.live.sighting();
            let is_new = sighting.revision > beat.told;
            let in_doubt = mem::take(&mut beat.in_doubt);
            (everything || is_new || in_doubt).then(|| Held {
                id: *id,
                token: beat.token,
                sighting: is_new.then_some(sighting),
            })
        });
        Some(held.collect())
    }

    /// What was detached and may have ended elsewhere, with how often the store has hinted at it.
    fn doubtful(&self) -> Vec<(OperationId, u64)> {
        let claims = self.claims();
        let detached = claims.detached.iter().map(|(id, it)| (*id, it));
        let doubtful = detached.filter(|(_, it)| it.asked < it.hints);
        doubtful.map(|(id, it)| (id, it.hints)).collect()
    }

    fn asked(&self, id: OperationId, hints: u64) {
        if let Some(detached) = self.claims().detached.get_mut(&id) {
            detached.asked = hints;
        }
    }

    /// The store has heard it. Gives what runs here by claims that are void.
    fn heard(
        &self,
        held: Vec<Held>,
        void: &[OperationId],
        renewed: Option<Instant>,
    ) -> Vec<Arc<Live>> {
        let mut claims = self.claims();
        claims.renewed = claims.renewed.max(renewed);
        let mut lost = Vec::new();
        for Held {
            id,
            token,
            sighting,
        } in held
        {
            let Some(beat) = claims
                .by_operation
                .get_mut(&id)
                .filter(|beat| beat.token == token)
            else {
                continue;
            };
            if let Some(sighting) = sighting {
                beat.told = sighting.revision;
            }
            if void.contains(&id) {
                lost.extend(claims.by_operation.remove(&id).map(|beat| beat.live));
            }
        }
        lost
    }
}

/// Says that nobody sees to the claims any more when the task goes. If it goes with its runtime, or by a panic of the
/// store's, another goes on where something runs that has a claim.
struct Beating {
    engine: Weak<Engine>,
    /// The last is that of the task, and those before it are gone.
    runtimes: Vec<Id>,
    /// It has been said already, and another task may have begun.
    over: bool,
}

impl Drop for Beating {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade()
            && let Some(heartbeat) = &engine.heartbeat
        {
            if !self.over {
                let gone = match std::thread::panicking() {
                    true => Vec::new(),
                    false => mem::take(&mut self.runtimes),
                };
                let mut claims = heartbeat.claims();
                let other = claims.runtime(|other| !gone.contains(&other.id()));
                claims.beating = other.is_some();
                drop(claims);
                if let Some(other) = other {
                    heartbeat.begin(&engine, &other, gone);
                }
            }
            engine.hub.enough();
        }
    }
}

async fn renew(mut beating: Beating, interval: Duration) {
    let news = NEWS.min(interval);
    let mut due = Instant::now() + interval;
    loop {
        tokio::time::sleep_until(due.min(Instant::now() + news)).await;
        let Some(engine) = beating.engine.upgrade() else {
            return;
        };
        let Some(heartbeat) = &engine.heartbeat else {
            return;
        };
        // Who saw to these may be gone with another runtime.
        Sweeper::revive(&engine);
        hub::listen(&engine);
        let began = Instant::now();
        let everything = began >= due;
        let Some(held) = heartbeat.news(everything) else {
            beating.over = true;
            return;
        };
        let renewing = async {
            match held.is_empty() {
                true => Ok(Vec::new()),
                false => engine.store.renew(&held).await,
            }
        };
        // What is not answered in time is asked again.
        match tokio::time::timeout(interval, renewing).await {
            Ok(Ok(void)) => {
                for live in heartbeat.heard(held, &void, everything.then_some(began)) {
                    // It has been ended, or is run by another: nothing is left to write.
                    live.raise(Signal::Ended);
                    engine.hub.ended(live.id());
                }
                if everything {
                    due = began + interval;
                }
            }
            Ok(Err(error)) => {
                trace::store_failed("renew", &error);
                due = due.max(Instant::now() + news);
            }
            Err(_) => {}
        }
        // Claims must not wait for it.
        let _ = tokio::time::timeout(news, look_out(&engine, heartbeat)).await;
    }
}

/// Has what was detached here know if it has ended elsewhere.
async fn look_out(engine: &Engine, heartbeat: &Heartbeat) {
    for (id, hints) in heartbeat.doubtful() {
        match engine.store.find(id).await {
            Ok(Lookup::Found(record)) if !record.phase().is_ended() => {}
            Ok(_) => {
                engine.live.end(id);
                engine.hub.ended(id);
            }
            Err(error) => {
                trace::store_failed("find", &error);
                return;
            }
        }
        heartbeat.asked(id, hints);
    }
}
