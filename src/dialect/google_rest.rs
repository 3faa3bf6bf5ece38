use super::{
    Address, Answer, Ask, Dialect, Head, ListAsk, Listing, OptIn, Route, View,
    document::{
        JSON, Told, asked, asked_of_list, field, has_body, own_json, percent, problem_of, replayed,
        time, whole,
    },
    query::{cursor, number, pairs},
};
use crate::{
    json,
    problem::{Problem, ProblemKind},
    record::{OperationId, Outcome, Phase},
    store::{Cursor, StateSet},
};
use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode, header};
use serde_json::Value;
use std::{num::NonZeroU16, time::Duration};

/// Google's long-running operations over REST: `google.longrunning.Operations` in proto-JSON, for google-api-core,
/// google-cloud-lro and their like.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating | 200, operation | the same by a repeated key |
/// | `GET` operation | 200, operation | 200, operation, done |
/// | `GET` operation`?alt=media` | 400 `FAILED_PRECONDITION` | the stored response, or the error that the operation ended in |
/// | `POST` operation`:wait?timeout=2.5s` | 200, operation, when it is done or the time is over | 200, operation |
/// | `POST` operation`:cancel` | 200, `{}`, cancelled | 200, `{}`, unchanged |
/// | `DELETE` operation | 200, `{}`, forgotten, not cancelled | 200, `{}`, forgotten |
/// | `GET` mount`?pageSize=&pageToken=&filter=` | 200, `{"operations":[…],"nextPageToken":"…"}` | |
///
/// The operation, with no member that `google/longrunning/operations.proto` has not:
///
/// ```json
/// {"name":"operations/…",
///  "metadata":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"createTime":"…","updateTime":"…",
///   "endTime":"…","expireTime":"…","state":"PENDING|RUNNING|SUCCEEDED|FAILED|CANCELLED","progressPercent":40,
///   "statusMessage":"…","target":"…","details":…}},
///  "done":true,
///  "error":{"code":3,"message":"…","details":[…]},
///  "response":{"@type":"type.googleapis.com/google.protobuf.Value","value":…}}
/// ```
///
/// - `name` is what the mount's path has behind its version, and the operation's own: under `/v1/operations` it is
///   `operations/…`, under `/v1/projects/p/operations` `projects/p/operations/…`. Without a version it begins with the
///   mount's last segment. Clients ask for `/v1/{name}`.
/// - `response` is an `Any`. A result that [can stand there](View::embeds_json) is the value of a
///   `google.protobuf.Value`, as it is; an empty one is a `google.protobuf.Empty`. One that can't (no JSON, or one with a
///   `Content-Encoding`), and in lists one of more than [`View::SMALL`] bytes, is told as
///   `{"contentType":"…","size":"1000","mediaLink":"…?alt=media"}`. See also [`typed`](Self::typed).
/// - `metadata` is a `google.protobuf.Struct`; `details` is what the handler has [told](crate::OperationHandle::metadata),
///   `target` its [resource](crate::OperationHandle::resource).
/// - `error` is a `google.rpc.Status`: its `code` is a number of `google.rpc.Code`, 1 for what was cancelled, and by the
///   status for a failed response. Such a response in JSON of at most [`View::SMALL`] bytes may tell more: by Google's own
///   `{"error":{"status":"…","message":"…","details":[…]}}`, or by the `detail` or `title` of a problem.
///
/// Failures of requests are HTTP errors, `{"error":{"code":404,"message":"…","status":"NOT_FOUND","details":[]}}`, whose
/// `code` is the status. What is expired or forgotten is as unknown.
///
/// The list is the caller's own operations of this mount (see [`Builder::owner`](crate::Builder::owner)), newest first.
/// `pageSize` is 20 unless given, and at most 100; `filter` is `done=true` or `done=false`. `timeout` of `:wait` is read
/// from the query, since bodies of polls are not read; without it the wait is as long as
/// [`Limits::wait`](crate::Limits::wait) allows, as with one that is longer.
///
/// There is no `Retry-After` and no 202: clients go by their own intervals. The specification is
/// [AIP-151](https://google.aip.dev/151), with AIP-158 for lists, AIP-193 for errors, and `google/rpc/code.proto`.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoogleRest {
    typed: bool,
}

