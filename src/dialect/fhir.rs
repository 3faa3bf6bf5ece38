use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{
        self, NO_STORE, READ_ONLY, Told, VARY_PREFER, asked, expires, field, is_of_type, own,
        problem_of, replayed, time, whole_percent,
    },
};
use crate::{
    header::{PREFERENCE_APPLIED, Prefer, prefers, remove_preferences, retry_after},
    json,
    problem::{Problem, ProblemKind},
    record::{OperationId, Outcome, StoredResponse, Timestamp},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use std::time::Duration;

/// How far an operation is, in words: on answers while it is pending.
pub const X_PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// The status of an operation on an answer that has another of its own: for who prefers `separate-export-status`.
pub const X_EXPORT_STATUS: HeaderName = HeaderName::from_static("x-export-status");

/// FHIR's asynchronous patterns: bulk data export ([`bulk`](Self::bulk)) and single interactions
/// ([`bundle`](Self::bundle)).
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | kick-off | 202, `Content-Location`, `Retry-After` | |
/// | `GET` polling location | 202, `X-Progress`, `Retry-After`; 429 if too often | bulk: 200, the stored response with `Expires`, or its failure |
/// | | the same | bundle: 200, a `Bundle` with the stored response or its failure |
/// | `DELETE` polling location | 202, cancelled | 202, forgotten; both are 404 from then on |
///
/// `X-Progress` is the message that the handler [tells](crate::OperationHandle::progress), or else its fraction in percent:
/// what is not visible ASCII becomes `?`, and what is beyond 99 characters is cut off.
///
/// A poll of what is pending comes too often if less than half of the seconds in `Retry-After` have passed since the last one
/// that this process has seen, answered or not; a HEAD is none, and is told what a GET would be. It changes nothing for the
/// operation, and its result can be had at any time.
///
/// # Failures
///
/// Each is an `OperationOutcome` in `application/fhir+json`, those that the layer refuses a request with included. Its
/// `issue.code` is `transient` where trying again may help (`throttled` with 429), and never so for an operation that has
/// failed. What is expired, forgotten or cancelled is as unknown: 404.
///
/// A failed response of the handler's stands as it is if it is an `OperationOutcome`: by a `Content-Type`
/// `application/fhir+json` or `+xml` (in a bundle: the former), or by its `resourceType` if it is JSON of at most
/// [`View::SMALL`] bytes. Of any other the outcome has the `detail` or `title` of a problem in JSON, or else the name
/// of its status.
///
/// # Bulk
///
/// [Bulk Data Access](https://hl7.org/fhir/uv/bulkdata/), "Bulk Data Export Operation Request Flow"; FHIR R5, async-bulk. For
/// routes that are never answered at once: all that reaches the layer is deferred, by GET or by POST, with or without
/// `Prefer: respond-async`. The handler's response is to be the manifest; that it is one is not looked at, so what is no
/// JSON is sent as it is. `Expires` is its own, or else when the operation expires.
///
/// 202, 429 and 503 are the polling location's own words. So any 2xx of the handler's is told as 200, and its 429 or 503,
/// which clients would wait out, as 500. `Prefer: separate-export-status` is heeded: then polls of an operation are 200,
/// and its own status is in [`X-Export-Status`](X_EXPORT_STATUS).
///
/// # Bundle
///
/// FHIR R5, async-bundle. For any interaction: only requests with `Prefer: respond-async` are deferred. Those with
/// `_outputFormat` in their query get the bulk pattern. The answer is in JSON whatever `Accept` says:
///
/// ```json
/// {"resourceType":"Bundle","type":"batch-response","entry":[{"link":[{"relation":"alternate","url":"…/result"}],
///  "response":{"status":"200 OK","location":"…","etag":"…","lastModified":"…","outcome":{…}},"resource":{…}}]}
/// ```
///
/// `resource` is the body of a success that [can stand there](View::embeds_json). One that can't (XML, say, or one with a
/// `Content-Encoding`) is at the polling location's `…/result`, to which a `link` leads then; an empty one is left out.
/// `outcome` is that of a failure.
///
/// Where the specifications are silent: 202 have no body, `wait` is not heeded, and there is no list. URLs are absolute:
/// see [`Builder::base_url`](crate::Builder::base_url).
#[derive(Clone, Copy, Debug)]
pub struct Fhir {
    pattern: Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    Bulk,
    Bundle,
}

impl Fhir {
    /// Bulk data: the response is a manifest, replayed.
    #[must_use]
    pub const fn bulk() -> Self {
        Self {
            pattern: Pattern::Bulk,
        }
    }

    /// Single interactions: the response is the entry of a `Bundle`. Bulk data where `_outputFormat` asks for it.
    #[must_use]
    pub const fn bundle() -> Self {
        Self {
            pattern: Pattern::Bundle,
        }
    }

    fn is_bundle(self, target: &str) -> bool {
        let (_, query) = target.split_once('?').unwrap_or_default();
        let names_format = |pair: &str| pair.split('=').next() == Some("_outputFormat");
        self.pattern == Pattern::Bundle && !query.split('&').any(names_format)
    }
}

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");
const RESULT: &str = "/result";
const SEPARATE: &str = "separate-export-status";

const MONITOR: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

impl Dialect for Fhir {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        let result = match self.pattern {
            Pattern::Bulk => None,
            Pattern::Bundle => tail.strip_suffix(RESULT),
        };
        let Ok(id) = result.unwrap_or(tail).parse::<OperationId>() else {
            return Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        };
        let (read, delete, methods) = match result {
            None => (Ask::Monitor, Some(Ask::CancelAndForget), MONITOR),
            Some(_) => (Ask::Result, None, READ_ONLY),
        };
        let delete = delete.map(|ask| (Method::DELETE, ask));
        Some(asked(head.method, id, Some(read), delete, methods))
    }

    fn admits(&self, head: Head<'_>) -> bool {
        self.pattern == Pattern::Bulk || Prefer::parse(head.headers).respond_async
    }

    fn reads_prefer(&self) -> bool {
        self.pattern == Pattern::Bundle
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        OptIn {
            asked: Prefer::parse(head.headers).respond_async,
            note: (!self.is_bundle(head.target()) && prefers(head.headers, SEPARATE))
                .then(|| SEPARATE.into()),
            ..OptIn::default()
        }
    }

    fn take_out(&self, head: &mut request::Parts) {
        remove_preferences(&mut head.headers, &["respond-async", SEPARATE]);
    }

    fn applied(&self, opt_in: &OptIn, headers: &mut HeaderMap) {
        let applied = match (opt_in.asked, &opt_in.note) {
            (true, Some(_)) => {
                const { HeaderValue::from_static("respond-async, separate-export-status") }
            }
            (false, Some(_)) => HeaderValue::from_static(SEPARATE),
            (true, None) => const { HeaderValue::from_static("respond-async") },
            (false, None) => return,
        };
        headers.append(PREFERENCE_APPLIED, applied);
    }

    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer> {
        let mut response = own(StatusCode::ACCEPTED);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LOCATION, view.links().header(""));
        headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
        headers.insert(header::VARY, VARY_PREFER);
        self.applied(opt_in, headers);
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        let response = match (ask, view.ending()) {
            (Ask::CancelAndForget, _) => return own(StatusCode::ACCEPTED),
            (Ask::Result, None) => {
                let problem = Problem::new(ProblemKind::ResultNotReady);
                return failure(&problem.retry_after(view.retry_after())).map(Answer::Bytes);
            }
            (Ask::Result, Some(ending)) => {
                let without = || ended_without(ending.outcome).map(Answer::Instead);
                return replayed(view).unwrap_or_else(without);
            }
            (_, None) if is_too_often(view) => return too_often(view).map(Answer::Bytes),
            (_, None) => pending(view),
            // It is as if it were forgotten, which has no status of an operation either.
            (_, Some(ending)) if ending.outcome == Outcome::Cancelled => {
                return ended_without(ending.outcome).map(Answer::Instead);
            }
            (_, Some(ending)) if self.is_bundle(&view.record().submission.target) => {
                return bundle(view, ending.outcome);
            }
            (_, Some(ending)) => exported(view, ending.outcome),
        };
        match view.note() {
            Some(SEPARATE) => separated(response),
            _ => unmistakable(response),
        }
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        failure(problem)
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 7] = [
            header::CONTENT_LOCATION,
            header::RETRY_AFTER,
            header::EXPIRES,
            X_PROGRESS,
            X_EXPORT_STATUS,
            PREFERENCE_APPLIED,
            header::ALLOW,
        ];
        &NAMES
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }

    fn counts_polls(&self) -> bool {
        true
    }
}

