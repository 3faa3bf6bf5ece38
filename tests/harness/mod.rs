//! What the tests of the accept path share: handlers that are told what to do, bodies that arrive as told, and a client
//! that calls the service in memory.
//!
//! Time is paused in these tests: it passes when everybody waits for it, so a handler that sleeps for a minute takes
//! none, and what comes first by the clock comes first.

// Every test binary uses its own part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

#[path = "../common/store.rs"]
mod store;

pub(crate) use store::{Faulty, How};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, request};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tower::{Service, ServiceExt};
use tower_lro::{
    Builder, Limits, OperationHandle, OperationId, Operations, Owner, Record, Wrapped,
    store::StoreErrorKind,
};

/// A store that can't be reached.
pub(crate) const DOWN: How = How::Fail(StoreErrorKind::Unavailable);

/// What handlers and bodies fail with.
#[derive(Debug)]
pub struct Fault(pub &'static str);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Fault {}

/// Of requests and of the handler's responses.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Fault>;

pub fn full(data: impl Into<Bytes>) -> Body {
    Full::new(data.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub fn empty() -> Body {
    full("")
}

/// Asserts that it is called by whoever must not get a byte of it.
pub fn unread() -> Body {
    struct Unread;
    impl http_body::Body for Unread {
        type Data = Bytes;
        type Error = Fault;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
            panic!("the body is read")
        }
    }
    Unread.boxed_unsync()
}

/// A body that is sent frame by frame, and ends when its sender is dropped.
pub struct Sending {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, Fault>>,
    /// Polling a body after its end is a mistake of whoever does it.
    over: bool,
}

pub type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, Fault>>;

pub fn sending() -> (Sender, Body) {
    let (sender, frames) = mpsc::unbounded_channel();
    let body = Sending {
        frames,
        over: false,
    };
    (sender, body.boxed_unsync())
}

pub fn send(sender: &Sender, data: impl Into<Bytes>) {
    sender.send(Ok(Frame::data(data.into()))).unwrap();
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        assert!(!self.over, "the body is polled after its end");
        let frame = self.frames.poll_recv(cx);
        self.over = matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + Send>>;

/// An inner service that counts its calls.
#[derive(Clone)]
pub struct Handler {
    calls: Arc<AtomicUsize>,
    answer: Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

impl Handler {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Service<Request<Body>> for Handler {
    type Response = Response<Body>;
    type Error = Fault;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.answer)(request)
    }
}

/// A handler that may fail.
pub fn try_handler<F, A>(answer: F) -> Handler
where
    F: Fn(Request<Body>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>, Fault>> + Send + 'static,
{
    Handler {
        calls: Arc::default(),
        answer: Arc::new(move |request| Box::pin(answer(request))),
    }
}

pub fn handler<F, A>(answer: F) -> Handler
where
    F: Fn(Request<Body>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    try_handler(move |request| {
        let answer = answer(request);
        async { Ok(answer.await) }
    })
}

/// Answers 200 `done` after `time`.
pub fn takes(time: Duration) -> Handler {
    handler(move |_| async move {
        tokio::time::sleep(time).await;
        Response::new(full("done"))
    })
}

/// Answers 200 `done` when it is let go, one call at a time.
pub fn gated() -> (Handler, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let handler = handler(move |_| {
        let gate = inner.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(full("done"))
        }
    });
    (handler, gate)
}

/// Does what `act` does with its handle, then answers as [`takes`].
pub fn with_handle<F, A>(act: F) -> Handler
where
    F: Fn(OperationHandle) -> A + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    handler(move |request| {
        let handle = request.extensions().get::<OperationHandle>().cloned();
        let acted = act(handle.expect("the request was deferred"));
        async {
            acted.await;
            Response::new(full("done"))
        }
    })
}

/// The seconds that this many are.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const DAY: Duration = secs(24 * 60 * 60);

/// An engine with the default limits but for what `change` changes.
pub fn limited(change: impl FnOnce(&mut Limits)) -> Builder {
    let mut limits = Limits::default();
    change(&mut limits);
    Operations::builder().limits(limits)
}

/// Whose a request is: the field `x-user` says it.
pub fn by_user(builder: Builder) -> Builder {
    builder.owner(|head| head.headers.get("x-user").map(Owner::new))
}

/// Calls a service as a server would.
#[derive(Clone, Debug)]
pub struct Client<S>(pub S);

/// A client of everything that `operations` has by default, in front of `handler`.
pub fn client(operations: &Operations, handler: &Handler) -> Client<Wrapped<Handler>> {
    Client(operations.wrap(handler.clone()))
}

impl<S, R> Client<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
    R::Error: std::fmt::Debug,
{
    pub async fn try_send(&self, request: Request<Body>) -> Result<Answer, S::Error> {
        let began = Instant::now();
        let (head, body) = self.0.clone().oneshot(request).await?.into_parts();
        let after = began.elapsed();
        let body = body.collect().await.expect("the body arrives");
        let trailers = body.trailers().cloned();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
            trailers: trailers.unwrap_or_default(),
            after,
        })
    }

    pub async fn send(&self, request: Request<Body>) -> Answer
    where
        S::Error: std::fmt::Debug,
    {
        self.try_send(request).await.expect("the service answers")
    }

    /// Sends a request without a body.
    pub async fn call(&self, request: request::Builder) -> Answer
    where
        S::Error: std::fmt::Debug,
    {
        self.send(request.body(empty()).unwrap()).await
    }

    pub async fn get(&self, target: &str) -> Answer
    where
        S::Error: std::fmt::Debug,
    {
        self.call(Request::get(target)).await
    }

    pub async fn delete(&self, target: &str) -> Answer
    where
        S::Error: std::fmt::Debug,
    {
        self.call(Request::delete(target)).await
    }

    /// Has a small request deferred, and gives the 202.
    pub async fn submit(&self) -> Answer
    where
        S::Error: std::fmt::Debug,
    {
        let answer = self.send(post("/reports").body(full("x")).unwrap()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer
    }
}

pub fn post(target: &str) -> request::Builder {
    Request::post(target)
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
    /// How long its head took.
    pub after: Duration,
}

impl Answer {
    pub fn header(&self, name: impl TryInto<HeaderName, Error: std::fmt::Debug>) -> Option<&str> {
        let value = self.headers.get(name.try_into().unwrap())?;
        Some(value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What kind of problem it is.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        let kind = json["type"].as_str().unwrap();
        kind.strip_prefix("urn:tower-lro:problem:")
            .unwrap()
            .to_owned()
    }

    /// Asserts that it is this problem.
    #[track_caller]
    pub fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(
            (self.status.as_u16(), self.problem().as_str()),
            (status, kind)
        );
    }

    #[track_caller]
    pub fn location(&self) -> String {
        self.header("location")
            .unwrap_or_else(|| panic!("{self:?}"))
            .to_owned()
    }

    #[track_caller]
    pub fn id(&self) -> OperationId {
        let location = self.location();
        let (_, id) = location.rsplit_once('/').unwrap();
        id.parse().unwrap()
    }
}

/// Waits for the end of an operation.
pub async fn end_of(operations: &Operations, id: OperationId) -> Record {
    once(operations, id, |record| record.phase().is_ended()).await
}

/// Waits until an operation runs.
pub async fn start_of(operations: &Operations, id: OperationId) -> Record {
    once(operations, id, |record| record.started.is_some()).await
}

async fn once(operations: &Operations, id: OperationId, is_so: impl Fn(&Record) -> bool) -> Record {
    let waiting = async {
        let mut record = operations.get(id).await.unwrap().unwrap();
        while !is_so(&record) {
            let changed = operations.changed(id, record.revision).await;
            record = changed.unwrap().expect("nothing pending goes away");
        }
        record
    };
    // Longer than anything takes here.
    let waited = tokio::time::timeout(30 * DAY, waiting).await;
    waited.expect("it comes to an end")
}

/// Lets everything happen that can happen now: with time paused, it passes only when there is nothing else to do.
pub async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
