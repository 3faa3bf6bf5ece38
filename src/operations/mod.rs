//! The engine, and the handle that programs hold.

mod builder;
mod drain;
mod heartbeat;
mod hub;
mod limits;
mod live;
mod places;
mod polls;
mod seen;
mod sweeper;

pub use self::{
    builder::{BuildError, Builder},
    drain::Drained,
    limits::Limits,
};
pub(crate) use self::{
    heartbeat::Heartbeat,
    hub::{Reader, Until},
    live::{Detach, Live, News, Signal},
    places::{Claiming, Discard, Place, Turn, UploadBytes},
    seen::Seen,
    sweeper::Sweeper,
};

use self::{
    builder::{OnEnd, OwnerRule, Verdict},
    hub::Hub,
    live::Registry,
    places::Places,
    polls::Polls,
    seen::current,
};
use crate::{
    defer::DeferLayer,
    dialect::{self, Dialect, Head, Links, Mount, View},
    record::{
        BlobId, Capture, Ending, OperationId, Owner, Phase, Queue, Record, Revision, Sighting, Stop,
    },
    runner::{Unnamed, Worker, capture},
    status::{StatusService, Wrapped},
    store::{
        Clock, Forget, ListQuery, Lookup, Page, Settled, StateSet, Store, StoreError,
        StoreErrorKind, StoreFuture,
    },
};
use bytes::Bytes;
use http::{HeaderName, Response, response};
use http_body::Body;
use std::{
    any::Any,
    error::Error,
    fmt,
    num::NonZeroU16,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::Instant,
};

/// One engine (store, runner, limits) seen through one face (dialect, mount, owner rule).
///
/// Cheap to clone; clones share everything. Not generic, so that it goes into application state and struct fields
/// without parameters. Running work keeps the engine alive; nothing else goes on after the last handle is dropped.
///
/// ```
/// use axum::{Router, routing::post};
/// use tower_lro::Operations;
///
/// # async fn slow_report() {}
/// let operations = Operations::builder().mount("/operations").build()?;
/// let app: Router = Router::new()
///     .route("/reports", post(slow_report).route_layer(operations.layer()))
///     .nest_service("/operations", operations.status_service());
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Operations {
    pub(crate) engine: Arc<Engine>,
    pub(crate) face: Arc<Face>,
}

pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    /// Whether it is to be given the requests of all operations.
    pub(crate) keeps_requests: bool,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    verdict: Option<Verdict>,
    on_end: Option<OnEnd>,
    faces: Mutex<Vec<Arc<Face>>>,
    pub(crate) live: Registry,
    pub(crate) hub: Hub,
    pub(crate) sweeper: Sweeper,
    places: Places,
    pub(crate) polls: Polls,
    pub(crate) turns: Semaphore,
    draining: AtomicBool,
    /// When the last drain began, and how long it takes at most.
    drain: Mutex<Option<(Instant, Duration)>>,
    /// Operations that were ended as interrupted.
    interrupted: AtomicU64,
    /// Operations that were given back for others to run.
    handed_back: AtomicU64,
    /// Operations that were detached, had not ended, and whose tasks are over.
    left_detached: AtomicU64,
    /// Told when nothing is pending any more.
    idle: Notify,
}

pub(crate) struct Face {
    /// The mount's path: what records remember.
    pub(crate) name: Arc<str>,
    pub(crate) mount: Mount,
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) owner: Option<OwnerRule>,
    pub(crate) shared_keys: bool,
    needs_origin: bool,
    pub(crate) is_named_by_request: bool,
    pub(crate) counts_polls: bool,
}

impl Face {
    fn new(
        mount: Mount,
        dialect: Arc<dyn Dialect>,
        owner: Option<OwnerRule>,
        shared_keys: bool,
    ) -> Result<Self, BuildError> {
        let is_named_by_request = dialect.is_named_by_request();
        if is_named_by_request && owner.is_none() && !shared_keys {
            return Err(BuildError {
                option: "dialect",
                message: "names operations by their requests: it needs an `owner` rule to tell whose, or `shared_keys`"
                    .into(),
            });
        }
        Ok(Self {
            name: mount.path().into(),
            needs_origin: dialect.needs_absolute_urls() && !mount.is_absolute(),
            is_named_by_request,
            counts_polls: dialect.counts_polls(),
            mount,
            dialect,
            owner,
            shared_keys,
        })
    }

