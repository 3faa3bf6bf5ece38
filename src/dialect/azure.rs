use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{
        READ_ONLY, as_unknown, asked, error_code, error_of, error_response, field, has_body, own,
        own_json, percent, problem_of, replayed, time, whole,
    },
};
use crate::{
    header::{idempotency_key, lines, retry_after},
    json,
    problem::{Problem, ProblemKind},
    record::{Outcome, Phase},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use std::borrow::Cow;

/// Where the status monitor is: on answers to initiating requests, as an absolute URL.
pub const OPERATION_LOCATION: HeaderName = HeaderName::from_static("operation-location");

/// The id of an operation: the client's own on requests, on answers the one that the document has.
pub const OPERATION_ID: HeaderName = HeaderName::from_static("operation-id");

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// Azure's data plane: `Operation-Location` and a status document, for azure-core, `@azure/core-lro` and their like.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating | 202, `Operation-Location`, `Operation-Id`, `Retry-After`, document | the same by a repeated id |
/// | `GET` monitor | 200, `Retry-After`, document | 200, document |
/// | `POST` monitor`:cancel` | 200, document of what is now cancelled | 200, document, unchanged |
/// | `DELETE` monitor | 409 | 204, forgotten |
/// | `GET` monitor`/result` | 404 | the stored response, or the error that the operation ended in |
///
/// The document:
///
/// ```json
/// {"id":"…","status":"NotStarted|Running|Succeeded|Failed|Canceled","createdDateTime":"…","lastActionDateTime":"…",
///  "expirationDateTime":"…","percentComplete":40,"progressMessage":"…","resourceLocation":"…",
///  "resultLocation":"…","error":{"code":"…","message":"…"},"result":…}
/// ```
///
/// - `result` is the stored response's body, for what was asked for by POST and has succeeded, if it
///   [can stand there](View::embeds_json). Of a body that can't (no JSON, or one with a `Content-Encoding`) `resultLocation`
///   tells where it is: `…/result`. It is a member of this crate's own, since what `resourceLocation` points at is fetched
///   by clients unasked, and of some types they make an error. An empty body is left out. After PUT, PATCH and DELETE
///   clients look at the target.
/// - `resourceLocation` is what the handler has [told](crate::OperationHandle::resource), or the `Location` of a 201.
/// - `error` of what has failed is the `error` object of the response, if that is JSON of at most [`View::SMALL`] bytes and
///   has one; else its code is the name of the status, and its message the `detail` or `title` of a problem.
///
/// Other failures, of polls and of refused requests, are `{"error":{"code":"…","message":"…"}}` as well, with
/// `x-ms-error-code`. What is expired or forgotten is as unknown: 404.
///
/// A client may name its operation, by one `Operation-Id` of 1 to 128 letters, digits, dots, hyphens and underscores: it stands
/// in the document, and counts as an idempotency key (and only where keys do: see
/// [`Builder::owner`](crate::Builder::owner)). Used for another request it is refused with 400. A monitor has an id of its own
/// all the same, which nobody can guess.
///
/// URLs are absolute: see [`Builder::base_url`](crate::Builder::base_url). There is no list. The specification is
/// "Long-Running Operations & Jobs" in the [Azure guidelines](https://github.com/microsoft/api-guidelines), with the older
/// guideline's `resourceLocation`. A PUT is answered 202 as all others are, not 201 with its target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Azure {
    final_location: bool,
}

impl Azure {
    /// The dialect as the guidelines have it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            final_location: false,
        }
    }

    /// With a `Location` on the 202 beside `Operation-Location`: the URL of the result, which clients that know this form
    /// fetch after a POST has succeeded (`final-state-via: location`).
    #[must_use]
    pub const fn final_location(self) -> Self {
        Self {
            final_location: true,
        }
    }
}

const RESULT: &str = "/result";

const MONITOR: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
const CANCEL: &[Method] = &[Method::POST, Method::OPTIONS];

impl Dialect for Azure {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        let (id, read, other, methods) = if let Some(id) = tail.strip_suffix(":cancel") {
            (id, None, Some((Method::POST, Ask::Cancel)), CANCEL)
        } else if let Some(id) = tail.strip_suffix(RESULT) {
            (id, Some(Ask::Result), None, READ_ONLY)
        } else {
            let forget = Some((Method::DELETE, Ask::Forget));
            (tail, Some(Ask::Monitor), forget, MONITOR)
        };
        Some(match id.parse() {
            Ok(id) => asked(head.method, id, read, other, methods),
            Err(_) => Address::Problem(Problem::new(ProblemKind::Unknown)),
        })
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        OptIn {
            note: operation_id(head.headers).ok().flatten().map(Into::into),
            ..OptIn::default()
        }
    }

    fn key<'a>(&self, head: Head<'a>) -> Result<Option<Cow<'a, str>>, Problem> {
        let invalid = Problem::new(ProblemKind::KeyInvalid);
        match operation_id(head.headers)? {
            Some(id) => Ok(Some(id.into())),
            None => idempotency_key(head.headers).map_err(|why| invalid.detail(why.to_string())),
        }
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let mut response = document(view);
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        headers.insert(OPERATION_LOCATION, view.links().header(""));
        if let Ok(id) = HeaderValue::try_from(&*id(view)) {
            headers.insert(OPERATION_ID, id);
        }
        if self.final_location {
            headers.insert(header::LOCATION, view.links().header(RESULT));
        }
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Result, Some(ending)) => replayed(view)
                .unwrap_or_else(|| error(&problem_of(ending.outcome)).map(Answer::Bytes)),
            (Ask::Result, None) => not_ready(view, StatusCode::NOT_FOUND),
            (Ask::Forget, None) => not_ready(view, StatusCode::CONFLICT),
            (Ask::Forget, Some(_)) => own(StatusCode::NO_CONTENT),
            _ => document(view),
        }
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        error(problem)
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 6] = [
            OPERATION_LOCATION,
            OPERATION_ID,
            ERROR_CODE,
            header::LOCATION,
            header::RETRY_AFTER,
            header::ALLOW,
        ];
        &NAMES
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }
}

