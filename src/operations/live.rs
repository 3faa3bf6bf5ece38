use super::{Engine, Heartbeat};
use crate::{
    record::{Ending, OperationId, Record, Report, Sighting, Stop, Timestamp},
    store::Settled,
    sync::lock,
    trace,
};
use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Context, Waker},
};
use tokio::sync::Notify;

/// What this process knows of an operation that it runs, shared by the task that runs it, the handler's handle, and
/// whoever polls or cancels it here.
pub(crate) struct Live {
    id: OperationId,
    /// Weak, so that a handle that is kept for ever keeps nothing else.
    engine: Weak<Engine>,
    state: Mutex<State>,
    /// Wakes whoever waits in the handle: for a cancel, or for a detach to be done.
    changed: Notify,
}

struct State {
    sighting: Sighting,
    /// Here, where it takes no room: each pending operation has one of these.
    attempt: u16,
    signal: Option<Signal>,
    detach: Detach,
    /// It was detached, and its task is over or can't be reached.
    left: bool,
    /// The operation was let go of: no end is to come.
    gone: bool,
    /// Of the task that runs the operation.
    waker: Option<Waker>,
}

impl State {
    /// Whether this is the first to say so, of what has not ended as far as is known here.
    fn leave(&mut self) -> bool {
        !mem::replace(&mut self.left, true) && self.signal != Some(Signal::Ended)
    }
}

/// Why the handler is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The operation has been ended by somebody else: nothing is left to write.
    Ended,
    /// The server shuts down: the operation is to be ended as interrupted.
    Interrupt,
    /// The task is over. Nobody need be told.
    Over,
}

/// How far the handler is with handing its end over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detach {
    No,
    Asked,
    Done,
    Refused,
}