fn pending(view: &View<'_>) -> Response<Answer> {
    let mut response = own(StatusCode::ACCEPTED);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
    if let Some(progress) = progress(view) {
        headers.insert(X_PROGRESS, progress);
    }
    response
}

/// Less than 100 characters, which every client can read.
fn progress(view: &View<'_>) -> Option<HeaderValue> {
    let report = view.report()?;
    let message = report.message.as_deref().map(str::trim);
    let text = match message.filter(|message| !message.is_empty()) {
        Some(message) => message.to_owned(),
        None => format!("{}%", whole_percent(report.fraction?)),
    };
    let visible = |char: char| match char {
        ' '..='~' => char,
        _ => '?',
    };
    let text: String = text.chars().map(visible).take(99).collect();
    HeaderValue::try_from(text).ok()
}

/// Half of what was asked for is tolerated: clocks differ, and so do ways.
fn is_too_often(view: &View<'_>) -> bool {
    let asked_for = Duration::from_secs(view.retry_after().into());
    let since_last = view.polls().and_then(|polls| polls.since_last);
    since_last.is_some_and(|since_last| since_last < asked_for / 2)
}

fn too_often(view: &View<'_>) -> Response<Bytes> {
    let problem = Problem::new(ProblemKind::ResultNotReady)
        .status(StatusCode::TOO_MANY_REQUESTS)
        .detail("The operation is polled too often. Retry-After tells when to ask again.")
        .retry_after(view.retry_after());
    outcome(&problem, "throttled")
}

