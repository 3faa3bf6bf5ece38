use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{
        READ_ONLY, Told, as_unknown, asked, field, filled, is_template, own, own_json, path,
        problem_of, replayed, string_or_null, time,
    },
};
use crate::{
    header::retry_after,
    json,
    problem::{Problem, ProblemKind},
    record::{Outcome, Phase},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

/// Where the operation is: on answers to commands, relative to the root of the API.
pub const X_OPERATION: HeaderName = HeaderName::from_static("x-operation");

/// What the operation makes or changes: on answers to commands. Empty if nothing is left, or known.
pub const X_RESOURCE: HeaderName = HeaderName::from_static("x-resource");

/// Commands and queries: a command is answered with `X-Operation` and `X-Resource`, and ends when its event has come.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | `GET`, `HEAD`: queries | pass | |
/// | others: commands | 202, `X-Operation`, `X-Resource`, `Retry-After` | the same by a repeated key |
/// | `GET` mount`/{id}` | 200, `Retry-After`, document | 200, document |
/// | `GET` mount`/{id}/result` | 404 | the stored response, or the problem that the operation ended in |
///
/// ```json
/// {"id":"…","requestId":"…","name":"POST","userId":null,"origin":"reports","resource":"reports/7",
///  "state":"created|completed|rejected","message":"…","code":"success|error|…","createdAt":"…","updatedAt":"…","success":false}
/// ```
///
/// - `X-Operation` is `operations/{id}` at the mount `/operations`, and at `/api/operations` as well: the last segment of the
///   mount, for clients to put behind the URL of the API.
/// - `X-Resource`, `resource` in the document, is the `Location` of the handler's response, or what the handler has
///   [told](crate::OperationHandle::resource); as long as neither is known it is what [`resource`](Self::resource) makes of
///   the operation's id for a POST, and the command's own path for PUT and PATCH. After DELETE nothing is left.
/// - `code` is `null` while created, and `success` when completed. When rejected it is the member `code` of the handler's
///   response, if that is JSON of at most [`View::SMALL`] bytes and has one, and `error` otherwise; of what has ended without a
///   response, its [kind](ProblemKind::name) (`timed_out`, `cancelled`).
/// - `message` is what the handler tells of its progress, or the `message`, `detail` or `title` of its failure: the first 500
///   characters. `userId` is never told, since of an owner only a hash is kept. `name` is the method, `origin` the path.
///
/// Handlers that only put a command on a bus [detach](crate::OperationHandle::detach), and whoever hears of the event
/// [completes](crate::Operations::complete) the operation: `examples/x_operation.rs`. Records are kept for audit, as long as
/// [any](crate::DeferLayer::keep_for), unless they are to be [forgotten when read](Self::forget_when_read).
///
/// There is no cancel and no list; what is expired or forgotten is as unknown: 404.
///
/// The specification is the code of [Collectively](https://github.com/noordwind/Collectively.Api). There a record may appear
/// after its 202, so that its clients take an early 404 for pending; here it is there before. `Retry-After` is added, and so
/// is `…/result`.
///
/// ```
/// use tower_lro::{Operations, XOperation};
///
/// let operations = Operations::builder()
///     .mount("/operations")
///     .dialect(XOperation::new().resource("reports/{id}"))
///     .build()?;
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct XOperation {
    resource: Option<&'static str>,
    forget_when_read: bool,
}

impl XOperation {
    /// The dialect, with records that are kept.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            resource: None,
            forget_when_read: false,
        }
    }

    /// With a resource that is known before a POST has made it: `{id}` in it stands for the operation's id. Handlers take that
    /// from their [handle](crate::OperationHandle::id).
    ///
    /// # Panics
    ///
    /// If the template has characters that no URL has.
    #[must_use]
    #[track_caller]
    pub const fn resource(self, template: &'static str) -> Self {
        assert!(is_template(template), "the resource is no URL");
        Self {
            resource: Some(template),
            ..self
        }
    }

    /// Whoever reads how an operation has ended is the last to: it is forgotten with that, and its result too.
    #[must_use]
    pub const fn forget_when_read(self) -> Self {
        Self {
            forget_when_read: true,
            ..self
        }
    }

    /// What the operation makes or changes, as far as that is known; or nothing.
    fn made(&self, view: &View<'_>) -> String {
        let submission = &view.record().submission;
        let own = view
            .response()
            .and_then(|stored| field(stored, &header::LOCATION));
        let told = || view.report()?.resource.as_deref().map(str::to_owned);
        let known = || match submission.method {
            Method::POST => self.resource.map(|template| filled(template, view.id())),
            Method::DELETE => None,
            _ => Some(path(view).to_owned()),
        };
        own.or_else(told).or_else(known).unwrap_or_default()
    }

    fn document(&self, view: &View<'_>) -> Bytes {
        json::written(|out| {
            out.extend_from_slice(b"{\"id\":\"");
            out.extend_from_slice(&view.links().id());
            out.extend_from_slice(b"\",\"requestId\":\"");
            out.extend_from_slice(&view.links().id());
            out.extend_from_slice(b"\",\"name\":");
            json::string(out, view.record().submission.method.as_str());
            out.extend_from_slice(b",\"userId\":null,\"origin\":");
            json::string(out, path(view).trim_start_matches('/'));
            out.extend_from_slice(b",\"resource\":");
            let made = self.made(view);
            string_or_null(out, Some(&*made).filter(|made| !made.is_empty()));
            let outcome = view.ending().map(|ending| ending.outcome);
            out.extend_from_slice(match outcome {
                None => b",\"state\":\"created\",\"message\":",
                Some(Outcome::Succeeded) => b",\"state\":\"completed\",\"message\":",
                Some(_) => b",\"state\":\"rejected\",\"message\":",
            });
            let (message, code) = told(view);
            let message = message.map(|message| message.chars().take(500).collect::<String>());
            string_or_null(out, message.as_deref());
            out.extend_from_slice(b",\"code\":");
            string_or_null(out, code.as_deref());
            time(out, ",\"createdAt\":", Some(view.record().created));
            time(out, ",\"updatedAt\":", Some(view.updated()));
            out.extend_from_slice(match outcome {
                Some(Outcome::Succeeded) => b",\"success\":true}",
                _ => b",\"success\":false}",
            });
        })
    }
}

