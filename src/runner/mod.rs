//! One operation's task: runs the inner service, captures what it answers, and ends the operation.

mod backoff;
mod blob;
mod capture;
mod guarded;
mod handle;
mod worker;

pub(crate) use self::worker::ATTEMPT;
pub(crate) use self::{
    blob::{Reader, Unnamed},
    capture::capture,
};
pub use self::{
    handle::{DetachError, MetadataError, OperationHandle},
    worker::{SeenUri, Worker},
};

use self::{
    backoff::Backoff,
    guarded::{Guarded, Step},
};
use crate::{
    defer::rebuild::Driver,
    operations::{
        CompleteError, Detach, Engine, Heartbeat, Live, Place, Signal, Sweeper, is_uncertain,
    },
    record::{Capture, Ending, Record, Stop, StoredRequest, StoredResponse, TooLarge},
    store::{Claim, Created, Intent, Settled, StoreError, StoreErrorKind, StoreFuture},
    trace,
};
use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    error::Error,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    task::coop,
    time::{Instant, Sleep},
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
        if self.detached {
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
            self.live.abandon(if panicked {
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
    /// Few bodies have one: a box takes less of all the others.
    pub(crate) driver: Option<Box<Driver>>,
}

/// The client waits: it is answered from the capture, or, when its patience ends, with a 202.
#[derive(Debug)]
pub(crate) struct Hold<E> {
    reply: oneshot::Sender<Reply<E>>,
    /// None once there is no record to be had: then it waits for the end, as without the layer.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<E> Hold<E> {
    pub(crate) fn new(at_most: Duration) -> (Box<Self>, oneshot::Receiver<Reply<E>>) {
        let (reply, answer) = oneshot::channel();
        let limit = Some(Box::pin(tokio::time::sleep(at_most)));
        (Box::new(Self { reply, limit }), answer)
    }
}

/// What a client that waits is told.
#[derive(Debug)]
pub(crate) enum Reply<E> {
    /// It takes longer; the operation is stored.
    Accepted,
    /// The inner service has answered.
    Response(Captured),
    /// The inner service has failed.
    Error(E),
    /// It ended without a response.
    Stopped(Stop),
}

enum End<E> {
    Response(Captured),
    Error(E),
    Stop(Stop, Option<BoxError>),
    /// Somebody else has ended it.
    Taken,
    /// The only one who wanted to know is gone.
    Unwanted,
}

/// What came of keeping an operation.
#[derive(Debug)]
pub(crate) enum Kept<T = ()> {
    New(T),
    Existing(Arc<Record>),
    Gone,
    Failed(StoreError),
}

impl From<Result<Created, StoreError>> for Kept<Claim> {
    fn from(created: Result<Created, StoreError>) -> Self {
        match created {
            Ok(Created::New(claim)) => Self::New(claim),
            Ok(Created::Existing(record)) => Self::Existing(record),
            // It was to be run here.
            Ok(Created::Queued) => Self::Gone,
            Ok(Created::Gone) => Self::Gone,
            Err(error) => {
                trace::store_failed("create", &error);
                Self::Failed(error)
            }
        }
    }
}

impl Kept<Claim> {
    fn split(self) -> (Option<Claim>, Kept) {
        match self {
            Self::New(claim) => (Some(claim), Kept::New(())),
            Self::Existing(record) => (None, Kept::Existing(record)),
            Self::Gone => (None, Kept::Gone),
            Self::Failed(error) => (None, Kept::Failed(error)),
        }
    }
}

/// Keeps an operation and spawns its task.
///
/// A store that answers at once leaves no moment in between at which the client could go away. With any other the
/// keeping is part of the task: one task owns the operation from here to its end.
pub(crate) fn keep_and_spawn<S, B, R>(
    mut task: Task,
    hold: Option<Box<Hold<S::Error>>>,
    work: Work<S, B>,
) -> Result<Kept, oneshot::Receiver<Kept>>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Error: Into<BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    // A future that was never polled has done nothing.
    let (record, request) = (task.record.take(), task.request.take());
    let at_once = record
        .as_ref()
        .filter(|_| !is_long(task.engine(), request.as_deref()))
        .and_then(|record| {
            let intent = Intent::Run(request.as_deref());
            task.engine().store.create(record, intent).now().ok()
        });
    if let Some(created) = at_once
        && !is_uncertain(&created)
    {
        drop((record, request));
        let (claim, kept) = Kept::from(created).split();
        match claim {
            Some(claim) => {
                Heartbeat::keep(task.engine(), &claim, &task.live);
                trace::spawn(run(task, Some(claim), hold, work));
            }
            None => task.dismiss(),
        }
        return Ok(kept);
    }
    let (tell, told) = oneshot::channel();
    trace::spawn(async move {
        let mut request = request;
        let kept = keep(task.engine(), record, &mut request).await;
        task.request = request;
        let (claim, kept) = kept.split();
        if let Some(claim) = &claim {
            Heartbeat::keep(task.engine(), claim, &task.live);
        }
        let _ = tell.send(kept);
        match claim {
            Some(claim) => run(task, Some(claim), hold, work).await,
            None => task.dismiss(),
        }
    });
    Err(told)
}

/// Keeps an operation for whoever claims it.
pub(crate) fn keep_queued(
    place: Place,
    record: Arc<Record>,
    request: Box<StoredRequest>,
) -> Result<Kept, oneshot::Receiver<Kept>> {
    let engine = place.engine().clone();
    // Nobody here may ever claim it.
    let rerun = record.submission.rerun.as_ref();
    Sweeper::due(
        &engine,
        rerun.map_or(Duration::ZERO, |rerun| rerun.start_within),
    );
    if !is_long(&engine, Some(&request)) {
        let created = engine.store.create(&record, Intent::Queue(&request)).now();
        if let Ok(created) = created
            && !is_uncertain(&created)
        {
            return Ok(queued(created));
        }
    }
    let (tell, told) = oneshot::channel();
    // In a task of its own: whoever asked for it may go away while nobody knows whether it is kept.
    trace::spawn(async move {
        let created = create(&engine, &record, &mut Some(request), true).await;
        drop(place);
        let _ = tell.send(queued(created));
    });
    Err(told)
}

fn queued(created: Result<Created, StoreError>) -> Kept {
    match created {
        Ok(Created::Queued) => Kept::New(()),
        other => Kept::from(other).split().1,
    }
}

/// Keeps an operation, trying again while it is uncertain whether that was done.
async fn keep(
    engine: &Engine,
    record: Option<Arc<Record>>,
    request: &mut Option<Box<StoredRequest>>,
) -> Kept<Claim> {
    // It has been tried before, in vain.
    let Some(record) = record else {
        return Kept::Failed(StoreError::new(StoreErrorKind::Unavailable));
    };
    create(engine, &record, request, false).await.into()
}

/// Of the request, what names its blob is left.
async fn create(
    engine: &Engine,
    record: &Arc<Record>,
    request: &mut Option<Box<StoredRequest>>,
    for_queue: bool,
) -> Result<Created, StoreError> {
    if let Some(long) = request.take_if(|request| is_long(engine, Some(request))) {
        *request = Some(blob::stow_request(&*engine.store, long).await?);
    }
    let intent = match request.as_deref() {
        Some(request) if for_queue => Intent::Queue(request),
        request => Intent::Run(request),
    };
    let created = certain(|| engine.store.create(record, intent)).await;
    let blob = request.as_ref().and_then(|request| request.body().blob());
    if blob.is_none() {
        *request = None;
    } else if let Some(id) = blob
        && !matches!(created, Ok(Created::New(_) | Created::Queued))
        && !is_uncertain(&created)
    {
        blob::discard(&*engine.store, id).await;
    }
    created
}

/// Takes a step that may be repeated, a few times while nobody knows whether it was taken.
async fn certain<'a, T>(step: impl Fn() -> StoreFuture<'a, T>) -> Result<T, StoreError> {
    const TRIES: u32 = 3;
    let mut answer = step().await;
    for _ in 1..TRIES {
        if !is_uncertain(&answer) {
            break;
        }
        answer = step().await;
    }
    answer
}

