use super::{
    Address, Answer, Ask, Dialect, Head, ListAsk, Listing, OptIn, Route, View,
    document::{
        JSON, NO_STORE, READ_ONLY, VARY_PREFER, asked, asked_of_list, own, own_json, problem_of,
        stored,
    },
    entity_tag,
    query::{cursor, number, pairs},
    status_document,
};
use crate::{
    header::{PREFERENCE_APPLIED, remove_preferences, retry_after},
    json,
    problem::{Problem, ProblemKind},
    record::{ID_LEN, Outcome, Phase},
    store::{Cursor, StateSet},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use std::{num::NonZeroU16, sync::LazyLock};

/// On answers that show how an operation ended, and on nothing else: `succeeded`, `failed` or `cancelled`. It tells a
/// stored 202, 303, 404 or 503 from the monitor's own.
pub const OPERATION_OUTCOME: HeaderName = HeaderName::from_static("operation-outcome");

/// The default dialect: RFC 9110's status monitor with RFC 7240's preferences and RFC 9457's problems.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating | 202, `Location`, `Retry-After`, status document | |
/// | `GET` monitor | 202, the same | the stored response, or the problem that the operation ended in |
/// | `GET …/status` | 200, status document, `ETag` | the same |
/// | `GET …/result` | 404 `result-not-ready` | as the monitor |
/// | `DELETE` monitor | 200, status document of what is now cancelled | 200, status document, unchanged |
/// | `DELETE …/result` | 409 `result-not-ready` | 204, forgotten |
///
/// `Prefer: wait=n` holds the answer back: on the initiating request and on the monitor until the operation ends, on
/// `…/status` with `If-None-Match` until it changes.
///
/// # Options
///
/// Where the result is, how a pending monitor is answered, and how a failure is told can be chosen each by itself:
///
/// ```
/// # use tower_lro::Rfc;
/// let dialect = Rfc::see_other().ok_while_pending().failures_as_documents();
/// ```
///
/// | `GET` monitor | pending | succeeded | failed with a response | ended without |
/// | --- | --- | --- | --- | --- |
/// | [`new`](Self::new) | 202, document | the response | the response | its problem |
/// | [`see_other`](Self::see_other) | 202, document | 303, document | 303, document | its problem |
/// | [`ok_while_pending`](Self::ok_while_pending) | 200, document, `ETag` | as without | as without | as without |
/// | [`failures_as_documents`](Self::failures_as_documents) | as without | as without | 200, document | 200, document |
#[derive(Clone, Copy, Debug, Default)]
pub struct Rfc {
    see_other: bool,
    failures_as_documents: bool,
    ok_while_pending: bool,
}

impl Rfc {
    /// The monitor replays the response: what every client of RFC 9110 can follow.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            see_other: false,
            failures_as_documents: false,
            ok_while_pending: false,
        }
    }

    /// The monitor answers 303 to `…/result` instead of replaying a response.
    #[must_use]
    pub const fn see_other() -> Self {
        Self {
            see_other: true,
            ..Self::new()
        }
    }

    /// As [`see_other`](Self::see_other), and while pending 200 with an `ETag` instead of 202: for clients that take the
    /// monitor for a resource of its own.
    #[must_use]
    pub const fn see_other_from_ok() -> Self {
        Self::see_other().ok_while_pending()
    }

    /// With 200 and an `ETag` instead of 202 while pending.
    ///
    /// Where the monitor replays, that is for clients that know `Operation-Outcome`: to all others a 200 is the end.
    #[must_use]
    pub const fn ok_while_pending(self) -> Self {
        Self {
            ok_while_pending: true,
            ..self
        }
    }

    /// With 200 and the status document at the monitor for what has failed or was cancelled: for clients that take any other
    /// status for a failed poll. `…/result` has the response, or the problem, as ever.
    #[must_use]
    pub const fn failures_as_documents(self) -> Self {
        Self {
            failures_as_documents: true,
            ..self
        }
    }

    /// The end at the monitor, where it is not simply replayed.
    fn ended_otherwise(self, view: &View<'_>, outcome: Outcome) -> Response<Answer> {
        if self.failures_as_documents && outcome != Outcome::Succeeded {
            let mut response = document(view);
            mark(view, response.headers_mut());
            response
        } else if self.see_other && view.response().is_some() {
            see_other(view)
        } else {
            ended(view)
        }
    }
}

