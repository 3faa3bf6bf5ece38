use super::{
    Address, Answer, Ask, Dialect, Head, Links, ListAsk, Listing, OptIn, Route, View,
    document::{
        Told, as_unknown, asked, asked_of_list, own_json, percent, problem_of, stored, time,
    },
    entity_tag,
    query::{cursor, number, pairs},
};
use crate::{
    header::retry_after,
    json,
    problem::{Problem, ProblemKind},
    record::{Outcome, Phase},
    store::{Cursor, StateSet},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use std::{borrow::Cow, num::NonZeroU16};

/// Redfish's tasks: DMTF DSP0266, "Asynchronous operations", and the schemas `Task` and `TaskCollection`.
///
/// To be mounted at `/redfish/v1/TaskService/Tasks`; the service that it belongs to, and `TaskService` itself, are the
/// application's.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | initiating | 202, `Location`: the task monitor, `Retry-After`, `Task` | the same by a repeated key |
/// | `GET` `…/{id}/Monitor` | 202, the same | the stored response, or the error that the operation ended in; then 404 |
/// | `GET` `…/{id}` | 200, `Task`, `ETag`, `Retry-After` | 200, `Task`, `ETag` |
/// | `DELETE` of either | 200, `Task`: cancelled | 200, `Task`, and forgotten |
/// | `GET` of the mount | 200, `TaskCollection`: the caller's tasks of this mount | |
///
/// ```json
/// {"@odata.id":"/redfish/v1/TaskService/Tasks/…","@odata.type":"#Task.v1_7_4.Task","Id":"…","Name":"Task …",
///  "TaskState":"New|Running|Completed|Exception|Cancelled","TaskStatus":"OK|Warning|Critical","StartTime":"…",
///  "EndTime":"…","PercentComplete":40,"TaskMonitor":"…/Monitor",
///  "Payload":{"HttpOperation":"POST","TargetUri":"…"},
///  "Messages":[{"@odata.type":"#Message.v1_1_2.Message","MessageId":"TaskEvent.1.0.TaskProgressChanged",…}]}
/// ```
///
/// - The monitor gives the result once, to a GET; a HEAD takes nothing. The task goes on telling how it ended until it is
///   deleted or expires. What was given is known to this process, and for as long as few others are polled: see
///   [`Polls`](super::Polls). So a result may be given twice, and is never lost before it was given.
/// - A stored 202 would be taken for pending: it is told as 200, or as 204 if it is empty. All else is replayed as it is.
/// - `TaskStatus` is `OK` while pending, as services have it. `Messages` has what the handler
///   [tells](crate::OperationHandle::progress), and how it ended: of a failed response in JSON of at most
///   [`View::SMALL`] bytes its `error.message`, or the `detail` or `title` of a problem.
/// - The monitor of what was cancelled is 410.
/// - The collection is newest first. `$top` is how many, 50 unless given and 1,000 at most; what begins with a dollar otherwise
///   is 501, other parameters are ignored. Where there are more `Members@odata.nextLink` leads on. There is none without an
///   [owner](crate::Builder::owner).
///
/// Errors are `{"error":{"code":"Base.1.18.GeneralError","message":"…","@Message.ExtendedInfo":[…]}}`. What is expired
/// or forgotten is as unknown: 404.
///
/// Where this departs from the specification: `Members@odata.count` is how many members there are in the answer, not in the
/// whole collection, which no store counts.
///
/// All URLs are paths, also where there is a [base URL](crate::Builder::base_url): clients put them behind the address
/// of the service that they were told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redfish(());

impl Redfish {
    /// The dialect. It has no options.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");
const MONITOR: &str = "/Monitor";

const TASK: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

impl Dialect for Redfish {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_suffix('/').unwrap_or(tail);
        let (task, read) = match tail.strip_suffix(MONITOR) {
            Some(task) => (task, Ask::Monitor),
            None => (tail, Ask::Status),
        };
        Some(match (tail, task.strip_prefix('/').map(str::parse)) {
            ("", _) => asked_of_list(head.method, || collection(head.uri.query())),
            (_, Some(Ok(id))) => {
                let delete = (Method::DELETE, Ask::Dismiss);
                asked(head.method, id, Some(read), Some(delete), TASK)
            }
            _ => Address::Problem(Problem::new(ProblemKind::Unknown)),
        })
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        pending(view)
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Monitor, None) => pending(view),
            (Ask::Monitor, Some(_)) if view.polls().is_some_and(|polls| polls.results > 0) => {
                error(&Problem::new(ProblemKind::Unknown)).map(Answer::Bytes)
            }
            (Ask::Monitor, Some(ending)) => match view.replay() {
                Some(mut head) => {
                    if head.status == StatusCode::ACCEPTED {
                        let is_empty = view.response().is_none_or(|stored| stored.body_len() == 0);
                        head.status = match is_empty {
                            true => StatusCode::NO_CONTENT,
                            false => StatusCode::OK,
                        };
                    }
                    stored(head)
                }
                None => error(&problem_of(ending.outcome)).map(Answer::Instead),
            },
            _ => {
                let mut response = task(view);
                let headers = response.headers_mut();
                headers.insert(header::ETAG, entity_tag(view));
                if !view.phase().is_ended() {
                    headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
                }
                response
            }
        }
    }

    fn listed(&self, listing: &Listing<'_>, _: Head<'_>) -> Response<Bytes> {
        let own = listing.url();
        let mut body = b"{\"@odata.id\":".to_vec();
        json::string(&mut body, path_of(&own));
        body.extend_from_slice(
            b",\"@odata.type\":\"#TaskCollection.TaskCollection\",\"Name\":\"Tasks\",\"Members\":[",
        );
        for (at, view) in listing.views().iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"@odata.id\":");
            json::string(&mut body, &path(view.links(), ""));
            body.push(b'}');
        }
        body.extend_from_slice(b"],\"Members@odata.count\":");
        json::number(&mut body, listing.views().len() as u64);
        if let Some(Cursor(after)) = listing.next() {
            let limit = listing.ask().limit;
            let next = format!("{}?after={after}&$top={limit}", path_of(&own));
            body.extend_from_slice(b",\"Members@odata.nextLink\":");
            json::string(&mut body, &next);
        }
        body.push(b'}');
        document(StatusCode::OK, body.into())
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        error(&as_unknown(problem))
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 5] = [
            header::LOCATION,
            header::RETRY_AFTER,
            header::ETAG,
            header::ALLOW,
            ODATA_VERSION,
        ];
        &NAMES
    }

    fn counts_polls(&self) -> bool {
        true
    }
}

