//! One operation's task: runs the inner service, captures what it answers, and ends the operation.

mod backoff;
mod blob;
mod capture;
mod drive;
mod end;
mod execute;
mod guarded;
mod handle;
mod hold;
mod keep;
mod worker;

pub(crate) use self::worker::ATTEMPT;
pub(crate) use self::{
    blob::{BlobReader, PATIENCE},
    capture::capture,
    drive::Drive,
    execute::Captured,
    hold::{Hold, Reply},
    keep::{Kept, keep_and_spawn, keep_queued},
};
pub use self::{
    handle::{DetachError, MetadataError, OperationHandle},
    worker::{SeenUri, Worker},
};

use self::{
    end::{End, close},
    execute::{Failure, execute},
    guarded::{Guarded, Step},
    keep::keep,
};
use crate::{
    operations::{Detach, Engine, Heartbeat, Live, Place, Signal, Sweeper, certain},
    record::{Record, Stop, StoredRequest},
    store::{Claim, Settled},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// What a layer lets one operation have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) start_within: Duration,
    pub(crate) run_time: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) response_body: u64,
}

/// One operation on its way: what it holds, and gives back however its task ends.
#[derive(Debug)]
pub(crate) struct Task {
    /// Until it is kept: a store that is the only one to hold a record changes it in place.
    record: Option<Arc<Record>>,
    /// Until it is kept, where it is to be kept too; and then until the end, if its body is kept elsewhere.
    request: Option<Box<StoredRequest>>,
    target: Arc<str>,
    terms: Arc<Terms>,
    live: Arc<Live>,
    place: Place,
    /// The operation goes on without the task.
    detached: bool,
    over: bool,
}

