//! The wire protocols, one file each: how clients ask, and how they are answered.
//!
//! A dialect is pure: it sees no store, no task and no clock, so a transcript of it needs no runtime. [`Rfc`] is the
//! default.
//!
//! **Stable**: additions to the trait have defaults; anything else comes in a release that is marked as breaking.

mod architecture_center;
mod arm;
mod ask;
mod azure;
mod document;
mod durable_functions;
mod fhir;
mod google_rest;
mod head;
mod list;
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
mod view;
mod x_operation;

pub use self::{
    architecture_center::ArchitectureCenter,
    arm::{AZURE_ASYNC_OPERATION, Arm},
    ask::{Address, Ask, OptIn},
    azure::{Azure, OPERATION_ID, OPERATION_LOCATION},
    document::{STATUS_DOCUMENT, entity_tag, status_document},
    durable_functions::{CONTINUATION_TOKEN, DurableFunctions},
    fhir::{Fhir, X_EXPORT_STATUS, X_PROGRESS},
    google_rest::GoogleRest,
    head::Head,
    list::{ListAsk, ListFilter, Listing},
    mount::{Links, Mount, Route},
    odata::{ASYNC_RESULT, OData},
    ogc_processes::OgcProcesses,
    redfish::Redfish,
    rest_easy::RestEasy,
    rfc::{OPERATION_OUTCOME, Rfc},
    same_url::SameUrl,
    spa::Spa,
    two_oh_two::TwoOhTwo,
    view::{Polls, View},
    x_operation::{X_OPERATION, X_RESOURCE, XOperation},
};
pub(crate) use self::{document::last_seen, mount::origin};

use crate::{
    header::idempotency_key,
    problem::{Problem, ProblemKind},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, header, request};
use std::{any::Any, borrow::Cow, fmt};

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