/// What the collection is asked for. Parameters of OData that it does not know are to be told so (DSP0266, "Query
/// parameters").
fn collection(query: Option<&str>) -> Result<ListAsk, Problem> {
    const TOP: NonZeroU16 = NonZeroU16::new(50).unwrap();
    const MOST: u16 = 1_000;
    let mut list = ListAsk::default();
    (list.limit, list.here) = (TOP, true);
    for (name, value) in pairs(query) {
        let problem = Problem::new(ProblemKind::QueryInvalid);
        let refusal = match &*name {
            "$top" => {
                let top = number(&value).map(|top| top.min(MOST.into()) as u16);
                match (top, top.and_then(NonZeroU16::new)) {
                    (_, Some(top)) => list.limit = top,
                    // None of them: those in no state.
                    (Some(_), None) => list.states = Some(StateSet::default()),
                    (None, None) => {}
                }
                top.is_none()
                    .then(|| problem.detail("`$top` is a whole number."))
            }
            "after" => {
                list.after = cursor(&value);
                list.after
                    .is_none()
                    .then(|| problem.detail("`after` is what the page before has told."))
            }
            name if name.starts_with('$') => {
                let problem = problem.status(StatusCode::NOT_IMPLEMENTED);
                Some(
                    problem
                        .detail("Of the parameters that begin with a dollar only `$top` is known."),
                )
            }
            _ => None,
        };
        if let Some(problem) = refusal {
            return Err(problem);
        }
    }
    Ok(list)
}

fn path(links: Links<'_>, suffix: &str) -> String {
    let mut url = Vec::new();
    links.write(&mut url, suffix);
    path_of(&String::from_utf8_lossy(&url)).to_owned()
}

/// What of a URL is behind its authority.
fn path_of(url: &str) -> &str {
    let authority = url.split_once("://").map(|(_, rest)| rest);
    match authority.and_then(|rest| Some(&rest[rest.find('/')?..])) {
        Some(path) => path,
        None => url,
    }
}

fn document(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = own_json(status, body);
    let version = const { HeaderValue::from_static("4.0") };
    response.headers_mut().insert(ODATA_VERSION, version);
    response
}

fn pending(view: &View<'_>) -> Response<Answer> {
    let mut response = task(view);
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(path(view.links(), MONITOR)) {
        headers.insert(header::LOCATION, location);
    }
    if !view.phase().is_ended() {
        headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
    }
    response
}

fn task(view: &View<'_>) -> Response<Answer> {
    let body = json::written(|out| write_task(view, out));
    document(StatusCode::OK, body).map(Answer::Bytes)
}

