//! `ANY /plain/jobs`: a job that does as it is told, so that clients see every kind of end. Other dialects run the same.

use crate::{cors, node::Node, options::Options};
use axum::{
    Router,
    body::Body,
    error_handling::HandleError,
    extract::{Path, rejection::PathRejection},
    middleware::from_fn_with_state,
    routing::{MethodRouter, any_service, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::Value;
use std::{
    convert::Infallible,
    error::Error,
    fmt, future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_lro::{
    BuildError, CompleteError, DeferLayer, OperationHandle, Operations, Rfc, store::Settled,
};

/// What lies under `/plain`.
pub(crate) fn router(operations: &Operations, options: &Options) -> Result<Router, BuildError> {
    let see202 = operations.also("/plain/see202/status", Rfc::see_other())?;
    let seeother = operations.also("/plain/seeother/status", Rfc::see_other_from_ok())?;
    let completing = operations.clone();
    let complete = post(
        async move |id: Result<Path<String>, PathRejection>, response: Request<Body>| {
            // What is no text is no id either.
            let id = id.map_or_else(|_| String::new(), |Path(id)| id);
            complete(&completing, &id, response).await
        },
    );
    let routes = Router::new()
        .route("/jobs", service(&layer(operations, options), options))
        .route("/complete/{id}", complete)
        .route("/see202", service(&layer(&see202, options), options))
        .route("/seeother", service(&layer(&seeother, options), options))
        .nest_service("/status", operations.status_service())
        .nest_service("/see202/status", see202.status_service())
        .nest_service("/seeother/status", seeother.status_service());
    Ok(open(routes, operations))
}

/// How jobs are deferred, in every dialect.
pub(crate) fn layer(operations: &Operations, options: &Options) -> DeferLayer {
    let layer = options.runs(operations.layer().wait(options.hold).check(check));
    if options.strict_keys {
        layer.strict_keys()
    } else {
        layer
    }
}

/// Jobs by every method.
pub(crate) fn service(layer: &DeferLayer, options: &Options) -> MethodRouter {
    let (at_most, node) = (request_body(options), options.node.clone());
    any_service(deferred(
        layer,
        service_fn(move |request| run(request, at_most, node.clone())),
    ))
}

/// Jobs that answer as `then` does when they have ended well.
pub(crate) fn run_then<T>(options: &Options, then: T) -> impl Inner
where
    T: Fn(&request::Parts) -> Response<Body> + Clone + Send + Sync + 'static,
{
    let (at_most, node) = (request_body(options), options.node.clone());
    service_fn(move |request: Request<Body>| {
        let (then, node) = (then.clone(), node.clone());
        async move {
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head.clone(), body);
            let done = run(request, at_most, node.clone()).await?;
            if done.status() != StatusCode::OK {
                return Ok(done);
            }
            let mut done = then(&head);
            node.mark(&mut done);
            Ok(done)
        }
    })
}

pub(crate) fn request_body(options: &Options) -> usize {
    usize::try_from(options.limits.request_body).unwrap_or(usize::MAX)
}

/// What runs jobs.
pub(crate) trait Inner:
    Service<Request<Body>, Response = Response<Body>, Error = NoResponse, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Inner for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = NoResponse, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A job may fail without a response. The layer makes that the operation's end; only while the client waits for it
/// (`Prefer: wait`) does it come out here, as it would without the layer.
pub(crate) fn deferred<S: Inner>(
    layer: &DeferLayer,
    jobs: S,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static
+ use<S> {
    let answer = |response: Response<_>| response.map(Body::new);
    HandleError::new(layer.layer(jobs).map_response(answer), failed)
}

/// What all prefixes have in common: pages of any origin may call them, and what is not there is told so.
pub(crate) fn open(routes: Router, operations: &Operations) -> Router {
    let exposed = cors::exposed(operations.header_names());
    routes
        .fallback(crate::unknown)
        .layer(from_fn_with_state(exposed, cors::open))
}

/// Refuses at once what would only fail later.
pub(crate) async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    let (head, body) = request.into_parts();
    Job::of(&head, &body)
        .map(drop)
        .map_err(|invalid| invalid.response())
}

/// The inner service.
pub(crate) async fn run(
    request: Request<Body>,
    at_most: usize,
    node: Node,
) -> Result<Response<Body>, NoResponse> {
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return Ok(methods());
    }
    // Passes the layer as OPTIONS does, and is not to change anything either.
    if head.method == Method::TRACE {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut refused = problem("method", "Method not allowed", status, "TRACE runs no job.");
        refused.headers_mut().insert(header::ALLOW, METHODS);
        return Ok(refused);
    }
    let operation = head.extensions.get::<OperationHandle>().cloned();
    let job = match axum::body::to_bytes(body, at_most).await {
        Ok(body) => Job::of(&head, &body),
        Err(error) => Err(Invalid(format!("The body can't be read: {error}."))),
    };
    // Only what passes the layer unheld, such as HEAD, has not been checked before.
    match job {
        Ok(job) => {
            let tell = |event| node.tell(event, operation.as_ref(), &job.echo);
            // A run that nobody has witnessed must not be.
            tell("begins").map_err(|_| NoResponse)?;
            job.sleep(operation.as_ref()).await;
            tell("ends").map_err(|_| NoResponse)?;
            if operation.is_none() && matches!(job.outcome, Outcome::Panic) {
                // What has passed the layer has nobody to catch it: the client would be cut off.
                return Err(NoResponse);
            }
            let mut response = job.answer()?;
            node.mark(&mut response);
            Ok(response)
        }
        Err(invalid) => Ok(invalid.response()),
    }
}

/// Ends an operation from outside, wherever it runs: what was sent is its result.
async fn complete(operations: &Operations, id: &str, result: Request<Body>) -> Response<Body> {
    let Ok(id) = id.parse() else {
        return status(StatusCode::NOT_FOUND);
    };
    let (head, body) = result.into_parts();
    let mut result = Response::new(body);
    // Of no type is what may be of any (RFC 9110, section 8.3).
    let untyped = HeaderValue::from_static("application/octet-stream");
    let kind = head.headers.get(header::CONTENT_TYPE).unwrap_or(&untyped);
    result
        .headers_mut()
        .insert(header::CONTENT_TYPE, kind.clone());
    status(match operations.complete(id, result).await {
        Ok(Settled::Done(_)) => StatusCode::NO_CONTENT,
        Ok(Settled::Stands(_)) => StatusCode::CONFLICT,
        Ok(Settled::Unknown) => StatusCode::NOT_FOUND,
        Err(CompleteError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    })
}

/// This and nothing else.
pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn methods() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, METHODS);
    response
}

