use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{NO_STORE, VARY_PREFER, as_unknown, asked, error_response, own, problem_of},
};
use crate::{
    header::{PREFERENCE_APPLIED, Prefer, accept, remove_preferences, retry_after},
    problem::{Problem, ProblemKind},
    record::Outcome,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request, response,
};

/// The final status of an operation, on the answer that is its result: three digits.
pub const ASYNC_RESULT: HeaderName = HeaderName::from_static("asyncresult");

const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");
const ODATA_MAX_VERSION: &str = "odata-maxversion";

/// OData's asynchronous requests: OData Version 4.01, Part 1: Protocol, section 11.6.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating, with `Prefer: respond-async` | 202, `Location`, `Retry-After` | |
/// | `GET` monitor | 202, the same | 200, the result in one of two forms |
/// | `DELETE` monitor | 204, cancelled | 204, forgotten; both are 404 from then on |
///
/// Requests without `respond-async` are not deferred: such a service must not answer them 202 (section 8.2.8.8). `wait`
/// beside it is how long the answer is held back; alone it changes nothing. For `$batch` it is the batch as a whole
/// that is deferred. `callback` is not heeded.
///
/// The result, be it a success or a failure, comes with 200 (section 11.6):
///
/// - in the **header form** the answer has the fields and the body of the stored response, and its status in
///   [`AsyncResult`](ASYNC_RESULT);
/// - in the **envelope form**, `Content-Type: application/http`, the body is the stored response as an HTTP/1.1 message,
///   with a `Content-Length` where it has a body, and without trailers. It is for requests to the monitor whose `Accept`
///   names `application/http`, and for those without `Accept` whose `OData-MaxVersion` is 4.0.
///
/// Both send the body as it is, whatever its type or encoding. An operation that ended without a response has the status
/// 500 (504 where it ran too long) and an error object. One that was cancelled otherwise than by `DELETE` has 500.
///
/// Failures of polls and refusals are error objects, `{"error":{"code":"…","message":"…"}}` (JSON format, section 21.1).
/// What is expired or forgotten is as unknown: 404, which section 11.6 wants after `DELETE`, and allows otherwise.
///
/// Where the specification is silent: the 202 has no body. There is no list. Answers of the monitor itself, but to OPTIONS,
/// have the `OData-Version` 4.01, or 4.0 for who sends `OData-MaxVersion: 4.0`; a result keeps its own.
///
/// URLs are absolute: see [`Builder::base_url`](crate::Builder::base_url).
#[derive(Clone, Copy, Debug, Default)]
pub struct OData(());

impl OData {
    /// The dialect. It has no options.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

const MONITOR: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

/// The type of a whole HTTP message.
const ENVELOPE: &str = "application/http";

/// What is noted of a client that knows no later version.
const OLD: &str = "4.0";

impl Dialect for OData {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let Ok(id) = tail.strip_prefix('/').unwrap_or(tail).parse() else {
            return Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        };
        let delete = Some((Method::DELETE, Ask::CancelAndForget));
        Some(asked(head.method, id, Some(Ask::Monitor), delete, MONITOR))
    }

    fn admits(&self, head: Head<'_>) -> bool {
        Prefer::parse(head.headers).respond_async
    }

    fn reads_prefer(&self) -> bool {
        true
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        OptIn {
            note: is_old(head.headers).then(|| OLD.into()),
            ..OptIn::by_prefer(head.headers)
        }
    }

    fn take_out(&self, head: &mut request::Parts) {
        remove_preferences(&mut head.headers, &["respond-async", "wait"]);
    }

