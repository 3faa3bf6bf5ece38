use super::{
    Defer,
    admit::{self, Admit},
    rebuild::{Buffered, Rebuild, Rebuilt},
    recent::Recent,
};
use crate::{
    dialect::Head,
    operations::{Face, Limits, Operations},
    record::{Queue, Report},
    runner::Terms,
    status::Wrapped,
};
use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use std::{borrow::Cow, fmt, future::Future, num::NonZeroU16, pin::Pin, sync::Arc, time::Duration};
use tower_layer::Layer;

/// Defers the requests that reach it: answers at once, and runs the inner service in a task. Made by [`Operations::layer`].
///
/// Options hold for this layer only; what is not set is as [`Limits`] have it.
///
/// ```
/// use std::time::Duration;
/// use tower_lro::Operations;
///
/// let operations = Operations::builder().build()?;
/// let layer = operations
///     .layer()
///     .wait(Duration::from_millis(500)) // quick ones are answered at once
///     .run_time(Duration::from_secs(4 * 60 * 60))
///     .keep_for(Duration::from_secs(60 * 60));
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
#[must_use]
#[derive(Clone)]
pub struct DeferLayer<M = ByTrait> {
    operations: Operations,
    options: Arc<Options>,
    make: M,
}

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) admit: Arc<dyn Admit>,
    pub(crate) wait: Duration,
    pub(crate) key: Option<KeyRule>,
    pub(crate) strict_keys: bool,
    pub(crate) check: Option<Check>,
    pub(crate) request_body: u64,
    pub(crate) keep_for: Duration,
    /// Where workers find what is accepted here.
    pub(crate) queue: Queue,
    pub(crate) attempts: NonZeroU16,
    /// Nothing is run here.
    pub(crate) accept_only: bool,
    /// Fields of requests that are not stored.
    pub(crate) not_stored: Arc<[HeaderName]>,
    /// What is said of an operation before its handler says anything.
    pub(crate) report: Option<Arc<Report>>,
    /// Shared by the operations that run by them.
    pub(crate) terms: Arc<Terms>,
    /// Here and not in the service, since routers make that anew for each of their connections.
    pub(crate) recent: Recent,
}

impl Options {
    /// Whether `Prefer` decides what is deferred, by the layer's predicate or by its dialect.
    pub(super) fn go_by_prefer(&self, face: &Face) -> bool {
        self.admit.reads_prefer() || face.dialect.reads_prefer()
    }
}