    /// Whether its dialect lets the request be deferred. Where requests name their operations, nobody's have no name.
    pub(crate) fn admits(&self, head: Head<'_>) -> bool {
        self.dialect.admits(head)
            && (!self.is_named_by_request || self.shared_keys || self.principal(head).is_some())
    }

    /// What stands before the mount in URLs that answer this request. Mostly nothing.
    pub(crate) fn origin(&self, head: Head<'_>) -> String {
        if self.needs_origin {
            dialect::origin(head)
        } else {
            String::new()
        }
    }

    pub(crate) fn links<'a>(&'a self, id: OperationId, origin: &'a str) -> Links<'a> {
        Links::new(&self.mount, id).origin(origin)
    }

    fn speaks_as(&self, other: &Self) -> bool {
        let kind = |face: &Self| {
            let dialect: &dyn Any = &*face.dialect;
            dialect.type_id()
        };
        kind(self) == kind(other)
    }

    /// Whose the request is.
    pub(crate) fn principal(&self, head: Head<'_>) -> Option<Owner> {
        self.owner.as_ref().and_then(|rule| rule(head))
    }

    /// Whether the request may see what belongs to `owner`.
    pub(crate) fn may_see(&self, head: Head<'_>, owner: Option<&Owner>) -> bool {
        match (&self.owner, owner) {
            (None, _) | (_, None) => true,
            (Some(rule), Some(owner)) => rule(head).as_ref() == Some(owner),
        }
    }
}

/// Where a record was accepted, as one face sees it.
pub(crate) enum AcceptedBy {
    /// There.
    This,
    /// Under another mount of the same dialect.
    Alike(Arc<Face>),
    /// In another dialect, or under a mount that is not here.
    Other,
}

impl AcceptedBy {
    /// The view of a record that was accepted so. Its links are those of the face that accepted it, where that speaks the
    /// same dialect: another's URLs would mean nothing to this one, nor would what another has noted.
    pub(crate) fn view<'a>(
        &'a self,
        face: &'a Face,
        record: &'a Record,
        sighting: Option<&'a Sighting>,
        origin: &'a str,
        retry_after: u32,
    ) -> View<'a> {
        let (face, is_noted) = match self {
            Self::This => (face, true),
            Self::Alike(other) => (&**other, true),
            Self::Other => (face, false),
        };
        let view = View::new(record, sighting, face.links(record.id, origin), retry_after);
        if is_noted { view } else { view.without_note() }
    }
}

impl Engine {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn is_failure(&self, head: &response::Parts) -> bool {
        match &self.verdict {
            Some(verdict) => verdict(head),
            None => head.status.is_client_error() || head.status.is_server_error(),
        }
    }

    /// An operation has ended, wherever it ran: wakes who waits for it, and calls the hook.
    pub(crate) fn ended(self: &Arc<Self>, record: &Record) {
        if record.phase() == Phase::Ended(Stop::Interrupted.outcome()) {
            self.interrupted();
        }
        self.hub.ended(record.id);
        Sweeper::due(self, record.submission.keep_for);
        if let Some(hook) = &self.on_end {
            // A hook that panics must not take the operation with it.
            let call = std::panic::AssertUnwindSafe(|| hook(record));
            drop(std::panic::catch_unwind(call));
        }
    }

    /// Work was interrupted, kept or not.
    pub(crate) fn interrupted(&self) {
        self.interrupted.fetch_add(1, Ordering::SeqCst);
    }

    /// An operation was given back for others to run.
    pub(crate) fn handed_back(&self, record: &Record) {
        self.handed_back.fetch_add(1, Ordering::SeqCst);
        self.hub.changed(record.id);
    }

    /// The task is over of an operation that was detached and has not ended.
    fn left_detached(&self) {
        self.left_detached.fetch_add(1, Ordering::SeqCst);
    }