    fn applied(&self, opt_in: &OptIn, headers: &mut HeaderMap) {
        opt_in.tell_applied(headers);
    }

    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer> {
        let mut response = pending(view, version(opt_in.note.is_some()));
        self.applied(opt_in, response.headers_mut());
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer> {
        let version = version(is_old(head.headers));
        match (ask, view.ending()) {
            (Ask::CancelAndForget, _) => {
                let mut response = own(StatusCode::NO_CONTENT);
                response.headers_mut().insert(ODATA_VERSION, version);
                response
            }
            (_, None) => pending(view, version),
            (_, Some(ending)) => {
                let result = view
                    .replay()
                    .ok_or_else(|| failure(ending.outcome, &version));
                match wants_envelope(head.headers) {
                    true => enveloped(view, result, version),
                    false => marked(result),
                }
            }
        }
    }

    fn problem(&self, problem: &Problem, opt_in: &OptIn) -> Response<Bytes> {
        error(&as_unknown(problem), version(opt_in.note.is_some()))
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 6] = [
            header::LOCATION,
            header::RETRY_AFTER,
            ASYNC_RESULT,
            ODATA_VERSION,
            PREFERENCE_APPLIED,
            header::ALLOW,
        ];
        &NAMES
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }
}

/// Whether the client knows 4.0 at most (section 8.2.7).
fn is_old(headers: &HeaderMap) -> bool {
    headers
        .get(ODATA_MAX_VERSION)
        .is_some_and(|version| version.as_bytes().trim_ascii() == OLD.as_bytes())
}

fn version(is_old: bool) -> HeaderValue {
    match is_old {
        true => HeaderValue::from_static(OLD),
        false => HeaderValue::from_static("4.01"),
    }
}

/// Section 11.6: who accepts the envelope gets it, and who may not know of anything else.
fn wants_envelope(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter();
    lines.any(|line| accept::names(line.as_bytes(), ENVELOPE))
        || is_old(headers) && !headers.contains_key(header::ACCEPT)
}

fn pending(view: &View<'_>, version: HeaderValue) -> Response<Answer> {
    let mut response = own(StatusCode::ACCEPTED);
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, view.links().header(""));
    headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
    headers.insert(header::VARY, VARY_PREFER);
    headers.insert(ODATA_VERSION, version);
    response
}

/// What an operation without a response ended with.
fn failure(outcome: Outcome, version: &HeaderValue) -> Response<Bytes> {
    let problem = problem_of(outcome);
    let status = match problem.kind {
        // Not by the client: that would have left nothing.
        ProblemKind::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
        _ => problem.status,
    };
    error(&problem.status(status), version.clone())
}

fn error(problem: &Problem, version: HeaderValue) -> Response<Bytes> {
    let mut response = error_response(problem);
    let headers = response.headers_mut();
    headers.insert(ODATA_VERSION, version);
    response
}

/// The stored response's head, or the whole of what stands for it.
type Ended = Result<response::Parts, Response<Bytes>>;

/// The header form.
fn marked(result: Ended) -> Response<Answer> {
    let mut response = match result {
        Ok(head) => Response::from_parts(head, Answer::Stored),
        Err(failure) => failure.map(Answer::Instead),
    };
    let status = response.status();
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    // A 304 tells the length of what it has not.
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(ASYNC_RESULT, digits(status));
    response
}

fn digits(status: StatusCode) -> HeaderValue {
    HeaderValue::from_str(status.as_str()).expect("a status is three digits")
}

/// The envelope form.
fn enveloped(view: &View<'_>, result: Ended, version: HeaderValue) -> Response<Answer> {
    let answer = match result {
        Ok(head) => Answer::Around {
            before: message(&head, view.response().map_or(0, |stored| stored.body_len())),
            after: Bytes::new(),
        },
        Err(failure) => {
            let (mut head, body) = failure.into_parts();
            // It is about the message around it.
            head.headers.remove(header::CACHE_CONTROL);
            let mut whole = message(&head, body.len() as u64).to_vec();
            whole.extend_from_slice(&body);
            Answer::Instead(whole.into())
        }
    };
    let mut response = own(StatusCode::OK).map(|_| answer);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        const { HeaderValue::from_static(ENVELOPE) },
    );
    headers.insert(ODATA_VERSION, version);
    response
}

/// Status line and fields of a response (RFC 9112, sections 4 and 5).
fn message(head: &response::Parts, body_len: u64) -> Bytes {
    let mut out = b"HTTP/1.1 ".to_vec();
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    let reason = head.status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        field(&mut out, name.as_str(), value.as_bytes());
    }
    if body_len > 0 {
        field(&mut out, "content-length", body_len.to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