pub(crate) type KeyRule = Arc<dyn Fn(Head<'_>) -> Option<Cow<'static, str>> + Send + Sync>;
pub(crate) type Check = Arc<dyn Fn(Request<Bytes>) -> Checked + Send + Sync>;
pub(crate) type Checked = Pin<Box<dyn Future<Output = Result<(), Response<Bytes>>> + Send>>;

impl DeferLayer {
    pub(crate) fn new(operations: Operations) -> Self {
        let limits: &Limits = &operations.engine.limits;
        let options = Options {
            admit: Arc::new(admit::always()),
            wait: Duration::ZERO,
            key: None,
            strict_keys: false,
            check: None,
            request_body: limits.request_body,
            keep_for: limits.keep_for,
            queue: Queue::default(),
            attempts: NonZeroU16::MIN,
            accept_only: false,
            not_stored: [
                header::AUTHORIZATION,
                header::COOKIE,
                header::PROXY_AUTHORIZATION,
            ]
            .into(),
            report: None,
            terms: Arc::new(Terms {
                start_within: limits.start_within,
                run_time: limits.run_time,
                cancel_grace: limits.cancel_grace,
                response_body: limits.response_body,
            }),
            recent: Recent::default(),
        };
        Self {
            operations,
            options: Arc::new(options),
            make: ByTrait(()),
        }
    }
}

impl<M> DeferLayer<M> {
    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        let options = Arc::make_mut(&mut self.options);
        options.recent = Recent::default();
        change(options);
        self
    }

    /// Which requests are deferred; others pass. Default: all. See [`admit`].
    pub fn when(self, admit: impl Admit) -> Self {
        self.with(|options| options.admit = Arc::new(admit))
    }

    /// Holds answers back for this long, in the hope that the operation ends, unless the client asks for another wait.
    /// Default 0; never more than [`Limits::wait`].
    ///
    /// What ends in time, its body included, is answered as without the layer, and nothing is stored (with an
    /// idempotency key it is). When time is up, the operation is stored and answered 202. Until then only the client knows of
    /// it: if that goes away, the work is dropped, as a server without the layer would drop it.
    pub fn wait(self, at_most: Duration) -> Self {
        self.with(|options| options.wait = at_most)
    }

    /// Takes the idempotency key of a request from elsewhere than the field `Idempotency-Key`; `None` for a request that has
    /// none. A key belongs to an owner ([`Builder::owner`](crate::Builder::owner)); without owners keys are ignored, unless
    /// they are [shared](crate::Builder::shared_keys).
    pub fn key<K>(self, key: impl Fn(Head<'_>) -> Option<K> + Send + Sync + 'static) -> Self
    where
        K: Into<Cow<'static, str>>,
    {
        self.with(|options| options.key = Some(Arc::new(move |head| key(head).map(Into::into))))
    }

    /// Answers 409 `key-in-use` to a repeated idempotency key until the operation has ended, as
    /// draft-ietf-httpapi-idempotency-key-header has it. Default: the same 202 again, which leads the client to the operation
    /// that there is.
    pub fn strict_keys(self) -> Self {
        self.with(|options| options.strict_keys = true)
    }

    /// Refuses bad requests before they are accepted: a response in `Err` is sent at once, and nothing is stored or run.
    /// `check` gets a copy of the head, and the body. The client waits while it runs, and nothing limits its time.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response, StatusCode};
    /// use tower_lro::Operations;
    ///
    /// async fn is_json(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    ///     serde_json::from_slice::<serde_json::Value>(request.body()).map(drop).map_err(|error| {
    ///         let mut refusal = Response::new(error.to_string().into());
    ///         *refusal.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    ///         refusal
    ///     })
    /// }
    ///
    /// let layer = Operations::builder().build()?.layer().check(is_json);
    /// # Ok::<_, tower_lro::BuildError>(())
    /// ```
    pub fn check<C, F>(self, check: C) -> Self
    where
        C: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Response<Bytes>>> + Send + 'static,
    {
        self.with(|options| options.check = Some(Arc::new(move |request| Box::pin(check(request)))))
    }

    /// Bytes of one request body, and of its trailers; over it: 413 `too-large`. Default [`Limits::request_body`].
    pub fn request_body(self, bytes: u64) -> Self {
        self.with(|options| options.request_body = bytes)
    }

    /// Bytes of one response body, and of its trailers; over it the operation fails as `result-too-large`. Default
    /// [`Limits::response_body`].
    pub fn response_body(self, bytes: u64) -> Self {
        self.with(|options| Arc::make_mut(&mut options.terms).response_body = bytes)
    }

    /// Time that an operation may run; over it the operation fails as `timed-out`. Default [`Limits::run_time`].
    pub fn run_time(self, at_most: Duration) -> Self {
        self.with(|options| Arc::make_mut(&mut options.terms).run_time = at_most)
    }

    /// Time that an operation is kept after its end; afterwards: 410 `expired`. Default [`Limits::keep_for`]. With zero it
    /// expires as it ends: for work whose result nobody asks for.
    pub fn keep_for(self, time: Duration) -> Self {
        self.with(|options| options.keep_for = time)
    }

    /// Delay that `Retry-After` tells clients of an operation, in whole seconds, from one to a day, until its handler
    /// [sets another](crate::OperationHandle::retry_after). Default [`Limits::retry_after`], which refusals always tell.
    pub fn retry_after(self, delay: Duration) -> Self {
        let report = Report {
            retry_after: Some(delay),
            ..Report::default()
        };
        self.with(|options| options.report = Some(Arc::new(report)))
    }

    /// Names the queue from which [workers](Operations::worker) take what is accepted here and left to them. Default `default`.
    pub fn queue(self, queue: impl Into<Queue>) -> Self {
        self.with(|options| options.queue = queue.into())
    }

    /// Does not run what is accepted: it waits in its [queue](Self::queue) for a [worker](Operations::worker), here or
    /// elsewhere, and fails as `not-started` if none takes it within [`Limits::start_within`]. It is always answered 202 at
    /// once, without a wait. The inner service serves only requests that are not deferred.
    ///
    /// How many may wait is bounded by the store alone.
    pub fn accept_only(self) -> Self {
        self.with(|options| options.accept_only = true)
    }

    /// How often the inner service may be called for one operation, if the process that runs it dies or shuts down
    /// meanwhile; a [worker](Operations::worker) makes the next attempt. Default 1: an operation whose process dies fails
    /// as `lost`. With more, the work is done at least once instead of at most once: it must tolerate being done twice.
    ///
    /// This needs a store that keeps requests, or [`accept_only`](Self::accept_only).
    pub fn attempts(self, attempts: NonZeroU16) -> Self {
        self.with(|options| options.attempts = attempts)
    }

    /// Further request fields that must not be stored, nor kept in memory for other requests that are alike, since they hold
    /// secrets. `Authorization`, `Cookie` and `Proxy-Authorization` never are. [`Worker::restore`](crate::Worker::restore) puts back what a later run needs of them.
    pub fn not_stored(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with(|options| {
            let all = options.not_stored.iter().cloned().chain(fields);
            options.not_stored = all.collect();
        })
    }

    /// Makes request bodies with a function instead of [`Rebuild`]: for types of other crates, for which the orphan rules
    /// do not let you implement the trait.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{Either, Full};
    /// use tower_lro::{Operations, defer::rebuild::{Buffered, Rebuilt}};
    ///
    /// type Foreign = Either<Full<Bytes>, Full<Bytes>>;
    ///
    /// let layer = Operations::builder().build()?.layer().rebuild_with(|read: Buffered| {
    ///     Rebuilt::ready(Foreign::Left(Full::new(read.into_parts().0)))
    /// });
    /// # Ok::<_, tower_lro::BuildError>(())
    /// ```
    pub fn rebuild_with<F, B>(self, make: F) -> DeferLayer<WithFunction<F>>
    where
        F: Fn(Buffered) -> Rebuilt<B> + Clone + Send + 'static,
    {
        DeferLayer {
            operations: self.operations,
            options: self.options,
            make: WithFunction(make),
        }
    }

    /// One service that answers under the mount and defers the rest with these options: for servers without a router.
    pub fn wrap<S>(self, inner: S) -> Wrapped<S, M>
    where
        M: Clone,
    {
        Wrapped::new(self.layer(inner))
    }
}

impl<S, M: Clone> Layer<S> for DeferLayer<M> {
    type Service = Defer<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Defer::new(
            inner,
            self.operations.clone(),
            self.options.clone(),
            self.make.clone(),
        )
    }
}

