use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{
        READ_ONLY, as_unknown, asked, error_of, error_response, has_body, own_json, path,
        problem_of, replayed, time, whole,
    },
};
use crate::{
    header::retry_after,
    json,
    problem::{Problem, ProblemKind},
    record::{Outcome, Phase, Reason},
};
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};

/// The facade for single-page applications: the monitor's URL in a body, since pages of other origins see no `Location`, and a
/// run as Logic Apps have it.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating | 200, `Retry-After`, `{"location":"…"}` | the same by a repeated key |
/// | `GET` monitor | 200, `Retry-After`, run | 200, run |
/// | `POST` monitor`/cancel` | 200, run that is now cancelled | 200, run, unchanged |
/// | `GET` monitor`/result` | 404 | the stored response, or the error that the operation ended in |
///
/// The run:
///
/// ```json
/// {"id":"/runs/…","name":"…","type":"Microsoft.Logic/workflows/runs",
///  "properties":{
///    "waitEndTime":"…","startTime":"…","endTime":"…","status":"Waiting|Running|Succeeded|Failed|TimedOut|Aborted|Cancelled",
///    "correlation":{"clientTrackingId":"…"},
///    "workflow":{"id":"/reports","name":"reports","type":"Microsoft.Logic/workflows/versions"},
///    "trigger":{"name":"manual","startTime":"…","endTime":"…","originHistoryName":"…","correlation":{…},"status":"Succeeded"},
///    "response":{"startTime":"…","endTime":"…","correlation":{…},"status":"Waiting|…","outputsLink":{"uri":"…","contentSize":9}},
///    "error":{"code":"…","message":"…"},
///    "outputs":{"body":{"value":…}}}}
/// ```
///
/// - While it is pending, `response.status` is `Waiting`; afterwards it is that of the run.
/// - `outputs.body.value` is the stored response's body of what has succeeded, if it [can stand there](View::embeds_json).
///   `response.outputsLink` tells of any body where it is: `…/result`. The request is shown nowhere.
/// - `error` of what has failed is the `error` object of the response, if that is JSON of at most [`View::SMALL`] bytes and has
///   one; else its code is the name of the status, and its message the `detail` or `title` of a problem.
/// - `TimedOut` is what ran too long, `Aborted` what was lost with its process or in a shutdown.
///
/// A failure is a run that tells so, never a status. Other failures, of polls and of refused requests, are
/// `{"error":{"code":"…","message":"…"}}`. What is expired or forgotten is as unknown: 404.
///
/// URLs are absolute: see [`Builder::base_url`](crate::Builder::base_url). There is no list. Pages may read all of this without a
/// word about fields, if the application allows their origin (`Access-Control-Allow-Origin`); with
/// [`Operations::header_names`](crate::Operations::header_names) in `Access-Control-Expose-Headers`, any dialect would do.
///
/// The specification is "Workflow Runs" of the
/// [Logic Apps REST API](https://learn.microsoft.com/rest/api/logic/workflow-runs). Links there are signed; here an id is the
/// secret that opens them, or an [owner rule](crate::Builder::owner) guards them.
#[derive(Clone, Copy, Debug)]
pub struct Spa {
    member: &'static str,
}

impl Spa {
    /// The dialect, with the monitor's URL in the member `location`.
    #[must_use]
    pub const fn new() -> Self {
        Self { member: "location" }
    }

    /// With the monitor's URL in another member.
    #[must_use]
    pub const fn member(self, name: &'static str) -> Self {
        Self { member: name }
    }
}

impl Default for Spa {
    fn default() -> Self {
        Self::new()
    }
}

const RESULT: &str = "/result";
const CANCEL: &str = "/cancel";

const POST_ONLY: &[Method] = &[Method::POST, Method::OPTIONS];

impl Dialect for Spa {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        let (id, read, post, methods) = if let Some(id) = tail.strip_suffix(CANCEL) {
            (id, None, Some((Method::POST, Ask::Cancel)), POST_ONLY)
        } else if let Some(id) = tail.strip_suffix(RESULT) {
            (id, Some(Ask::Result), None, READ_ONLY)
        } else {
            (tail, Some(Ask::Monitor), None, READ_ONLY)
        };
        Some(match id.parse() {
            Ok(id) => asked(head.method, id, read, post, methods),
            Err(_) => Address::Problem(Problem::new(ProblemKind::Unknown)),
        })
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let body = json::written(|out| {
            out.push(b'{');
            json::string(out, self.member);
            out.extend_from_slice(b":\"");
            view.links().write(out, "");
            out.extend_from_slice(b"\"}");
        });
        told(view, Answer::Bytes(body))
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Result, Some(ending)) => replayed(view)
                .unwrap_or_else(|| error(&problem_of(ending.outcome)).map(Answer::Instead)),
            (Ask::Result, None) => {
                let problem = Problem::new(ProblemKind::ResultNotReady);
                error(&problem.retry_after(view.retry_after())).map(Answer::Bytes)
            }
            _ => run(view),
        }
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        error(problem)
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }
}