impl GoogleRest {
    /// For handlers that answer in plain JSON.
    #[must_use]
    pub const fn new() -> Self {
        Self { typed: false }
    }

    /// For handlers that speak proto-JSON: what they answer with is an `Any` already, `{"@type":"type.googleapis.com/…",…}`,
    /// and so is what they tell as [metadata](crate::OperationHandle::metadata), which is all there is of it then. Neither
    /// is looked at.
    #[must_use]
    pub const fn typed() -> Self {
        Self { typed: true }
    }
}

const MONITOR: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
const VERB: &[Method] = &[Method::POST, Method::OPTIONS];
const WAIT: &str = ":wait";

/// Longest page of a list.
const PAGE: u16 = 100;

impl Dialect for GoogleRest {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        if tail.is_empty() {
            return Some(asked_of_list(head.method, || list(head.uri.query())));
        }
        let (id, verb) = match tail.split_once(':') {
            Some((id, verb)) => (id, Some(verb)),
            None => (tail, None),
        };
        let unknown = Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        let Ok(id) = id.parse() else { return unknown };
        // Of no operation yet: a refusal tells nobody how one has ended.
        if waits(head)
            && let Err(problem) = timeout(head.uri.query())
        {
            return Some(Address::Problem(problem));
        }
        let (read, other, methods) = match verb {
            None if wants_media(head) => {
                (Some(Ask::Result), (Method::DELETE, Ask::Abandon), MONITOR)
            }
            None => (Some(Ask::Monitor), (Method::DELETE, Ask::Abandon), MONITOR),
            Some("cancel") => (None, (Method::POST, Ask::Cancel), VERB),
            Some("wait") => (None, (Method::POST, Ask::Monitor), VERB),
            Some(_) => return unknown,
        };
        Some(asked(head.method, id, read, Some(other), methods))
    }

    /// Of the monitor: an initiating request has no wait.
    fn opt_in(&self, head: Head<'_>) -> OptIn {
        let timeout = waits(head).then(|| timeout(head.uri.query()));
        OptIn {
            wait: timeout.and_then(Result::ok),
            ..OptIn::default()
        }
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        self.operation(view)
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Result, Some(ending)) => replayed(view)
                .unwrap_or_else(|| error(&problem_of(ending.outcome)).map(Answer::Bytes)),
            (Ask::Result, None) => {
                let problem = Problem::new(ProblemKind::ResultNotReady);
                error(&problem.status(StatusCode::BAD_REQUEST)).map(Answer::Bytes)
            }
            (Ask::Monitor | Ask::Status | Ask::Take, _) => self.operation(view),
            _ => own_json(StatusCode::OK, Answer::Bytes(Bytes::from_static(b"{}"))),
        }
    }

    fn listed(&self, listing: &Listing<'_>, _: Head<'_>) -> Response<Bytes> {
        let mut out = b"{".to_vec();
        for (at, view) in listing.views().iter().enumerate() {
            let before: &[u8] = if at == 0 { b"\"operations\":[" } else { b"," };
            out.extend_from_slice(before);
            match self.write(view, view.small_json().is_some(), &mut out) {
                Some(after) => {
                    out.extend_from_slice(&view.small_json().unwrap_or_default());
                    out.extend_from_slice(after);
                }
                None => out.push(b'}'),
            }
        }
        if !listing.views().is_empty() {
            out.push(b']');
        }
        if let Some(Cursor(next)) = listing.next() {
            let comma: &[u8] = if out.len() > 1 { b"," } else { b"" };
            out.extend_from_slice(comma);
            out.extend_from_slice(b"\"nextPageToken\":\"");
            json::number(&mut out, next);
            out.push(b'"');
        }
        out.push(b'}');
        own_json(StatusCode::OK, out.into())
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        error(problem)
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 2] = [header::RETRY_AFTER, header::ALLOW];
        &NAMES
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }
}

