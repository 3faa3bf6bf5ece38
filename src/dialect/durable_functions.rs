use super::{
    Address, Answer, Ask, Dialect, Head, ListAsk, ListFilter, Listing, OptIn, Route, View,
    document::{
        JSON, READ_ONLY, Told, as_unknown, asked, asked_of_list, has_body, own, own_json, path,
        problem_of, progress, replayed, whole,
    },
    query::{self, date_time, number, pairs},
};
use crate::{
    header::retry_after,
    json,
    problem::{Problem, ProblemKind},
    record::{Outcome, Phase, Timestamp},
    store::{Cursor, StateSet},
};
use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode, header, request};
use std::{num::NonZeroU16, time::Duration};

/// Where a list goes on: on answers, and on the request for the next page.
pub const CONTINUATION_TOKEN: HeaderName = HeaderName::from_static("x-ms-continuation-token");

/// The HTTP API of Azure's Durable Functions: management URLs, and the status of an orchestration.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating | 202, `Location`, `Retry-After`, management URLs | the same by a repeated key |
/// | `GET` instance | 202, `Location`, `Retry-After`, document | 200, document; 500 if it failed and that is asked for |
/// | `POST` instance`/terminate` | 202, terminated | 410 |
/// | `DELETE` instance | 200, `{"instancesDeleted":0}`, stands | 200, `{"instancesDeleted":1}`, forgotten |
/// | `GET` instance`/output` | 404 | the stored response, or the failure that the operation ended in |
/// | `GET` mount | 200, documents, and the field `x-ms-continuation-token` if there are more | |
///
/// An instance is below the mount, which is its API's `/runtime/webhooks/durabletask/instances`, or another. What it is
/// accepted with, `{text}` being a place for a reason, which is not kept:
///
/// ```json
/// {"id":"…","statusQueryGetUri":"…","terminatePostUri":"…/terminate?reason={text}","purgeHistoryDeleteUri":"…"}
/// ```
///
/// There is no `sendEventPostUri`, `suspendPostUri`, `resumePostUri`, `restartPostUri` and `rewindPostUri`: an operation can't
/// do that, and whoever asks nevertheless (`…/raiseEvent/…`, `…/suspend` and so on) is told so with 501.
///
/// The document, with times to the second:
///
/// ```json
/// {"name":"Words","instanceId":"…","runtimeStatus":"Pending|Running|Completed|Failed|Terminated","input":null,
///  "customStatus":…,"output":…,"createdTime":"2026-11-21T09:00:00Z","lastUpdatedTime":"…"}
/// ```
///
/// - `name` is the last segment of the initiating request's path. `input` is not kept.
/// - `customStatus` is what the handler has [told](crate::OperationHandle::metadata), or else its
///   [progress](crate::OperationHandle::progress) as `{"fraction":0.4,"message":"…"}`.
/// - `output` is the body of the stored response, if it [can stand there](View::embeds_json); in lists one of at most
///   [`View::SMALL`] bytes. Of another it is, as of an output that was too long, the URL where it is: `…/output`. What failed
///   without a body in JSON has a text instead.
///
/// A failure is told with 500 where the request has `returnInternalServerErrorOnFailure=true` in its query, for clients that
/// see nothing else; [`internal_server_error_on_failure`](Self::internal_server_error_on_failure) has it in all URLs that
/// are given.
///
/// With both `timeout` and `pollingInterval` in its query, in seconds, the initiating request is held, for
/// [`Limits::wait`](crate::Limits::wait) at most. What comes in time is passed on as it is, a failure too. The inner service
/// sees neither. A `GET` of the instance, or of its output, is held by them as well.
///
/// The list is of the caller's own instances of this mount (see [`Builder::owner`](crate::Builder::owner)), newest first:
/// `top` (100 unless given, and at most), `runtimeStatus=Running,Failed`, `createdTimeFrom`, `createdTimeTo`,
/// `instanceIdPrefix`. `showInput`, `showHistory` and all others are ignored. Purging many at once there is not.
///
/// Failures that have a body have `{"Message":"…"}`. What is unknown has none, nor has what is expired or purged: 404. URLs
/// are absolute: see [`Builder::base_url`](crate::Builder::base_url). The specification is
/// [HTTP API reference](https://learn.microsoft.com/azure/azure-functions/durable/durable-functions-http-api) of version 2,
/// and the extension's code where that is silent. Its `Retry-After` of 10 seconds is
/// [`Limits::retry_after`](crate::Limits::retry_after) here.
#[derive(Clone, Copy, Debug, Default)]
pub struct DurableFunctions {
    fails_with_500: bool,
}

