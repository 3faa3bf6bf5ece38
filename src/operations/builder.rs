use super::{
    Engine, Face, Heartbeat, Limits, Operations,
    drain::Drain,
    hub::Hub,
    places::{Places, turns},
    polls::PollCounts,
    registry::Registry,
    sweeper::Sweeper,
};
use crate::{
    dialect::{Dialect, Head, Mount, Rfc},
    record::{Owner, Record},
    store::{Clock, MemoryLimits, MemoryStore, Store},
};
use http::response;
use std::{
    fmt,
    sync::{Arc, Mutex},
};
use tokio::sync::Semaphore;

/// Sets [`Operations`] up. Made by [`Operations::builder`].
#[must_use]
pub struct Builder {
    mount: String,
    base_url: Option<String>,
    dialect: Arc<dyn Dialect>,
    store: Option<Arc<dyn Store>>,
    clock: Option<Clock>,
    limits: Limits,
    owner: Option<OwnerRule>,
    shared_keys: bool,
    verdict: Option<Verdict>,
    on_end: Option<OnEnd>,
}

pub(crate) type OwnerRule = Arc<dyn Fn(Head<'_>) -> Option<Owner> + Send + Sync>;
pub(crate) type Verdict = Arc<dyn Fn(&response::Parts) -> bool + Send + Sync>;
pub(crate) type OnEnd = Arc<dyn Fn(&Record) + Send + Sync>;

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            mount: "/operations".into(),
            base_url: None,
            dialect: Arc::new(Rfc::new()),
            store: None,
            clock: None,
            limits: Limits::default(),
            owner: None,
            shared_keys: false,
            verdict: None,
            on_end: None,
        }
    }

    /// Where the status service is mounted: a literal path, as clients see it, that begins with a slash and does not end
    /// with one. It stands in every `Location`. Default `/operations`.
    pub fn mount(mut self, path: impl Into<String>) -> Self {
        self.mount = path.into();
        self
    }

    /// What stands before the mount in URLs given to clients: `https://example.com` or `https://example.com/api`.
    /// Default: nothing, so that URLs are path-absolute; a dialect whose clients need absolute ones then takes `http`, or
    /// the scheme of the request's target, and the host that the request names. Forwarded fields are never used for it:
    /// behind a proxy that ends TLS, set it.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The wire protocol. Default [`Rfc`].
    pub fn dialect(mut self, dialect: impl Dialect) -> Self {
        self.dialect = Arc::new(dialect);
        self
    }

    /// Where operations are kept. Default a [`MemoryStore`] with the bounds of [`limits`](Self::limits). A store that is
    /// given here has its own instead of [`Limits::stored`], [`stored_bytes`](Limits::stored_bytes),
    /// [`tombstones`](Limits::tombstones) and [`tombstone_for`](Limits::tombstone_for).
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// The clock of the engine and of the default store: it dates records and decides when they expire. Default: the
    /// system's. Running and waiting are timed by tokio's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Every bound of the engine. Default [`Limits::default`]. A [`DeferLayer`](crate::DeferLayer) may set its own for
    /// what it accepts.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells whose a request is, by what an authenticating layer outside has left in its head. Default: nobody's, so that
    /// whoever knows an operation's id may follow it.
    ///
    /// With a rule, an operation is seen only by requests of its owner; for all others there is no such operation. A request
    /// for which the rule gives `None` makes and sees operations that belong to nobody, and has no idempotency keys.
    ///
    /// The rule is asked by the layer and by the status service: put the authenticating layer outside of both. It is called
    /// for every request, perhaps more than once, and must not block.
    pub fn owner(
        mut self,
        rule: impl Fn(Head<'_>) -> Option<Owner> + Send + Sync + 'static,
    ) -> Self {
        self.owner = Some(Arc::new(rule));
        self
    }

    /// Lets idempotency keys count without an owner rule, for all clients together. Default: off, since whoever guesses
    /// a stranger's key, and the request it was sent with, would be told of the stranger's operation.
    pub fn shared_keys(mut self) -> Self {
        self.shared_keys = true;
        self
    }

    /// Whether a response, of the inner service or by [`Operations::complete`], means that the operation failed. It is
    /// replayed all the same; what differs is the outcome that clients are told. Default: 4xx and 5xx do.
    pub fn verdict(
        mut self,
        is_failure: impl Fn(&response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.verdict = Some(Arc::new(is_failure));
        self
    }

    /// Called with every operation that ends in this process, for logs and metrics, after its end is stored. Requests
    /// that were answered within their wait and never became operations are not among them. Must not block; what it
    /// panics with is dropped.
    pub fn on_end(mut self, hook: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.on_end = Some(Arc::new(hook));
        self
    }

    /// Checks the options and makes the [`Operations`]. Works outside of a runtime: nothing is spawned before there is something
    /// to do.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the option that can't work.
    pub fn build(self) -> Result<Operations, BuildError> {
        self.limits.check().map_err(BuildError::new)?;
        if self.shared_keys && self.owner.is_some() {
            return Err(BuildError {
                option: "shared_keys",
                message: "is for operations without an owner rule; with one, keys are the owner's"
                    .into(),
            });
        }
        let mount = Mount::new(&self.mount, self.base_url.as_deref()).map_err(BuildError::new)?;
        let clock = self.clock.unwrap_or_else(Clock::system);
        let limits = self.limits;
        let store = self.store.unwrap_or_else(|| {
            let bounds = MemoryLimits::default()
                .operations(limits.stored)
                .bytes(limits.stored_bytes)
                .tombstones(limits.tombstones)
                .tombstone_for(limits.tombstone_for);
            Arc::new(MemoryStore::new(bounds, clock.clone()))
        });
        let face = Arc::new(Face::new(
            mount,
            self.dialect,
            self.owner,
            self.shared_keys,
        )?);
        let engine = Arc::new(Engine {
            keeps_requests: store.keeps_requests(),
            heartbeat: store.lease().map(Heartbeat::new),
            store,
            clock,
            turns: Semaphore::new(turns(&limits)),
            limits,
            verdict: self.verdict,
            on_end: self.on_end,
            faces: Mutex::new(vec![face.clone()]),
            live: Registry::default(),
            hub: Hub::default(),
            sweeper: Sweeper::default(),
            places: Places::default(),
            polls: PollCounts::default(),
            drain: Drain::default(),
        });
        Ok(Operations { engine, face })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("mount", &self.mount)
            .field("base_url", &self.base_url)
            .field("dialect", &self.dialect)
            .field("store", &self.store)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// An option of the [`Builder`] or of the [`Limits`] that can't work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildError {
    /// Which: a method of [`Builder`], or a field of [`Limits`].
    pub option: &'static str,
    /// Why.
    pub message: String,
}

impl BuildError {
    pub(super) fn new((option, message): (&'static str, String)) -> Self {
        Self { option, message }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option `{}`: {}", self.option, self.message)
    }
}

impl std::error::Error for BuildError {}
