//! The handle that programs hold, and beneath it what all handles share.

mod audience;
mod builder;
mod drain;
mod duty;
mod engine;
mod face;
mod heartbeat;
mod hub;
mod limits;
mod live;
mod outside;
mod places;
mod plan;
mod polls;
mod registry;
mod seen;
mod sweeper;
mod tally;

pub use self::{
    builder::{BuildError, Builder},
    drain::Drained,
    limits::Limits,
};
pub(crate) use self::{
    engine::Engine,
    face::Face,
    heartbeat::Heartbeat,
    hub::{Reader, Until},
    live::{Detach, Live, News, Signal},
    outside::{certain, is_uncertain},
    places::{Claiming, Discard, Place, Turn, UploadBytes},
    seen::Seen,
    sweeper::Sweeper,
};

use self::seen::current;
use crate::{
    defer::DeferLayer,
    dialect::{Dialect, Mount},
    record::{Capture, Ending, OperationId, Queue, Record, Revision, Stop},
    runner::{PATIENCE, Worker, capture},
    status::{StatusService, Wrapped},
    store::{
        Forget, ListQuery, Lookup, Page, Settled, StateSet, Store, StoreError, StoreErrorKind,
    },
    sync::lock,
};
use bytes::Bytes;
use http::{HeaderName, Response};
use http_body::Body;
use std::{error::Error, fmt, num::NonZeroU16, sync::Arc};

/// What a program holds of its operations: it makes the layer and the status service, and looks operations up, completes,
/// cancels and lists them.
///
/// Behind it are an engine (store, runner, limits), and one face of that: a dialect under a mount, with an owner rule.
/// [`also`](Self::also) gives another face of the same engine.
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

impl Operations {
    /// Begins to set `Operations` up. Everything has a default; [`Builder::build`] makes them.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The same engine under another mount and dialect: they share one store and one set of limits, and each answers for
    /// every operation. Mounts of one dialect show the URLs of the mount that accepted the operation; one of another dialect
    /// shows its own.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the path can be no mount, or is taken, or when the dialect lacks what it needs.
    pub fn also(&self, mount: &str, dialect: impl Dialect) -> Result<Self, BuildError> {
        let base = self.face.mount.url().strip_suffix(self.face.mount.path());
        let mount =
            Mount::new(mount, base.filter(|base| !base.is_empty())).map_err(BuildError::new)?;
        let (owner, shared_keys) = (self.face.owner.clone(), self.face.shared_keys);
        let face = Arc::new(Face::new(mount, Arc::new(dialect), owner, shared_keys)?);
        let mut faces = lock(&self.engine.faces);
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

    /// The service that answers under the mount. Serve it at the very path that [`Builder::mount`] was given.
    pub fn status_service(&self) -> StatusService {
        StatusService::new(self.clone())
    }

    /// Runs operations of this queue that other processes, or other tasks of this one, have only accepted, given back, or
    /// lost.
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

    /// Where the status service answers, as clients see it.
    ///
    /// ```
    /// use axum::Router;
    /// use tower_lro::Operations;
    ///
    /// let operations = Operations::builder().mount("/jobs").build()?;
    /// let app: Router = Router::new()
    ///     .nest_service(operations.mount().path(), operations.status_service());
    /// # Ok::<_, tower_lro::BuildError>(())
    /// ```
    #[must_use]
    pub fn mount(&self) -> &Mount {
        &self.face.mount
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
    /// This method and those below are for the program itself: they do not ask whose an operation is.
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

    /// Waits until an operation has changed since `since`, and gives it as it is then: at once if it has changed
    /// already or has ended. `None` when it is not known (any more).
    ///
    /// Counts as a reader, but is not refused where there are too many. It waits without limit: bound it with
    /// [`tokio::time::timeout`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
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

    /// Ends an operation with a response from elsewhere: from the subscriber of an event, or from another task. Its handler,
    /// if it still runs here, is stopped as by a cancel.
    ///
    /// The response is read whole, within [`Limits::response_body`], and stored as a handler's would be; but when the store
    /// can't take in a part of a long one (256 KiB), this waits for a minute at most. An operation that had ended before
    /// [stands](Settled::Stands): nothing changes.
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
        let stored = capture(&self.engine.store, begun, body, PATIENCE).await?;
        let is_failure = self.engine.is_failure(&head);
        let ending = Ending::with_response(stored, is_failure, self.engine.clock.wall());
        let settled = self.engine.end_now(id, ending).await;
        settled.map_err(|error| match error.kind() {
            StoreErrorKind::Full => CompleteError::TooLarge,
            _ => CompleteError::Store(error),
        })
    }

    /// Ends an operation as cancelled; one that has ended [stands](Settled::Stands). Its handler is told, and dropped after
    /// [`Limits::cancel_grace`].
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

    /// Lets go of an operation that has ended, and of its result, and leaves a tombstone. One that has not ended
    /// [stands](Settled::Stands). For pending ones there are [`remove`](Self::remove), which stops the work, and
    /// [`abandon`](Self::abandon), which does not.
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

    /// Lets go of an operation whether or not it has ended, and leaves a tombstone, as [`forget`](Self::forget) does. If it
    /// runs here, its handler is stopped as by a cancel; nobody will learn how it ended.
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

    /// Lets go of an operation whether or not it has ended, as [`remove`](Self::remove) does, but does not stop its handler
    /// here: that runs on, and its response is dropped. A handler in another process may be stopped.
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
        Sweeper::revive(&self.engine);
        let mut asked = query.clone();
        asked.states = query.states.map(StateSet::with_pending_if_any);
        let (mut records, mut looks) = (Vec::new(), 0);
        loop {
            let page = self.engine.store.list(&asked).await?;
            // Where it came short, its own filter has left out what it has looked at; and perhaps where it did not.
            let is_short = page.next.is_some() && page.records.len() < asked.limit.get().into();
            looks += if is_short {
                LOOKS
            } else {
                page.records.len().max(LOOKS / 8)
            };
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

    /// What is held now. Never waits. Each number is right by itself, but they are not taken at one moment.
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
    /// Bytes of responses that the store holds, and of requests that it keeps for workers.
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
    /// The body of the response failed, or ended before its `Content-Length`.
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