impl DurableFunctions {
    /// The dialect as version 2 has it: a failure is told with 200.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fails_with_500: false,
        }
    }

    /// With a switch in all URLs that has failures told with 500, as version 1 did: for Logic Apps and their like.
    #[must_use]
    pub const fn internal_server_error_on_failure(self) -> Self {
        Self {
            fails_with_500: true,
        }
    }
}

const OUTPUT: &str = "/output";
const TERMINATE: &str = "/terminate";
const INTERVAL: &str = "pollingInterval";
const TIMEOUT: &str = "timeout";
const SWITCH: &str = "returnInternalServerErrorOnFailure";
const SWITCHED: &str = "?returnInternalServerErrorOnFailure=true";
const INSTANCE: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
const ACTION: &[Method] = &[Method::POST, Method::OPTIONS];

/// Longest page of a list.
const PAGE: u16 = 100;

impl Dialect for DurableFunctions {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        if tail.is_empty() {
            return Some(asked_of_list(head.method, || list(head)));
        }
        let unknown = Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        let end = tail.find('/').unwrap_or(tail.len());
        let (id, rest) = tail.split_at(end);
        let Ok(id) = id.parse() else { return unknown };
        let (read, other, methods) = match rest {
            "" => (
                Some(Ask::Monitor),
                Some((Method::DELETE, Ask::Forget)),
                INSTANCE,
            ),
            OUTPUT => (Some(Ask::Result), None, READ_ONLY),
            TERMINATE => (None, Some((Method::POST, Ask::Cancel)), ACTION),
            "/suspend" | "/resume" | "/rewind" | "/restart" => return Some(unsupported()),
            _ if rest.starts_with("/raiseEvent/") => return Some(unsupported()),
            _ => return unknown,
        };
        Some(asked(head.method, id, read, other, methods))
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        let number = |wanted: &str| {
            let (_, value) = pairs(head.uri.query()).find(|(name, _)| name == wanted)?;
            let seconds = value.parse().ok()?;
            match Duration::try_from_secs_f64(seconds) {
                Ok(duration) => Some(duration),
                // Longer than can be told, and cut down as any other that is too long.
                Err(_) => (seconds > 0.0).then_some(Duration::MAX),
            }
        };
        OptIn {
            wait: number(INTERVAL).and(number(TIMEOUT)),
            ..OptIn::default()
        }
    }

    fn take_out(&self, head: &mut request::Parts) {
        // Asked for what can't be held as well.
        if self.opt_in((&*head).into()).wait.is_some() {
            query::take_out(&mut head.uri, &[INTERVAL, TIMEOUT]);
        }
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let (links, switch) = (view.links(), self.switch(false));
        let mut out = b"{\"id\":\"".to_vec();
        out.extend_from_slice(&links.id());
        for (name, suffix) in [
            ("statusQueryGetUri", switch),
            ("terminatePostUri", "/terminate?reason={text}"),
            ("purgeHistoryDeleteUri", ""),
        ] {
            out.extend_from_slice(b"\",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            links.write(&mut out, suffix);
        }
        out.extend_from_slice(b"\"}");
        pending(view, Answer::Bytes(out.into()), switch)
    }

    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Cancel, _) => own(match view.is_done() {
                true => StatusCode::ACCEPTED,
                false => StatusCode::GONE,
            }),
            (Ask::Forget | Ask::CancelAndForget | Ask::Dismiss | Ask::Abandon, _) => {
                let deleted: &[u8] = match view.is_done() {
                    true => b"{\"instancesDeleted\":1}",
                    false => b"{\"instancesDeleted\":0}",
                };
                own_json(StatusCode::OK, Answer::Bytes(Bytes::from_static(deleted)))
            }
            (Ask::Result, Some(ending)) => replayed(view)
                .unwrap_or_else(|| failure(&problem_of(ending.outcome)).map(Answer::Instead)),
            (Ask::Result, None) => {
                let problem = Problem::new(ProblemKind::ResultNotReady);
                failure(&problem.retry_after(view.retry_after())).map(Answer::Bytes)
            }
            (_, ending) => {
                let is_asked = fails_with_500(head.uri.query());
                let mut out = Vec::with_capacity(512);
                let answer = document(view, view.embeds_json(), &mut out).answer(view, out);
                let Some(ending) = ending else {
                    return pending(view, answer, self.switch(is_asked));
                };
                let mut response = own_json(StatusCode::OK, answer);
                if is_asked && matches!(ending.outcome, Outcome::Failed(_)) {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                response
            }
        }
    }

    fn listed(&self, listing: &Listing<'_>, _: Head<'_>) -> Response<Bytes> {
        let mut out = b"[".to_vec();
        for (at, view) in listing.views().iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let small = view.small_json();
            if let Document::Open = document(view, small.is_some(), &mut out) {
                out.extend_from_slice(&small.unwrap_or_default());
                out.extend_from_slice(&times(view));
            }
        }
        out.push(b']');
        let mut response = own_json(StatusCode::OK, out.into());
        if let Some(Cursor(next)) = listing.next() {
            response
                .headers_mut()
                .insert(CONTINUATION_TOKEN, next.into());
        }
        response
    }

    fn filter(&self, head: Head<'_>) -> Option<ListFilter> {
        let (_, prefix) = pairs(head.uri.query()).find(|(name, _)| name == "instanceIdPrefix")?;
        let prefix = prefix.into_owned();
        Some(Box::new(move |record, _| {
            record.id.to_string().starts_with(&prefix)
        }))
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        failure(problem)
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 4] = [
            header::LOCATION,
            header::RETRY_AFTER,
            CONTINUATION_TOKEN,
            header::ALLOW,
        ];
        &NAMES
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }
}