/// How an export ended, at the polling location.
fn exported(view: &View<'_>, ended: Outcome) -> Response<Answer> {
    let Some((stored, mut head)) = view.response().zip(view.replay()) else {
        return ended_without(ended).map(Answer::Instead);
    };
    let status = stored.status();
    if is_failure(status) {
        let told = Told::of(view);
        if !is_fhir(stored) && !is_outcome(&told) {
            return failed(&told, status).map(Answer::Instead);
        }
    } else {
        if status.is_success() {
            head.status = StatusCode::OK;
        }
        expires(view.record(), &mut head.headers);
    }
    document::stored(head)
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Clients wait these out, as the monitor's own words.
fn unmistakable(mut response: Response<Answer>) -> Response<Answer> {
    let status = response.status_mut();
    if matches!(
        *status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        *status = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

/// The poll has gone well, whatever it tells of.
fn separated(mut response: Response<Answer>) -> Response<Answer> {
    let status = status_text(response.status());
    if let Ok(status) = HeaderValue::try_from(status) {
        response.headers_mut().insert(X_EXPORT_STATUS, status);
    }
    *response.status_mut() = StatusCode::OK;
    response
}

fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_str()),
        None => status.as_str().to_owned(),
    }
}

/// How an interaction ended: as the entry of a bundle.
fn bundle(view: &View<'_>, ended: Outcome) -> Response<Answer> {
    let mut out = br#"{"resourceType":"Bundle","type":"batch-response","entry":[{"#.to_vec();
    let answer = match view.response() {
        None => {
            let problem = problem_of(ended);
            status_member(problem.status, &mut out);
            out.extend_from_slice(b",\"outcome\":");
            write_outcome(issue(problem.kind), &problem.detail, &mut out);
            out.extend_from_slice(b"}}]}");
            Answer::Instead(out.into())
        }
        Some(stored) => entry(view, stored, out),
    };
    let (mut head, ()) = Response::new(()).into_parts();
    head.headers.insert(header::CONTENT_TYPE, FHIR_JSON);
    head.headers.insert(header::CACHE_CONTROL, NO_STORE);
    expires(view.record(), &mut head.headers);
    Response::from_parts(head, answer)
}