/// The client's own id, if it has one.
fn operation_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut lines = lines(headers, OPERATION_ID);
    let Some(value) = lines.next() else {
        return Ok(None);
    };
    let invalid = Problem::new(ProblemKind::KeyInvalid);
    if lines.next().is_some() {
        return Err(invalid.detail("Operation-Id was sent more than once."));
    }
    let text = value.to_str().unwrap_or_default();
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if (1..=128).contains(&text.len()) && text.bytes().all(is_one) {
        return Ok(Some(text));
    }
    let detail = "Operation-Id is not 1 to 128 letters, digits, dots, hyphens and underscores.";
    Err(invalid.detail(detail))
}

/// What the client calls the operation, where that is unique, or else its own name.
fn id<'a>(view: &View<'a>) -> Cow<'a, str> {
    match view.note() {
        Some(note) if view.record().submission.key.is_some() => note.into(),
        _ => view.id().to_string().into(),
    }
}

fn document(view: &View<'_>) -> Response<Answer> {
    let succeeded = view.phase() == Phase::Ended(Outcome::Succeeded);
    let has_result = succeeded && view.record().submission.method == Method::POST;
    let embeds = has_result && view.embeds_json();
    let mut out = Vec::with_capacity(256);
    members(view, has_result && !embeds, &mut out);
    let answer = if embeds {
        out.extend_from_slice(b",\"result\":");
        Answer::Around {
            before: out.into(),
            after: Bytes::from_static(b"}"),
        }
    } else {
        out.push(b'}');
        whole(view, out, has_result && has_body(view))
    };
    let mut response = own_json(StatusCode::OK, answer);
    if !view.phase().is_ended() {
        let seconds = retry_after(view.retry_after());
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn members(view: &View<'_>, result_is_elsewhere: bool, out: &mut Vec<u8>) {
    let phase = view.phase();
    out.extend_from_slice(b"{\"id\":");
    json::string(out, &id(view));
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(match phase {
        Phase::Accepted => b"NotStarted",
        Phase::Running => b"Running",
        Phase::Ended(Outcome::Succeeded) => b"Succeeded",
        Phase::Ended(Outcome::Failed(_)) => b"Failed",
        Phase::Ended(Outcome::Cancelled) => b"Canceled",
    });
    out.push(b'"');
    time(out, ",\"createdDateTime\":", Some(view.record().created));
    time(out, ",\"lastActionDateTime\":", Some(view.updated()));
    time(out, ",\"expirationDateTime\":", view.record().expires());
    if let Some(report) = view.report() {
        if let Some(percent) = percent(view) {
            out.extend_from_slice(b",\"percentComplete\":");
            json::number(out, percent);
        }
        if let Some(message) = &report.message {
            // Not `message`: of a document without `error` azure-core takes that for the error's.
            out.extend_from_slice(b",\"progressMessage\":");
            json::string(out, message);
        }
    }
    if let Some(resource) = resource(view) {
        out.extend_from_slice(b",\"resourceLocation\":");
        json::string(out, &view.links().resolve(&resource));
    }
    if result_is_elsewhere && has_body(view) {
        out.extend_from_slice(b",\"resultLocation\":\"");
        view.links().write(out, RESULT);
        out.push(b'"');
    }
    if let Phase::Ended(outcome @ Outcome::Failed(_)) = phase {
        out.extend_from_slice(b",\"error\":");
        error_of(view, outcome, out);
    }
}

/// What the operation makes: what the handler has told, or the `Location` of a 201.
fn resource<'a>(view: &View<'a>) -> Option<Cow<'a, str>> {
    if let Some(told) = view.report().and_then(|report| report.resource.as_deref()) {
        return Some(told.into());
    }
    let created = view.response()?;
    if created.status() != StatusCode::CREATED {
        return None;
    }
    field(created, &header::LOCATION).map(Into::into)
}

fn error(problem: &Problem) -> Response<Bytes> {
    let mut problem = as_unknown(problem);
    if problem.kind == ProblemKind::KeyReused {
        problem = problem.status(StatusCode::BAD_REQUEST);
    }
    let mut response = error_response(&problem);
    let headers = response.headers_mut();
    let code = error_code(problem.kind);
    if let Ok(code) = HeaderValue::try_from(&*code) {
        headers.insert(ERROR_CODE, code);
    }
    response
}

fn not_ready(view: &View<'_>, status: StatusCode) -> Response<Answer> {
    let problem = Problem::new(ProblemKind::ResultNotReady).status(status);
    error(&problem.retry_after(view.retry_after())).map(Answer::Bytes)
}