impl DurableFunctions {
    /// What follows in the URL of a status.
    const fn switch(self, is_asked: bool) -> &'static str {
        match self.fails_with_500 || is_asked {
            true => SWITCHED,
            false => "",
        }
    }
}

fn fails_with_500(query: Option<&str>) -> bool {
    pairs(query).any(|(name, value)| name == SWITCH && value.eq_ignore_ascii_case("true"))
}

fn unsupported() -> Address {
    let detail = "Operations can't be suspended, resumed, rewound, restarted, or sent events.";
    let problem = Problem::new(ProblemKind::Method).detail(detail);
    Address::Problem(problem.status(StatusCode::NOT_IMPLEMENTED))
}

/// 202, which tells where and when to ask. An initiating request that is repeated after the end is told so too.
fn pending(view: &View<'_>, answer: Answer, switch: &str) -> Response<Answer> {
    let mut response = own_json(StatusCode::ACCEPTED, answer);
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, view.links().header(switch));
    headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
    response
}

/// A document that was begun.
enum Document {
    /// It wants the body of the stored response, and [`times`] after that.
    Open,
    /// It is whole, but for what is elsewhere.
    Pointing,
    /// It is whole.
    Whole,
}

impl Document {
    fn answer(self, view: &View<'_>, out: Vec<u8>) -> Answer {
        match self {
            Self::Open => Answer::Around {
                before: out.into(),
                after: times(view),
            },
            Self::Pointing => whole(view, out, true),
            Self::Whole => whole(view, out, false),
        }
    }
}

fn document(view: &View<'_>, embeds: bool, out: &mut Vec<u8>) -> Document {
    let phase = view.phase();
    out.extend_from_slice(b"{\"name\":");
    json::string(out, path(view).rsplit('/').next().unwrap_or_default());
    out.extend_from_slice(b",\"instanceId\":\"");
    out.extend_from_slice(&view.links().id());
    out.extend_from_slice(b"\",\"runtimeStatus\":\"");
    out.extend_from_slice(match phase {
        Phase::Accepted => b"Pending",
        Phase::Running => b"Running",
        Phase::Ended(Outcome::Succeeded) => b"Completed",
        Phase::Ended(Outcome::Failed(_)) => b"Failed",
        Phase::Ended(Outcome::Cancelled) => b"Terminated",
    });
    out.extend_from_slice(b"\",\"input\":null,\"customStatus\":");
    custom_status(view, out);
    out.extend_from_slice(b",\"output\":");
    let document = match phase {
        Phase::Ended(Outcome::Succeeded | Outcome::Failed(_)) if embeds => return Document::Open,
        // It is JSON, and too long for a list; or it is none.
        Phase::Ended(Outcome::Succeeded) if has_body(view) => {
            out.push(b'"');
            view.links().write(out, OUTPUT);
            out.push(b'"');
            Document::Pointing
        }
        Phase::Ended(outcome @ Outcome::Failed(_)) => {
            let text = match view.response() {
                Some(stored) => Told::of(view).text(stored.status()),
                None => problem_of(outcome).detail.into_owned(),
            };
            json::string(out, &text);
            Document::Whole
        }
        _ => {
            out.extend_from_slice(b"null");
            Document::Whole
        }
    };
    out.extend_from_slice(&times(view));
    document
}