impl GoogleRest {
    fn operation(self, view: &View<'_>) -> Response<Answer> {
        let mut out = Vec::with_capacity(512);
        let answer = match self.write(view, view.embeds_json(), &mut out) {
            Some(after) => Answer::Around {
                before: out.into(),
                after: Bytes::from_static(after),
            },
            None => {
                out.push(b'}');
                whole(view, out, succeeded(view) && has_body(view))
            }
        };
        own_json(StatusCode::OK, answer)
    }

    /// Writes the operation up to its result, and gives what goes after that; `None`: there is nothing more but its end.
    fn write(self, view: &View<'_>, embeds: bool, out: &mut Vec<u8>) -> Option<&'static [u8]> {
        out.extend_from_slice(b"{\"name\":\"");
        out.extend_from_slice(parent(view.links().mount().path()).as_bytes());
        out.push(b'/');
        out.extend_from_slice(&view.links().id());
        out.push(b'"');
        self.write_metadata(view, out);
        let Phase::Ended(outcome) = view.phase() else {
            out.extend_from_slice(b",\"done\":false");
            return None;
        };
        out.extend_from_slice(b",\"done\":true");
        if outcome != Outcome::Succeeded {
            write_failure(view, outcome, out);
            return None;
        }
        out.extend_from_slice(b",\"response\":");
        if !has_body(view) {
            any("Empty", out);
            out.push(b'}');
            return None;
        }
        if embeds && self.typed {
            return Some(b"}");
        }
        any("Value", out);
        out.extend_from_slice(b",\"value\":");
        if embeds {
            return Some(b"}}");
        }
        write_media(view, out);
        out.push(b'}');
        None
    }

    fn write_metadata(self, view: &View<'_>, out: &mut Vec<u8>) {
        let told = view.report().and_then(|report| report.metadata.as_ref());
        if self.typed {
            if let Some(told) = told {
                out.extend_from_slice(b",\"metadata\":");
                out.extend_from_slice(told.get().as_bytes());
            }
            return;
        }
        out.extend_from_slice(b",\"metadata\":");
        any("Struct", out);
        time(
            out,
            ",\"value\":{\"createTime\":",
            Some(view.record().created),
        );
        time(out, ",\"updateTime\":", Some(view.updated()));
        time(out, ",\"endTime\":", view.ending().map(|ending| ending.at));
        time(out, ",\"expireTime\":", view.record().expires());
        out.extend_from_slice(b",\"state\":\"");
        out.extend_from_slice(match view.phase() {
            Phase::Accepted => b"PENDING",
            Phase::Running => b"RUNNING",
            Phase::Ended(Outcome::Succeeded) => b"SUCCEEDED",
            Phase::Ended(Outcome::Failed(_)) => b"FAILED",
            Phase::Ended(Outcome::Cancelled) => b"CANCELLED",
        });
        out.push(b'"');
        if let Some(percent) = percent(view) {
            out.extend_from_slice(b",\"progressPercent\":");
            json::number(out, percent);
        }
        if let Some(report) = view.report() {
            if let Some(message) = &report.message {
                out.extend_from_slice(b",\"statusMessage\":");
                json::string(out, message);
            }
            if let Some(resource) = &report.resource {
                out.extend_from_slice(b",\"target\":");
                json::string(out, resource);
            }
        }
        if let Some(told) = told {
            out.extend_from_slice(b",\"details\":");
            out.extend_from_slice(told.get().as_bytes());
        }
        out.extend_from_slice(b"}}");
    }
}

/// What of a mount's path is in names: what follows its version, or else its last segment.
fn parent(path: &str) -> &str {
    let is_version = |segment: &str| {
        let number = segment.strip_prefix('v').unwrap_or_default();
        number.starts_with(|first: char| first.is_ascii_digit())
            && number.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let mut rest = path.trim_start_matches('/');
    while let Some((segment, after)) = rest.split_once('/') {
        if is_version(segment) {
            return after;
        }
        rest = after;
    }
    rest
}

/// Opens an `Any` of a well-known type.
fn any(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"@type\":\"type.googleapis.com/google.protobuf.");
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

fn write_media(view: &View<'_>, out: &mut Vec<u8>) {
    let Some(response) = view.response() else {
        return out.extend_from_slice(b"{}");
    };
    out.push(b'{');
    if let Some(kind) = field(response, &header::CONTENT_TYPE) {
        out.extend_from_slice(b"\"contentType\":");
        json::string(out, &kind);
        out.push(b',');
    }
    // 64 bits are a string in proto-JSON.
    out.extend_from_slice(b"\"size\":\"");
    json::number(out, response.body_len());
    out.extend_from_slice(b"\",\"mediaLink\":\"");
    view.links().write(out, "?alt=media");
    out.extend_from_slice(b"\"}");
}

fn succeeded(view: &View<'_>) -> bool {
    view.phase() == Phase::Ended(Outcome::Succeeded)
}

/// A `google.rpc.Status`.
fn write_failure(view: &View<'_>, outcome: Outcome, out: &mut Vec<u8>) {
    let (code, message, told) = match view.response() {
        None => {
            let problem = problem_of(outcome);
            (code_of(&problem), problem.detail.into_owned(), Value::Null)
        }
        Some(response) => {
            let told = Told::of(view);
            let (code, text) = (
                code_of_status(response.status()),
                told.text(response.status()),
            );
            (code, text, told.into_value("error").unwrap_or_default())
        }
    };
    let status = told["status"].as_str();
    let named = status.and_then(|status| CODES.iter().position(|code| *code == status));
    out.extend_from_slice(b",\"error\":{\"code\":");
    // 0 would be a success.
    json::number(out, named.filter(|code| *code > 0).unwrap_or(code) as u64);
    out.extend_from_slice(b",\"message\":");
    json::string(out, told["message"].as_str().unwrap_or(&message));
    let is_any = |detail: &Value| detail["@type"].is_string();
    if let Some(details) = told["details"]
        .as_array()
        .filter(|all| all.iter().all(is_any))
    {
        out.extend_from_slice(b",\"details\":");
        // Writing to a `Vec` can't fail.
        let _ = serde_json::to_writer(&mut *out, details);
    }
    out.push(b'}');
}

/// `google.rpc.Code`, by its numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The code that a status stands for: the mapping that `google/rpc/code.proto` has, read backwards, and else by its class.
fn code_of_status(status: StatusCode) -> usize {
    match status.as_u16() {
        400 | 411 | 413..=415 | 422 | 431 => 3,
        401 => 16,
        403 => 7,
        404 | 410 => 5,
        405 | 501 => 12,
        408 | 504 => 4,
        409 => 10,
        416 => 11,
        429 => 8,
        499 => 1,
        503 => 14,
        402..500 => 9,
        500.. => 13,
        _ => 2,
    }
}

fn code_of(problem: &Problem) -> usize {
    match problem.kind {
        ProblemKind::Cancelled => 1,
        ProblemKind::ResultNotReady => 9,
        _ => code_of_status(problem.status),
    }
}

/// An HTTP error: its code is the status.
fn error(problem: &Problem) -> Response<Bytes> {
    let problem = problem.clone().status(match problem.kind {
        ProblemKind::Expired => StatusCode::NOT_FOUND,
        ProblemKind::KeyReused => StatusCode::BAD_REQUEST,
        ProblemKind::Cancelled => StatusCode::from_u16(499).unwrap_or(problem.status),
        _ => problem.status,
    });
    let mut response = problem.to_response().map(|_| {
        let mut out = b"{\"error\":{\"code\":".to_vec();
        out.extend_from_slice(problem.status.as_str().as_bytes());
        out.extend_from_slice(b",\"message\":");
        json::string(&mut out, &problem.detail);
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(CODES[code_of(&problem)].as_bytes());
        out.extend_from_slice(b"\",\"details\":[]}}");
        out.into()
    });
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Whether a download is asked for, as Google's services have it.
fn wants_media(head: Head<'_>) -> bool {
    pairs(head.uri.query()).any(|(name, value)| {
        matches!(&*name, "alt" | "$alt") && value.split(';').next() == Some("media")
    })
}

/// Whether it is a `:wait`. Initiating requests may end with that as well, but not after an operation's own name.
fn waits(head: Head<'_>) -> bool {
    let last = head.uri.path().rsplit('/').next().unwrap_or_default();
    let id = last.strip_suffix(WAIT);
    head.method == Method::POST && id.is_some_and(|id| id.parse::<OperationId>().is_ok())
}

/// A `google.protobuf.Duration` of the query. Without one: as long as may be.
fn timeout(query: Option<&str>) -> Result<Duration, Problem> {
    let Some((_, text)) = pairs(query).find(|(name, _)| name == "timeout") else {
        return Ok(Duration::MAX);
    };
    let invalid = || {
        let detail = "`timeout` is a duration in seconds, such as `3.5s`.";
        Problem::new(ProblemKind::QueryInvalid).detail(detail)
    };
    let number = text.strip_suffix('s').ok_or_else(invalid)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(invalid());
    }
    // What is longer than can be counted is longer than may be waited.
    let seconds = whole.parse().unwrap_or(u64::MAX);
    let nanos = format!("{fraction:0<9}").parse().unwrap_or_default();
    Ok(Duration::new(seconds, nanos))
}

/// Reads a `ListOperationsRequest` from a query; other parameters are tolerated, as clients add their own.
fn list(query: Option<&str>) -> Result<ListAsk, Problem> {
    let invalid =
        |detail: &'static str| Err(Problem::new(ProblemKind::QueryInvalid).detail(detail));
    let mut ask = ListAsk {
        here: true,
        ..ListAsk::default()
    };
    for (name, value) in pairs(query) {
        match &*name {
            "pageSize" | "page_size" => match number(&value) {
                Some(size) => {
                    let size = size.min(PAGE.into()) as u16;
                    ask.limit = NonZeroU16::new(size).unwrap_or(ListAsk::default().limit);
                }
                None => return invalid("`pageSize` is a number, not below 0."),
            },
            "pageToken" | "page_token" if value.is_empty() => {}
            "pageToken" | "page_token" => match cursor(&value) {
                Some(after) => ask.after = Some(after),
                None => {
                    return invalid("`pageToken` is the `nextPageToken` of the page before.");
                }
            },
            "filter" => match filter(&value) {
                Some(states) => ask.states = states,
                None => return invalid("`filter` is `done=true` or `done=false`."),
            },
            _ => {}
        }
    }
    Ok(ask)
}

fn filter(text: &str) -> Option<Option<StateSet>> {
    let words: Vec<_> = text.split_whitespace().collect();
    let names: &[&str] = match words.join(" ").replace(" = ", "=").as_str() {
        "" => return Some(None),
        "done" | "done=true" => &["succeeded", "failed", "cancelled"],
        "NOT done" | "-done" | "done=false" | "NOT done=true" => &["accepted", "running"],
        _ => return None,
    };
    let mut states = names.iter().copied();
    Some(states.try_fold(StateSet::default(), StateSet::with_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_behind_the_version() {
        for (path, name) in [
            ("/v1/operations", "operations"),
            ("/google/v1beta2/operations", "operations"),
            ("/v1/projects/p/operations", "projects/p/operations"),
            ("/operations", "operations"),
            ("/a/b/operations", "operations"),
            ("/video/operations", "operations"),
            ("/a/v1", "v1"),
        ] {
            assert_eq!(parent(path), name, "{path}");
        }
    }

    #[test]
    fn each_code_that_is_sent_as_http_comes_back() {
        // `google/rpc/code.proto`: statuses that stand for several codes are read as the first that is given here.
        for (status, code) in [
            (499, 1),
            (400, 3),
            (504, 4),
            (404, 5),
            (403, 7),
            (429, 8),
            (409, 10),
            (501, 12),
            (500, 13),
            (503, 14),
            (401, 16),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(code_of_status(status), code, "{status}");
        }
        for status in 100..1000 {
            let code = code_of_status(StatusCode::from_u16(status).unwrap());
            assert!((1..CODES.len()).contains(&code), "{status}");
        }
    }
}
