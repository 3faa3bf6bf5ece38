//! `POST /work`: the mode for load. What it costs is what the library costs, so there is as little around it as can be.
//!
//! `WORK_MS` is how long the work sleeps (0, the default: not at all), `EXPIRE_SECS` how long an ended operation is kept.

use crate::options::Options;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};
use tower::{Service, service_fn};
use tower_lro::{
    BuildError, Limits, Operations,
    defer::{
        ResponseBody,
        rebuild::{Buffered, Rebuilt},
    },
    dialect::Head,
    store::SqliteStore,
};

const PATH: &str = "/work";
const MOUNT: &str = "/operations";
const QUEUE: &str = "work";
/// Of an answer.
const LENGTH: usize = 1024;

/// As it comes from hyper, or as it is made again for the handler.
pub(crate) type RequestBody = Either<Incoming, Full<Bytes>>;
pub(crate) type Reply = Response<ReplyBody>;
pub(crate) type ReplyBody = ResponseBody<Full<Bytes>>;

/// Whether the request is for [`service`].
pub(crate) fn is_for(uri: &Uri) -> bool {
    let path = uri.path();
    path == PATH || path.starts_with(MOUNT)
}

/// An engine whose limits do not stand in the way.
pub(crate) fn operations(
    base_url: Option<&str>,
    store: Option<Arc<SqliteStore>>,
) -> Result<Operations, BuildError> {
    let mut limits = Limits::default();
    // Some more than the 10^6 that a run stores: there are those of the warm-up.
    limits.stored = 1_200_000;
    limits.stored_bytes = 4 << 30;
    limits.running = 200_000;
    limits.accepted = 200_000;
    limits.run_time = Duration::from_secs(900);
    limits.wait = Duration::from_secs(120);
    limits.readers = 100_000;
    limits.readers_per_operation = 20_000;
    if let Some(seconds) = number("EXPIRE_SECS") {
        limits.keep_for = Duration::from_secs(seconds);
    }
    let mut builder = Operations::builder()
        .mount(MOUNT)
        .limits(limits)
        .shared_keys();
    if let Some(store) = store {
        builder = builder.store(store);
    }
    if let Some(base_url) = base_url {
        builder = builder.base_url(base_url);
    }
    builder.build()
}

/// `POST /work`, and its monitors.
pub(crate) fn service(
    operations: &Operations,
    options: &Options,
) -> impl Service<
    Request<RequestBody>,
    Response = Reply,
    Error = Infallible,
    Future: Future<Output = Result<Reply, Infallible>> + Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    let layer = operations
        .layer()
        .queue(QUEUE)
        .when(|head: Head<'_>| head.method == Method::POST && head.uri.path() == PATH)
        .rebuild_with(rebuilt);
    options.runs(layer).wrap(handler())
}

/// Runs what others have accepted, or lost.
pub(crate) fn worker(operations: &Operations) -> impl Future<Output = ()> + Send + use<> {
    let worker = operations.worker(QUEUE, handler());
    worker.rebuild_with(rebuilt).run()
}

fn rebuilt(read: Buffered) -> Rebuilt<RequestBody> {
    Rebuilt::ready(Either::Right(Full::new(read.into_parts().0)))
}

fn handler() -> impl Service<
    Request<RequestBody>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    let pause = Duration::from_millis(number("WORK_MS").unwrap_or(0));
    service_fn(move |request: Request<RequestBody>| {
        // The future lives as long as the work: of the request it takes along only what it needs.
        let refusal = refusal(&request);
        let mut body = request.into_body();
        async move {
            if let Some(status) = refusal {
                return Ok(refused(status));
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let mut answer = Vec::with_capacity(LENGTH);
            while let Some(Ok(frame)) = body.frame().await {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                let room = LENGTH - answer.len();
                answer.extend_from_slice(&data[..data.len().min(room)]);
            }
            answer.resize(LENGTH, b'x');
            Ok(answered(answer))
        }
    })
}

fn answered(answer: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Why what has passed the layer is not for the handler.
fn refusal<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.uri().path() != PATH {
        Some(StatusCode::NOT_FOUND)
    } else if request.method() != Method::POST {
        Some(StatusCode::METHOD_NOT_ALLOWED)
    } else {
        None
    }
}

fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