fn custom_status(view: &View<'_>, out: &mut Vec<u8>) {
    let begin = out.len();
    if let Some(report) = view.report() {
        if let Some(metadata) = &report.metadata {
            out.extend_from_slice(metadata.get().as_bytes());
        } else {
            let mut member = Vec::new();
            progress(report, &mut member);
            let value = member.strip_prefix(b",\"progress\":").unwrap_or_default();
            out.extend_from_slice(value);
        }
    }
    if out.len() == begin {
        out.extend_from_slice(b"null");
    }
}

/// What ends a document.
fn times(view: &View<'_>) -> Bytes {
    let mut out = Vec::with_capacity(80);
    let times = [
        (",\"createdTime\":\"", view.record().created),
        (",\"lastUpdatedTime\":\"", view.updated()),
    ];
    for (name, time) in times {
        out.extend_from_slice(name.as_bytes());
        // `2026-11-21T09:00:00`, of what has milliseconds behind.
        let begin = out.len();
        time.write(&mut out);
        out.truncate(begin + 19);
        out.extend_from_slice(b"Z\"");
    }
    out.push(b'}');
    out.into()
}

/// With a message, but for what is unknown, which has no body.
fn failure(problem: &Problem) -> Response<Bytes> {
    let problem = as_unknown(problem);
    let is_unknown = matches!(problem.kind, ProblemKind::Unknown | ProblemKind::Expired);
    let problem = match problem.kind {
        ProblemKind::KeyReused => problem.status(StatusCode::CONFLICT),
        _ => problem,
    };
    let mut response = problem.to_response();
    if is_unknown {
        response.headers_mut().remove(header::CONTENT_TYPE);
        return response.map(|_| Bytes::new());
    }
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.map(|_| {
        let mut out = b"{\"Message\":".to_vec();
        json::string(&mut out, &problem.detail);
        out.push(b'}');
        out.into()
    })
}

const NO_STATE: &str = "`runtimeStatus` is a list of Pending, Running, Completed, Failed, Terminated, Canceled, \
                        ContinuedAsNew, Suspended.";
const NO_TIME: &str =
    "`createdTimeFrom` and `createdTimeTo` are times, such as 2026-11-21T09:00:00Z.";

/// Reads a query for instances; other parameters are tolerated, as clients add their own, and empty ones are none.
fn list(head: Head<'_>) -> Result<ListAsk, Problem> {
    let invalid =
        |detail: &'static str| Err(Problem::new(ProblemKind::QueryInvalid).detail(detail));
    let mut ask = ListAsk {
        here: true,
        limit: const { NonZeroU16::new(PAGE).unwrap() },
        ..ListAsk::default()
    };
    for (name, value) in pairs(head.uri.query()).filter(|(_, value)| !value.is_empty()) {
        match &*name {
            "top" => match number(&value) {
                Some(top) => {
                    let top = top.min(PAGE.into()) as u16;
                    ask.limit = NonZeroU16::new(top).unwrap_or(ask.limit);
                }
                None => return invalid("`top` is a number, not below 0."),
            },
            "runtimeStatus" => match states(&value, ask.states.unwrap_or_default()) {
                Some(states) => ask.states = Some(states),
                None => return invalid(NO_STATE),
            },
            "createdTimeFrom" => match moment(&value) {
                Some(from) => ask.since = Some(from),
                None => return invalid(NO_TIME),
            },
            // What was created at that time is in the list, and what is shown as that second was created within it.
            "createdTimeTo" => match moment(&value) {
                Some(to) => {
                    let shown = match value.contains('.') {
                        true => Duration::from_micros(1),
                        false => Duration::from_secs(1),
                    };
                    ask.until = Some(to.after(shown));
                }
                None => return invalid(NO_TIME),
            },
            _ => {}
        }
    }
    if let Some(token) = head.headers.get(&CONTINUATION_TOKEN) {
        match token.to_str().map(str::parse) {
            Ok(Ok(after)) => ask.after = Some(Cursor(after)),
            _ => return invalid("`x-ms-continuation-token` is that of the page before."),
        }
    }
    Ok(ask)
}

/// Of UTC, unless it says otherwise.
fn moment(text: &str) -> Option<Timestamp> {
    let moment = date_time(text).or_else(|| date_time(&format!("{text}Z")))?;
    Some(Timestamp::from(moment))
}

fn states(list: &str, known: StateSet) -> Option<StateSet> {
    list.split(',').try_fold(known, |states, name| {
        match name.trim().to_ascii_lowercase().as_str() {
            "pending" => states.with_name("accepted"),
            "running" => states.with_name("running"),
            "completed" => states.with_name("succeeded"),
            "failed" => states.with_name("failed"),
            "terminated" | "canceled" => states.with_name("cancelled"),
            // States that no operation has.
            "continuedasnew" | "suspended" => Some(states),
            _ => None,
        }
    })
}
