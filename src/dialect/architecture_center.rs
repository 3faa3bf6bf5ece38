use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{
        Told, as_unknown, asked, expires, field, filled, is_problem, is_template, own, own_json,
        percent, problem_of, replayed, stored, string_or_null, time,
    },
};
use crate::{
    header::retry_after,
    json,
    problem::{Problem, ProblemKind},
    record::{OperationId, Outcome, Phase},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

/// The pattern of Azure's Architecture Center: a status document while pending, then a redirect to what was made.
///
/// | request | pending | succeeded | failed | cancelled |
/// | --- | --- | --- | --- | --- |
/// | initiating | 202, `Location`, `Retry-After`, document | | | |
/// | `GET` monitor | 200, `Retry-After`, document | 303 to the target, document | 4xx, a problem | 200, document |
/// | `DELETE` monitor | 200, document of what is now cancelled | 200, document | the same | the same |
/// | `GET …/result` | 404 | the stored response | the same, or the problem that it ended in | 410 |
/// | `DELETE …/result` | 409 | 204, forgotten | the same | the same |
///
/// ```json
/// {"id":"…","status":"Pending|Running|Succeeded|Failed|Cancelled","createdAt":"…","lastUpdatedAt":"…",
///  "percentComplete":40,"message":"…","location":"…","error":{…}}
/// ```
///
/// - The target, `location` in the document as soon as it is known, is the `Location` of the handler's own response; else what
///   the handler has [told](crate::OperationHandle::resource); else what [`target`](Self::target) makes of the operation's
///   id; else the stored response, at `…/result`.
/// - What has failed with a 4xx is answered with that response. Any other failure is a problem (RFC 9457) with 400: a 5xx, 408,
///   425 or 429 at the monitor would be taken for a poll that went wrong, and be tried again.
/// - What has ended has `Expires`, the moment at which it is let go. What is expired or forgotten is as unknown: 404.
///
/// # The .NET to-do article
///
/// [`dotnet`](Self::dotnet) has the form of the article and its sample, `ohalay/async-request-reply`:
///
/// ```json
/// {"id":"…","createdAt":"…","status":"InProgress|Completed|Failed","location":"…","completedAt":"…","error":"…"}
/// ```
///
/// Members without a value are `null`. The 202 has no body, the redirect is 302, and what has failed, or was cancelled, is 400
/// with the document. The sample's `Retry-After: 00:00:02` is no HTTP: it is a number of seconds here.
///
/// The specification is "Asynchronous Request-Reply pattern" of the
/// [Azure Architecture Center](https://learn.microsoft.com/azure/architecture/patterns/async-request-reply). There is no list.
///
/// ```
/// use tower_lro::{ArchitectureCenter, Operations};
///
/// let operations = Operations::builder()
///     .mount("/todos/jobs")
///     .dialect(ArchitectureCenter::dotnet().target("/todos/{id}"))
///     .build()?;
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchitectureCenter {
    dotnet: bool,
    target: Option<&'static str>,
    failures_as_documents: bool,
}

impl ArchitectureCenter {
    /// The dialect as the pattern's text has it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            dotnet: false,
            target: None,
            failures_as_documents: false,
        }
    }

    /// The dialect as the .NET to-do article has it.
    #[must_use]
    pub const fn dotnet() -> Self {
        Self {
            dotnet: true,
            ..Self::new()
        }
    }

    /// With a target that is known before the handler is: `{id}` in it stands for the operation's id. Handlers take that from
    /// their [handle](crate::OperationHandle::id).
    ///
    /// # Panics
    ///
    /// If the template has characters that no URL has.
    #[must_use]
    #[track_caller]
    pub const fn target(self, template: &'static str) -> Self {
        assert!(is_template(template), "the target is no URL");
        Self {
            target: Some(template),
            ..self
        }
    }

    /// With 200 and the document for what has failed, instead of a 4xx: for clients that take that for a failed poll. The
    /// document tells in `error` what went wrong; the response is at `…/result`.
    #[must_use]
    pub const fn failures_as_documents(self) -> Self {
        Self {
            failures_as_documents: true,
            ..self
        }
    }

    /// Where the operation leads to, as far as that is known.
    fn leads_to(&self, view: &View<'_>) -> Option<HeaderValue> {
        let own = view
            .response()
            .and_then(|stored| field(stored, &header::LOCATION));
        let told = || view.report()?.resource.as_deref().map(str::to_owned);
        let made = || Some(filled(self.target?, view.id()));
        let target = own.or_else(told).or_else(made);
        if let Some(target) = target {
            // What is no value of a field leads nowhere.
            if let Ok(target) = HeaderValue::try_from(view.links().resolve(&target)) {
                return Some(target);
            }
        }
        view.response().map(|_| view.links().header(RESULT))
    }

    fn document(&self, view: &View<'_>) -> Bytes {
        json::written(|out| match self.dotnet {
            true => self.job(view, out),
            false => self.status(view, out),
        })
    }

    fn status(&self, view: &View<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(&view.links().id());
        out.extend_from_slice(b"\",\"status\":\"");
        out.extend_from_slice(match view.phase() {
            Phase::Accepted => b"Pending",
            Phase::Running => b"Running",
            Phase::Ended(Outcome::Succeeded) => b"Succeeded",
            Phase::Ended(Outcome::Failed(_)) => b"Failed",
            Phase::Ended(Outcome::Cancelled) => b"Cancelled",
        });
        out.push(b'"');
        time(out, ",\"createdAt\":", Some(view.record().created));
        time(out, ",\"lastUpdatedAt\":", Some(view.updated()));
        if let Some(percent) = percent(view) {
            out.extend_from_slice(b",\"percentComplete\":");
            json::number(out, percent);
        }
        if let Some(message) = view.report().and_then(|report| report.message.as_ref()) {
            out.extend_from_slice(b",\"message\":");
            json::string(out, message);
        }
        if let Some(target) = self.leads_to(view) {
            out.extend_from_slice(b",\"location\":");
            json::string(out, target.to_str().unwrap_or_default());
        }
        if let Phase::Ended(outcome @ Outcome::Failed(_)) = view.phase() {
            out.extend_from_slice(b",\"error\":");
            match own_problem(view) {
                Some(problem) => out.extend_from_slice(&problem),
                None => failure(view, outcome).write_json(out),
            }
        }
        out.push(b'}');
    }

    fn job(&self, view: &View<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(&view.links().id());
        out.push(b'"');
        time(out, ",\"createdAt\":", Some(view.record().created));
        out.extend_from_slice(match view.phase() {
            Phase::Accepted | Phase::Running => b",\"status\":\"InProgress\",\"location\":",
            Phase::Ended(Outcome::Succeeded) => b",\"status\":\"Completed\",\"location\":",
            Phase::Ended(_) => b",\"status\":\"Failed\",\"location\":",
        });
        let target = self.leads_to(view);
        string_or_null(out, target.as_ref().and_then(|target| target.to_str().ok()));
        match view.ending() {
            None => out.extend_from_slice(b",\"completedAt\":null"),
            ending => time(out, ",\"completedAt\":", ending.map(|ending| ending.at)),
        }
        out.extend_from_slice(b",\"error\":");
        match view.phase() {
            Phase::Ended(Outcome::Succeeded) | Phase::Accepted | Phase::Running => {
                string_or_null(out, None)
            }
            Phase::Ended(outcome) => string_or_null(out, Some(&failure(view, outcome).detail)),
        }
        out.push(b'}');
    }

    /// An answer with the document, which is not the result itself.
    fn told(&self, view: &View<'_>, status: StatusCode) -> Response<Answer> {
        let mut response = own_json(status, Answer::Bytes(self.document(view)));
        let headers = response.headers_mut();
        match view.ending() {
            None => {
                headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
            }
            Some(_) => expires(view.record(), headers),
        }
        response
    }

    fn monitor(&self, view: &View<'_>) -> Response<Answer> {
        match view.phase() {
            Phase::Accepted | Phase::Running => self.told(view, StatusCode::OK),
            Phase::Ended(Outcome::Succeeded) => self.redirect(view),
            Phase::Ended(Outcome::Cancelled) if !self.dotnet => self.told(view, StatusCode::OK),
            Phase::Ended(_) if self.failures_as_documents => self.told(view, StatusCode::OK),
            Phase::Ended(_) if self.dotnet => as_result(self.told(view, StatusCode::BAD_REQUEST)),
            Phase::Ended(outcome) => failed(view, outcome),
        }
    }

    fn redirect(&self, view: &View<'_>) -> Response<Answer> {
        let mut response = self.told(
            view,
            match self.dotnet {
                true => StatusCode::FOUND,
                false => StatusCode::SEE_OTHER,
            },
        );
        let result = view.links().header(RESULT);
        let target = self.leads_to(view).unwrap_or_else(|| result.clone());
        let is_elsewhere = target != result;
        response.headers_mut().insert(header::LOCATION, target);
        match is_elsewhere {
            true => as_result(response),
            false => response,
        }
    }
}