    fn interruptions(&self) -> u64 {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// An operation was ended by another than the task that runs it: whatever goes on of it here is told.
    pub(crate) fn ended_from_outside(self: &Arc<Self>, record: &Record) {
        self.live.end(record.id);
        self.ended(record);
    }

    /// Seconds for `Retry-After` on refusals.
    pub(crate) fn retry_after(&self) -> u32 {
        seconds(self.limits.retry_after)
    }

    /// Where a record was accepted, as `face` sees it.
    pub(crate) fn accepted_by(&self, face: &Face, record: &Record) -> AcceptedBy {
        if Arc::ptr_eq(&face.name, &record.submission.face) || face.name == record.submission.face {
            return AcceptedBy::This;
        }
        let faces = self.faces.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = faces
            .iter()
            .find(|other| other.name == record.submission.face && other.speaks_as(face));
        alike.map_or(AcceptedBy::Other, |face| AcceptedBy::Alike(face.clone()))
    }

    /// Ends an operation from outside, and stops it where it runs here.
    pub(crate) async fn end_now(
        self: &Arc<Self>,
        id: OperationId,
        ending: Ending,
    ) -> Result<Settled, StoreError> {
        let (ours, blob) = ((ending.outcome, ending.at), ending.blob());
        self.see_through(
            move |engine| engine.complete(id, &ending),
            move |engine, settled, is_unsure| {
                let settled = match settled {
                    Ok(settled) if is_unsure => Ok(settled.after_uncertain(ours)),
                    settled => settled,
                };
                engine.conclude(settled, blob, is_unsure)
            },
        )
        .await
    }

    /// Lets go of an operation, tells who waits for it, and `stops` it where it runs here.
    async fn let_go(
        self: &Arc<Self>,
        id: OperationId,
        which: Forget,
        stops: bool,
    ) -> Result<Settled, StoreError> {
        self.see_through(
            move |engine| engine.store.forget(id, which),
            move |engine, settled, is_unsure| {
                let is_gone = match settled {
                    Ok(Settled::Done(_)) => true,
                    // By a try of which nobody knew.
                    Ok(Settled::Unknown) => is_unsure,
                    Ok(Settled::Stands(_)) | Err(_) => false,
                };
                if is_gone {
                    if stops {
                        engine.live.end(id);
                    }
                    engine.hub.ended(id);
                }
                settled
            },
        )
        .await
    }

    /// Takes a step, again while nobody knows whether it was taken, and does what follows from it, told whether a try before
    /// the last was such.
    ///
    /// At once, where the store can; else in a task of its own: whoever asked for it may go away in between.
    async fn see_through(
        self: &Arc<Self>,
        step: impl Fn(&Self) -> StoreFuture<'_, Settled> + Send + Sync + 'static,
        then: impl FnOnce(&Arc<Self>, Result<Settled, StoreError>, bool) -> Result<Settled, StoreError>
        + Send
        + 'static,
    ) -> Result<Settled, StoreError> {
        let was_unsure = match step(self).now() {
            Ok(settled) if !is_uncertain(&settled) => return then(self, settled, false),
            Ok(_) => true,
            Err(_) => false,
        };
        let engine = self.clone();
        let steps = async move {
            let (settled, is_unsure) = certain(|| step(&engine)).await;
            let is_unsure = was_unsure || is_unsure;
            // That the last try was refused does not tell what became of those before.
            let settled = settled.map_err(|error| match is_unsure {
                true => StoreError::caused_by(StoreErrorKind::Uncertain, error),
                false => error,
            });
            then(&engine, settled, is_unsure)
        };
        match Handle::try_current() {
            Ok(runtime) => runtime
                .spawn(steps)
                .await
                .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Uncertain))),
            Err(_) => steps.await,
        }
    }

    /// Has what goes on here know of an end, and lets go of the blob that was written for it if it is of no use.
    fn conclude(
        self: &Arc<Self>,
        settled: Result<Settled, StoreError>,
        blob: Option<BlobId>,
        is_unsure: bool,
    ) -> Result<Settled, StoreError> {
        match &settled {
            Ok(Settled::Unknown) if !is_unsure => self.discard(blob),
            Ok(settled) => {
                self.tell(settled);
                self.discard_unless_named(blob, settled);
            }
            Err(error) if error.kind() != StoreErrorKind::Uncertain => self.discard(blob),
            Err(_) => {}
        }
        settled
    }

    /// Nobody needs a blob any more.
    pub(crate) fn discard(&self, blob: Option<BlobId>) {
        drop(blob.map(|blob| Unnamed::new(self.store.clone(), blob)));
    }

    /// A blob was written for an end that another has come before. Where nobody knows, the sweep will.
    pub(crate) fn discard_unless_named(&self, blob: Option<BlobId>, settled: &Settled) {
        if let (Some(blob), Settled::Done(record) | Settled::Stands(record)) = (blob, settled)
            && record.ending().and_then(Ending::blob) != Some(blob)
        {
            self.discard(Some(blob));
        }
    }

    fn complete(&self, id: OperationId, ending: &Ending) -> StoreFuture<'_, Settled> {
        // What the handler has said must not be lost with its end.
        let last_words = self.live.last(id).map(|live| live.sighting());
        self.store.complete(id, ending.clone(), last_words)
    }

    /// Has what goes on here know of an end, be it one that nobody here was told of when it came.
    fn tell(self: &Arc<Self>, settled: &Settled) {
        match settled {
            Settled::Done(record) => self.ended_from_outside(record),
            Settled::Stands(record) if record.phase().is_ended() => {
                self.live.end(record.id);
                self.hub.ended(record.id);
            }
            Settled::Stands(_) | Settled::Unknown => {}
        }
    }
}

