use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{
        self, READ_ONLY, as_unknown, asked, error_object, error_of, error_response, has_body, own,
        own_json, path, percent, problem_of, time, whole,
    },
};
use crate::{
    header::retry_after,
    json,
    problem::{Problem, ProblemKind},
    record::{Outcome, Phase},
};
use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode, header};

/// Where the status of an operation is: on answers to initiating requests, as an absolute URL.
pub const AZURE_ASYNC_OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");

/// Azure Resource Manager: `Azure-AsyncOperation` and `Location`, for azure-mgmt-core and its like.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating, by `PUT` | 201, `Azure-AsyncOperation`, `Retry-After`, resource | the same by a repeated key |
/// | initiating, by any other method | 202, `Azure-AsyncOperation`, `Location`, `Retry-After`, no body | the same |
/// | `GET …/operationStatuses/`id | 200, `Retry-After`, document | 200, document |
/// | `GET …/operationResults/`id | 202, `Location`, `Retry-After`, no body | the stored response, or the error that the operation ended in |
/// | `POST …/operationStatuses/`id`/cancel` | 204 | 204 where it was cancelled, else 409 `OperationEnded` |
///
/// The first monitor is `Azure-AsyncOperation`: other statuses than 200 mean that the reading has failed, not the operation.
/// The second is `Location`, and answers what a synchronous request would have been answered. A stored 202, which would
/// pass for one that is pending, is told as 200 there. Other monitors than these two there are none: clients poll a resource
/// itself only where no `Azure-AsyncOperation` leads them.
///
/// The document, with times in RFC 3339:
///
/// ```json
/// {"id":"/…/operationStatuses/…","name":"…","status":"InProgress|Succeeded|Failed|Canceled","startTime":"…",
///  "endTime":"…","percentComplete":40,"properties":…,"error":{"code":"…","message":"…"}}
/// ```
///
/// - `status` has one word for all that has not ended, the one that every client knows.
/// - `properties` is the body of what was asked for by POST and has succeeded, if it [can stand there](View::embeds_json).
///   After PUT and PATCH clients look at the target.
/// - `error` of what has failed is the `error` object of the response, if that is JSON of at most [`View::SMALL`] bytes and
///   has one; else its code is the name of the status, and its message the `detail` or `title` of a problem. What was
///   cancelled has the code `OperationCanceled`, and is 409 with that at the second monitor.
///
/// The resource that a PUT is answered with: of what the handler makes little is known yet but its address and state, so
/// there is no more in it, and the status is 201 whether it was there before or not.
///
/// ```json
/// {"id":"/subscriptions/…/providers/Ns/things/x","name":"x","type":"Ns/things","properties":{"provisioningState":"InProgress"}}
/// ```
///
/// The application shows the resource at its own address: as not there, or with a `properties.provisioningState` that is not
/// final, until it is made. Other failures are `{"error":{"code":"…","message":"…"}}`. What is expired is as unknown: 404.
///
/// URLs are absolute: see [`Builder::base_url`](crate::Builder::base_url), which behind Resource Manager is its own host, as
/// it tells in `Referer`. There is no list, and nothing is forgotten by request. How to cancel the specification leaves
/// open: this is an action as other resources have it. It also wants a `Retry-After` of 10 to 600 seconds:
/// see [`Limits::retry_after`](crate::Limits::retry_after). It is the
/// [Resource Provider Contract](https://github.com/Azure/azure-resource-manager-rpc), "Asynchronous Operations".
#[derive(Clone, Copy, Debug, Default)]
pub struct Arm(());