fn told(view: &View<'_>, answer: Answer) -> Response<Answer> {
    let mut response = own_json(StatusCode::OK, answer);
    if view.ending().is_none() {
        let seconds = retry_after(view.retry_after());
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn run(view: &View<'_>) -> Response<Answer> {
    let succeeded = view.phase() == Phase::Ended(Outcome::Succeeded);
    let mut out = Vec::with_capacity(1024);
    properties(view, &mut out);
    out.extend_from_slice(b",\"outputs\":{");
    if succeeded && view.embeds_json() {
        out.extend_from_slice(b"\"body\":{\"value\":");
        let answer = Answer::Around {
            before: out.into(),
            after: Bytes::from_static(b"}}}}"),
        };
        return told(view, answer);
    }
    out.extend_from_slice(b"}}}");
    told(view, whole(view, out, succeeded && has_body(view)))
}

/// The document up to its outputs.
fn properties(view: &View<'_>, out: &mut Vec<u8>) {
    let (created, started) = (view.record().created, view.started());
    let ended = view.ending().map(|ending| ending.at);
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(view.links().mount().path().as_bytes());
    out.push(b'/');
    out.extend_from_slice(&view.links().id());
    out.extend_from_slice(b"\",\"name\":\"");
    out.extend_from_slice(&view.links().id());
    out.extend_from_slice(b"\",\"type\":\"Microsoft.Logic/workflows/runs\",\"properties\":{");
    if started.is_some() {
        time(out, "\"waitEndTime\":", started);
        out.push(b',');
    }
    time(out, "\"startTime\":", Some(created));
    time(out, ",\"endTime\":", ended);
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(status(view.phase()).as_bytes());
    out.push(b'"');
    correlation(view, out);

    let path = path(view);
    out.extend_from_slice(b",\"workflow\":{\"id\":");
    json::string(out, path);
    out.extend_from_slice(b",\"name\":");
    json::string(out, path.rsplit('/').next().unwrap_or_default());
    out.extend_from_slice(b",\"type\":\"Microsoft.Logic/workflows/versions\"}");

    out.extend_from_slice(b",\"trigger\":{\"name\":\"manual\"");
    time(out, ",\"startTime\":", Some(created));
    time(out, ",\"endTime\":", Some(created));
    out.extend_from_slice(b",\"originHistoryName\":\"");
    out.extend_from_slice(&view.links().id());
    out.push(b'"');
    correlation(view, out);
    out.extend_from_slice(b",\"status\":\"Succeeded\"}");

    out.extend_from_slice(b",\"response\":{");
    time(out, "\"startTime\":", Some(started.unwrap_or(created)));
    time(out, ",\"endTime\":", ended);
    correlation(view, out);
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(match view.phase() {
        Phase::Accepted | Phase::Running => b"Waiting",
        ended => status(ended).as_bytes(),
    });
    out.push(b'"');
    if let Some(response) = view.response().filter(|_| has_body(view)) {
        out.extend_from_slice(b",\"outputsLink\":{\"uri\":\"");
        view.links().write(out, RESULT);
        out.extend_from_slice(b"\",\"contentSize\":");
        json::number(out, response.body_len());
        out.push(b'}');
    }
    out.push(b'}');
    if let Phase::Ended(outcome @ Outcome::Failed(_)) = view.phase() {
        out.extend_from_slice(b",\"error\":");
        error_of(view, outcome, out);
    }
}

fn correlation(view: &View<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"correlation\":{\"clientTrackingId\":\"");
    out.extend_from_slice(&view.links().id());
    out.extend_from_slice(b"\"}");
}

fn status(phase: Phase) -> &'static str {
    match phase {
        Phase::Accepted => "Waiting",
        Phase::Running => "Running",
        Phase::Ended(Outcome::Succeeded) => "Succeeded",
        Phase::Ended(Outcome::Failed(Reason::TimedOut)) => "TimedOut",
        Phase::Ended(Outcome::Failed(Reason::Interrupted | Reason::Lost)) => "Aborted",
        Phase::Ended(Outcome::Failed(_)) => "Failed",
        Phase::Ended(Outcome::Cancelled) => "Cancelled",
    }
}

fn error(problem: &Problem) -> Response<Bytes> {
    error_response(&as_unknown(problem))
}
