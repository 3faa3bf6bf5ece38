//! What is kept of a request or a response pins nothing: no slice of the buffer it came in outlives the exchange.
//!
//! A server's read buffer holds more than the few bytes that are kept of it, up to a hundred kilobytes after an upload,
//! and a slice of a byte keeps all of it. Here everything comes in buffers that tell when they are freed.
#![cfg(feature = "testing")]

mod harness;

use bytes::{Bytes, BytesMut};
use harness::*;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body::Frame;
use http_body_util::BodyExt;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::Semaphore;
use tower_lro::{OperationHandle, Operations, Usage, store::Settled};

/// Buffers as a server would read into.
#[derive(Default)]
struct Buffers(Vec<(&'static str, Weak<()>)>);

struct Buffer {
    bytes: Vec<u8>,
    _freed: Arc<()>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Buffers {
    /// A slice of a buffer of its own, which holds more.
    fn slice(&mut self, what: &'static str, text: &str) -> Bytes {
        let freed = Arc::new(());
        self.0.push((what, Arc::downgrade(&freed)));
        let bytes = [b"before", text.as_bytes(), b"behind"].concat();
        let buffer = Bytes::from_owner(Buffer {
            bytes,
            _freed: freed,
        });
        buffer.slice(6..6 + text.len())
    }

    fn value(&mut self, what: &'static str, text: &str) -> HeaderValue {
        HeaderValue::from_maybe_shared(self.slice(what, text)).unwrap()
    }

    fn uri(&mut self, what: &'static str, text: &str) -> Uri {
        Uri::from_maybe_shared(self.slice(what, text)).unwrap()
    }

    fn pinned(&self) -> Vec<&'static str> {
        let pinned = self.0.iter().filter(|(_, freed)| freed.strong_count() > 0);
        pinned.map(|(what, _)| *what).collect()
    }

    /// Asserts that all of them are freed.
    #[track_caller]
    fn are_free(&self) {
        assert!(!self.0.is_empty());
        assert_eq!(self.pinned(), [""; 0]);
    }
}

fn trailers(value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-sum"), value)])
}

/// A request of which every part lies in a buffer.
fn request(buffers: &mut Buffers, target: &str) -> Request<Body> {
    let (sender, body) = sending();
    for piece in ["some ", "data"] {
        send(&sender, buffers.slice("body", piece));
    }
    let sum = trailers(buffers.value("trailer", "9"));
    sender.send(Ok(Frame::trailers(sum))).unwrap();
    let mut secret = buffers.value("sensitive value", "Bearer secret");
    secret.set_sensitive(true);
    Request::post(buffers.uri("uri", target))
        .header("content-type", buffers.value("content type", "text/plain"))
        .header("authorization", secret)
        .header("x-user", buffers.value("user", "alice"))
        .header("x-many", buffers.value("first of many", "a"))
        .header("x-many", buffers.value("second of many", "b"))
        .header("x-empty", buffers.value("empty value", ""))
        .header("idempotency-key", buffers.value("key", "\"k\""))
        .header(
            "prefer",
            buffers.value("prefer", "handling=lenient, respond-async, a=b"),
        )
        .body(body)
        .unwrap()
}

type Seen = Arc<Mutex<Vec<Request<Bytes>>>>;

/// Keeps all of its request, and answers when it is let go.
fn keeping() -> (Handler, Seen, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (wait, requests) = (gate.clone(), seen.clone());
    let handler = handler(move |request| {
        let (gate, requests) = (wait.clone(), requests.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            let sum = body.trailers().map(|trailers| trailers["x-sum"].clone());
            let mut request = Request::from_parts(head, body.to_bytes());
            request.headers_mut().insert("x-sum", sum.unwrap());
            requests.lock().unwrap().push(request);
            Response::new(full("done"))
        }
    });
    (handler, seen, gate)
}

#[tokio::test(start_paused = true)]
async fn a_pending_request_pins_nothing_and_arrives_whole() {
    let operations = by_user(limited(|limits| limits.running = 1))
        .build()
        .unwrap();
    let (handler, seen, gate) = keeping();
    let client = client(&operations, &handler);
    let target = "/reports?x=1";
    let (mut running, mut queued) = (Buffers::default(), Buffers::default());
    let first = client.send(request(&mut running, target)).await;
    assert_eq!(first.status, 202);
    let mut second = request(&mut queued, "http://example.com/reports?x=2");
    second.headers_mut().remove("idempotency-key");
    let second = client.send(second).await;
    start_of(&operations, first.id()).await;
    running.are_free();
    queued.are_free();

    gate.add_permits(2);
    end_of(&operations, second.id()).await;
    let seen = seen.lock().unwrap();
    for (arrived, target) in seen.iter().zip([target, "http://example.com/reports?x=2"]) {
        assert_eq!(arrived.uri(), target);
        assert_eq!(arrived.body(), "some data");
        let field = |name: &str| {
            let values = arrived.headers().get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(field("content-type"), ["text/plain"]);
        assert_eq!(field("authorization"), ["Bearer secret"]);
        assert!(arrived.headers()["authorization"].is_sensitive());
        assert_eq!(
            (field("x-many"), field("x-empty")),
            (vec!["a", "b"], vec![""])
        );
        assert_eq!(
            (field("prefer"), field("x-sum")),
            (vec!["handling=lenient, a=b"], vec!["9"])
        );
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_kept_in_an_allocation_of_just_its_size() {
    let handler = handler(|request| async move {
        let mut body = request.into_body();
        let frame = body.frame().await.unwrap().unwrap();
        let data = BytesMut::from(frame.into_data().unwrap());
        assert_eq!((data.len(), data.capacity()), (3 * 1001, 3 * 1001));
        assert!(body.frame().await.is_none());
        Response::new(full("done"))
    });
    let operations = Operations::builder().build().unwrap();
    let client = client(&operations, &handler);
    let (sender, body) = sending();
    for _ in 0..3 {
        send(&sender, vec![b'x'; 1001]);
    }
    drop(sender);
    let accepted = client.send(post("/").body(body).unwrap()).await;
    end_of(&operations, accepted.id()).await;
    assert_eq!(client.get(&accepted.location()).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_in_vain_pins_nothing() {
    let operations = Operations::builder().build().unwrap();
    let (handler, _, gate) = keeping();
    let client = client(&operations, &handler);
    let mut buffers = Buffers::default();
    let mut request = request(&mut buffers, "/reports");
    request
        .headers_mut()
        .insert("prefer", "wait=5".parse().unwrap());
    let accepted = client.send(request).await;
    assert_eq!((accepted.status.as_u16(), accepted.after), (202, secs(5)));
    buffers.are_free();
    gate.add_permits(1);
    end_of(&operations, accepted.id()).await;
}

#[tokio::test(start_paused = true)]
async fn a_check_and_a_key_function_pin_nothing() {
    let operations = by_user(Operations::builder()).build().unwrap();
    let (handler, ..) = keeping();
    let layer = operations
        .layer()
        .key(|head| Some(head.headers["idempotency-key"].to_str().unwrap().to_owned()))
        .check(|request: Request<Bytes>| async move {
            assert_eq!(request.body(), "some data");
            Ok(())
        });
    let client = Client(layer.wrap(handler));
    let mut buffers = Buffers::default();
    assert_eq!(
        client.send(request(&mut buffers, "/reports")).await.status,
        202
    );
    buffers.are_free();
    assert_eq!(operations.usage().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn repeats_and_refusals_pin_nothing() {
    let operations = by_user(limited(|limits| limits.accepted = 0));
    let operations = operations.build().unwrap();
    let (handler, ..) = keeping();
    let client = client(&operations, &handler);
    for (target, status) in [("/reports", 202), ("/reports", 202), ("/other", 422)] {
        let mut buffers = Buffers::default();
        assert_eq!(
            client.send(request(&mut buffers, target)).await.status,
            status
        );
        buffers.are_free();
    }
    let mut buffers = Buffers::default();
    let layer = operations.layer().request_body(3);
    let answer = Client(layer.wrap(handler))
        .send(request(&mut buffers, "/new"))
        .await;
    answer.is_problem(413, "too-large");
    buffers.are_free();
}

/// A response of which every part lies in a buffer.
fn response(buffers: &mut Buffers) -> Response<Body> {
    let (sender, body) = sending();
    for piece in ["some ", "data"] {
        send(&sender, buffers.slice("body", piece));
    }
    let sum = trailers(buffers.value("trailer", "9"));
    sender.send(Ok(Frame::trailers(sum))).unwrap();
    Response::builder()
        .status(201)
        .header("content-type", buffers.value("content type", "text/plain"))
        .header("location", buffers.value("location", "7"))
        .header("x-many", buffers.value("first of many", "a"))
        .header("x-many", buffers.value("second of many", "b"))
        .header("connection", buffers.value("connection", "close"))
        .body(body)
        .unwrap()
}

async fn is_replayed(client: &Client<impl Deferring>, monitor: &str) {
    let answer = client.get(monitor).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (201, &b"some data"[..])
    );
    assert_eq!(answer.trailers["x-sum"], "9");
    assert_eq!(answer.header("content-type"), Some("text/plain"));
}

/// What [`client`] makes.
trait Deferring:
    tower::Service<
        Request<Body>,
        Response = Response<tower_lro::defer::ResponseBody<Body>>,
        Error = Fault,
    > + Clone
{
}

impl<S> Deferring for S where
    S: tower::Service<
            Request<Body>,
            Response = Response<tower_lro::defer::ResponseBody<Body>>,
            Error = Fault,
        > + Clone
{
}

#[tokio::test(start_paused = true)]
async fn a_stored_response_pins_nothing() {
    let buffers = Arc::new(Mutex::new(Buffers::default()));
    let inside = buffers.clone();
    let handler = handler(move |_| {
        let response = response(&mut inside.lock().unwrap());
        async { response }
    });
    let operations = Operations::builder().build().unwrap();
    let client = client(&operations, &handler);
    let accepted = client.submit().await;
    end_of(&operations, accepted.id()).await;
    buffers.lock().unwrap().are_free();
    is_replayed(&client, &accepted.location()).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_completes_an_operation_pins_nothing() {
    let operations = Operations::builder().build().unwrap();
    let client = client(&operations, &takes(secs(60)));
    let accepted = client.submit().await;
    let mut buffers = Buffers::default();
    let completed = operations
        .complete(accepted.id(), response(&mut buffers))
        .await;
    // What it gives back is what is stored.
    assert!(matches!(completed, Ok(Settled::Done(_))));
    buffers.are_free();
    is_replayed(&client, &accepted.location()).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_a_wait_leaves_nothing_pinned_for_its_repeats() {
    let buffers = Arc::new(Mutex::new(Buffers::default()));
    let inside = buffers.clone();
    let handler = handler(move |_| {
        let response = response(&mut inside.lock().unwrap());
        async { response }
    });
    let operations = Operations::builder().shared_keys().build().unwrap();
    let client = client(&operations, &handler);
    let keyed = || {
        let request = post("/")
            .header("prefer", "wait=5")
            .header("idempotency-key", "k");
        client.send(request.body(empty()).unwrap())
    };
    let answer = keyed().await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (201, &b"some data"[..])
    );
    // Its head went out as it was.
    drop(answer);
    buffers.lock().unwrap().are_free();
    assert_eq!(keyed().await.body, "some data");
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_says_pins_nothing() {
    let buffers = Arc::new(Mutex::new(Buffers::default()));
    let inside = buffers.clone();
    let handler = with_handle(move |handle: OperationHandle| {
        let mut buffers = inside.lock().unwrap();
        handle.resource(&buffers.uri("resource", "/reports/7?x=1"));
        let message = String::from_utf8(buffers.slice("message", "half").to_vec()).unwrap();
        handle.progress(0.5, message);
        handle
            .metadata(&buffers.slice("metadata", "m")[..])
            .unwrap();
        async { tokio::time::sleep(secs(60)).await }
    });
    let operations = Operations::builder().build().unwrap();
    let accepted = client(&operations, &handler).submit().await;
    let record = start_of(&operations, accepted.id()).await;
    buffers.lock().unwrap().are_free();
    assert_eq!(
        record.report.unwrap().resource.as_deref(),
        Some("/reports/7?x=1")
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_holds_nothing_at_all() {
    let operations = limited(|limits| limits.tombstones = 0).build().unwrap();
    let (handler, seen, gate) = keeping();
    let client = client(&operations, &handler);
    let mut buffers = Buffers::default();
    let accepted = client.send(request(&mut buffers, "/reports")).await;
    gate.add_permits(1);
    end_of(&operations, accepted.id()).await;
    operations.forget(accepted.id()).await.unwrap();
    settled().await;
    buffers.are_free();
    // A request that the handler keeps is its own affair, and keeps nothing of the engine's.
    assert_eq!(
        (seen.lock().unwrap().len(), operations.usage()),
        (1, Usage::default())
    );
}

#[cfg(feature = "axum")]
mod under_axum {
    use super::*;
    use axum::{
        Router,
        extract::{MatchedPath, OriginalUri, Path},
        routing::post,
    };
    use tower::ServiceExt;

    #[tokio::test(start_paused = true)]
    async fn a_running_handler_of_nested_routers_has_its_uris_and_pins_none() {
        let gate = Arc::new(Semaphore::new(0));
        let wait = gate.clone();
        let slow = async move |Path((tenant, name)): Path<(String, String)>,
                               OriginalUri(original): OriginalUri,
                               matched: MatchedPath,
                               request: axum::extract::Request| {
            wait.acquire().await.unwrap().forget();
            let matched = matched.as_str();
            format!("{tenant} {name} {matched} {original} {}", request.uri())
        };
        let operations = Operations::builder().build().unwrap();
        let inner = Router::new().route("/{name}", post(slow).route_layer(operations.layer()));
        let app: Router = Router::new()
            .nest("/{tenant}", Router::new().nest("/reports", inner))
            .nest_service("/operations", operations.status_service());
        for base in ["", "http://example.com"] {
            let mut buffers = Buffers::default();
            let target = format!("{base}/a%20b/reports/c?x=1");
            let request = Request::post(buffers.uri("uri", &target))
                .header("x-a", buffers.value("value", "b"))
                .body(axum::body::Body::from(buffers.slice("body", "data")));
            let accepted = app.clone().oneshot(request.unwrap()).await.unwrap();
            let location = accepted.headers()["location"].to_str().unwrap().to_owned();
            let id = location.rsplit_once('/').unwrap().1.parse().unwrap();
            drop(accepted);
            start_of(&operations, id).await;
            settled().await;
            buffers.are_free();
            gate.add_permits(1);
            end_of(&operations, id).await;
            let request = Request::get(&location)
                .body(axum::body::Body::empty())
                .unwrap();
            let body = app.clone().oneshot(request).await.unwrap().into_body();
            let body = body.collect().await.unwrap().to_bytes();
            let wanted = format!("a b c /{{tenant}}/reports/{{name}} {target} {base}/c?x=1");
            assert_eq!(body, wanted);
        }
    }
}
