//! The wire protocols, one file each: how clients ask, and how they are answered.
//!
//! A dialect is pure: it sees no store, no task and no clock, so a transcript of it needs no runtime. [`Rfc`] is the
//! default.
//!
//! **Stable**: additions to the trait have defaults; anything else comes in a release that is marked as breaking.

mod architecture_center;
mod arm;
mod azure;
mod document;
mod durable_functions;
mod fhir;
mod google_rest;
mod mount;
mod odata;
mod ogc_processes;
mod query;
mod redfish;
mod rest_easy;
mod rfc;
mod same_url;
mod spa;
mod two_oh_two;
mod x_operation;

pub(crate) use self::mount::origin;
pub use self::{
    architecture_center::ArchitectureCenter,
    arm::{AZURE_ASYNC_OPERATION, Arm},
    azure::{Azure, OPERATION_ID, OPERATION_LOCATION},
    document::{STATUS_DOCUMENT, entity_tag, status_document},
    durable_functions::{CONTINUATION_TOKEN, DurableFunctions},
    fhir::{Fhir, X_EXPORT_STATUS, X_PROGRESS},
    google_rest::GoogleRest,
    mount::{Links, Mount, Route},
    odata::{ASYNC_RESULT, OData},
    ogc_processes::OgcProcesses,
    redfish::Redfish,
    rest_easy::RestEasy,
    rfc::{OPERATION_OUTCOME, Rfc},
    same_url::SameUrl,
    spa::Spa,
    two_oh_two::TwoOhTwo,
    x_operation::{X_OPERATION, X_RESOURCE, XOperation},
};

use crate::{
    header::{PREFERENCE_APPLIED, Prefer, applied, idempotency_key, whole_seconds},
    problem::{Problem, ProblemKind},
    record::{
        Content, Ending, OperationId, Phase, Record, Report, Revision, Sighting, StoredResponse,
        Timestamp,
    },
    store::{Cursor, StateSet},
};
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, Method, Request, Response, Uri, Version, header, request,
    response,
};
use serde_json::value::RawValue;
use std::{any::Any, borrow::Cow, fmt, num::NonZeroU16, sync::Arc, time::Duration};

/// One wire protocol.
///
/// Three methods have to be written: which requests are addressed to operations ([`address`](Self::address)), how the
/// initiating request is answered ([`accepted`](Self::accepted)), and how all others are ([`answer`](Self::answer)). The
/// others have defaults, which are right for a protocol that lacks what they are about.
///
/// # Contract
///
/// Every method is pure: what it returns depends on its arguments alone. It is called while a request is answered, so it
/// must not block. Methods without arguments ([`needs_absolute_urls`](Self::needs_absolute_urls) and its like) always return
/// the same, since the engine may ask them once, when it is built.
///
/// The engine does the rest: it looks operations up, keeps strangers out, waits, cancels, forgets, evaluates conditions,
/// leaves bodies out of answers to HEAD, streams stored bodies, and decides by one table for all dialects which fields a
/// replay has. Only `Cache-Control` is for the dialect to set.
pub trait Dialect: Any + fmt::Debug + Send + Sync {
    /// What a request asks, and of which operation, by its path and its method. `None` if it is not addressed to operations:
    /// then the status service answers it with [`ProblemKind::Unknown`].
    ///
    /// Called by the status service, by [`Wrapped`](crate::Wrapped) before it defers, and by the layer, which lets requests to
    /// [operations](Address::Operation) pass. Where a router has taken a part of the mount away, `head` has the URI that the
    /// client asked for.
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address>;

    /// The answer to the initiating request, once the operation is stored, and to its repeats with the same
    /// [key](Self::key), whatever has become of the operation.
    ///
    /// The request has gone to the inner service by then. What the answer needs of its head has to be noted by
    /// [`opt_in`](Self::opt_in).
    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer>;

    /// The answer to whatever else is asked of an operation. Where `ask` changes something ([`Ask::Cancel`] and those after
    /// it), `view` shows the operation after that, and [`View::is_done`] tells whether this request has done it.
    ///
    /// An [`Answer::Bytes`] or [`Answer::Instead`] whose `ETag` the request lists in `If-None-Match` becomes a 304 without a
    /// body. The answer to [`Ask::Status`] must have the tag that [`entity_tag`] gives: by it the engine tells whether there is
    /// news to wait for.
    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer>;

