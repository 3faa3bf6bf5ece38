//! Drives services without sockets, and remembers every byte they sent.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tower::{Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_lro::{
    DeferLayer, Limits, OperationHandle, OperationId, Operations, Usage, defer::BodyError,
};

/// Of bodies and services alike; a type without a lifetime, so that futures of it can be spawned.
pub(crate) type Fault = std::io::Error;
pub(crate) type Body = UnsyncBoxBody<Bytes, Fault>;
pub(crate) type App = BoxCloneSyncService<Request<Body>, Response<Body>, Fault>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn empty() -> Body {
    full("")
}

pub(crate) fn post(uri: &str) -> Request<Body> {
    Request::post(uri).body(full("a request")).unwrap()
}

pub(crate) fn request(method: &str, uri: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.body(empty()).unwrap()
}

/// With one more field.
pub(crate) fn with<B>(mut request: Request<B>, name: &'static str, value: &str) -> Request<B> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

pub(crate) fn ok(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(full(body))
}

struct Pour<F>(F);

impl<F> http_body::Body for Pour<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> + Unpin,
{
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        (self.0)(cx)
    }
}

/// A body of unknown length whose frames come from a function.
pub(crate) fn pour<F>(poll: F) -> Body
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>>
        + Unpin
        + Send
        + 'static,
{
    Pour(poll).boxed_unsync()
}

/// A body that yields `piece` once per `every`, `times` times, and then ends.
pub(crate) fn trickle(piece: &'static [u8], every: Duration, times: u64) -> Body {
    let mut ticks = tokio::time::interval(every);
    let mut left = times;
    pour(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        ticks.poll_tick(cx).map(|_| {
            left -= 1;
            Some(Ok(Frame::data(Bytes::from_static(piece))))
        })
    })
}

/// Does something when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> OnDrop<F> {
    pub(crate) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The handle of the operation that a request has become.
pub(crate) fn handle(request: &Request<Body>) -> OperationHandle {
    request.extensions().get().cloned().expect("is deferred")
}

/// A service under test: what `layer` makes of `inner`, with the monitor beside it.
pub(crate) fn around<S>(layer: DeferLayer, inner: S) -> App
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Fault>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let service = layer.wrap(inner);
    BoxCloneSyncService::new(service.map_response(|response| response.map(own)))
}

/// What is stored of a response can't be read: a fault like the inner service's.
fn own<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes, Error = BodyError<Fault>> + Send + 'static,
{
    body.map_err(|error| match error {
        BodyError::Inner(fault) => fault,
        other => Fault::other(other.to_string()),
    })
    .boxed_unsync()
}

pub(crate) fn app<F, Fut>(layer: DeferLayer, handler: F) -> App
where
    F: Fn(Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, Fault>> + Send + 'static,
{
    around(layer, service_fn(handler))
}

pub(crate) fn operations(set: impl FnOnce(&mut Limits)) -> Operations {
    let mut limits = Limits::default();
    set(&mut limits);
    Operations::builder().limits(limits).build().unwrap()
}

/// One whole answer, as a client has it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> String {
        self.field("location").expect("has a Location").to_owned()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The last word of the problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.field("content-type"),
            Some("application/problem+json"),
            "{self}"
        );
        let json = self.json();
        let urn = json["type"].as_str().unwrap();
        assert_eq!(json["status"], self.status.as_u16());
        urn.strip_prefix("urn:tower-lro:problem:")
            .unwrap()
            .to_owned()
    }

    /// Status and problem, for comparison at one go.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.problem())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in self.headers.iter().chain(&self.trailers) {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(f, "\n{}", String::from_utf8_lossy(&self.body))
    }
}

/// Sends a request and takes the whole answer in.
pub(crate) async fn send(app: &App, request: Request<Body>) -> Result<Answer, Fault> {
    let (head, body) = app.clone().oneshot(request).await?.into_parts();
    let body = body.collect().await?;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        trailers: body.trailers().cloned().unwrap_or_default(),
        body: body.to_bytes(),
    })
}

pub(crate) async fn get(app: &App, uri: &str) -> Answer {
    send(app, request("GET", uri)).await.unwrap()
}

pub(crate) async fn delete(app: &App, uri: &str) -> Answer {
    send(app, request("DELETE", uri)).await.unwrap()
}

/// Sends a request that is to be accepted, and gives the monitor's URL.
pub(crate) async fn accepted(app: &App, request: Request<Body>) -> String {
    let answer = send(app, request).await.unwrap();
    assert_eq!(answer.status, 202, "{answer}");
    answer.location()
}

/// Waits at the monitor for the end.
pub(crate) async fn outcome(app: &App, monitor: &str) -> Answer {
    loop {
        let poll = with(request("GET", monitor), "prefer", "wait=30");
        let answer = send(app, poll).await.unwrap();
        if answer.headers.contains_key("operation-outcome") || answer.status != 202 {
            return answer;
        }
    }
}

pub(crate) fn id_of(monitor: &str) -> OperationId {
    monitor.rsplit('/').next().unwrap().parse().unwrap()
}

/// What is held for work and readers; zero when nothing is going on.
pub(crate) fn held(usage: Usage) -> [u64; 5] {
    [
        usage.uploading,
        usage.uploading_bytes,
        usage.accepted,
        usage.running,
        usage.readers,
    ]
}

/// Waits until `condition` holds, which it must within 20 s; on the clock of the runtime and on the wall, as one of
/// them may stand still.
#[track_caller]
pub(crate) fn until(what: &'static str, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        while !condition() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "never came true at {caller}: {what}"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(Duration::from_millis(20));
        }
    }
}

/// Waits until nothing is held any more.
#[track_caller]
pub(crate) fn quiet(operations: &Operations) -> impl Future<Output = ()> {
    let operations = operations.clone();
    until("nothing is held", move || {
        held(operations.usage()) == [0; 5]
    })
}

/// One service under test whose every answer is kept, to be searched for what must not be in it.
pub(crate) struct House {
    pub(crate) operations: Operations,
    pub(crate) app: App,
    sent: Arc<Mutex<String>>,
}

impl House {
    pub(crate) fn new(operations: &Operations, app: App) -> Self {
        Self {
            operations: operations.clone(),
            app,
            sent: Arc::default(),
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Answer, Fault> {
        let answer = send(&self.app, request).await;
        if let Ok(answer) = &answer {
            self.sent.lock().unwrap().push_str(&answer.to_string());
        }
        answer
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send(request("GET", uri)).await.unwrap()
    }

    pub(crate) async fn accepted(&self, request: Request<Body>) -> String {
        let answer = self.send(request).await.unwrap();
        assert_eq!(answer.status, 202, "{answer}");
        answer.location()
    }

    pub(crate) async fn outcome(&self, monitor: &str) -> Answer {
        let answer = outcome(&self.app, monitor).await;
        self.sent.lock().unwrap().push_str(&answer.to_string());
        answer
    }

    #[track_caller]
    pub(crate) fn never_sent(&self, secret: &str) {
        let sent = self.sent.lock().unwrap();
        assert!(!sent.is_empty());
        assert!(!sent.contains(secret), "sent {secret:?}:\n{sent}");
    }
}