impl Task {
    pub(crate) fn new(
        record: Arc<Record>,
        request: Option<Box<StoredRequest>>,
        terms: Arc<Terms>,
        live: Arc<Live>,
        place: Place,
    ) -> Self {
        Sweeper::revive(place.engine());
        place.engine().live.insert(live.clone());
        Self {
            target: record.submission.target.clone(),
            record: Some(record),
            request,
            terms,
            live,
            place,
            detached: false,
            over: false,
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.place.engine()
    }

    /// The operation never became one.
    fn dismiss(mut self) {
        self.over();
    }

    /// There is nothing left to do here. One that is detached goes on, and its handle is heard and told until its end.
    fn over(&mut self) {
        self.over = true;
        Heartbeat::let_go(self.engine(), &self.live);
        if self.detached && self.live.leave(self.engine()) {
            return;
        }
        self.engine().live.remove_this(&self.live);
        // Out of the registry, it can't be shared anew.
        if Arc::strong_count(&self.live) > 1 {
            self.live.raise(Signal::Over);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.over {
            // Dropped in its midst: with its runtime, or by a panic beside the handler, as when a response is dropped.
            let panicked = std::thread::panicking() && self.live.sighting().started.is_some();
            self.live.end_orphaned(if panicked {
                Stop::Panicked
            } else {
                Stop::Interrupted
            });
        }
    }
}

/// The inner service, and what it is to be called with.
#[derive(Debug)]
pub(crate) struct Work<S, B> {
    pub(crate) inner: S,
    /// In a box of its own: it is freed when the inner service takes it, while the task stays as large as it was.
    pub(crate) request: Box<Request<B>>,
    pub(crate) drive: Option<Box<Drive>>,
}

enum Next<T> {
    Step(Step<T>),
    /// The client's patience has ended.
    Late,
    /// The client is gone.
    Unwanted,
}

/// Runs an operation to its end. Without a claim it is not kept yet, and will be only if it outlasts `hold`.
///
/// The future's size is paid for by every pending operation. So it is a block, which uses its arguments where they are (an
/// async fn keeps them twice), and what is rarely waited for is in boxes.
pub(crate) fn run<S, B, R>(
    mut task: Task,
    mut claim: Option<Claim>,
    mut hold: Option<Box<Hold<S::Error>>>,
    work: Work<S, B>,
) -> impl Future<Output = ()>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    task.place.reserve_turn();
    async move {
        // What has come of the work while the store took its time.
        let mut early: Option<Box<Step<_>>> = None;
        let end = {
            let Task {
                record,
                request,
                target,
                live,
                place,
                terms,
                detached,
                ..
            } = &mut task;
            let (target, live, terms) = (&**target, &*live, &**terms);
            let (engine, turn) = place.turn();
            let execution = execute(engine, turn, live, target, terms, work, hold.is_some());
            let mut guarded = pin!(Guarded::new(execution, live, terms));
            loop {
                let next = poll_fn(|cx| {
                    if let Some(step) = early.take() {
                        return Poll::Ready(Next::Step(*step));
                    }
                    if let Poll::Ready(step) = guarded.as_mut().poll(cx) {
                        return Poll::Ready(Next::Step(step));
                    }
                    match &mut hold {
                        Some(hold) => hold.poll(claim.is_none(), cx),
                        None => Poll::Pending,
                    }
                });
                let detach = match next.await {
                    Next::Late => false,
                    Next::Step(Step::Detach) => true,
                    Next::Step(Step::Done(Ok(captured))) => break End::Response(captured),
                    Next::Step(Step::Done(Err(Failure::Inner(error)))) => break End::Error(error),
                    Next::Step(Step::Done(Err(Failure::Stop(stop, cause)))) => {
                        break End::Stop(stop, cause);
                    }
                    Next::Step(Step::Stop(stop)) => break End::Stop(stop, None),
                    Next::Step(Step::Taken) => break End::Taken,
                    Next::Unwanted => break End::Unwanted,
                };
                if claim.is_none() && !*detached {
                    let mut keeping = Box::pin(keep(engine, record.take(), request));
                    let kept = poll_fn(|cx| {
                        let kept = keeping.as_mut().poll(cx);
                        // The work and its limits do not wait for the store. A detach does: it is asked for still.
                        if kept.is_pending()
                            && !detach
                            && early.is_none()
                            && let Poll::Ready(step) = guarded.as_mut().poll(cx)
                        {
                            early = Some(Box::new(step));
                        }
                        kept
                    });
                    match (kept.await, &mut hold) {
                        (Kept::New(new), _) => {
                            Heartbeat::keep(engine, &new, live);
                            claim = Some(new);
                        }
                        // The connection is held to the end, as without the layer.
                        (_, Some(hold)) => hold.wait_for_the_end(),
                        (_, None) => {}
                    }
                }
                if detach {
                    *detached |= Box::pin(give_up(engine, &mut claim, live, terms)).await;
                    live.settle_detach(if *detached {
                        Detach::Done
                    } else {
                        Detach::Refused
                    });
                }
                if (claim.is_some() || *detached)
                    && let Some(hold) = hold.take()
                {
                    hold.tell(Reply::Accepted);
                }
            }
        };
        if claim.is_none() && !task.detached && matches!(end, End::Stop(Stop::Interrupted, _)) {
            task.engine().interrupted();
        }
        if let Some(unfinished) = close(task, claim, hold, end) {
            unfinished.await;
        }
    }
}

/// Gives the claim up, so that the end can come from elsewhere. Whether it is given up now; if not, it stays.
async fn give_up(
    engine: &Arc<Engine>,
    claim: &mut Option<Claim>,
    live: &Arc<Live>,
    terms: &Terms,
) -> bool {
    let Some(held) = &*claim else { return false };
    let sighting = live.sighting();
    let (given_up, _) = certain(|| engine.store.detach(held, &sighting, terms.run_time)).await;
    let done = matches!(given_up, Ok(Settled::Done(_)));
    if done {
        Heartbeat::hand_over(engine, live);
        *claim = None;
        Sweeper::due(engine, terms.run_time);
    }
    done
}