const RESULT: &str = "/result";

const MONITOR: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

impl Dialect for ArchitectureCenter {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        let (id, read, delete) = match tail.strip_suffix(RESULT) {
            Some(id) => (id, Ask::Result, Ask::Forget),
            None => (tail, Ask::Monitor, Ask::Cancel),
        };
        let Ok(id) = id.parse::<OperationId>() else {
            return Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        };
        let delete = Some((Method::DELETE, delete));
        Some(asked(head.method, id, Some(read), delete, MONITOR))
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let mut response = self.told(view, StatusCode::ACCEPTED);
        let location = view.links().header("");
        response.headers_mut().insert(header::LOCATION, location);
        if self.dotnet {
            response.headers_mut().remove(header::CONTENT_TYPE);
            *response.body_mut() = Answer::Bytes(Bytes::new());
        }
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Result, Some(ending)) => replayed(view).unwrap_or_else(|| {
                let problem = problem_of(ending.outcome).to_response();
                problem.map(Answer::Instead)
            }),
            (Ask::Result, None) => not_ready(view, StatusCode::NOT_FOUND),
            (Ask::Forget, None) => not_ready(view, StatusCode::CONFLICT),
            (Ask::Forget, Some(_)) => own(StatusCode::NO_CONTENT),
            (Ask::Cancel, _) => self.told(view, StatusCode::OK),
            _ => self.monitor(view),
        }
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        as_unknown(problem).to_response()
    }
}