    /// Whether this protocol lets a request be deferred: by its method, or by what it asks for. Others pass. (The layer has its
    /// own say as well.) Default: all may.
    fn admits(&self, head: Head<'_>) -> bool {
        let _ = head;
        true
    }

    /// Whether [`admits`](Self::admits) depends on `Prefer`: then responses tell caches so, with `Vary`. Default: no.
    fn reads_prefer(&self) -> bool {
        false
    }

    /// What the client asks for in this protocol's words. The engine cuts the wait down to what it allows. Default:
    /// nothing.
    fn opt_in(&self, head: Head<'_>) -> OptIn {
        let _ = head;
        OptIn::default()
    }

    /// Removes from a request what [`opt_in`](Self::opt_in) reads, before the inner service sees it, so that no layer further
    /// in defers it again. Not called where that read nothing, unless requests [name](Self::is_named_by_request) their
    /// operations: then fields that are meant for the monitor are removed too. Default: removes nothing.
    fn take_out(&self, head: &mut request::Parts) {
        let _ = head;
    }

    /// Marks an answer with what was applied of what the client asked for. Default: does nothing.
    fn applied(&self, opt_in: &OptIn, headers: &mut HeaderMap) {
        let _ = (opt_in, headers);
    }

    /// The idempotency key of a request: repeats with the same key lead to the same operation. A
    /// [rule](crate::DeferLayer::key) of the layer takes precedence. Default: the field `Idempotency-Key`.
    ///
    /// # Errors
    ///
    /// The problem that the request is refused with, when it has a key that is malformed.
    fn key<'a>(&self, head: Head<'a>) -> Result<Option<Cow<'a, str>>, Problem> {
        let key = idempotency_key(head.headers);
        key.map_err(|invalid| Problem::new(ProblemKind::KeyInvalid).detail(invalid.to_string()))
    }

    /// Whether the initiating request itself names the operation, so that repeating it is polling it, as in
    /// [`SameUrl`]. Default: no. If so:
    ///
    /// - [`key`](Self::key) has to give a name for every request that [`admits`](Self::admits) lets through; the engine refuses
    ///   others with [`ProblemKind::KeyInvalid`].
    /// - A repeat is recognised by that name alone, and gets the [`answer`](Self::answer) to [`Ask::Monitor`] instead of
    ///   [`accepted`](Self::accepted).
    /// - The name is free again once the operation is gone. An operation that has failed or was cancelled is told to one repeat,
    ///   and forgotten with that.
    /// - Names belong to an owner, so there must be an owner rule, or [shared keys](crate::Builder::shared_keys). With a rule,
    ///   requests without a principal pass.
    /// - A HEAD is answered like the GET that has begun an operation, and passes where there is none.
    fn is_named_by_request(&self) -> bool {
        false
    }

    /// The answer to [`Address::List`]. Default: [`ProblemKind::Unknown`].
    fn listed(&self, listing: &Listing<'_>, head: Head<'_>) -> Response<Bytes> {
        let _ = (listing, head);
        self.problem(&Problem::new(ProblemKind::Unknown), &OptIn::default())
    }

    /// A filter for the list that a request asks for, beyond what [`ListAsk`] can say. Operations that it does not want are
    /// passed over, within bounds: so a page may have fewer than were asked for, or none, though there is a next one.
    /// Default: none.
    fn filter(&self, head: Head<'_>) -> Option<ListFilter> {
        let _ = head;
        None
    }

    /// A failure in this protocol's form: of a poll, of a refused request, or of an operation that ended without a
    /// response within its wait. `opt_in` is what [`opt_in`](Self::opt_in) returned for the request. Default: problem
    /// details ([`Problem::to_response`]).
    fn problem(&self, problem: &Problem, opt_in: &OptIn) -> Response<Bytes> {
        let _ = opt_in;
        problem.to_response()
    }

    /// Response fields that a browser must be allowed to read (`Access-Control-Expose-Headers`). Default: `Location`,
    /// `Retry-After` and `Allow`.
    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 3] = [header::LOCATION, header::RETRY_AFTER, header::ALLOW];
        &NAMES
    }

    /// Whether its clients understand absolute URLs only. Without a [base URL](crate::Builder::base_url), URLs then have the
    /// host that the request names, in its target or in `Host`. Default: no.
    fn needs_absolute_urls(&self) -> bool {
        false
    }

    /// Whether its answers depend on how often an operation was polled, or its result given. If so, the engine counts, and
    /// [`View::polls`] tells. Default: no.
    fn counts_polls(&self) -> bool {
        false
    }
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

    /// The target as the client sent it, before a router took a prefix away: path and query.
    #[must_use]
    pub fn target(self) -> &'a str {
        self.original()
            .path_and_query()
            .map_or("", |path| path.as_str())
    }

    /// The URI as the client sent it, before a router took a prefix away.
    pub(crate) fn original(self) -> &'a Uri {
        #[cfg(feature = "axum")]
        let uri = self
            .extensions
            .get::<axum::extract::OriginalUri>()
            .map_or(self.uri, |uri| &uri.0);
        #[cfg(not(feature = "axum"))]
        let uri = self.uri;
        uri
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
    /// Something of one operation.
    Operation(OperationId, Ask),
    /// A list of operations; `Err` if the query is malformed. Callers who may have no list at all are not told of that, but get
    /// [`ProblemKind::Unknown`].
    List(Result<ListAsk, Problem>),
    /// Which methods the resource knows (`OPTIONS`): these.
    Options(&'static [Method]),
    /// Something that gets this problem, whatever is stored.
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
    /// As [`Monitor`](Self::Monitor), but the result is given only once: it is forgotten as it is read. HEAD takes nothing.
    Take,
    /// To cancel it.
    Cancel,
    /// To let go of it if it has ended. A pending one stays as it is.
    Forget,
    /// To cancel it, if it is pending, and to let go of it.
    CancelAndForget,
    /// To cancel it if it is pending, or to let go of it if it has ended: asked twice of a pending one, it is gone.
    Dismiss,
    /// To let go of it, even if it is pending. Its handler runs on in this process, and the response is dropped.
    Abandon,
}

