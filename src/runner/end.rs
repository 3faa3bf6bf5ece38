//! The end of an operation: concluded, written down, and told.

use super::{BoxError, Captured, Hold, Reply, Task, backoff::Backoff, blob::Wanted};
use crate::{
    record::{Ending, OperationId, Record, Stop},
    store::{Claim, Settled, Store, StoreError, StoreErrorKind},
    trace,
};
use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

pub(super) enum End<E> {
    Response(Captured),
    Error(E),
    Stop(Stop, Option<BoxError>),
    /// Somebody else has ended it.
    Taken,
    /// The only one who wanted to know is gone.
    Unwanted,
}

/// Writes the end of an operation down, and tells everybody. What is given back is to be waited for.
pub(super) fn close<E: Into<BoxError>>(
    task: Task,
    claim: Option<Claim>,
    hold: Option<Box<Hold<E>>>,
    end: End<E>,
) -> Option<Pin<Box<impl Future<Output = ()>>>> {
    let Some(claim) = claim else {
        // What is detached does not end with its handler.
        if !task.detached {
            end.log(task.live.id());
        }
        let reply = end.into_reply();
        task.close(None, hold, reply);
        return None;
    };
    let interrupted = matches!(end, End::Stop(Stop::Interrupted, _));
    if !interrupted {
        // What is interrupted may be given back, and has not ended then.
        end.log(task.live.id());
    }
    let (mut ending, reply) = conclude(&task, end, hold.is_some());
    if ending.is_none() {
        task.close(None, hold, reply);
        return None;
    }
    // At once, where the store can: a future that was never polled has done nothing.
    let sighting = task.live.sighting();
    let engine = task.engine();
    let finished = match interrupted {
        // Others may go on with it.
        true => None,
        false => engine
            .store
            .finish(&claim, &sighting, &mut ending)
            .now()
            .ok(),
    };
    match finished {
        Some(Ok(settled)) => {
            // Left here if it was refused.
            let blob = ending.as_ref().and_then(Ending::blob);
            task.engine().discard_unless_named(blob, &settled);
            task.close(Some(settled), hold, reply);
            None
        }
        other => {
            let unfinished = Unfinished {
                task,
                claim,
                hold,
                reply,
                interrupted,
            };
            let failed = other.and_then(Result::err);
            Some(Box::pin(unfinished.finish(ending, failed)))
        }
    }
}

impl Task {
    /// The operation is over: gives everything back, and tells a client that waits.
    fn close<E>(
        mut self,
        settled: Option<Settled>,
        hold: Option<Box<Hold<E>>>,
        reply: Option<Reply<E>>,
    ) {
        let reply = match settled {
            Some(Settled::Done(record)) => {
                self.engine().ended(&record);
                if let Some(request) = &self.request {
                    self.engine().discard(request.body().blob());
                }
                reply
            }
            // Cancelled, or completed from outside, at the last moment: that stands, and the monitor tells which.
            Some(_) => {
                self.engine().hub.ended(self.live.id());
                Some(Reply::Accepted)
            }
            None => reply,
        };
        self.over();
        // The place goes first: whoever has the answer may count on it.
        drop(self);
        if let (Some(hold), Some(reply)) = (hold, reply) {
            hold.tell(reply);
        }
    }
}

/// How an operation ends, and what a waiting client is told of it. `None`: it has been ended, or need not be.
fn conclude<E: Into<BoxError>>(
    task: &Task,
    end: End<E>,
    answered: bool,
) -> (Option<Ending>, Option<Reply<E>>) {
    let now = task.engine().clock.wall();
    let (ending, reply) = match end {
        End::Taken => return (None, Some(Reply::Accepted)),
        End::Unwanted => return (None, None),
        End::Response(captured) if answered => {
            let stored = captured.stored.clone();
            let mut ending = Ending::with_response(stored, captured.is_failure, now);
            ending.answered = true;
            (ending, Some(Reply::Response(captured)))
        }
        End::Response(captured) => {
            let ending = Ending::with_response(captured.stored, captured.is_failure, now);
            (ending, None)
        }
        End::Error(error) => {
            let reply = if answered {
                trace::stopped(task.live.id(), Stop::Errored, None);
                Some(Reply::Error(error))
            } else {
                trace::stopped(task.live.id(), Stop::Errored, Some(&*error.into()));
                None
            };
            (Ending::without_response(Stop::Errored, now), reply)
        }
        End::Stop(stop, _) => {
            let mut ending = Ending::without_response(stop, now);
            ending.answered = answered;
            (ending, Some(Reply::Stopped(stop)))
        }
    };
    (Some(ending), reply)
}

impl<E> End<E> {
    /// Tells logs why there is no response. An error is told where it is known who else has it.
    fn log(&self, id: OperationId) {
        if let Self::Stop(stop, cause) = self {
            let cause = cause.as_deref().map(|cause| cause as &dyn Error);
            trace::stopped(id, *stop, cause);
        }
    }