/// These bytes are all that there is to be had.
fn as_result(response: Response<Answer>) -> Response<Answer> {
    response.map(|answer| match answer {
        Answer::Bytes(bytes) => Answer::Instead(bytes),
        other => other,
    })
}

/// What went wrong: the handler's own words, or this crate's.
fn failure(view: &View<'_>, outcome: Outcome) -> Problem {
    match view.response() {
        Some(stored) => {
            let words = Told::of(view).text(stored.status());
            let problem = Problem::new(ProblemKind::Errored).detail(words);
            problem.status(stored.status())
        }
        None => problem_of(outcome),
    }
}

/// The handler's own problem, if that is what its response is.
fn own_problem(view: &View<'_>) -> Option<Bytes> {
    view.small_json()
        .filter(|_| is_problem(view) && Told::of(view).is_object())
}

fn failed(view: &View<'_>, outcome: Outcome) -> Response<Answer> {
    let mut response = match view.replay() {
        Some(head) if is_final(head.status) => stored(head),
        _ => {
            let problem = failure(view, outcome).status(StatusCode::BAD_REQUEST);
            problem.to_response().map(Answer::Instead)
        }
    };
    expires(view.record(), response.headers_mut());
    response
}

/// Whether clients give up on it.
fn is_final(status: StatusCode) -> bool {
    let is_tried_again = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    status.is_client_error() && !is_tried_again
}

fn not_ready(view: &View<'_>, status: StatusCode) -> Response<Answer> {
    let problem = Problem::new(ProblemKind::ResultNotReady).status(status);
    problem
        .retry_after(view.retry_after())
        .to_response()
        .map(Answer::Bytes)
}
