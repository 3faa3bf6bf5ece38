use super::{
    Address, Answer, Ask, Dialect, Head, OPERATION_OUTCOME, OptIn, Route, View,
    document::{NO_STORE, own, problem_of},
    query::{self, number, pairs},
};
use crate::{
    header::retry_after,
    problem::{Problem, ProblemKind},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header, request};
use std::time::Duration;

/// RESTEasy's Asynchronous Job Service, of the [RESTEasy guide](https://docs.resteasy.dev/), "Asynchronous Job Service".
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | any, with `?asynch=…` | 202, `Location`, `Retry-After` | the same by a repeated key |
/// | any, with `?oneway=…` | 202 | |
/// | `GET` job | 202, `Retry-After` | the stored response, or the problem that the operation ended in |
/// | `POST` job | the same | the same, once: forgotten with that |
/// | `GET` or `POST` job`?wait=ms` | held; 503, `Retry-After` when the time is over | the same |
/// | `DELETE` job | 204: let go of, the work goes on | 204, forgotten |
///
/// It is the parameter's presence that counts, not its value; with both it is `asynch`. The inner service sees neither.
/// Requests without one are not deferred. What is one-way can't be asked for, and is let go of as it ends: a repeat with its
/// idempotency key is 202 before, and 410 after.
///
/// `wait` is in milliseconds, and cut down to [`Limits::wait`](crate::Limits::wait). One that is no number above 0 is none;
/// on an initiating request it is the inner service's. What has not ended when the time is over is 503, which is
/// not an answer about the operation: so is a poll that found no place to wait.
///
/// What is unknown, expired, removed or cancelled is 410, whatever the address; to `DELETE` it is 204. Failures are problem
/// details, and those of operations that ended without a response are 500 (504 where they ran too long).
///
/// Where this departs from the service that it is named after: 202 and 503 have a `Retry-After`. Stored responses come
/// with [`Operation-Outcome`](OPERATION_OUTCOME), which tells a 202, 410 or 503 of the handler's from the job's own. Jobs are
/// not lost when there are more than 100 of them, and never while they run; ids can't be guessed.
///
/// RESTEasy's jobs are at `/asynch/jobs`: a good mount. URLs are absolute: see
/// [`Builder::base_url`](crate::Builder::base_url).
#[derive(Clone, Copy, Debug, Default)]
pub struct RestEasy(());

impl RestEasy {
    /// The dialect. It has no options.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

const ASYNCH: &str = "asynch";
const ONE_WAY: &str = "oneway";
/// What is noted of a request that has its way whatever there is.
const REMOVES: &str = "removes";

const JOB: &[Method] = &[
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::DELETE,
    Method::OPTIONS,
];

impl Dialect for RestEasy {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let id = tail.strip_prefix('/').unwrap_or(tail).parse();
        Some(match (id, head.method) {
            (Err(_), _) => Address::Problem(Problem::new(ProblemKind::Unknown)),
            (Ok(id), &Method::GET | &Method::HEAD) => Address::Operation(id, Ask::Monitor),
            (Ok(id), &Method::POST) => Address::Operation(id, Ask::Take),
            (Ok(id), &Method::DELETE) => Address::Operation(id, Ask::Abandon),
            (Ok(_), &Method::OPTIONS) => Address::Options(JOB),
            (Ok(_), _) => Address::Problem(Problem::new(ProblemKind::Method).allow(JOB)),
        })
    }

    fn admits(&self, head: Head<'_>) -> bool {
        has(head.uri, ASYNCH) || has(head.uri, ONE_WAY)
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        let asynch = has(head.uri, ASYNCH);
        let asked = asynch || has(head.uri, ONE_WAY);
        let removes = !asked && head.method == Method::DELETE;
        OptIn {
            asked,
            one_way: asked && !asynch,
            wait: wait(head.uri).filter(|_| !asked),
            note: removes.then(|| REMOVES.into()),
        }
    }

    fn take_out(&self, head: &mut request::Parts) {
        query::take_out(&mut head.uri, &[ASYNCH, ONE_WAY]);
    }

    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer> {
        let mut response = own(StatusCode::ACCEPTED);
        if opt_in.one_way {
            return response;
        }
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, view.links().header(""));
        if !view.phase().is_ended() {
            headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
        }
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer> {
        let Some(ending) = view.ending().filter(|_| ask != Ask::Abandon) else {
            let mut response = own(match ask {
                Ask::Abandon => return own(StatusCode::NO_CONTENT),
                // It has been waited for, or there was no place to.
                _ if wait(head.uri).is_some() => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::ACCEPTED,
            });
            let delay = retry_after(view.retry_after());
            response.headers_mut().insert(header::RETRY_AFTER, delay);
            return response;
        };
        let mut response = match view.replay() {
            Some(head) => Response::from_parts(head, Answer::Stored),
            None => problem_of(ending.outcome)
                .to_response()
                .map(Answer::Instead),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        let outcome = HeaderValue::from_static(ending.outcome.as_str());
        headers.insert(OPERATION_OUTCOME, outcome);
        response
    }

    fn problem(&self, problem: &Problem, opt_in: &OptIn) -> Response<Bytes> {
        let is_gone = matches!(problem.kind, ProblemKind::Unknown | ProblemKind::Expired);
        match (is_gone, opt_in.note.as_deref()) {
            (true, Some(REMOVES)) => own(StatusCode::NO_CONTENT).map(|_| Bytes::new()),
            (true, _) => problem.clone().status(StatusCode::GONE).to_response(),
            (false, _) => problem.to_response(),
        }
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 4] = [
            header::LOCATION,
            header::RETRY_AFTER,
            header::ALLOW,
            OPERATION_OUTCOME,
        ];
        &NAMES
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }
}

fn has(uri: &Uri, wanted: &str) -> bool {
    pairs(uri.query()).any(|(name, _)| name == wanted)
}

/// How long to hold the answer, of the first `wait`.
fn wait(uri: &Uri) -> Option<Duration> {
    let (_, value) = pairs(uri.query()).find(|(name, _)| name == "wait")?;
    number(&value)
        .filter(|millis| *millis > 0)
        .map(Duration::from_millis)
}