    /// What a waiting client is told of an operation that was never kept.
    fn into_reply(self) -> Option<Reply<E>> {
        match self {
            Self::Response(captured) => Some(Reply::Response(captured)),
            Self::Error(error) => Some(Reply::Error(error)),
            Self::Stop(stop, _) => Some(Reply::Stopped(stop)),
            Self::Taken => Some(Reply::Stopped(Stop::Cancelled)),
            Self::Unwanted => None,
        }
    }
}

/// An operation whose end the store has not taken yet.
struct Unfinished<E> {
    task: Task,
    claim: Claim,
    hold: Option<Box<Hold<E>>>,
    reply: Option<Reply<E>>,
    /// The server shuts down.
    interrupted: bool,
}

impl<E> Unfinished<E> {
    /// Writes the end down; `failed` is what came of a first try.
    async fn finish(mut self, ending: Option<Ending>, failed: Option<StoreError>) {
        let blob = ending.as_ref().and_then(Ending::blob);
        let settled = {
            let (task, claim, interrupted) = (&self.task, &self.claim, self.interrupted);
            let mut writing = pin!(async move {
                if interrupted && let Some(record) = hand_back(task, claim).await {
                    return Settled::Stands(record);
                }
                write(task, claim, ending, failed).await
            });
            let hold = &mut self.hold;
            // The client's patience does not grow with the store's troubles.
            poll_fn(|cx| {
                let settled = writing.as_mut().poll(cx);
                if settled.is_pending()
                    && let Some(hold) = hold.take_if(|hold| hold.poll::<()>(false, cx).is_ready())
                {
                    hold.tell(Reply::Accepted);
                }
                settled
            })
            .await
        };
        match settled {
            // Given back, now or by a step of which nobody knew whether it was taken.
            Settled::Stands(record) if self.interrupted && !record.phase().is_ended() => {
                self.task.engine().handed_back(&record);
                self.task.close(None, self.hold, Some(Reply::Accepted));
            }
            settled => {
                let engine = self.task.engine();
                engine.discard_unless_named(blob, &settled);
                if self.interrupted && !matches!(settled, Settled::Stands(_)) {
                    trace::stopped(self.task.live.id(), Stop::Interrupted, None);
                }
                if self.interrupted && matches!(settled, Settled::Unknown) {
                    // Nobody wants its end any more, or the store could not be told: it was interrupted all the same.
                    engine.interrupted();
                }
                self.task.close(Some(settled), self.hold, self.reply);
            }
        }
    }
}

/// Gives the claim back for others to run the operation, again and again while the store can't answer and the drain lasts.
/// `None` if it is to be ended here.
async fn hand_back(task: &Task, claim: &Claim) -> Option<Arc<Record>> {
    let (engine, sighting) = (task.engine(), task.live.sighting());
    let mut backoff = Backoff::new();
    loop {
        match engine.store.release(claim, &sighting).await {
            Ok(Settled::Done(record)) => return Some(record),
            Ok(Settled::Stands(_) | Settled::Unknown) => return None,
            Err(error) => {
                trace::store_failed("release", &error);
                if error.kind() == StoreErrorKind::Corrupt {
                    return None;
                }
            }
        }
        let left = engine.drain_left();
        if left.is_zero() {
            return None;
        }
        backoff.pause(left).await;
    }
}

/// Writes an end down, again and again while the store can't answer; gives up when the result would have expired.
async fn write(
    task: &Task,
    claim: &Claim,
    mut ending: Option<Ending>,
    mut failed: Option<StoreError>,
) -> Settled {
    let (store, sighting) = (&task.engine().store, task.live.sighting());
    let deadline = Instant::now().checked_add(task.engine().limits.keep_for);
    let mut backoff = Backoff::new();
    let mut wanted = Wanted::new(ending.as_ref().and_then(Ending::blob));
    let mut uncertain = false;
    while let Some(ours) = ending.as_ref().map(|ending| (ending.outcome, ending.at)) {
        let answer = match failed.take() {
            Some(error) => Err(error),
            None => store.finish(claim, &sighting, &mut ending).await,
        };
        let error = match answer {
            Ok(settled) if uncertain => return settled.after_uncertain(ours),
            Ok(settled) => return settled,
            Err(error) => error,
        };
        uncertain |= error.kind() == StoreErrorKind::Uncertain;
        trace::store_failed("finish", &error);
        let has_response = ending
            .as_ref()
            .is_some_and(|ending| ending.response.is_some());
        let instead = match error.kind() {
            StoreErrorKind::Full => Some(Stop::TooLarge),
            // It will not be better for being tried again.
            StoreErrorKind::Corrupt => Some(Stop::Errored),
            _ => None,
        };
        match instead {
            Some(stop) if has_response => {
                ending = ending.map(|ending| Ending::without_response(stop, ending.at));
                continue;
            }
            Some(Stop::Errored) => break,
            _ => {}
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
        backoff.pause(Duration::MAX).await;
        if has_response && let Some(blobs) = store.blobs() {
            wanted.still(blobs).await;
        }
    }
    Settled::Unknown
}