impl Ask {
    /// Whether it only reads, and leaves the operation as it is.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Monitor | Self::Status | Self::Result)
    }

    /// Whether its answer may be held back in the hope that the operation ends, or changes.
    #[must_use]
    pub const fn may_wait(self) -> bool {
        matches!(
            self,
            Self::Monitor | Self::Status | Self::Result | Self::Take
        )
    }
}

/// What the client asks for beyond the work itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptIn {
    /// To be answered before the work is done.
    pub asked: bool,
    /// To hold the answer back for this long, in the hope that the operation ends.
    pub wait: Option<Duration>,
    /// Never to hear of the operation again: it is let go of as soon as it has ended, whatever the layer's settings.
    pub one_way: bool,
    /// Whatever else of the head the dialect needs when it answers: a version, a name. The note on the initiating request is
    /// [kept](crate::record::Submission::note) with the operation.
    pub note: Option<Arc<str>>,
}

impl OptIn {
    /// What `Prefer` asks for: `respond-async` and `wait` (RFC 7240, sections 4.1 and 4.3).
    #[must_use]
    pub fn by_prefer(headers: &HeaderMap) -> Self {
        let Prefer {
            respond_async,
            wait,
        } = Prefer::parse(headers);
        Self {
            asked: respond_async,
            wait,
            ..Self::default()
        }
    }

    /// Tells in `Preference-Applied` (RFC 7240, section 3) which of these was heeded, beside what an inner service has
    /// told there.
    pub fn tell_applied(&self, headers: &mut HeaderMap) {
        let heeded = Prefer {
            respond_async: self.asked,
            wait: self.wait,
        };
        if let Some(value) = applied(heeded) {
            headers.append(PREFERENCE_APPLIED, value);
        }
    }
}

/// Which part of the list is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ListAsk {
    /// Only those in one of these states.
    pub states: Option<StateSet>,
    /// Only those created at this moment or later.
    pub since: Option<Timestamp>,
    /// Only those created before this moment.
    pub until: Option<Timestamp>,
    /// Only those accepted under the mount of the list. Default: of all mounts of the engine.
    pub here: bool,
    /// Where to go on.
    pub after: Option<Cursor>,
    /// At most as many.
    pub limit: NonZeroU16,
}

impl Default for ListAsk {
    /// The newest twenty.
    fn default() -> Self {
        Self {
            states: None,
            since: None,
            until: None,
            here: false,
            after: None,
            limit: const { NonZeroU16::new(20).unwrap() },
        }
    }
}