impl Live {
    pub(crate) fn new(record: &Record, engine: &Arc<Engine>) -> Self {
        let sighting = Sighting {
            revision: record.revision,
            at: record.updated,
            started: None,
            report: record.report.clone(),
        };
        Self {
            id: record.id,
            engine: Arc::downgrade(engine),
            state: Mutex::new(State {
                sighting,
                attempt: record.attempt,
                signal: None,
                detach: Detach::No,
                left: false,
                gone: false,
                waker: None,
            }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn id(&self) -> OperationId {
        self.id
    }

    pub(crate) fn attempt(&self) -> u16 {
        self.state().attempt
    }

    /// While there is one: for as long as an operation has its place, there is.
    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.upgrade()
    }

    pub(crate) fn sighting(&self) -> Sighting {
        self.state().sighting.clone()
    }

    /// The same, if this is that attempt.
    pub(crate) fn sighting_of(&self, attempt: u16) -> Option<Sighting> {
        let state = self.state();
        (state.attempt == attempt).then(|| state.sighting.clone())
    }

    pub(crate) fn signal(&self) -> Option<Signal> {
        self.state().signal
    }

    /// Tells the task and the handler to stop; the first signal stands.
    pub(crate) fn raise(&self, signal: Signal) {
        let waker = {
            let mut state = self.state();
            if state.signal.is_some() {
                return;
            }
            state.signal = Some(signal);
            state.waker.take()
        };
        self.changed.notify_waiters();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The inner service is called now, and it is noted when it was first. `false` if it must not be: the operation was
    /// told to stop before.
    pub(crate) fn start(&self, engine: &Engine) -> bool {
        let first = self.note(engine, |state, now| {
            let first = state.sighting.started.is_none() && state.signal.is_none();
            if first {
                state.sighting.started = Some(now);
            }
            first
        });
        first || self.state().sighting.started.is_some()
    }

    /// The handler says something; what comes after the end is not heard.
    pub(crate) fn report(&self, change: impl FnOnce(&mut Report)) {
        let Some(engine) = self.engine() else {
            return;
        };
        self.note(&engine, |state, _| {
            // What winds up may still say so, unless somebody else has had the last word.
            let heard = !matches!(state.signal, Some(Signal::Ended | Signal::Over));
            if heard {
                change(Arc::make_mut(state.sighting.report.get_or_insert_default()));
            }
            heard
        });
    }

    /// Counts a change, if `change` says that there is one.
    fn note(&self, engine: &Engine, change: impl FnOnce(&mut State, Timestamp) -> bool) -> bool {
        let now = engine.clock.wall();
        {
            let mut state = self.state();
            if !change(&mut state, now) {
                return false;
            }
            state.sighting.revision = state.sighting.revision.next();
            state.sighting.at = state.sighting.at.max(now);
        }
        engine.hub.changed(self.id);
        true
    }

    /// What the task is told. Where that is nothing it is woken when there is something, and learns whether the inner
    /// service has been called yet.
    pub(crate) fn poll_news(&self, cx: &mut Context<'_>) -> News {
        let mut state = self.state();
        let started = state.sighting.started.is_some();
        if let Some(signal) = state.signal {
            return News::Signal { signal, started };
        }
        if state.detach == Detach::Asked {
            return News::Detach;
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        News::None { started }
    }

    /// The task of what was detached is over. Whether an end is to come.
    pub(crate) fn leave(&self, engine: &Engine) -> bool {
        let (is_first, is_gone) = {
            let mut state = self.state();
            (state.leave(), state.gone)
        };
        if is_first && !is_gone {
            engine.left_detached();
        }
        !is_gone
    }

    /// The operation was let go of. Whether nothing of it runs on.
    pub(super) fn forsake(&self) -> bool {
        let mut state = self.state();
        state.gone = true;
        state.left
    }

    pub(crate) fn settle_detach(&self, to: Detach) {
        self.state().detach = to;
        self.changed.notify_waiters();
    }

    /// Asks the task to hand the end over, and waits until it has.
    pub(crate) async fn detach(&self) -> Detach {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let waker = {
                let mut state = self.state();
                if state.signal.is_some() && state.detach != Detach::Done {
                    return Detach::Refused;
                }
                match state.detach {
                    Detach::Done | Detach::Refused => return state.detach,
                    Detach::No => state.detach = Detach::Asked,
                    Detach::Asked => {}
                }
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            changed.await;
        }
    }

    /// Waits until the handler should stop.
    pub(crate) async fn stopped(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.signal().is_some() {
                return;
            }
            changed.await;
        }
    }
}

impl Live {
    /// The task that runs the operation is gone, or can't be reached: ends it, where the store answers at once.
    /// Elsewhere the claim lapses. Gives `false` there, and where there is nothing in the store that could end.
    ///
    /// What has been detached is not the task's to end.
    pub(crate) fn end_orphaned(&self, stop: Stop) -> bool {
        let Some(engine) = self.engine() else {
            return true;
        };
        let (sighting, detached) = {
            let mut state = self.state();
            let detached = state.detach == Detach::Done;
            if detached && state.leave() {
                engine.left_detached();
            }
            (state.sighting.clone(), detached)
        };
        self.raise(Signal::Over);
        Heartbeat::let_go(&engine, self);
        let settled = (!detached).then(|| {
            let ending = Ending::without_response(stop, engine.clock.wall());
            let complete = || engine.store.complete(self.id, ending, Some(sighting)).now();
            // A store that panics may be why the task is gone.
            catch_unwind(AssertUnwindSafe(complete)).ok()?.ok()
        });
        // Not before its end is there to be read.
        engine.live.remove_this(self);
        let Some(settled) = settled else { return true };
        match settled {
            Some(Ok(Settled::Done(record))) => {
                trace::stopped(self.id, stop, None);
                engine.ended(&record);
            }
            Some(Ok(Settled::Stands(_))) => {}
            Some(Ok(Settled::Unknown) | Err(_)) | None => return false,
        }
        true
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What the task that runs an operation is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    None { started: bool },
    Signal { signal: Signal, started: bool },
    Detach,
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// More, and glibc would take it from where records come from, which are kept: it would find one there seldom.
    #[test]
    fn what_is_known_of_a_running_operation_takes_less_than_its_record() {
        let counts = 2 * size_of::<usize>();
        assert!(counts + size_of::<Live>() <= 136);
    }
}
