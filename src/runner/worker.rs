use super::{Drive, End, Task, Terms, Work, backoff::Backoff, blob, close, run};
use crate::{
    defer::{
        ByTrait, MakeBody, WithFunction,
        rebuild::{Buffered, Rebuilt},
    },
    operations::{Claiming, Engine, Heartbeat, Live, Operations, Place, Signal, Sweeper},
    record::{Content, Queue, Record, Stop, StoredRequest},
    store::{Change, Changes, Claim, Claimed, StoreError, StoreErrorKind},
    trace,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri, request::Parts};
use http_body::Body;
use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    panic::resume_unwind,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::oneshot;
use tower_service::Service;

/// Tells the inner service, from the second attempt on, which one it is.
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("operation-attempt");

/// In the extensions of a request that a [`Worker`] runs: the URI as the layer that accepted it saw it, after routers had
/// taken prefixes away. The request's own URI is the one that the client sent.
#[derive(Clone, Debug)]
pub struct SeenUri(pub Uri);

/// Operations that are claimed in one step, at most.
const BATCH: u16 = 64;

type Restore = Arc<dyn Fn(&mut Parts) + Send + Sync>;

/// Runs operations that others have accepted, given back, or lost. Made by [`Operations::worker`].
///
/// The inner service is called with the request as the client sent it: method, the URI before any router took a prefix
/// away, fields, body and trailers. Extensions are not kept, nor are the fields that hold
/// [secrets](crate::DeferLayer::not_stored). So give it the router *inside* the authenticating layers, and put back what that
/// needs with [`restore`](Self::restore). Layers of this crate let the request pass.
///
/// The time to start, the time to run and the length of the response are limited by the settings of the layer that accepted
/// the operation; the [grace](crate::Limits::cancel_grace) after a cancel by those of this process.
///
/// From the second attempt on the request has a field `Operation-Attempt` with the number of the attempt.
#[must_use = "it runs nothing until it is told to"]
pub struct Worker<S, B, M = ByTrait> {
    operations: Operations,
    queue: Queue,
    inner: S,
    restore: Option<Restore>,
    poll_every: Duration,
    make: M,
    body: PhantomData<fn() -> B>,
}

impl<S, B> Worker<S, B> {
    pub(crate) fn new(operations: Operations, queue: Queue, inner: S) -> Self {
        Self {
            operations,
            queue,
            inner,
            restore: None,
            poll_every: Duration::from_secs(1),
            make: ByTrait(()),
            body: PhantomData,
        }
    }
}

impl<S, B, M> Worker<S, B, M> {
    /// Makes request bodies with a function instead of [`Rebuild`](crate::defer::rebuild::Rebuild), as
    /// [`DeferLayer::rebuild_with`](crate::DeferLayer::rebuild_with) does: for body types of other crates.
    pub fn rebuild_with<F>(self, make: F) -> Worker<S, B, WithFunction<F>>
    where
        F: Fn(Buffered) -> Rebuilt<B> + Clone + Send + 'static,
    {
        Worker {
            operations: self.operations,
            queue: self.queue,
            inner: self.inner,
            restore: self.restore,
            poll_every: self.poll_every,
            make: WithFunction(make),
            body: PhantomData,
        }
    }

    /// Sets a hook that puts back into each request what is not stored and the inner service needs: extensions, credentials.
    /// It must not block. If it panics, the operation ends as [`Reason::Panicked`](crate::record::Reason::Panicked).
    pub fn restore(mut self, hook: impl Fn(&mut Parts) + Send + Sync + 'static) -> Self {
        self.restore = Some(Arc::new(hook));
        self
    }

    /// How often to look for work when the store hints at none. Default 1 s, at least 1 ms.
    pub fn poll_every(mut self, time: Duration) -> Self {
        self.poll_every = time.max(Duration::from_millis(1));
        self
    }
}