/// Whether the body of the request is to be kept beside the record.
fn is_long(engine: &Engine, request: Option<&StoredRequest>) -> bool {
    let Some(request) = request else { return false };
    let blobs = engine.store.blobs();
    blobs.is_some_and(|blobs| request.body().len() > blobs.inline_limit() as u64)
}

enum Turn<T> {
    Step(Step<T>),
    /// The client's patience has ended.
    Late,
    /// The client is gone.
    Unwanted,
}

/// Runs an operation to its end. Without a claim it is not kept yet, and will be only if it outlasts `hold`.
///
/// The future's size is paid for by every pending operation. So it is a block, which uses its arguments where they are,
/// and what is rarely waited for is in boxes.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice"
)]
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
            let engine = place.engine().clone();
            let execution = execute(place, live, target, terms, work, hold.is_some());
            let mut guarded = pin!(Guarded::new(execution, live, terms));
            loop {
                let turn = poll_fn(|cx| {
                    if let Some(step) = early.take() {
                        return Poll::Ready(Turn::Step(*step));
                    }
                    if let Poll::Ready(step) = guarded.as_mut().poll(cx) {
                        return Poll::Ready(Turn::Step(step));
                    }
                    match &mut hold {
                        Some(hold) => hold.poll(claim.is_none(), cx),
                        None => Poll::Pending,
                    }
                });
                let detach = match turn.await {
                    Turn::Late => false,
                    Turn::Step(Step::Detach) => true,
                    Turn::Step(Step::Done(Ok(captured))) => break End::Response(captured),
                    Turn::Step(Step::Done(Err(Failure::Inner(error)))) => break End::Error(error),
                    Turn::Step(Step::Done(Err(Failure::Stop(stop, cause)))) => {
                        break End::Stop(stop, cause);
                    }
                    Turn::Step(Step::Stop(stop)) => break End::Stop(stop, None),
                    Turn::Step(Step::Taken) => break End::Taken,
                    Turn::Unwanted => break End::Unwanted,
                };
                if claim.is_none() && !*detached {
                    let mut keeping = Box::pin(keep(&engine, record.take(), request));
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
                            Heartbeat::keep(&engine, &new, live);
                            claim = Some(new);
                        }
                        // The connection is held to the end, as without the layer.
                        (_, Some(hold)) => hold.limit = None,
                        (_, None) => {}
                    }
                }
                if detach {
                    *detached |= Box::pin(give_up(&engine, &mut claim, live, terms)).await;
                    live.settle_detach(if *detached {
                        Detach::Done
                    } else {
                        Detach::Refused
                    });
                }
                if (claim.is_some() || *detached)
                    && let Some(hold) = hold.take()
                {
                    let _ = hold.reply.send(Reply::Accepted);
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

/// Writes the end of an operation down, and tells everybody. What is given back is to be waited for.
fn close<E: Into<BoxError>>(
    task: Task,
    claim: Option<Claim>,
    hold: Option<Box<Hold<E>>>,
    end: End<E>,
) -> Option<Pin<Box<impl Future<Output = ()>>>> {
    let Some(claim) = claim else {
        let reply = end.into_reply();
        task.close(None, hold, reply);
        return None;
    };
    let interrupted = matches!(end, End::Stop(Stop::Interrupted, _));
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
            let _ = hold.reply.send(reply);
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
                    let _ = hold.reply.send(Reply::Accepted);
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
                self.task.engine().discard_unless_named(blob, &settled);
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
    }
    Settled::Unknown
}