impl<M> fmt::Debug for DeferLayer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferLayer")
            .field("operations", &self.operations)
            .field("wait", &self.options.wait)
            .field("terms", &self.options.terms)
            .finish_non_exhaustive()
    }
}

/// How a layer, or a worker, makes request bodies again. [`ByTrait`] and [`WithFunction`] do.
pub trait MakeBody<B>: Clone + Send + 'static {
    /// Makes one.
    fn make(&self, from: Buffered) -> Rebuilt<B>;
}

/// By [`Rebuild`]: the default.
#[derive(Clone, Copy, Debug)]
pub struct ByTrait(pub(crate) ());

/// By a function: see [`DeferLayer::rebuild_with`] and [`Worker::rebuild_with`](crate::Worker::rebuild_with).
#[derive(Clone, Copy)]
pub struct WithFunction<F>(pub(crate) F);

impl<B: Rebuild> MakeBody<B> for ByTrait {
    fn make(&self, from: Buffered) -> Rebuilt<B> {
        B::rebuild(from)
    }
}

impl<B, F> MakeBody<B> for WithFunction<F>
where
    F: Fn(Buffered) -> Rebuilt<B> + Clone + Send + 'static,
{
    fn make(&self, from: Buffered) -> Rebuilt<B> {
        (self.0)(from)
    }
}

impl<F> fmt::Debug for WithFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithFunction")
    }
}