const MONITOR: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

impl Dialect for Rfc {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        if tail.is_empty() || tail == "/" {
            return Some(asked_of_list(head.method, || list(head.uri.query())));
        }
        let unknown = Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        let Some((id, rest)) = tail[1..].split_at_checked(ID_LEN) else {
            return unknown;
        };
        let Ok(id) = id.parse() else { return unknown };
        let (read, delete, methods) = match rest {
            "" => (Ask::Monitor, Some(Ask::Cancel), MONITOR),
            "/status" => (Ask::Status, None, READ_ONLY),
            "/result" => (Ask::Result, Some(Ask::Forget), MONITOR),
            _ => return unknown,
        };
        let delete = delete.map(|ask| (Method::DELETE, ask));
        Some(asked(head.method, id, Some(read), delete, methods))
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        OptIn::by_prefer(head.headers)
    }

    fn take_out(&self, head: &mut request::Parts) {
        remove_preferences(&mut head.headers, &["respond-async", "wait"]);
    }

    fn applied(&self, opt_in: &OptIn, headers: &mut HeaderMap) {
        opt_in.tell_applied(headers);
    }

    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer> {
        let mut response = pending(view, StatusCode::ACCEPTED);
        self.applied(opt_in, response.headers_mut());
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.phase()) {
            (Ask::Monitor | Ask::Take, Phase::Accepted | Phase::Running) => {
                if !self.ok_while_pending {
                    return pending(view, StatusCode::ACCEPTED);
                }
                let mut response = pending(view, StatusCode::OK);
                response
                    .headers_mut()
                    .insert(header::ETAG, entity_tag(view));
                response
            }
            (Ask::Monitor | Ask::Take, Phase::Ended(outcome)) => {
                // One test for both: most have neither.
                match self.see_other | self.failures_as_documents {
                    true => self.ended_otherwise(view, outcome),
                    false => ended(view),
                }
            }
            (Ask::Result, Phase::Ended(_)) => ended(view),
            (Ask::Result, _) => {
                let mut response = not_ready(view, StatusCode::NOT_FOUND);
                response.headers_mut().insert(header::VARY, VARY_PREFER);
                response
            }
            (Ask::Status, _) => {
                let mut response = document(view);
                response
                    .headers_mut()
                    .insert(header::ETAG, entity_tag(view));
                response.headers_mut().insert(header::VARY, VARY_PREFER);
                if !view.phase().is_ended() {
                    response
                        .headers_mut()
                        .insert(header::RETRY_AFTER, retry_after(view.retry_after()));
                }
                response
            }
            (Ask::Cancel | Ask::Dismiss, _) => document(view),
            (Ask::CancelAndForget | Ask::Abandon, _) | (Ask::Forget, Phase::Ended(_)) => {
                own(StatusCode::NO_CONTENT)
            }
            (Ask::Forget, _) => not_ready(view, StatusCode::CONFLICT),
        }
    }

    fn listed(&self, listing: &Listing<'_>, _: Head<'_>) -> Response<Bytes> {
        let mut body = b"{\"operations\":[".to_vec();
        for (at, view) in listing.views().iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            status_document(view, &mut body);
        }
        body.push(b']');
        let mut response = own_json(StatusCode::OK, ());
        if let Some(Cursor(after)) = listing.next() {
            let list = listing.ask();
            let url = format!(
                "{}?after={after}&limit={}{}",
                listing.url(),
                list.limit,
                states(list)
            );
            body.extend_from_slice(b",\"next\":");
            json::string(&mut body, &url);
            if let Ok(link) = HeaderValue::try_from(format!("<{url}>; rel=\"next\"")) {
                response.headers_mut().insert(header::LINK, link);
            }
        }
        body.push(b'}');
        response.map(|()| body.into())
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 7] = [
            header::LOCATION,
            header::RETRY_AFTER,
            header::ETAG,
            header::LINK,
            header::ALLOW,
            OPERATION_OUTCOME,
            PREFERENCE_APPLIED,
        ];
        &NAMES
    }
}

