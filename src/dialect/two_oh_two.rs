use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{JSON, READ_ONLY, as_unknown, asked, has_body, own_json, replayed},
};
use crate::{
    header::retry_after,
    json,
    problem::{Problem, ProblemKind},
    record::Outcome,
};
use bytes::Bytes;
use http::{Response, StatusCode, header};

/// The project two-oh-two: 202 to a monitor, which is 200 until it is 201 with the `Location` of the result.
///
/// | request | pending | succeeded | failed, cancelled |
/// | --- | --- | --- | --- |
/// | initiating, `GET` as well | 202, `Location`, `Retry-After`, `{"job_id":"…"}` | | |
/// | `GET` mount`/monitor/{id}` | 200, `Retry-After`, `{"job_id":"still working..."}` | 201, `Location` of the result, `{"job_id":"…"}` | the same |
/// | `GET` mount`/result/{id}` | 422 | 200, `{"result":…}` | 422, `{"message":"Job … failed to complete or was not found."}` |
///
/// The monitor tells that there is an end, as often as asked, and the result tells which. `result` is the handler's body, if it
/// [can stand there](View::embeds_json), and `null` if it is empty; a body that can't (no JSON, or one with a
/// `Content-Encoding`) is answered as it is, without the member around it. What has failed is told by 422 alone: another
/// dialect, [mounted beside](crate::Operations::also), tells how.
///
/// Other failures are `{"message":"…"}` with their own status. There is no cancel and no list.
///
/// # Off the project's code
///
/// There an id is a number, and an unknown one works for ever. Here it is a string, and what is unknown, or expired, is 404 at
/// the monitor and 422 at the result. `Retry-After` is added.
///
/// The specification is the code of [mcumcu/two-oh-two](https://github.com/mcumcu/two-oh-two).
///
/// ```
/// use tower_lro::{Operations, TwoOhTwo};
///
/// let operations = Operations::builder().mount("/deferred").dialect(TwoOhTwo::new()).build()?;
/// // Monitors are at /deferred/monitor/{id}, results at /deferred/result/{id}.
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TwoOhTwo(());

impl TwoOhTwo {
    /// The dialect. It has no options.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

const WORKING: Bytes = Bytes::from_static(b"{\"job_id\":\"still working...\"}");
const MONITOR: &str = "/monitor";
const RESULT: &str = "/result";

impl Dialect for TwoOhTwo {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let unknown = Problem::new(ProblemKind::Unknown);
        let Some((resource, id)) = tail.rsplit_once('/') else {
            return Some(Address::Problem(unknown));
        };
        let ask = match resource {
            MONITOR => Ask::Monitor,
            RESULT => Ask::Result,
            _ => return Some(Address::Problem(unknown)),
        };
        Some(match id.parse() {
            Ok(id) => asked(head.method, id, Some(ask), None, READ_ONLY),
            Err(_) => Address::Problem(unknown),
        })
    }

    /// Notes which result is asked for: what is not there has other words there than at the monitor.
    fn opt_in(&self, head: Head<'_>) -> OptIn {
        OptIn {
            note: result_asked(head).map(Into::into),
            ..OptIn::default()
        }
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let mut response = named(view, StatusCode::ACCEPTED);
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, view.links().header_below(MONITOR, ""));
        match view.ending() {
            None => later(view, response),
            Some(_) => response,
        }
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Result, Some(ending)) if ending.outcome == Outcome::Succeeded => result(view),
            (Ask::Result, Some(_)) => not_there(&view.id().to_string()).map(Answer::Instead),
            (Ask::Result, None) => {
                let response = not_there(&view.id().to_string()).map(Answer::Bytes);
                later(view, response)
            }
            (_, Some(_)) => {
                let mut response = named(view, StatusCode::CREATED);
                let location = view.links().header_below(RESULT, "");
                response.headers_mut().insert(header::LOCATION, location);
                response
            }
            (_, None) => later(view, own_json(StatusCode::OK, Answer::Bytes(WORKING))),
        }
    }

    fn problem(&self, problem: &Problem, opt_in: &OptIn) -> Response<Bytes> {
        let is_gone = matches!(problem.kind, ProblemKind::Unknown | ProblemKind::Expired);
        match &opt_in.note {
            Some(id) if is_gone => not_there(id),
            _ => message(&as_unknown(problem)),
        }
    }
}

/// The id of the result that a request is addressed to, if it is addressed to one, as the client has it.
fn result_asked(head: Head<'_>) -> Option<&str> {
    let (rest, id) = head.original().path().rsplit_once('/')?;
    rest.ends_with(RESULT).then_some(id)
}

/// Nothing is there yet.
fn later(view: &View<'_>, mut response: Response<Answer>) -> Response<Answer> {
    let seconds = retry_after(view.retry_after());
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

fn named(view: &View<'_>, status: StatusCode) -> Response<Answer> {
    let body = json::written(|out| {
        out.extend_from_slice(b"{\"job_id\":\"");
        out.extend_from_slice(&view.links().id());
        out.extend_from_slice(b"\"}");
    });
    own_json(status, Answer::Bytes(body))
}

fn result(view: &View<'_>) -> Response<Answer> {
    match replayed(view) {
        Some(replay) if has_body(view) && !view.embeds_json() => replay,
        _ if has_body(view) => own_json(
            StatusCode::OK,
            Answer::Around {
                before: Bytes::from_static(b"{\"result\":"),
                after: Bytes::from_static(b"}"),
            },
        ),
        _ => own_json(
            StatusCode::OK,
            Answer::Instead(Bytes::from_static(b"{\"result\":null}")),
        ),
    }
}

/// What is not there, as the project's own code has it.
fn not_there(id: &str) -> Response<Bytes> {
    let problem = Problem::new(ProblemKind::Unknown).status(StatusCode::UNPROCESSABLE_ENTITY);
    let text = format!("Job {id} failed to complete or was not found.");
    message(&problem.detail(text))
}

fn message(problem: &Problem) -> Response<Bytes> {
    let mut response = problem.to_response().map(|_| {
        json::written(|out| {
            out.extend_from_slice(b"{\"message\":");
            json::string(out, &problem.detail);
            out.push(b'}');
        })
    });
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}