/// Takes a step that may be repeated, a few times while nobody knows whether it was taken. Also tells whether that was so of
/// a try before the last.
pub(crate) async fn certain<'a, T>(
    step: impl Fn() -> StoreFuture<'a, T>,
) -> (Result<T, StoreError>, bool) {
    const TRIES: u32 = 3;
    let (mut answer, mut is_unsure) = (step().await, false);
    for _ in 1..TRIES {
        if !is_uncertain(&answer) {
            break;
        }
        is_unsure = true;
        answer = step().await;
    }
    (answer, is_unsure)
}

/// Whether a step was taken or not, nobody knows.
pub(crate) fn is_uncertain<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(error) if error.kind() == StoreErrorKind::Uncertain)
}

pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}

impl Operations {
    /// Begins to set up. [`Builder::build`] ends it; everything has a default.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The same engine under another mount and dialect: one store, one set of limits, both answer for every operation.
    /// The face that accepted an operation fixes its URLs.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the mount can't be, or is taken, or when the dialect lacks what it needs.
    pub fn also(&self, mount: &str, dialect: impl Dialect) -> Result<Self, BuildError> {
        let base = self.face.mount.url().strip_suffix(self.face.mount.path());
        let mount =
            Mount::new(mount, base.filter(|base| !base.is_empty())).map_err(BuildError::from)?;
        let (owner, shared_keys) = (self.face.owner.clone(), self.face.shared_keys);
        let face = Arc::new(Face::new(mount, Arc::new(dialect), owner, shared_keys)?);
        let mut faces = self
            .engine
            .faces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if faces.iter().any(|other| other.name == face.name) {
            let message = format!("`{}` is taken", face.name);
            return Err(BuildError {
                option: "mount",
                message,
            });
        }
        faces.push(face.clone());
        Ok(Self {
            engine: self.engine.clone(),
            face,
        })
    }

    /// The layer that defers what reaches it. The [guide](crate#mounting) tells where it goes.
    pub fn layer(&self) -> DeferLayer {
        DeferLayer::new(self.clone())
    }

    /// The service that answers under the mount: to be served at just the path that [`Builder::mount`] was told.
    pub fn status_service(&self) -> StatusService {
        StatusService::new(self.clone())
    }

    /// Runs what others have accepted for this queue, given back, or lost: a process, or a task, beside those that accept.
    ///
    /// ```no_run
    /// use axum::{Router, body::Body, routing::post};
    /// use tower_lro::Operations;
    ///
    /// # async fn slow_report() {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let operations = Operations::builder().build()?;
    /// // The same router that the web tier defers to, below what authenticates.
    /// let app: Router = Router::new().route("/reports", post(slow_report));
    /// tokio::spawn(operations.worker::<_, Body>("default", app).run());
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker<S, B>(&self, queue: impl Into<Queue>, inner: S) -> Worker<S, B> {
        Worker::new(self.clone(), queue.into(), inner)
    }

    /// One service that answers under the mount and defers the rest: for servers without a router.
    /// [`DeferLayer::wrap`] is the same with options.
    pub fn wrap<S>(&self, inner: S) -> Wrapped<S> {
        self.layer().wrap(inner)
    }