fn write_task(view: &View<'_>, out: &mut Vec<u8>) {
    let (state, status) = match view.phase() {
        Phase::Accepted => ("New", "OK"),
        Phase::Running => ("Running", "OK"),
        Phase::Ended(Outcome::Succeeded) => ("Completed", "OK"),
        Phase::Ended(Outcome::Failed(_)) => ("Exception", "Critical"),
        Phase::Ended(Outcome::Cancelled) => ("Cancelled", "Warning"),
    };
    let id = view.id().to_string();
    let submission = &view.record().submission;
    let members: [(&str, &str); 9] = [
        ("{\"@odata.id\":", &path(view.links(), "")),
        (",\"@odata.type\":", "#Task.v1_7_4.Task"),
        (",\"Id\":", &id),
        (",\"Name\":", &format!("Task {id}")),
        (",\"TaskState\":", state),
        (",\"TaskStatus\":", status),
        (",\"TaskMonitor\":", &path(view.links(), MONITOR)),
        (
            ",\"Payload\":{\"HttpOperation\":",
            submission.method.as_str(),
        ),
        (",\"TargetUri\":", &submission.target),
    ];
    for (name, text) in members {
        out.extend_from_slice(name.as_bytes());
        json::string(out, text);
    }
    out.push(b'}');
    time(out, ",\"StartTime\":", view.started());
    time(out, ",\"EndTime\":", view.ending().map(|ending| ending.at));
    let through = (state == "Completed").then_some(100);
    let percent = percent(view).or(through);
    if let Some(percent) = percent {
        out.extend_from_slice(b",\"PercentComplete\":");
        json::number(out, percent);
    }
    out.extend_from_slice(b",\"Messages\":[");
    if let Some(told) = view.report().and_then(|report| report.message.as_deref()) {
        let percent = percent.unwrap_or(0).to_string();
        let args = [&*id, &*percent];
        Message::new("TaskEvent.1.0.TaskProgressChanged", told, "OK").write(&args, out);
        if view.phase().is_ended() {
            out.push(b',');
        }
    }
    if let Some(ended) = ended(view) {
        ended.write(&[&id], out);
    }
    out.extend_from_slice(b"]}");
}

/// An entry of `Messages`, or of `@Message.ExtendedInfo`.
struct Message<'a> {
    id: &'a str,
    text: Cow<'a, str>,
    severity: &'a str,
}

impl<'a> Message<'a> {
    fn new(id: &'a str, text: impl Into<Cow<'a, str>>, severity: &'a str) -> Self {
        Self {
            id,
            text: text.into(),
            severity,
        }
    }

    fn write(&self, args: &[&str], out: &mut Vec<u8>) {
        for (name, text) in [
            ("{\"@odata.type\":", "#Message.v1_1_2.Message"),
            (",\"MessageId\":", self.id),
            (",\"Message\":", &self.text),
            (",\"Severity\":", self.severity),
            (",\"MessageSeverity\":", self.severity),
        ] {
            out.extend_from_slice(name.as_bytes());
            json::string(out, text);
        }
        out.extend_from_slice(b",\"MessageArgs\":[");
        for (at, arg) in args.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::string(out, arg);
        }
        out.extend_from_slice(b"]}");
    }
}

fn ended(view: &View<'_>) -> Option<Message<'static>> {
    Some(match view.ending()?.outcome {
        Outcome::Succeeded => {
            let text = "The task has completed.";
            Message::new("TaskEvent.1.0.TaskCompletedOK", text, "OK")
        }
        Outcome::Cancelled => {
            let text = "The task was cancelled.";
            Message::new("TaskEvent.1.0.TaskCancelled", text, "Warning")
        }
        outcome @ Outcome::Failed(_) => Message::new(
            "TaskEvent.1.0.TaskAborted",
            failure(view, outcome),
            "Critical",
        ),
    })
}

fn failure(view: &View<'_>, outcome: Outcome) -> String {
    let Some(response) = view.response() else {
        return problem_of(outcome).detail.into_owned();
    };
    let otherwise = Told::of(view).text(response.status());
    let error = Told::of(view).into_value("error");
    match error.as_ref().and_then(|error| error["message"].as_str()) {
        Some(message) => message.to_owned(),
        None => otherwise,
    }
}

/// A failure of this crate's, with the message that the registry `Base` has for it, if that has no parameters of its own.
fn error(problem: &Problem) -> Response<Bytes> {
    use ProblemKind as K;
    let (id, severity) = match problem.kind {
        K::Draining => ("Base.1.18.ServiceShuttingDown", "Critical"),
        K::Precondition => ("Base.1.18.PreconditionFailed", "Critical"),
        K::Method => ("Base.1.18.OperationNotAllowed", "Critical"),
        K::Panicked | K::Errored | K::NotStarted | K::Interrupted | K::Lost => {
            ("Base.1.18.InternalError", "Critical")
        }
        _ => ("Base.1.18.GeneralError", "Warning"),
    };
    let mut body = b"{\"error\":{\"code\":".to_vec();
    json::string(&mut body, id);
    body.extend_from_slice(b",\"message\":");
    json::string(&mut body, &problem.detail);
    body.extend_from_slice(b",\"@Message.ExtendedInfo\":[");
    Message::new(id, &*problem.detail, severity).write(&[], &mut body);
    body.extend_from_slice(b"]}}");
    let (head, ()) = problem.to_response().map(drop).into_parts();
    let mut response = document(problem.status, body.into());
    for name in [header::RETRY_AFTER, header::ALLOW] {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