impl<S, B, M, R> Worker<S, B, M>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    M: MakeBody<B>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Takes work and runs it, until the [drain](Operations::drain). Spawn it.
    ///
    /// It takes no more than can run at once: together with everything else that runs here,
    /// [`Limits::running`](crate::Limits::running).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it takes no more; what it has taken runs on.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, and if the store does.
    pub async fn run(self) {
        // In a task of its own: what is dropped while the store gives it something leaves that to nobody.
        let (_here, dropped) = oneshot::channel();
        let ended = trace::spawn(self.take_and_run(dropped)).await;
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    }

    async fn take_and_run(self, mut dropped: oneshot::Receiver<()>) {
        let engine = self.operations.engine.clone();
        // What others have lost is found by sweeping.
        Sweeper::due(&engine, Duration::ZERO);
        let mut changes = engine.store.changes();
        loop {
            let claiming = Claiming::begin(&engine, BATCH);
            let Ok(Some(mut claiming)) = unless(&mut dropped, claiming).await else {
                return;
            };
            let claimed = engine.store.claim(&self.queue, claiming.turns()).await;
            let claimed = claimed.unwrap_or_else(|error| {
                trace::store_failed("claim", &error);
                Vec::new()
            });
            let is_idle = claimed.is_empty();
            for claimed in claimed {
                let Some(place) = claiming.place() else { break };
                trace::spawn(self.begin(place, claimed));
            }
            drop(claiming);
            if is_idle {
                // Woken for nothing now and then, and late at worst.
                let news = tokio::time::timeout(self.poll_every, claimable(&mut *changes));
                let news = unless(engine.draining(), news);
                if unless(&mut dropped, news).await.is_err() {
                    return;
                }
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    fn begin(
        &self,
        place: Place,
        claimed: Claimed,
    ) -> impl Future<Output = ()> + Send + use<S, B, M, R> {
        let Claimed {
            claim,
            record,
            request,
        } = claimed;
        let engine = place.engine().clone();
        let live = Arc::new(Live::new(&record, &engine));
        let method = record.submission.method.clone();
        let terms = Arc::new(terms(&engine, &record));
        let mut task = Task::new(record, None, terms.clone(), live.clone(), place);
        // It is kept already.
        task.record = None;
        Heartbeat::keep(&engine, &claim, &live);
        if engine.is_draining() {
            // Given back as whatever else waits for its turn.
            live.raise(Signal::Interrupt);
        }
        let inner = Restored {
            inner: self.inner.clone(),
            restore: self.restore.clone(),
        };
        let make = self.make.clone();
        async move {
            let read = read(&engine, &terms, request.body());
            let body = match unless(live.stopped(), read).await {
                Ok(Ok(body)) => body,
                Ok(Err((stop, error))) => return unread(task, claim, stop, error).await,
                Err(()) if live.signal() == Some(Signal::Interrupt) => {
                    return unread(task, claim, Stop::Interrupted, None).await;
                }
                // Somebody else has ended it.
                Err(()) => return task.dismiss(),
            };
            let mut trailers = HeaderMap::new();
            trailers.extend(request.trailers());
            let body = Buffered::new(body).with_trailers(trailers);
            let (body, driver) = make.make(body).into_parts();
            let head = head(&request, method, claim.attempt());
            if request.body().blob().is_some() {
                task.request = Some(Box::new(request));
            } else {
                drop(request);
            }
            let run_time = task.terms.run_time;
            let work = Work {
                inner,
                request: Box::new(Request::from_parts(head, body)),
                drive: Drive::new(driver, run_time),
            };
            run(task, Some(claim), None, work).await;
        }
    }
}

/// What the layer lets an operation have that accepted it.
fn terms(engine: &Engine, record: &Record) -> Terms {
    let limits = &engine.limits;
    let rerun = record.submission.rerun.as_deref();
    Terms {
        start_within: rerun.map_or(limits.start_within, |rerun| rerun.start_within),
        run_time: rerun.map_or(limits.run_time, |rerun| rerun.run_time),
        response_body: rerun.map_or(limits.response_body, |rerun| rerun.response_body),
        cancel_grace: limits.cancel_grace,
    }
}

/// Waits for `work`, unless `other` comes first.
async fn unless<O, T>(
    other: impl Future<Output = O>,
    work: impl Future<Output = T>,
) -> Result<T, ()> {
    let (mut other, mut work) = (pin!(other), pin!(work));
    poll_fn(|cx| {
        if other.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(()));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// The body of a request. While the store can't answer it is asked again, until the operation has to have started.
async fn read(
    engine: &Engine,
    terms: &Terms,
    body: &Content,
) -> Result<Bytes, (Stop, Option<StoreError>)> {
    let mut last = None;
    let reading = async {
        let mut backoff = Backoff::new();
        loop {
            let error = match blob::read_whole(&*engine.store, body).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            trace::store_failed("read", &error);
            if error.kind() == StoreErrorKind::Corrupt {
                return Err((Stop::Lost, Some(error)));
            }
            last = Some(error);
            backoff.pause(Duration::MAX).await;
        }
    };
    let read = tokio::time::timeout(terms.start_within, reading).await;
    read.unwrap_or_else(|_| Err((Stop::NotStarted, last)))
}

/// Its request can't be had.
async fn unread(task: Task, claim: Claim, stop: Stop, error: Option<StoreError>) {
    let end = End::<StoreError>::Stop(stop, error.map(Into::into));
    if let Some(unfinished) = close(task, Some(claim), None, end) {
        unfinished.await;
    }
}

/// The request's head as the client sent it.
fn head(request: &StoredRequest, method: Method, attempt: u16) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = method;
    head.uri = request.original();
    head.version = request.version();
    for (name, value) in request.fields() {
        head.headers.append(name, value);
    }
    // The layer has taken out what a client may have sent of it.
    if attempt > 1 {
        head.headers.insert(ATTEMPT, attempt.into());
    }
    head.extensions.insert(SeenUri(request.uri()));
    head
}

/// Waits until something may be claimed.
async fn claimable(changes: &mut dyn Changes) {
    while let Change::Operation(_) = changes.next().await {}
}

/// The inner service, with what is put back into its requests.
///
/// In the call, so that a hook that panics ends the operation as a handler's panic does.
struct Restored<S> {
    inner: S,
    restore: Option<Restore>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Restored<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let (mut head, body) = request.into_parts();
        if let Some(restore) = &self.restore {
            restore(&mut head);
        }
        self.inner.call(Request::from_parts(head, body))
    }
}

impl<S, B, M> fmt::Debug for Worker<S, B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("operations", &self.operations)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