/// Gives the claim up, so that the end can come from elsewhere. Whether it is given up now; if not, it stays.
async fn give_up(
    engine: &Arc<Engine>,
    claim: &mut Option<Claim>,
    live: &Live,
    terms: &Terms,
) -> bool {
    let Some(held) = &*claim else { return false };
    let sighting = live.sighting();
    let given_up = certain(|| engine.store.detach(held, &sighting, terms.run_time)).await;
    let done = matches!(given_up, Ok(Settled::Done(_)));
    if done {
        Heartbeat::let_go(engine, live);
        *claim = None;
        Sweeper::due(engine, terms.run_time);
    }
    done
}

impl<E> Hold<E> {
    fn poll<T>(&mut self, only_reader: bool, cx: &mut Context<'_>) -> Poll<Turn<T>> {
        let news = poll_fn(|cx| {
            if only_reader && self.reply.poll_closed(cx).is_ready() {
                return Poll::Ready(Turn::Unwanted);
            }
            match &mut self.limit {
                Some(limit) => limit.as_mut().poll(cx).map(|()| Turn::Late),
                None => Poll::Pending,
            }
        });
        // Not to be kept from the client by a handler that is always busy.
        pin!(coop::unconstrained(news)).poll(cx)
    }
}

impl<E> End<E> {
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

enum Failure<E> {
    /// The inner service returned an error.
    Inner(E),
    Stop(Stop, Option<BoxError>),
}

impl<E> From<TooLarge> for Failure<E> {
    fn from(TooLarge: TooLarge) -> Self {
        Self::Stop(Stop::TooLarge, None)
    }
}

impl<E> From<CompleteError> for Failure<E> {
    fn from(error: CompleteError) -> Self {
        match error {
            CompleteError::Interim => Self::Stop(Stop::Errored, None),
            CompleteError::Body(cause) => Self::Stop(Stop::Errored, Some(cause)),
            CompleteError::TooLarge => Self::Stop(Stop::TooLarge, None),
            CompleteError::Store(error) => Self::Stop(Stop::Errored, Some(error.into())),
        }
    }
}

/// What the inner service has answered.
#[derive(Debug)]
pub(crate) struct Captured {
    /// For a client that waits.
    pub(crate) head: Option<Box<response::Parts>>,
    pub(crate) stored: StoredResponse,
    /// The verdict.
    is_failure: bool,
}

/// Waits for the turn, calls the inner service, takes its whole response in.
fn execute<'a, S, B, R>(
    place: &'a mut Place,
    live: &'a Arc<Live>,
    target: &'a str,
    terms: &'a Terms,
    work: Work<S, B>,
    held: bool,
) -> impl Future<Output = Result<Captured, Failure<S::Error>>> + use<'a, S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let Work {
        mut inner,
        mut request,
        mut driver,
    } = work;
    async move {
        place.run().await;
        let ready = poll_fn(|cx| inner.poll_ready(cx)).await;
        // Where it refuses to be called it has begun all the same: what never began could not fail as it did.
        if !live.start(place.engine()) {
            // It was told to stop at this very moment, and is about to be dropped.
            return pending().await;
        }
        ready.map_err(Failure::Inner)?;
        let handle = OperationHandle::new(live.clone());
        request.extensions_mut().insert(handle);
        let response = beside(&mut driver, inner.call(unboxed(request))).await;
        let response = response.map_err(Failure::Inner)?;
        let engine = place.engine();
        let (is_failure, head, begun, body) = begin(engine, target, terms, response, held)?;
        // In a box: while the handler runs, which may be long, no room is set aside for what comes after it.
        let captured = Box::pin(capture(&engine.store, begun, body));
        let stored = beside(&mut driver, captured).await?;
        Ok(Captured {
            head,
            stored,
            is_failure,
        })
    }
}