const RESULT: &str = "/result";

impl Dialect for XOperation {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        let (id, ask) = match tail.strip_suffix(RESULT) {
            Some(id) => (id, Ask::Result),
            None if self.forget_when_read => (tail, Ask::Take),
            None => (tail, Ask::Monitor),
        };
        Some(match id.parse() {
            Ok(id) => asked(head.method, id, Some(ask), None, READ_ONLY),
            Err(_) => Address::Problem(Problem::new(ProblemKind::Unknown)),
        })
    }

    fn admits(&self, head: Head<'_>) -> bool {
        !head.method.is_safe()
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let mut response = own(StatusCode::ACCEPTED);
        let headers = response.headers_mut();
        let mount = view.links().mount().path();
        let name = mount.rsplit('/').next().unwrap_or_default();
        let operation = format!("{name}/{}", view.id());
        // Mounts are checked to be visible ASCII; what a handler tells may be anything.
        for (name, value) in [(X_OPERATION, operation), (X_RESOURCE, self.made(view))] {
            let value = HeaderValue::try_from(value);
            headers.insert(name, value.unwrap_or(HeaderValue::from_static("")));
        }
        if view.ending().is_none() {
            headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
        }
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.ending()) {
            (Ask::Result, Some(ending)) => replayed(view).unwrap_or_else(|| {
                let problem = problem_of(ending.outcome).to_response();
                problem.map(Answer::Instead)
            }),
            (Ask::Result, None) => {
                let problem = Problem::new(ProblemKind::ResultNotReady);
                let problem = problem.retry_after(view.retry_after());
                problem.to_response().map(Answer::Bytes)
            }
            (_, ending) => {
                // Its clients know of no result beside it.
                let answer = Answer::Instead(self.document(view));
                let mut response = own_json(StatusCode::OK, answer);
                if ending.is_none() {
                    let seconds = retry_after(view.retry_after());
                    response.headers_mut().insert(header::RETRY_AFTER, seconds);
                }
                response
            }
        }
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        as_unknown(problem).to_response()
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 5] = [
            X_OPERATION,
            X_RESOURCE,
            header::LOCATION,
            header::RETRY_AFTER,
            header::ALLOW,
        ];
        &NAMES
    }
}

/// Message and code.
fn told(view: &View<'_>) -> (Option<String>, Option<String>) {
    let progress = || view.report()?.message.as_deref().map(str::to_owned);
    match (view.phase(), view.response()) {
        (Phase::Accepted | Phase::Running, _) => (progress(), None),
        (Phase::Ended(Outcome::Succeeded), _) => (progress(), Some("success".to_owned())),
        (Phase::Ended(_), Some(response)) => {
            let told = Told::of(view);
            let message = told.member("message").map(str::to_owned);
            let message = message.unwrap_or_else(|| told.text(response.status()));
            let code = told.member("code").unwrap_or("error");
            (Some(message), Some(code.to_owned()))
        }
        (Phase::Ended(outcome), None) => {
            let problem = problem_of(outcome);
            let code = problem.kind.name().replace('-', "_");
            (Some(problem.detail.into_owned()), Some(code))
        }
    }
}
