use super::Terms;
use crate::{
    operations::{Live, News, Signal},
    record::Stop,
    trace,
};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
};
use tokio::{task::coop, time::Sleep};

pin_project! {
    /// A handler that may panic, run too long, or be told to stop.
    pub(super) struct Guarded<'a, F> {
        #[pin]
        work: Option<F>,
        #[pin]
        timer: Option<Sleep>,
        timing: Timing,
        live: &'a Live,
        terms: &'a Terms,
    }

    impl<F> PinnedDrop for Guarded<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            this.drop_work();
        }
    }
}

/// What the timer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    Start,
    Run,
    Grace(Told),
}

/// What follows when the grace is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Taken,
    Interrupted,
}

/// What has come of the work.
#[derive(Debug)]
pub(super) enum Step<T> {
    /// It is done.
    Done(T),
    /// It has been stopped, for this reason.
    Stop(Stop),
    /// Somebody else has ended the operation.
    Taken,
    /// It wants its end to be handed over, and goes on.
    Detach,
}

impl<'a, F> Guarded<'a, F> {
    pub(super) fn new(work: F, live: &'a Live, terms: &'a Terms) -> Self {
        Self {
            work: Some(work),
            timer: None,
            timing: Timing::Start,
            live,
            terms,
        }
    }

    /// Drops the handler now; what it panics with in doing so is its own affair.
    fn drop_work(self: Pin<&mut Self>) {
        let mut work = self.project().work;
        drop(catch_unwind(AssertUnwindSafe(|| work.set(None))));
    }
}

impl<F: Future> Future for Guarded<'_, F> {
    type Output = Step<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The work first: finished work wins a tie with a limit, a cancel, or a deadline.
        if let Some(work) = self.as_mut().project().work.as_pin_mut() {
            match catch_unwind(AssertUnwindSafe(|| work.poll(cx))) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(done)) => {
                    self.drop_work();
                    return Poll::Ready(Step::Done(done));
                }
                Err(payload) => {
                    trace::panicked(self.live.id(), &*payload);
                    self.as_mut().drop_work();
                    // The payload's own destructor may panic as well.
                    drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
                    // Where it panicked before it was called it has begun all the same, unless it was told to stop.
                    let engine = self.live.engine();
                    if engine.is_some_and(|engine| self.live.start(&engine)) {
                        return Poll::Ready(Step::Stop(Stop::Panicked));
                    }
                }
            }
        }
        let mut this = self.as_mut().project();
        if !matches!(this.timing, Timing::Grace(_)) {
            let started = match this.live.poll_news(cx) {
                News::None { started } => started,
                News::Detach => return Poll::Ready(Step::Detach),
                News::Signal { signal, started } => {
                    *this.timing = Timing::Grace(match signal {
                        Signal::Interrupt => Told::Interrupted,
                        Signal::Ended | Signal::Over => Told::Taken,
                    });
                    this.timer.set(None);
                    // What has not begun has nothing to wind up.
                    if this.terms.cancel_grace.is_zero() || !started {
                        return Poll::Ready(self.stopped());
                    }
                    false
                }
            };
            if started && *this.timing == Timing::Start {
                *this.timing = Timing::Run;
                this.timer.set(None);
            }
        }
        if this.timer.is_none() {
            let within = match this.timing {
                Timing::Start => this.terms.start_within,
                Timing::Run => this.terms.run_time,
                Timing::Grace(_) => this.terms.cancel_grace,
            };
            this.timer.set(Some(tokio::time::sleep(within)));
        }
        // A handler that is always busy uses up what a task may do in one go. Its limits hold all the same.
        let timer = this.timer.as_pin_mut().map(coop::unconstrained);
        match timer.map(|timer| pin!(timer).poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(self.stopped()),
            _ => Poll::Pending,
        }
    }
}

impl<F: Future> Guarded<'_, F> {
    /// The timer has run out.
    fn stopped(self: Pin<&mut Self>) -> Step<F::Output> {
        let timing = self.timing;
        self.drop_work();
        match timing {
            Timing::Start => Step::Stop(Stop::NotStarted),
            Timing::Run => Step::Stop(Stop::TimedOut),
            Timing::Grace(Told::Interrupted) => Step::Stop(Stop::Interrupted),
            Timing::Grace(Told::Taken) => Step::Taken,
        }
    }
}