/// Head of a pending answer but for its values: cloning costs less than inserting one by one.
static PENDING: LazyLock<HeaderMap> = LazyLock::new(|| {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, JSON),
        (header::LOCATION, HeaderValue::from_static("")),
        (header::RETRY_AFTER, HeaderValue::from_static("")),
        (header::CACHE_CONTROL, NO_STORE),
        (header::VARY, VARY_PREFER),
    ])
});

fn pending(view: &View<'_>, status: StatusCode) -> Response<Answer> {
    let body = json::written(|out| status_document(view, out));
    let mut response = Response::new(Answer::Bytes(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.clone_from(&PENDING);
    for (name, value) in headers.iter_mut() {
        if name == header::LOCATION {
            *value = view.links().header("");
        } else if name == header::RETRY_AFTER {
            *value = retry_after(view.retry_after());
        }
    }
    response
}

fn document(view: &View<'_>) -> Response<Answer> {
    let body = json::written(|out| status_document(view, out));
    own_json(StatusCode::OK, Answer::Bytes(body))
}

fn see_other(view: &View<'_>) -> Response<Answer> {
    let mut response = document(view);
    *response.status_mut() = StatusCode::SEE_OTHER;
    response
        .headers_mut()
        .insert(header::LOCATION, view.links().header("/result"));
    mark(view, response.headers_mut());
    response
}

/// The stored response as the replay table has it, or the problem that stands for it.
fn ended(view: &View<'_>) -> Response<Answer> {
    let mut response = match (view.replay(), view.ending()) {
        (Some(head), _) => stored(head),
        (None, Some(ending)) => problem_of(ending.outcome).to_response().map(Answer::Bytes),
        (None, None) => return not_ready(view, StatusCode::NOT_FOUND),
    };
    mark(view, response.headers_mut());
    response
}

fn mark(view: &View<'_>, headers: &mut HeaderMap) {
    if let Some(ending) = view.ending() {
        let outcome = HeaderValue::from_static(ending.outcome.as_str());
        headers.insert(OPERATION_OUTCOME, outcome);
    }
}

fn not_ready(view: &View<'_>, status: StatusCode) -> Response<Answer> {
    let problem = Problem::new(ProblemKind::ResultNotReady).status(status);
    problem
        .retry_after(view.retry_after())
        .to_response()
        .map(Answer::Bytes)
}

const STATE_NAMES: [&str; 5] = ["accepted", "running", "succeeded", "failed", "cancelled"];

fn states(list: &ListAsk) -> String {
    let Some(states) = list.states else {
        return String::new();
    };
    let wanted = |name: &&&str| {
        StateSet::default()
            .with_name(name)
            .is_some_and(|one| one.intersects(states))
    };
    let names: Vec<&str> = STATE_NAMES.iter().filter(wanted).copied().collect();
    format!("&status={}", names.join(","))
}

/// Reads `limit`, `after` and `status`; other parameters are tolerated, as clients add their own.
fn list(query: Option<&str>) -> Result<ListAsk, Problem> {
    let mut ask = ListAsk::default();
    for (name, value) in pairs(query) {
        let valid = match &*name {
            "limit" => number(&value)
                .filter(|limit| *limit <= 100)
                .and_then(|limit| NonZeroU16::new(limit as u16))
                .map(|limit| ask.limit = limit)
                .is_some(),
            "after" => cursor(&value)
                .map(|after| ask.after = Some(after))
                .is_some(),
            "status" => value
                .split(',')
                .try_fold(ask.states.unwrap_or_default(), StateSet::with_name)
                .map(|states| ask.states = Some(states))
                .is_some(),
            _ => true,
        };
        if !valid {
            let detail = match &*name {
                "limit" => "`limit` is a number from 1 to 100.",
                "after" => "`after` comes from the page before.",
                _ => "`status` is a list of accepted, running, succeeded, failed, cancelled.",
            };
            return Err(Problem::new(ProblemKind::QueryInvalid).detail(detail));
        }
    }
    Ok(ask)
}