    /// Response fields that a browser must be allowed to read, to be exposed by a CORS layer.
    ///
    /// ```
    /// use tower_http::cors::CorsLayer;
    /// use tower_lro::Operations;
    ///
    /// let operations = Operations::builder().build()?;
    /// let cors = CorsLayer::new().expose_headers(operations.header_names().to_vec());
    /// # Ok::<_, tower_lro::BuildError>(())
    /// ```
    #[must_use]
    pub fn header_names(&self) -> &'static [HeaderName] {
        self.face.dialect.header_names()
    }

    /// An operation as it is now; `None` when it is not known (any more).
    ///
    /// This and all that follows is for the program: no owner is asked for.
    ///
    /// # Errors
    ///
    /// When the store can't answer.
    pub async fn get(&self, id: OperationId) -> Result<Option<Record>, StoreError> {
        let Seen { lookup, sighting } = self.engine.find(id).await?;
        Ok(match lookup {
            Lookup::Found(record) => Some(current(&record, sighting)),
            Lookup::Gone { .. } | Lookup::Unknown => None,
        })
    }

    /// Waits until an operation has changed since `since`, and gives it as it is then; at once if it has changed
    /// already or has ended, `None` when it is not known (any more).
    ///
    /// Counts as a reader, but is not refused where there are too many. It waits without limit: programs bound their own
    /// waiting, by [`tokio::time::timeout`] say.
    ///
    /// # Errors
    ///
    /// When the store can't answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn changed(
        &self,
        id: OperationId,
        since: Revision,
    ) -> Result<Option<Record>, StoreError> {
        let reader = Reader::watch(&self.engine, id);
        loop {
            let news = reader.news(Until::Changed);
            tokio::pin!(news);
            news.as_mut().enable();
            match self.get(id).await? {
                Some(record) if record.revision <= since && !record.phase().is_ended() => {}
                other => return Ok(other),
            }
            news.await;
        }
    }

    /// Ends an operation with a response from outside: from an event's subscriber, or another task. Its handler, if it
    /// still runs here, is stopped as by a cancel.
    ///
    /// The response is read whole, within [`Limits::response_body`], and stored as a handler's would be. An operation that
    /// has ended before [stands](Settled::Stands).
    ///
    /// # Errors
    ///
    /// [`CompleteError`] when the response is an interim one, can't be read or is too large, or the store can't answer;
    /// the operation goes on as before.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it has ended the operation or not, and nothing in between.
    pub async fn complete<B>(
        &self,
        id: OperationId,
        response: Response<B>,
    ) -> Result<Settled, CompleteError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = response.into_parts();
        if head.status.is_informational() {
            return Err(CompleteError::Interim);
        }
        let target = match self
            .engine
            .store
            .find(id)
            .await
            .map_err(CompleteError::Store)?
        {
            Lookup::Found(record) if record.phase().is_ended() => {
                return Ok(Settled::Stands(record));
            }
            Lookup::Found(record) => record.submission.target.clone(),
            Lookup::Gone { .. } | Lookup::Unknown => return Ok(Settled::Unknown),
        };
        let limit = self.engine.limits.response_body;
        let begun = Capture::begin(&head, &target, body.size_hint().lower(), limit)?;
        let stored = capture(&self.engine.store, begun, body).await?;
        let is_failure = self.engine.is_failure(&head);
        let ending = Ending::with_response(stored, is_failure, self.engine.clock.wall());
        let settled = self.engine.end_now(id, ending).await;
        settled.map_err(|error| match error.kind() {
            StoreErrorKind::Full => CompleteError::TooLarge,
            _ => CompleteError::Store(error),
        })
    }

    /// Ends an operation that has not ended, as cancelled; one that has [stands](Settled::Stands). Its handler is told,
    /// and dropped after [`Limits::cancel_grace`].
    ///
    /// # Errors
    ///
    /// When the store can't answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it has ended the operation or not, and nothing in between.
    pub async fn cancel(&self, id: OperationId) -> Result<Settled, StoreError> {
        let ending = Ending::without_response(Stop::Cancelled, self.engine.clock.wall());
        self.engine.end_now(id, ending).await
    }

    /// Lets go of an operation that has ended, and of its result, and leaves a tombstone; one that has not ended
    /// [stands](Settled::Stands).
    ///
    /// # Errors
    ///
    /// When the store can't answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it has let go of the operation or not, and nothing in between.
    pub async fn forget(&self, id: OperationId) -> Result<Settled, StoreError> {
        self.engine.let_go(id, Forget::Ended, false).await
    }

    /// Lets go of an operation whether or not it has ended, as [`forget`](Self::forget) does of those that have. What runs
    /// of it here is stopped as by a cancel, but nobody will learn how it ended.
    ///
    /// # Errors
    ///
    /// When the store can't answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it has let go of the operation or not, and nothing in between.
    pub async fn remove(&self, id: OperationId) -> Result<Settled, StoreError> {
        self.engine.let_go(id, Forget::Any, true).await
    }

    /// Lets go of an operation whether or not it has ended, as [`remove`](Self::remove) does, but stops nothing that runs
    /// here: it runs on, and what comes of it is dropped. In another process it may be stopped.
    ///
    /// # Errors
    ///
    /// When the store can't answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it has let go of the operation or not, and nothing in between.
    pub async fn abandon(&self, id: OperationId) -> Result<Settled, StoreError> {
        self.engine.let_go(id, Forget::Any, false).await
    }

    /// Operations, newest first, a page at a time: everybody's, unless the query names an owner.
    ///
    /// # Errors
    ///
    /// When the store can't answer.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.list_those(query, |_| true).await
    }

    /// Those that are wanted beyond the query.
    pub(crate) async fn list_those(
        &self,
        query: &ListQuery,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Page, StoreError> {
        // A start is stored with the next write only: what the store takes for accepted may be running. So it is asked
        // for both, and what it gives is looked through again.
        const LOOKS: usize = 1_000;
        let mut asked = query.clone();
        asked.states = query.states.map(StateSet::with_pending_if_any);
        let (mut records, mut looks) = (Vec::new(), 0);
        loop {
            let page = self.engine.store.list(&asked).await?;
            looks += page.records.len();
            for record in page.records {
                let record = match record.phase().is_ended() {
                    true => record,
                    false => Arc::new(current(&record, self.engine.sighting(&record))),
                };
                let is_listed = query.wants(&record) && wanted(&record);
                records.extend(is_listed.then_some(record));
            }
            let left = usize::from(query.limit.get()).saturating_sub(records.len());
            let left = u16::try_from(left).ok().and_then(NonZeroU16::new);
            match (left, page.next) {
                (Some(left), Some(next)) if looks < LOOKS => {
                    (asked.after, asked.limit) = (Some(next), left);
                }
                (_, next) => return Ok(Page { records, next }),
            }
        }
    }

    /// What is held now. Never waits. Each number is right for itself; together they are no snapshot.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (places, stored) = (&self.engine.places, self.engine.store.usage());
        let [uploading, accepted, running] = self.engine.stages();
        Usage {
            uploading,
            uploading_bytes: places.uploading_bytes(),
            accepted,
            running,
            readers: self.engine.hub.readers() as u64,
            stored: stored.operations,
            stored_bytes: stored.bytes,
            tombstones: stored.tombstones,
        }
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations")
            .field("mount", &self.face.mount)
            .field("dialect", &self.face.dialect)
            .field("store", &self.engine.store)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What is held now. See [`Operations::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Requests whose bodies are being read.
    pub uploading: u64,
    /// Bytes set aside for them.
    pub uploading_bytes: u64,
    /// Operations that wait for their turn.
    pub accepted: u64,
    /// Operations that have their turn.
    pub running: u64,
    /// Readers that wait for an operation to change or end.
    pub readers: u64,
    /// Operations that the store holds, pending and ended.
    pub stored: u64,
    /// Bytes of responses that the store holds.
    pub stored_bytes: u64,
    /// Ids of operations that are gone and still remembered.
    pub tombstones: u64,
}

/// Why [`Operations::complete`] could not end the operation.
#[derive(Debug)]
#[non_exhaustive]
pub enum CompleteError {
    /// The response is an interim one (1xx), which ends nothing.
    Interim,
    /// The body of the response failed.
    Body(Box<dyn Error + Send + Sync>),
    /// The response is longer than [`Limits::response_body`], or finds no room in the store.
    TooLarge,
    /// The store could not answer.
    Store(StoreError),
}

impl fmt::Display for CompleteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interim => "the response is an interim one",
            Self::Body(_) => "the body of the response failed",
            Self::TooLarge => "the response is too large to be stored",
            Self::Store(_) => "the store could not answer",
        })
    }
}

impl Error for CompleteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Body(error) => Some(&**error),
            Self::Interim | Self::TooLarge => None,
            Self::Store(error) => Some(error),
        }
    }
}