/// Whether an operation, as it is at this moment, is wanted in a list. See [`Dialect::filter`].
pub type ListFilter = Box<dyn Fn(&Record, Timestamp) -> bool + Send + Sync>;

/// A page of a list, as a dialect sees it.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    views: &'a [View<'a>],
    ask: &'a ListAsk,
    next: Option<Cursor>,
    mount: &'a Mount,
    origin: &'a str,
}

impl<'a> Listing<'a> {
    /// `next` is where the next page begins, if there is more.
    #[must_use]
    pub fn new(
        views: &'a [View<'a>],
        ask: &'a ListAsk,
        next: Option<Cursor>,
        mount: &'a Mount,
    ) -> Self {
        Self {
            views,
            ask,
            next,
            mount,
            origin: "",
        }
    }

    pub(crate) fn origin(self, origin: &'a str) -> Self {
        Self { origin, ..self }
    }

    /// The operations.
    #[must_use]
    pub fn views(&self) -> &'a [View<'a>] {
        self.views
    }

    /// What was asked for.
    #[must_use]
    pub fn ask(&self) -> &'a ListAsk {
        self.ask
    }

    /// Where the next page begins, if there is more: for [`ListAsk::after`].
    #[must_use]
    pub fn next(&self) -> Option<Cursor> {
        self.next
    }

    /// The URL of the mount.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.mount.url())
    }
}

/// What goes into an answer's body.
#[derive(Clone)]
#[non_exhaustive]
pub enum Answer {
    /// These bytes.
    Bytes(Bytes),
    /// These bytes in place of the result: they are all that this protocol tells of it at this address. With them it counts as
    /// delivered, and may be let go to make room.
    Instead(Bytes),
    /// The body and trailers of the stored response; its head is to come from [`View::replay`].
    Stored,
    /// The body of the stored response between two pieces, for protocols that put results into documents: see
    /// [`View::embeds_json`]. It is sent as it is stored, never parsed; its trailers are left out.
    Around {
        /// What goes before it.
        before: Bytes,
        /// What goes after it.
        after: Bytes,
    },
}

/// Shows how much it is, not what: documents have the ids of operations in them.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Instead(bytes) => write!(f, "Instead({} bytes)", bytes.len()),
            Self::Stored => f.write_str("Stored"),
            Self::Around { before, after } => {
                write!(f, "Around({} bytes, {} bytes)", before.len(), after.len())
            }
        }
    }
}

/// How often an operation was polled, as far as this process knows. A HEAD is no poll. The count is bounded: it may be
/// forgotten once many other operations have been polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polls {
    /// Polls before this one.
    pub before: u32,
    /// Time since the last of them.
    pub since_last: Option<Duration>,
    /// How often its result was given before.
    pub results: u32,
}

impl Polls {
    /// `before` polls, the last of them so long ago.
    #[must_use]
    pub const fn new(before: u32, since_last: Option<Duration>) -> Self {
        Self {
            before,
            since_last,
            results: 0,
        }
    }

    /// With how often the result was given before.
    #[must_use]
    pub const fn with_results(self, results: u32) -> Self {
        Self { results, ..self }
    }
}

/// One operation as a dialect sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    record: &'a Record,
    sighting: Option<&'a Sighting>,
    links: Links<'a>,
    retry_after: u32,
    polls: Option<Polls>,
    is_done: bool,
    has_note: bool,
}

