//! One wire protocol each: how clients ask, and how they are answered.
//!
//! A dialect is pure: it sees no store, no task and no clock, so a transcript of it needs no runtime. [`Rfc`] is the
//! default.
//!
//! **Unstable**: the trait will change until a few more dialects have been built upon it.

mod document;
mod mount;
mod rfc;

pub use self::{
    document::{STATUS_DOCUMENT, entity_tag, status_document},
    mount::{Links, Mount, Route},
    rfc::{OPERATION_OUTCOME, Rfc},
};

use crate::{
    problem::Problem,
    record::{
        Ending, OperationId, Phase, Record, Report, Revision, Sighting, StoredResponse, Timestamp,
    },
    store::{Cursor, StateSet},
};
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, Method, Request, Response, Uri, Version, request, response,
};
use std::{fmt, num::NonZeroU16, time::Duration};

/// One wire protocol.
///
/// # Contract
///
/// Every method is pure: what it gives depends on its arguments alone. It is called while a request is answered, so it
/// must not block.
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// What this request asks of operations, if it is addressed to them: by its path, by its verb.
    ///
    /// Asked by the status service, and by [`Wrapped`](crate::Wrapped) before it defers.
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address>;

    /// What the client asks for in this protocol's words. The engine cuts the wait down to what it allows.
    fn opt_in(&self, head: Head<'_>) -> OptIn;

    /// Takes what [`opt_in`](Self::opt_in) reads out of a request before the inner service sees it.
    fn take_out(&self, headers: &mut HeaderMap);

    /// Marks an answer with what was applied of what the client asked for.
    fn applied(&self, opt_in: OptIn, headers: &mut HeaderMap);

    /// The answer to the initiating request, once the operation is stored.
    fn accepted(&self, view: &View<'_>, opt_in: OptIn) -> Response<Answer>;

    /// The answer to whatever else is asked of an operation. For [`Ask::Cancel`] and [`Ask::Forget`] the view is from
    /// after the deed: one that is still pending could not be forgotten.
    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer>;

    /// The answer to [`Address::List`].
    fn listed(
        &self,
        page: &[View<'_>],
        list: &ListAsk,
        next: Option<Cursor>,
        route: Route<'_>,
    ) -> Response<Bytes>;

    /// A failure, in this protocol's form.
    fn problem(&self, problem: &Problem) -> Response<Bytes> {
        problem.to_response()
    }

    /// Response fields that a browser must be allowed to read
    /// (`Access-Control-Expose-Headers`).
    fn header_names(&self) -> &'static [HeaderName];
}

/// Head of a request, borrowed: admission, owner rules, keys and dialects read it without taking the request apart.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its URI, as routers outside have left it.
    pub uri: &'a Uri,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// What layers and servers outside have noted.
    pub extensions: &'a Extensions,
}

impl<'a> Head<'a> {
    /// The head of `request`.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl<'a> From<&'a request::Parts> for Head<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

/// What is asked, and of what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Address {
    /// This, of this operation.
    Operation(OperationId, Ask),
    /// A list of operations.
    List(ListAsk),
    /// Which methods the resource knows: these.
    Options(&'static [Method]),
    /// What can't be answered, whatever is stored.
    Problem(Problem),
}

/// What is asked of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// How it stands; its result once it has one.
    Monitor,
    /// How it stands, always.
    Status,
    /// Its result.
    Result,
    /// To end it.
    Cancel,
    /// To let go of it.
    Forget,
}

impl Ask {
    /// Whether it leaves the operation as it is.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Monitor | Self::Status | Self::Result)
    }
}

/// What the client asks for beyond the work itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptIn {
    /// To be answered before the work is done.
    pub asked: bool,
    /// To hold the answer back so long in the hope that the operation ends.
    pub wait: Option<Duration>,
}

/// Which part of the list is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ListAsk {
    /// Only those that stand so.
    pub states: Option<StateSet>,
    /// Where to go on.
    pub after: Option<Cursor>,
    /// At most as many.
    pub limit: NonZeroU16,
}

/// What goes into an answer's body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// These bytes.
    Bytes(Bytes),
    /// The body and trailers of the stored response; its head is to come from [`View::replay`].
    Stored,
}

/// One operation as a dialect sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    record: &'a Record,
    sighting: Option<&'a Sighting>,
    links: Links<'a>,
    retry_after: u32,
}

impl<'a> View<'a> {
    /// `sighting` is what the running process knows beyond the record; `retry_after` is in seconds.
    #[must_use]
    pub fn new(
        record: &'a Record,
        sighting: Option<&'a Sighting>,
        links: Links<'a>,
        retry_after: u32,
    ) -> Self {
        let news = sighting
            .filter(|sighting| !record.phase().is_ended() && sighting.revision > record.revision);
        Self {
            record,
            sighting: news,
            links,
            retry_after,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.record.id
    }

    /// The record as it is stored. What changes while an operation runs is told by this view's own methods.
    #[must_use]
    pub fn record(&self) -> &'a Record {
        self.record
    }

    /// How it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.record.phase() {
            Phase::Accepted if self.started().is_some() => Phase::Running,
            phase => phase,
        }
    }

    /// Counts its visible changes.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.sighting
            .map_or(self.record.revision, |sighting| sighting.revision)
    }

    /// When the inner service was called.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.sighting
            .and_then(|sighting| sighting.started)
            .or(self.record.started)
    }

    /// When it last changed.
    #[must_use]
    pub fn updated(&self) -> Timestamp {
        self.sighting.map_or(self.record.updated, |sighting| {
            sighting.at.max(self.record.updated)
        })
    }

    /// What the handler last said about it.
    #[must_use]
    pub fn report(&self) -> Option<&'a Report> {
        let told = self
            .sighting
            .and_then(|sighting| sighting.report.as_deref());
        told.or(self.record.report.as_deref())
    }

    /// What it left behind, once it has ended.
    #[must_use]
    pub fn ending(&self) -> Option<&'a Ending> {
        self.record.ending()
    }

    /// Its addresses.
    #[must_use]
    pub fn links(&self) -> Links<'a> {
        self.links
    }

    /// Seconds after which a client should ask again: what the handler says, or else what is set. Never 0, which
    /// clients take for "not given".
    #[must_use]
    pub fn retry_after(&self) -> u32 {
        let told = self.report().and_then(|report| report.retry_after);
        let seconds = told.map_or(self.retry_after, |delay| {
            u32::try_from(delay.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
        });
        seconds.max(1)
    }

    /// The inner service's response, if it ended with one.
    #[must_use]
    pub fn response(&self) -> Option<&'a StoredResponse> {
        self.ending()?.response.as_ref()
    }

    /// The head of the stored response as it is to be replayed, if there is one.
    #[must_use]
    pub fn replay(&self) -> Option<response::Parts> {
        let stored = self.response()?;
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = stored.status();
        // Room for what is added: outcome, cache control, perhaps length.
        head.headers = HeaderMap::with_capacity(stored.fields().count() + 3);
        for (name, value) in stored.fields() {
            head.headers.append(name, value);
        }
        Some(head)
    }
}
