//! Problem details (RFC 9457): the only place where failures become bodies.
//!
//! Every `type` is a stable URN, `urn:tower-lro:problem:` and the [name](ProblemKind::name) of its kind. Details say
//! what a client can know; causes (a panic's message, the source of an error) go to logs only.

use crate::{
    header::retry_after,
    record::{Outcome, Reason},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use std::borrow::Cow;

/// Begins the `type` of every problem.
pub const TYPE_PREFIX: &str = "urn:tower-lro:problem:";

/// One failure, told to a client.
///
/// ```
/// use tower_lro::problem::{Problem, ProblemKind};
///
/// let response = Problem::new(ProblemKind::Expired).to_response();
/// assert_eq!(response.status(), 410);
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// assert!(response.body().starts_with(br#"{"type":"urn:tower-lro:problem:expired""#));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// The status it is sent with.
    pub status: StatusCode,
    /// What happened, for people.
    pub detail: Cow<'static, str>,
    /// Seconds after which it may go better.
    pub retry_after: Option<u32>,
    /// What may be asked instead, with [`ProblemKind::Method`].
    pub allow: &'static [Method],
}

/// What kind of [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// There is no such operation: 404.
    Unknown,
    /// There was such an operation: 410.
    Expired,
    /// The operation was cancelled: 410.
    Cancelled,
    /// The result is not there yet: 404, or 409 when it is to be forgotten.
    ResultNotReady,
    /// A bound is reached: 503.
    Full,
    /// The server is shutting down: 503.
    Draining,
    /// The request's target is too long: 414.
    TargetTooLong,
    /// The request is too long: 413.
    TooLarge,
    /// The request did not arrive whole: 400.
    UploadFailed,
    /// The request did not arrive in time: 408.
    UploadTimeout,
    /// The idempotency key is no key: 400.
    KeyInvalid,
    /// The idempotency key was used for another request: 422.
    KeyReused,
    /// The idempotency key's operation still runs, and the layer wants no repeats until it ends: 409.
    KeyInUse,
    /// The store can't be reached: 503.
    Unavailable,
    /// The method is not for this resource: 405.
    Method,
    /// The query asks for what can't be: 400.
    QueryInvalid,
    /// `If-Match` or `If-None-Match` is not met: 412.
    Precondition,
    /// The inner service panicked: 500.
    Panicked,
    /// The inner service returned an error: 500.
    Errored,
    /// The operation ran too long: 504.
    TimedOut,
    /// The response is too long to be stored: 500.
    ResultTooLarge,
    /// The operation did not get its turn in time: 500.
    NotStarted,
    /// The server shut down before the operation's end: 500.
    Interrupted,
    /// The process that ran the operation is gone: 500.
    Lost,
}

impl ProblemKind {
    /// Ends the `type` URN.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// What it is called, the same for each of its kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().1
    }

    /// The status it is sent with unless its place says otherwise.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, &'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unknown => (
                "unknown",
                "Unknown operation",
                S::NOT_FOUND,
                "There is no such operation.",
            ),
            Self::Expired => (
                "expired",
                "Expired operation",
                S::GONE,
                "There was such an operation; it and its result are no longer kept.",
            ),
            Self::Cancelled => (
                "cancelled",
                "Cancelled operation",
                S::GONE,
                "The operation was cancelled.",
            ),
            Self::ResultNotReady => (
                "result-not-ready",
                "Result not ready",
                S::NOT_FOUND,
                "The operation has not ended.",
            ),
            Self::Full => (
                "full",
                "No capacity",
                S::SERVICE_UNAVAILABLE,
                "The server has taken on as much as it may.",
            ),
            Self::Draining => (
                "draining",
                "Shutting down",
                S::SERVICE_UNAVAILABLE,
                "The server is shutting down and takes on nothing new.",
            ),
            Self::TargetTooLong => (
                "target-too-long",
                "Target too long",
                S::URI_TOO_LONG,
                "The target of the request is longer than it may be.",
            ),
            Self::TooLarge => (
                "too-large",
                "Request too large",
                S::PAYLOAD_TOO_LARGE,
                "The request body is longer than it may be.",
            ),
            Self::UploadFailed => (
                "upload-failed",
                "Upload failed",
                S::BAD_REQUEST,
                "The request body did not arrive whole.",
            ),
            Self::UploadTimeout => (
                "upload-timeout",
                "Upload timed out",
                S::REQUEST_TIMEOUT,
                "The request body did not arrive in time.",
            ),
            Self::KeyInvalid => (
                "key-invalid",
                "Invalid idempotency key",
                S::BAD_REQUEST,
                "The idempotency key is not a string of 1 to 255 visible ASCII characters.",
            ),
            Self::KeyReused => (
                "key-reused",
                "Idempotency key reused",
                S::UNPROCESSABLE_ENTITY,
                "The idempotency key was used for another request.",
            ),
            Self::KeyInUse => (
                "key-in-use",
                "Idempotency key in use",
                S::CONFLICT,
                "The operation that this idempotency key was used for has not ended.",
            ),
            Self::Unavailable => (
                "unavailable",
                "Store unavailable",
                S::SERVICE_UNAVAILABLE,
                "Operations can't be looked up or stored at the moment.",
            ),
            Self::Method => (
                "method",
                "Method not allowed",
                S::METHOD_NOT_ALLOWED,
                "This resource does not know the method.",
            ),
            Self::QueryInvalid => (
                "query-invalid",
                "Invalid query",
                S::BAD_REQUEST,
                "A parameter of the query has no such value.",
            ),
            Self::Precondition => (
                "precondition",
                "Precondition failed",
                S::PRECONDITION_FAILED,
                "The operation is not as the request's preconditions want it.",
            ),
            Self::Panicked => (
                "panicked",
                "Operation failed",
                S::INTERNAL_SERVER_ERROR,
                "The operation ended with an internal error.",
            ),
            Self::Errored => (
                "errored",
                "Operation failed",
                S::INTERNAL_SERVER_ERROR,
                "The operation ended without a response.",
            ),
            Self::TimedOut => (
                "timed-out",
                "Operation timed out",
                S::GATEWAY_TIMEOUT,
                "The operation ran longer than it may.",
            ),
            Self::ResultTooLarge => (
                "result-too-large",
                "Result too large",
                S::INTERNAL_SERVER_ERROR,
                "The response of the operation is longer than may be stored.",
            ),
            Self::NotStarted => (
                "not-started",
                "Operation not started",
                S::INTERNAL_SERVER_ERROR,
                "The operation did not get its turn in time.",
            ),
            Self::Interrupted => (
                "interrupted",
                "Operation interrupted",
                S::INTERNAL_SERVER_ERROR,
                "The server shut down before the operation had ended.",
            ),
            Self::Lost => (
                "lost",
                "Operation lost",
                S::INTERNAL_SERVER_ERROR,
                "The process that ran the operation is gone.",
            ),
        }
    }
}