fn entry(view: &View<'_>, stored: &StoredResponse, mut out: Vec<u8>) -> Answer {
    let status = stored.status();
    let (failed, embeds) = (is_failure(status), view.embeds_json());
    let is_elsewhere = !failed && !embeds && stored.body_len() > 0;
    if is_elsewhere {
        out.extend_from_slice(b"\"link\":[{\"relation\":\"alternate\",\"url\":\"");
        view.links().write(&mut out, RESULT);
        out.extend_from_slice(b"\"}],");
    }
    status_member(status, &mut out);
    if let Some(location) = field(stored, &header::LOCATION) {
        out.extend_from_slice(b",\"location\":");
        json::string(&mut out, &view.links().resolve(&location));
    }
    if let Some(tag) = field(stored, &header::ETAG) {
        out.extend_from_slice(b",\"etag\":");
        json::string(&mut out, &tag);
    }
    let modified = field(stored, &header::LAST_MODIFIED)
        .and_then(|date| httpdate::parse_http_date(&date).ok());
    time(
        &mut out,
        ",\"lastModified\":",
        modified.map(Timestamp::from),
    );
    if failed {
        out.extend_from_slice(b",\"outcome\":");
        let told = Told::of(view);
        if embeds && (is_fhir(stored) || is_outcome(&told)) {
            return around(out, b"}}]}");
        }
        write_outcome(issue_of(status), &told.text(status), &mut out);
    } else if embeds {
        out.extend_from_slice(b"},\"resource\":");
        return around(out, b"}]}");
    }
    out.extend_from_slice(b"}}]}");
    match is_elsewhere {
        true => Answer::Bytes(out.into()),
        false => Answer::Instead(out.into()),
    }
}

fn around(before: Vec<u8>, after: &'static [u8]) -> Answer {
    Answer::Around {
        before: before.into(),
        after: Bytes::from_static(after),
    }
}

/// Opens the response of an entry.
fn status_member(status: StatusCode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"response\":{\"status\":");
    json::string(out, &status_text(status));
}

/// Whether the body is told to be of FHIR's own types: what a failure has in one of these is an outcome.
fn is_fhir(stored: &StoredResponse) -> bool {
    let types = ["application/fhir+json", "application/fhir+xml"];
    types.iter().any(|fhir| is_of_type(stored, fhir))
}

fn is_outcome(told: &Told) -> bool {
    told.member("resourceType") == Some("OperationOutcome")
}

fn failed(told: &Told, status: StatusCode) -> Response<Bytes> {
    // Its kind shows nowhere: status, code and text are the handler's.
    let problem = Problem::new(ProblemKind::Errored)
        .status(status)
        .detail(told.text(status));
    outcome(&problem, issue_of(status))
}

fn ended_without(ended: Outcome) -> Response<Bytes> {
    failure(&problem_of(ended))
}

/// What is not there any more is as if it had never been.
fn gone(problem: &Problem) -> Problem {
    problem.clone().status(match problem.kind {
        ProblemKind::Expired | ProblemKind::Cancelled => StatusCode::NOT_FOUND,
        _ => problem.status,
    })
}

fn failure(problem: &Problem) -> Response<Bytes> {
    outcome(&gone(problem), issue(problem.kind))
}

/// A problem as an `OperationOutcome`.
fn outcome(problem: &Problem, code: &str) -> Response<Bytes> {
    let mut response = problem.to_response().map(|_| {
        let mut body = Vec::with_capacity(256);
        write_outcome(code, &problem.detail, &mut body);
        body.into()
    });
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, FHIR_JSON);
    response
}

fn write_outcome(code: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(
        br#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":""#,
    );
    out.extend_from_slice(code.as_bytes());
    out.extend_from_slice(b"\",\"diagnostics\":");
    json::string(out, text);
    out.extend_from_slice(b"}]}");
}

/// The code of the value set `issue-type` for a failure of this crate's.
fn issue(kind: ProblemKind) -> &'static str {
    use ProblemKind as K;
    match kind {
        K::Unknown | K::Expired | K::Cancelled => "not-found",
        K::ResultNotReady | K::Full | K::Draining | K::Unavailable => "transient",
        K::TargetTooLong | K::TooLarge => "too-long",
        K::UploadFailed => "incomplete",
        K::UploadTimeout | K::TimedOut => "timeout",
        K::KeyInvalid | K::QueryInvalid => "invalid",
        K::KeyReused | K::KeyInUse | K::Precondition => "conflict",
        K::Method => "not-supported",
        K::ResultTooLarge => "too-costly",
        K::Panicked | K::Errored | K::NotStarted | K::Interrupted | K::Lost => "exception",
    }
}

/// That for a failure of the handler's.
fn issue_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "invalid",
        401 => "login",
        403 => "forbidden",
        404 => "not-found",
        409 | 412 => "conflict",
        410 => "deleted",
        413 => "too-long",
        504 => "timeout",
        405 | 406 | 415 => "not-supported",
        500.. => "exception",
        _ => "processing",
    }
}