impl Arm {
    /// The dialect. It has no options.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

const STATUSES: &str = "/operationStatuses";
const RESULTS: &str = "/operationResults";
const CANCEL: &str = "/cancel";
const CANCELED: &str = "OperationCanceled";
const ACTION: &[Method] = &[Method::POST, Method::OPTIONS];

impl Dialect for Arm {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let unknown = Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        let below = |path| tail.strip_prefix(path)?.strip_prefix('/');
        let (id, read, other, methods) = if let Some(id) = below(RESULTS) {
            (id, Some(Ask::Result), None, READ_ONLY)
        } else if let Some(id) = below(STATUSES) {
            match id.strip_suffix(CANCEL) {
                Some(id) => (id, None, Some((Method::POST, Ask::Cancel)), ACTION),
                None => (id, Some(Ask::Monitor), None, READ_ONLY),
            }
        } else {
            return unknown;
        };
        match id.parse() {
            Ok(id) => Some(asked(head.method, id, read, other, methods)),
            Err(_) => unknown,
        }
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let links = view.links();
        let mut response = if view.record().submission.method == Method::PUT {
            own_json(StatusCode::CREATED, Answer::Bytes(resource(view)))
        } else {
            let mut response = own(StatusCode::ACCEPTED);
            let results = links.header_below(RESULTS, "");
            response.headers_mut().insert(header::LOCATION, results);
            response
        };
        let statuses = links.header_below(STATUSES, "");
        response
            .headers_mut()
            .insert(AZURE_ASYNC_OPERATION, statuses);
        tell_when(view, response)
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.phase()) {
            (Ask::Cancel, Phase::Ended(Outcome::Cancelled)) => own(StatusCode::NO_CONTENT),
            (Ask::Cancel, _) => {
                let detail = "The operation has ended.";
                error(StatusCode::CONFLICT, "OperationEnded", detail).map(Answer::Bytes)
            }
            (Ask::Result, Phase::Ended(outcome)) => replayed(view, outcome),
            (Ask::Result, _) => {
                let mut response = own(StatusCode::ACCEPTED);
                let results = view.links().header_below(RESULTS, "");
                response.headers_mut().insert(header::LOCATION, results);
                tell_when(view, response)
            }
            _ => tell_when(view, document(view)),
        }
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        let mut problem = as_unknown(problem);
        if problem.kind == ProblemKind::KeyReused {
            problem = problem.status(StatusCode::BAD_REQUEST);
        }
        error_response(&problem)
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 4] = [
            AZURE_ASYNC_OPERATION,
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

/// With when to ask again, while there is something to ask.
fn tell_when(view: &View<'_>, mut response: Response<Answer>) -> Response<Answer> {
    if !view.phase().is_ended() {
        let seconds = retry_after(view.retry_after());
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

const fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Accepted | Phase::Running => "InProgress",
        Phase::Ended(Outcome::Succeeded) => "Succeeded",
        Phase::Ended(Outcome::Failed(_)) => "Failed",
        Phase::Ended(Outcome::Cancelled) => "Canceled",
    }
}

/// What is known of a resource from its address.
fn resource(view: &View<'_>) -> Bytes {
    let path = path(view).trim_end_matches('/');
    let mut out = b"{\"id\":".to_vec();
    json::string(&mut out, path);
    out.extend_from_slice(b",\"name\":");
    json::string(&mut out, path.rsplit('/').next().unwrap_or_default());
    if let Some(kind) = kind(path) {
        out.extend_from_slice(b",\"type\":");
        json::string(&mut out, &kind);
    }
    out.extend_from_slice(b",\"properties\":{\"provisioningState\":\"");
    out.extend_from_slice(state(view.phase()).as_bytes());
    out.extend_from_slice(b"\"}}");
    out.into()
}

/// The type of a provider's resource: its namespace, and each second segment after that. Between them are names.
fn kind(path: &str) -> Option<String> {
    let (_, provided) = path.rsplit_once("/providers/")?;
    let mut segments = provided.split('/');
    let mut kind = segments.next()?.to_owned();
    for segment in segments.step_by(2) {
        kind.push('/');
        kind.push_str(segment);
    }
    Some(kind)
}

fn document(view: &View<'_>) -> Response<Answer> {
    let succeeded = view.phase() == Phase::Ended(Outcome::Succeeded);
    let has_result = succeeded && view.record().submission.method == Method::POST;
    let mut out = Vec::with_capacity(256);
    members(view, &mut out);
    let answer = if has_result && view.embeds_json() {
        out.extend_from_slice(b",\"properties\":");
        Answer::Around {
            before: out.into(),
            after: Bytes::from_static(b"}"),
        }
    } else {
        out.push(b'}');
        whole(view, out, has_result && has_body(view))
    };
    own_json(StatusCode::OK, answer)
}

fn members(view: &View<'_>, out: &mut Vec<u8>) {
    let links = view.links();
    out.extend_from_slice(b"{\"id\":\"");
    // A resource's id is its path, wherever it is served.
    out.extend_from_slice(links.mount().path().as_bytes());
    out.extend_from_slice(STATUSES.as_bytes());
    out.push(b'/');
    out.extend_from_slice(&links.id());
    out.extend_from_slice(b"\",\"name\":\"");
    out.extend_from_slice(&links.id());
    out.extend_from_slice(b"\",\"status\":\"");
    out.extend_from_slice(state(view.phase()).as_bytes());
    out.push(b'"');
    time(out, ",\"startTime\":", Some(view.record().created));
    time(out, ",\"endTime\":", view.ending().map(|ending| ending.at));
    if let Some(percent) = percent(view) {
        out.extend_from_slice(b",\"percentComplete\":");
        json::number(out, percent);
    }
    match view.phase() {
        Phase::Ended(outcome @ Outcome::Failed(_)) => {
            out.extend_from_slice(b",\"error\":");
            error_of(view, outcome, out);
        }
        Phase::Ended(outcome @ Outcome::Cancelled) => {
            out.extend_from_slice(b",\"error\":");
            error_object(CANCELED, &problem_of(outcome).detail, out);
        }
        _ => {}
    }
}

/// What a synchronous request would have been answered.
fn replayed(view: &View<'_>, outcome: Outcome) -> Response<Answer> {
    let Some(mut response) = document::replayed(view) else {
        let problem = problem_of(outcome);
        return match outcome {
            Outcome::Cancelled => error(StatusCode::CONFLICT, CANCELED, &problem.detail),
            _ => error_response(&problem),
        }
        .map(Answer::Instead);
    };
    if response.status() == StatusCode::ACCEPTED {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    let mut out = b"{\"error\":".to_vec();
    error_object(code, message, &mut out);
    out.push(b'}');
    own_json(status, out.into())
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn a_type_has_no_names() {
        let of = |path| kind(path);
        assert_eq!(
            of("/subscriptions/s/providers/P.Q/a/x"),
            Some("P.Q/a".into())
        );
        assert_eq!(of("/providers/P.Q/a/x/b/y"), Some("P.Q/a/b".into()));
        assert_eq!(of("/providers/P/a/x/providers/Q/b/y"), Some("Q/b".into()));
        assert_eq!(of("/providers/P"), Some("P".into()));
        assert_eq!(of("/subscriptions/s"), None);
    }
}