impl Problem {
    /// A problem as its kind has it.
    #[must_use]
    pub const fn new(kind: ProblemKind) -> Self {
        let (_, _, status, detail) = kind.facts();
        Self {
            kind,
            status,
            detail: Cow::Borrowed(detail),
            retry_after: None,
            allow: &[],
        }
    }

    /// The problem that an operation's end is, if it has no response to show.
    #[must_use]
    pub const fn of_outcome(outcome: Outcome) -> Option<Self> {
        let kind = match outcome {
            Outcome::Succeeded | Outcome::Failed(Reason::Response) => return None,
            Outcome::Cancelled => ProblemKind::Cancelled,
            Outcome::Failed(Reason::Panicked) => ProblemKind::Panicked,
            Outcome::Failed(Reason::Errored) => ProblemKind::Errored,
            Outcome::Failed(Reason::TimedOut) => ProblemKind::TimedOut,
            Outcome::Failed(Reason::TooLarge) => ProblemKind::ResultTooLarge,
            Outcome::Failed(Reason::NotStarted) => ProblemKind::NotStarted,
            Outcome::Failed(Reason::Interrupted) => ProblemKind::Interrupted,
            Outcome::Failed(Reason::Lost) => ProblemKind::Lost,
        };
        Some(Self::new(kind))
    }

    /// With another detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// With another status.
    #[must_use]
    pub const fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With the seconds after which it may go better.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With the methods that the resource knows.
    #[must_use]
    pub const fn allow(mut self, methods: &'static [Method]) -> Self {
        self.allow = methods;
        self
    }

    /// Writes the JSON object: `type`, `title`, `status`, `detail` (RFC 9457, section 3.1).
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(TYPE_PREFIX.as_bytes());
        out.extend_from_slice(self.kind.name().as_bytes());
        out.extend_from_slice(b"\",\"title\":\"");
        out.extend_from_slice(self.kind.title().as_bytes());
        out.extend_from_slice(b"\",\"status\":");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.extend_from_slice(b",\"detail\":");
        crate::json::string(out, &self.detail);
        out.push(b'}');
    }

    /// The response: `application/problem+json`, never stored by caches.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let mut body = Vec::with_capacity(256);
        self.write_json(&mut body);
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            const { HeaderValue::from_static("application/problem+json") },
        );
        headers.insert(
            header::CACHE_CONTROL,
            const { HeaderValue::from_static("no-store") },
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, retry_after(seconds));
        }
        if !self.allow.is_empty() {
            headers.insert(header::ALLOW, allow_value(self.allow));
        }
        response
    }
}

/// The value of `Allow`.
pub(crate) fn allow_value(methods: &[Method]) -> HeaderValue {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    HeaderValue::try_from(names.join(", ")).expect("method names are tokens")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stop;

    #[test]
    fn a_problem_is_the_json_object_of_rfc_9457() {
        let problem = Problem::new(ProblemKind::Full)
            .detail("tell \"why\"")
            .retry_after(7);
        let response = problem.to_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let wanted = serde_json::json!({"type": "urn:tower-lro:problem:full", "title": "No capacity",
            "status": 503, "detail": "tell \"why\""});
        assert_eq!(json, wanted);
    }

    #[test]
    fn no_end_of_an_operation_looks_like_a_server_that_should_be_tried_again() {
        for stop in [
            Stop::Cancelled,
            Stop::Panicked,
            Stop::Errored,
            Stop::TimedOut,
            Stop::TooLarge,
            Stop::NotStarted,
            Stop::Interrupted,
            Stop::Lost,
        ] {
            let problem = Problem::of_outcome(stop.outcome()).unwrap();
            let wanted = match stop {
                Stop::Cancelled => 410,
                Stop::TimedOut => 504,
                _ => 500,
            };
            assert_eq!(
                (problem.status.as_u16(), problem.retry_after),
                (wanted, None),
                "{stop:?}"
            );
        }
    }
}