/// Others of one's own making do as well, but for TRACE.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

async fn failed(NoResponse: NoResponse) -> Response<Body> {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    problem(
        "no-response",
        "No response",
        status,
        "The job ended without a response.",
    )
}

/// What a job with the outcome `error` ends with.
#[derive(Debug)]
pub(crate) struct NoResponse;

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the job was told to end without a response")
    }
}

impl Error for NoResponse {}

/// What a job is told.
#[derive(Debug)]
struct Job {
    pause: Duration,
    steps: u32,
    outcome: Outcome,
    echo: String,
    size: Option<u64>,
    status: Option<StatusCode>,
    trailers: bool,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Ok,
    Fail,
    Panic,
    Error,
}

/// Why a request is no job.
#[derive(Debug)]
pub(crate) struct Invalid(String);

impl Invalid {
    pub(crate) fn response<B: From<String>>(&self) -> Response<B> {
        problem(
            "invalid-job",
            "Invalid job",
            StatusCode::BAD_REQUEST,
            &self.0,
        )
    }
}

impl Job {
    /// Reads the query, and over it the body where that is JSON or a form. A body of another type is freight.
    fn of(head: &request::Parts, body: &[u8]) -> Result<Self, Invalid> {
        let mut job = Self {
            pause: Duration::ZERO,
            steps: 1,
            outcome: Outcome::Ok,
            echo: String::new(),
            size: None,
            status: None,
            trailers: false,
        };
        let query = head.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // Clients and caches add parameters of their own.
            job.set(&name, &Value::from(value))?;
        }
        let Some(fields) = fields(head, body)? else {
            return Ok(job);
        };
        for (name, value) in &fields {
            if !job.set(name, value)? {
                return Err(Invalid(format!(
                    "`{name}` is not known; there are ms, steps, outcome, echo, size, status, trailers."
                )));
            }
        }
        Ok(job)
    }

    /// Whether the field is known.
    fn set(&mut self, name: &str, value: &Value) -> Result<bool, Invalid> {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        match name {
            "ms" => self.pause = Duration::from_millis(number(name, value, 0, DAY)?),
            "steps" => self.steps = number(name, value, 1, 10_000)? as u32,
            "size" => self.size = Some(number(name, value, 0, u64::MAX)?),
            "status" => {
                let status = number(name, value, 200, 599)? as u16;
                self.status = StatusCode::from_u16(status).ok();
            }
            "outcome" => {
                self.outcome = match value.as_str() {
                    Some("ok") => Outcome::Ok,
                    Some("fail") => Outcome::Fail,
                    Some("panic") => Outcome::Panic,
                    Some("error") => Outcome::Error,
                    _ => return Err(wrong(name, "ok, fail, panic or error")),
                }
            }
            "echo" => match value.as_str() {
                Some(echo) => self.echo = echo.into(),
                None => return Err(wrong(name, "a string")),
            },
            "trailers" => {
                self.trailers = match (value.as_bool(), value.as_str()) {
                    (Some(yes), _) => yes,
                    (None, Some("true")) => true,
                    (None, Some("false")) => false,
                    _ => return Err(wrong(name, "true or false")),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn sleep(&self, operation: Option<&OperationHandle>) {
        let tell = |done: u32, message: String| {
            if let Some(operation) = operation {
                operation.progress(done as f32 / self.steps as f32, message);
            }
        };
        let start = Instant::now();
        for step in 0..self.steps {
            tell(step, format!("step {} of {}", step + 1, self.steps));
            // From the start, so that many short steps do not add up to more than they should.
            tokio::time::sleep_until(start + self.pause * (step + 1) / self.steps).await;
        }
        tell(self.steps, "done".into());
    }

    fn answer(self) -> Result<Response<Body>, NoResponse> {
        let status = |default| self.status.unwrap_or(default);
        let response = match (self.outcome, self.size) {
            (Outcome::Panic, _) => panic!("the job was told to panic: {}", self.echo),
            (Outcome::Error, _) => return Err(NoResponse),
            (Outcome::Fail, _) => {
                let status = status(StatusCode::UNPROCESSABLE_ENTITY);
                problem("job-failed", "The job failed", status, &self.echo)
            }
            (Outcome::Ok, Some(size)) => {
                let body = Body::new(Pattern { left: size });
                response(status(StatusCode::OK), "application/octet-stream", body)
            }
            (Outcome::Ok, None) => {
                let answer = format!(r#"{{"ok":true,"echo":{}}}"#, Value::from(self.echo));
                response(status(StatusCode::OK), "application/json", answer.into())
            }
        };
        Ok(match response.status() {
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
                without_content(response)
            }
            _ if self.trailers => with_trailer(response),
            _ => response,
        })
    }
}

fn wrong(name: &str, wanted: &str) -> Invalid {
    Invalid(format!("`{name}` must be {wanted}."))
}

/// A number, or its digits: in forms and queries everything is text.
fn number(name: &str, value: &Value, least: u64, most: u64) -> Result<u64, Invalid> {
    let number = match value {
        Value::String(digits) => digits.parse().ok(),
        // In JSON 5.0 is a whole number, too.
        value => value.as_u64().or_else(|| {
            let value = value.as_f64()?;
            let exact = value.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&value);
            exact.then_some(value as u64)
        }),
    };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(wrong(
            name,
            &format!("a whole number from {least} to {most}"),
        )),
    }
}

/// What the body says, if it is of a kind that says something.
pub(crate) fn fields(
    head: &request::Parts,
    body: &[u8],
) -> Result<Option<Vec<(String, Value)>>, Invalid> {
    let kind = head.headers.get(header::CONTENT_TYPE);
    let kind = kind.map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    let kind = kind.trim_ascii().to_ascii_lowercase();
    let is_json = kind == b"application/json" || kind.ends_with(b"+json");
    let is_form = kind == b"application/x-www-form-urlencoded";
    if body.is_empty() || !(is_json || is_form) {
        return Ok(None);
    }
    // `curl -d '{..}'` calls it a form.
    if is_json || body.trim_ascii_start().starts_with(b"{") {
        // Durable Functions' Python client sends its input as text in JSON.
        let text: Option<String> = serde_json::from_slice(body).ok();
        let body = text.as_ref().map_or(body, |text| text.as_bytes());
        let fields: serde_json::Map<_, _> = serde_json::from_slice(body)
            .map_err(|error| Invalid(format!("The body is no JSON object: {error}.")))?;
        return Ok(Some(fields.into_iter().collect()));
    }
    let fields = form_urlencoded::parse(body);
    Ok(Some(
        fields
            .map(|(name, value)| (name.into_owned(), Value::from(value)))
            .collect(),
    ))
}

/// Problem details (RFC 9457) of the workbench itself.
pub(crate) fn problem<B: From<String>>(
    name: &str,
    title: &str,
    status: StatusCode,
    detail: &str,
) -> Response<B> {
    let body = format!(
        r#"{{"type":"urn:example:workbench:{name}","title":"{title}","status":{},"detail":{}}}"#,
        status.as_u16(),
        Value::from(detail),
    );
    response(status, "application/problem+json", body.into())
}

pub(crate) fn response<B>(status: StatusCode, kind: &'static str, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Of what a job is about to change: whoever looks again must not be shown what a cache has.
pub(crate) fn uncached(mut response: Response<Body>) -> Response<Body> {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

/// A `Trailer` field tells of it, or else hyper does not send it on HTTP/1.
fn with_trailer(response: Response<Body>) -> Response<Body> {
    const NAME: &str = "job-trailer";
    let mut trailers = HeaderMap::new();
    trailers.insert(NAME, HeaderValue::from_static("done"));
    let trailers = future::ready(Some(Ok(trailers)));
    let mut response = response.map(|body| Body::new(body.with_trailers(trailers)));
    let name = HeaderValue::from_static(NAME);
    response.headers_mut().insert(header::TRAILER, name);
    response
}

/// Of these statuses there is no content, whatever was to be said.
fn without_content(response: Response<Body>) -> Response<Body> {
    let mut response = response.map(|_| Body::empty());
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// Bytes that can be told from one another: the one at `i` is `i % 251`. Takes no memory, however long.
struct Pattern {
    left: u64,
}

/// A multiple of the pattern's length, so that each frame begins where the pattern does.
static PATTERN: [u8; 251 * 256] = {
    let mut bytes = [0; 251 * 256];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
};

impl HttpBody for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = self.left.min(PATTERN.len() as u64);
        self.left -= length;
        let frame = Bytes::from_static(&PATTERN[..length as usize]);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