impl<'a> View<'a> {
    /// `sighting` is what the running process knows beyond the record; `retry_after` is in seconds.
    ///
    /// The engine makes them; for a dialect's own transcripts they can be made by hand:
    ///
    /// ```
    /// use http::Method;
    /// use std::time::Duration;
    /// use tower_lro::{
    ///     Dialect, OperationId, Operations, Record, Rfc,
    ///     dialect::{Links, OptIn, View},
    ///     record::{Submission, Timestamp},
    /// };
    ///
    /// let operations = Operations::builder().mount("/jobs").build()?;
    /// let submission = Submission::new(Method::POST, "/reports".into(), "/jobs".into(), Duration::from_secs(60));
    /// let record = Record::new(OperationId::random(), submission, Timestamp::from_micros(0));
    /// let links = Links::new(operations.mount(), record.id);
    ///
    /// let accepted = Rfc::new().accepted(&View::new(&record, None, links, 1), &OptIn::default());
    /// assert_eq!(accepted.status(), 202);
    /// assert_eq!(accepted.headers()["location"], format!("/jobs/{}", record.id).as_str());
    /// # Ok::<_, tower_lro::BuildError>(())
    /// ```
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
            polls: None,
            is_done: false,
            has_note: true,
        }
    }

    /// Another dialect has noted what there is.
    pub(crate) fn without_note(self) -> Self {
        Self {
            has_note: false,
            ..self
        }
    }

    /// With how often the operation was polled.
    #[must_use]
    pub fn with_polls(self, polls: Option<Polls>) -> Self {
        Self { polls, ..self }
    }

    /// With whether what the request asks for was done.
    #[must_use]
    pub fn with_done(self, is_done: bool) -> Self {
        Self { is_done, ..self }
    }

    /// How often it was polled: for dialects that [ask for it](Dialect::counts_polls), in answers to polls.
    #[must_use]
    pub fn polls(&self) -> Option<Polls> {
        self.polls
    }

    /// Whether this very request has done what it asked for. If not, the operation had ended before, or it was pending and
    /// [stays](Ask::Forget) as it is.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What [`Dialect::opt_in`] noted of the initiating request. `None` where another dialect accepted that, or a mount that is
    /// not here: its note could be mistaken for one of this dialect's own.
    #[must_use]
    pub fn note(&self) -> Option<&'a str> {
        let note = self.record.submission.note.as_deref();
        note.filter(|_| self.has_note)
    }

    /// Its id.
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

    /// Seconds after which a client should ask again: what the handler says, or else what is set. Never 0, which clients take
    /// for "not given", nor more than a day, as [`retry_after`](crate::header::retry_after) tells it.
    #[must_use]
    pub fn retry_after(&self) -> u32 {
        let told = self.report().and_then(|report| report.retry_after);
        told.map_or(self.retry_after, whole_seconds)
    }

    /// The inner service's response, if it ended with one.
    #[must_use]
    pub fn response(&self) -> Option<&'a StoredResponse> {
        self.record.response()
    }

    /// The head of the stored response as it is to be replayed, if there is one.
    #[must_use]
    pub fn replay(&self) -> Option<response::Parts> {
        let stored = self.response()?;
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = stored.status();
        // Room for what is added: outcome, cache control, perhaps length. Not for thousands of lines, which may all have
        // one name, and be more than a map can have room for.
        head.headers = HeaderMap::with_capacity(stored.fields().count().min(64) + 3);
        for (name, value) in stored.fields() {
            head.headers.append(name, value);
        }
        Some(head)
    }

    /// Whether the body of the stored response can stand in a JSON document: it is not empty, its `Content-Type` is JSON, and
    /// it has no `Content-Encoding`. A body of at most [`SMALL`](Self::SMALL) bytes is checked to be JSON, in UTF-8; a longer
    /// one is not looked at.
    ///
    /// Where it can't, a dialect that embeds results tells where the result is instead.
    #[must_use]
    pub fn embeds_json(&self) -> bool {
        self.response().is_some_and(|response| {
            response.body_len() > 0
                && response
                    .fields()
                    .any(|(name, value)| name == header::CONTENT_TYPE && is_json(value.as_bytes()))
                && !response
                    .fields()
                    .any(|(name, _)| name == header::CONTENT_ENCODING)
                && match response.body() {
                    // In a list it would spoil what is told of all the others.
                    Content::Inline(bytes) if bytes.len() <= Self::SMALL => {
                        serde_json::from_slice::<&RawValue>(&bytes).is_ok()
                    }
                    _ => true,
                }
        })
    }

    /// The body of the stored response where that [is JSON](Self::embeds_json) of at most
    /// [`SMALL`](Self::SMALL) bytes, for dialects that have to look into it: an error's code, say.
    #[must_use]
    pub fn small_json(&self) -> Option<Bytes> {
        let response = self.response()?;
        match response.body() {
            Content::Inline(bytes) if bytes.len() <= Self::SMALL && self.embeds_json() => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Bytes of a body that a dialect may look into. Stores keep bodies as small as that in their records.
    pub const SMALL: usize = 4 << 10;
}

/// Whether a media type is JSON's, or by its suffix built upon it (RFC 6839, section 3.1).
fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    essence == b"application/json" || essence == b"text/json" || essence.ends_with(b"+json")
}