/// Frees the box. Moved out of in an `async` block, it would stay to the block's end.
#[expect(clippy::boxed_local)]
fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}

type Begun<R> = (bool, Option<Box<response::Parts>>, Capture, R);

/// Whether the response is a failure, its head if somebody waits for it, and what is to be captured.
///
/// A function, since an `async` block would hold a head that it has looked at while the body comes in.
fn begin<R: Body, E>(
    engine: &Engine,
    target: &str,
    terms: &Terms,
    response: Response<R>,
    held: bool,
) -> Result<Begun<R>, Failure<E>> {
    let (head, body) = response.into_parts();
    if head.status.is_informational() {
        let cause = format!("a deferred request was answered {}", head.status);
        return Err(Failure::Stop(Stop::Errored, Some(cause.into())));
    }
    let is_failure = engine.is_failure(&head);
    let begun = Capture::begin(&head, target, body.size_hint().lower(), terms.response_body)?;
    let head = held.then(|| Box::new(head));
    Ok((is_failure, head, begun, body))
}

pin_project! {
    /// Polls what a request body is made by beside whoever reads the body.
    ///
    /// A type, since an `async fn` would hold the work several times over, and each operation pays for its size.
    struct Beside<'a, F> {
        driver: &'a mut Option<Box<Driver>>,
        #[pin]
        work: F,
    }
}

fn beside<F: Future>(driver: &mut Option<Box<Driver>>, work: F) -> Beside<'_, F> {
    Beside { driver, work }
}

impl<F: Future> Future for Beside<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.work.poll(cx) {
            return Poll::Ready(done);
        }
        // What it has made wakes the work.
        if let Some(driver) = this.driver {
            let _ = Pin::new(driver).poll(cx);
        }
        Poll::Pending
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
        End::Stop(stop, cause) => {
            let cause = cause.as_deref().map(|cause| cause as &dyn Error);
            trace::stopped(task.live.id(), stop, cause);
            let mut ending = Ending::without_response(stop, now);
            ending.answered = answered;
            (ending, Some(Reply::Stopped(stop)))
        }
    };
    (Some(ending), reply)
}
