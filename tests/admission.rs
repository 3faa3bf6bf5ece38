//! Which requests are deferred, which pass as if the layer were not there, and which are the monitor's.
#![cfg(feature = "testing")]

mod harness;

use bytes::Bytes;
use harness::*;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt};
use tower_lro::{
    OperationHandle, OperationId, Operations, Usage,
    admit::{self, Admit},
    defer::rebuild::{Buffered, Rebuild, Rebuilt},
    dialect::Head,
};

fn operations() -> Operations {
    Operations::builder().build().unwrap()
}

type Seen = Arc<Mutex<Vec<Request<Bytes>>>>;

/// Answers 200 `passed` at once, and tells what it was sent.
fn seeing() -> (Handler, Seen) {
    let seen = Seen::default();
    let requests = seen.clone();
    let handler = handler(move |request| {
        let requests = requests.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = http_body_util::BodyExt::collect(body)
                .await
                .unwrap()
                .to_bytes();
            requests
                .lock()
                .unwrap()
                .push(Request::from_parts(head, body));
            Response::builder()
                .header("x-inner", "1")
                .body(full("passed"))
                .unwrap()
        }
    });
    (handler, seen)
}

fn only(seen: &Seen) -> Request<Bytes> {
    let mut seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    seen.pop().unwrap()
}

fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(full("sent")).unwrap()
}

/// What can never be deferred.
fn never_deferred() -> Vec<Request<Body>> {
    type Fields = [(&'static str, &'static str)];
    let kinds: &[(&str, &str, &Fields)] = &[
        ("HEAD", "/reports", &[]),
        ("OPTIONS", "/reports", &[]),
        ("OPTIONS", "*", &[]),
        ("GET", "*", &[]),
        ("TRACE", "/reports", &[]),
        ("CONNECT", "example.com:443", &[]),
        ("CONNECT", "/reports", &[]),
        (
            "GET",
            "/reports",
            &[("upgrade", "websocket"), ("connection", "upgrade")],
        ),
        ("POST", "/reports", &[("upgrade", "h2c, websocket")]),
        ("GET", "/reports", &[("accept", "text/event-stream")]),
        (
            "GET",
            "/reports",
            &[("accept", "text/html, TEXT/event-stream;q=0.5")],
        ),
        (
            "POST",
            "/reports",
            &[("accept", "text/html"), ("accept", "text/event-stream")],
        ),
        ("POST", "/reports", &[("content-type", "application/grpc")]),
        (
            "POST",
            "/reports",
            &[("content-type", "application/grpc+proto")],
        ),
        (
            "POST",
            "/reports",
            &[("content-type", "Application/gRPC-web-text")],
        ),
    ];
    let make = |(method, uri, fields): &(&str, &str, &[(&str, &str)])| request(method, uri, fields);
    kinds.iter().map(make).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_never_deferred_passes_untouched() {
    let operations = operations();
    let (handler, seen) = seeing();
    let mark = || http::Extensions::from_iter_of(7_u32);
    for (plain, wrapped) in never_deferred().into_iter().zip(never_deferred()) {
        let what = format!("{plain:?}");
        let layered = operations.layer().wait(secs(5)).layer(handler.clone());
        for (mut request, through) in [(plain, true), (wrapped, false)] {
            request
                .headers_mut()
                .insert("prefer", "respond-async, wait=5".parse().unwrap());
            request
                .headers_mut()
                .insert("idempotency-key", "\"broken".parse().unwrap());
            // There are no upgrades in HTTP/1.0.
            let version = match request.headers().contains_key("upgrade") {
                true => Version::HTTP_11,
                false => Version::HTTP_10,
            };
            *request.version_mut() = version;
            *request.extensions_mut() = mark();
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let headers = request.headers().clone();

            let answer = if through {
                Client(layered.clone()).send(request).await
            } else {
                client(&operations, &handler).send(request).await
            };
            let mut fields = HeaderMap::new();
            fields.insert("x-inner", "1".parse().unwrap());
            assert_eq!(
                (answer.status.as_u16(), answer.headers),
                (200, fields),
                "{what}"
            );
            assert_eq!(answer.body, "passed");

            let arrived = only(&seen);
            assert_eq!((arrived.method(), arrived.uri()), (&method, &uri), "{what}");
            assert_eq!(arrived.headers(), &headers, "{what}");
            assert_eq!(arrived.version(), version);
            assert_eq!(arrived.extensions().get(), Some(&7_u32));
            assert!(arrived.extensions().get::<OperationHandle>().is_none());
            assert_eq!(arrived.body(), "sent");
        }
    }
    assert_eq!(operations.usage(), Usage::default());
}

trait FromIterOf {
    fn from_iter_of<T: Clone + Send + Sync + 'static>(value: T) -> Self;
}

impl FromIterOf for http::Extensions {
    fn from_iter_of<T: Clone + Send + Sync + 'static>(value: T) -> Self {
        let mut extensions = Self::new();
        extensions.insert(value);
        extensions
    }
}

#[tokio::test(start_paused = true)]
async fn everything_else_is_deferred_by_default() {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY", "PROPFIND"] {
        for (name, value) in [
            ("accept", "text/event-stream-of-mine, */*"),
            ("content-type", "application/graphql"),
            ("content-type", "text/application/grpc"),
            ("te", "trailers"),
            ("connection", "close"),
        ] {
            let (handler, seen) = seeing();
            let operations = operations();
            let client = client(&operations, &handler);
            let answer = client
                .send(request(method, "/reports?x=1", &[(name, value)]))
                .await;
            assert_eq!(answer.status, 202, "{method} {name}: {value}");
            end_of(&operations, answer.id()).await;
            let arrived = only(&seen);
            assert_eq!(
                (arrived.method().as_str(), arrived.body()),
                (method, &"sent".into())
            );
            assert_eq!(arrived.uri(), "/reports?x=1");
            assert_eq!(arrived.headers()[name], value);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deferred_request_is_the_same_but_for_what_was_applied() {
    let (handler, seen) = seeing();
    let operations = operations();
    let client = client(&operations, &handler);
    let mut secret = http::HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    let mut request = post("http://example.com:8080/reports?x=1")
        .version(Version::HTTP_2)
        .header("x-many", "a")
        .header("x-many", "")
        .header("x-many", "b")
        .header("authorization", secret)
        .header("prefer", "respond-async, return=minimal; foo=\"wait=5\"")
        .header("prefer", "wait=0")
        .header("prefer", "handling=lenient")
        .body(full("sent"))
        .unwrap();
    request.extensions_mut().insert(7_u32);
    let mut wanted = request.headers().clone();
    wanted.remove("prefer");
    wanted.append("prefer", "return=minimal; foo=\"wait=5\"".parse().unwrap());
    wanted.append("prefer", "handling=lenient".parse().unwrap());

    let answer = client.send(request).await;
    end_of(&operations, answer.id()).await;
    let arrived = only(&seen);
    assert_eq!(arrived.uri(), "http://example.com:8080/reports?x=1");
    assert_eq!(
        (arrived.version(), arrived.body()),
        (Version::HTTP_2, &"sent".into())
    );
    assert_eq!(arrived.headers(), &wanted);
    assert!(arrived.headers()["authorization"].is_sensitive());
    assert_eq!(arrived.extensions().get(), Some(&7_u32));
    let handle = arrived.extensions().get::<OperationHandle>().unwrap();
    assert_eq!(handle.id(), answer.id());
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_never_sees_what_a_client_says_of_attempts() {
    for (store_keeps_it, wait) in [(false, "0"), (false, "5"), (true, "0")] {
        let (handler, seen) = seeing();
        let operations = operations();
        let mut layer = operations.layer();
        if store_keeps_it {
            layer = layer.accept_only();
            let worker = operations.worker("default", handler.clone());
            tokio::spawn(worker.run());
        }
        let client = Client(layer.wrap(handler));
        let mut request = request("POST", "/", &[("x-other", "1"), ("operation-attempt", "7")]);
        let wait = format!("wait={wait}").parse().unwrap();
        request.headers_mut().insert("prefer", wait);
        let second = "8".parse().unwrap();
        request.headers_mut().append("operation-attempt", second);
        let answer = client.send(request).await;
        if answer.status == 202 {
            end_of(&operations, answer.id()).await;
        }
        let arrived = only(&seen);
        assert!(!arrived.headers().contains_key("operation-attempt"));
        assert_eq!(arrived.headers()["x-other"], "1");
    }
}

#[tokio::test(start_paused = true)]
async fn nested_layers_defer_once() {
    let outer = operations();
    let other = operations();
    for inner in [&outer, &other] {
        for wait in [Duration::ZERO, secs(5)] {
            let (handler, seen) = seeing();
            let layered = inner.layer().wait(secs(5)).layer(handler);
            let client = Client(outer.layer().wait(wait).layer(layered));
            let fields = [("prefer", "handling=lenient, respond-async, wait=1")];
            let answer = client.send(request("POST", "/reports", &fields[..])).await;
            // An answer within the wait comes from the inside, through one hold.
            if answer.status == 202 {
                end_of(&outer, answer.id()).await;
            }
            let arrived = only(&seen);
            assert_eq!(arrived.headers()["prefer"], "handling=lenient");
        }
    }
    assert_eq!(other.usage().stored, 0);

    let handler = takes(secs(60));
    let layered = other.layer().layer(outer.layer().layer(handler.clone()));
    let answer = Client(layered).call(post("/reports")).await;
    end_of(&other, answer.id()).await;
    let monitor = Client(other.status_service());
    assert_eq!(monitor.get(&answer.location()).await.body, "done");
    assert_eq!((handler.calls(), other.usage().stored), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_an_outer_layer_lets_pass_an_inner_one_may_defer() {
    let (outer, inner) = (operations(), operations());
    let (handler, seen) = seeing();
    let passing = outer.layer().when(|_: Head<'_>| false);
    let layered = passing.layer(inner.layer().layer(handler));
    let fields = [("prefer", "respond-async, handling=lenient")];
    let answer = Client(layered)
        .send(request("POST", "/reports", &fields))
        .await;
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    end_of(&inner, answer.id()).await;
    assert_eq!(only(&seen).headers()["prefer"], "handling=lenient");
    assert_eq!(outer.usage(), Usage::default());
}

#[tokio::test(start_paused = true)]
async fn combinations_of_conditions_decide() {
    fn path(of: &'static str) -> impl Admit {
        move |head: Head<'_>| head.uri.path() == of
    }
    fn of(admit: impl Admit) -> Client<tower_lro::Defer<Handler>> {
        Client(operations().layer().when(admit).layer(takes(secs(1))))
    }
    let get = || request("GET", "/a", &[]);
    let post = || request("POST", "/a", &[]);
    let asking = || request("GET", "/a", &[("prefer", "respond-async")]);
    // Which of the three are deferred, and whether `Prefer` has a say.
    let cases = [
        (of(admit::always()), [true, true, true], false),
        (of(admit::always().not()), [false, false, false], false),
        (of(admit::unsafe_methods()), [false, true, false], false),
        (of(admit::asked()), [false, false, true], true),
        (
            of(admit::unsafe_methods().or(admit::asked())),
            [false, true, true],
            true,
        ),
        (
            of(admit::unsafe_methods().not().and(admit::asked())),
            [false, false, true],
            true,
        ),
        (of(admit::asked().not()), [true, true, false], true),
        (
            of(admit::unsafe_methods().or(admit::asked()).not()),
            [true, false, false],
            true,
        ),
        (
            of(admit::always().and(path("/a"))),
            [true, true, true],
            false,
        ),
        (
            of(path("/b").or(admit::unsafe_methods())),
            [false, true, false],
            false,
        ),
        (
            of(path("/a").and(admit::asked())),
            [false, false, true],
            true,
        ),
    ];
    for (at, (client, deferred, varies)) in cases.into_iter().enumerate() {
        for (request, deferred) in [get(), post(), asking()].into_iter().zip(deferred) {
            let answer = client.send(request).await;
            assert_eq!(answer.status == 202, deferred, "case {at}");
            let told = answer.header("vary");
            assert_eq!(told, (deferred || varies).then_some("prefer"), "case {at}");
        }
        // Nor are those that never are: yet `Prefer` could have had a say for caches to keep.
        let head = client.send(request("HEAD", "/a", &[])).await;
        assert_eq!(
            (head.status.as_u16(), head.header("vary")),
            (200, varies.then_some("prefer"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_of_ones_own_says_whether_prefer_has_a_say() {
    struct Mine;
    impl Admit for Mine {
        fn admit(&self, head: Head<'_>) -> bool {
            head.headers
                .get("prefer")
                .is_some_and(|prefer| prefer == "later")
        }
        fn reads_prefer(&self) -> bool {
            true
        }
    }
    let layer = operations().layer().when(Mine);
    let client = Client(layer.layer(takes(secs(1))));
    let later = client
        .send(request("GET", "/", &[("prefer", "later")]))
        .await;
    assert_eq!(later.status, 202);
    let now = client.send(request("GET", "/", &[])).await;
    assert_eq!(
        (now.status.as_u16(), now.header("vary")),
        (200, Some("prefer"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_condition_sees_the_whole_head() {
    let layer = operations().layer().when(|head: Head<'_>| {
        *head.method == Method::POST
            && head.uri.query() == Some("x=1")
            && head.version == Version::HTTP_2
            && head.headers["x-a"] == "b"
            && head.extensions.get::<u32>() == Some(&7)
    });
    let client = Client(layer.layer(takes(secs(1))));
    let mut request = request("POST", "/?x=1", &[("x-a", "b")]);
    *request.version_mut() = Version::HTTP_2;
    request.extensions_mut().insert(7_u32);
    assert_eq!(client.send(request).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn what_passes_keeps_its_vary() {
    for (inner, told) in [
        ("accept", vec!["accept", "prefer"]),
        ("accept, Prefer", vec!["accept, Prefer"]),
        ("*", vec!["*"]),
        ("preferred", vec!["preferred", "prefer"]),
    ] {
        let handler = handler(move |_| async move {
            Response::builder()
                .header("vary", inner)
                .body(empty())
                .unwrap()
        });
        let layer = operations().layer().when(admit::asked());
        let answer = Client(layer.layer(handler))
            .send(request("GET", "/", &[]))
            .await;
        let values = answer.headers.get_all("vary").iter();
        assert_eq!(
            values
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>(),
            told
        );
    }
}

/// A body of nobody's: neither `Sync`, `Clone` nor `Unpin`, with an error of its own.
#[derive(Default)]
struct Odd(PhantomData<(std::cell::Cell<()>, std::marker::PhantomPinned)>);

#[derive(Debug)]
struct OddError;

impl std::fmt::Display for OddError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("odd")
    }
}

impl std::error::Error for OddError {}

impl http_body::Body for Odd {
    type Data = Bytes;
    type Error = OddError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OddError>>> {
        Poll::Ready(Some(Err(OddError)))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(3);
        hint.set_upper(1 << 20);
        hint
    }
}

impl Rebuild for Odd {
    fn rebuild(_: Buffered) -> Rebuilt<Self> {
        panic!("a body that passes is not made again")
    }
}

#[tokio::test]
async fn bodies_and_errors_pass_as_they_are() {
    type Of = Result<Response<Odd>, OddError>;
    let inner = tower::service_fn(|request: Request<Odd>| -> Ready<Of> {
        ready(match request.uri().path() {
            "/fails" => Err(OddError),
            _ => Ok(Response::new(request.into_body())),
        })
    });
    let layer = operations().layer().when(|_: Head<'_>| false);
    let service = layer.layer(inner);
    let call = |path: &'static str| {
        let request = Request::get(path).body(Odd::default()).unwrap();
        service.clone().oneshot(request)
    };
    let error: OddError = call("/fails").await.unwrap_err();
    assert_eq!(error.to_string(), "odd");

    let body = call("/").await.unwrap().into_body();
    let hint = body.size_hint();
    assert_eq!((hint.lower(), hint.upper()), (3, Some(1 << 20)));
    assert!(!body.is_end_stream());
    let mut body = Box::pin(body);
    let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    let error = frame.unwrap().unwrap_err();
    assert!(matches!(
        &error,
        tower_lro::defer::BodyError::Inner(OddError)
    ));
    assert_eq!(error.to_string(), "odd");
}

/// Panics when it is called without having been ready.
#[derive(Debug, Default)]
struct Unready {
    ready: bool,
    polls: u32,
}

impl Clone for Unready {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Body>> for Unready {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polls += 1;
        if self.polls < 3 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called unready");
        ready(Ok(Response::new(full("ready"))))
    }
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_is_called_when_it_is_ready_and_the_layer_always_is() {
    let operations = operations();
    let mut service = operations.layer().layer(Unready::default());
    for _ in 0..3 {
        let ready: &mut _ = ServiceExt::<Request<Body>>::ready(&mut service)
            .await
            .unwrap();
        assert_eq!(ready.get_ref().polls, 0, "the inner service is not asked");
    }
    let client = Client(service);
    assert_eq!(client.send(request("HEAD", "/", &[])).await.body, "ready");
    let answer = client.send(request("POST", "/", &[])).await;
    end_of(&operations, answer.id()).await;
    let monitor = Client(operations.status_service());
    assert_eq!(monitor.get(&answer.location()).await.body, "ready");
    assert_eq!(
        client
            .send(request("POST", "/", &[("prefer", "wait=5")]))
            .await
            .body,
        "ready"
    );
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_is_never_ready_is_not_started_in_time() {
    let inner = tower::util::BoxCloneSyncService::new(
        tower::ServiceBuilder::new()
            .concurrency_limit(1)
            .service(takes(secs(3600 * 24))),
    );
    let operations = limited(|limits| limits.run_time = secs(3600 * 48))
        .build()
        .unwrap();
    let client = Client(operations.wrap(inner));
    let first = client.submit().await;
    let second = client.submit().await;
    start_of(&operations, first.id()).await;
    // Not even begun: that it waits for the inner service is not running.
    let status = client.get(&format!("{}/status", second.location())).await;
    assert_eq!(status.json()["status"], "accepted");
    end_of(&operations, second.id()).await;
    client
        .get(&second.location())
        .await
        .is_problem(500, "not-started");
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_or_panics_before_it_is_called_ends_its_operation() {
    #[derive(Clone)]
    struct Broken(bool);
    impl Service<Request<Body>> for Broken {
        type Response = Response<Body>;
        type Error = Fault;
        type Future = Ready<Result<Response<Body>, Fault>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
            assert!(!self.0, "the secret");
            Poll::Ready(Err(Fault("the secret")))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    for (panics, kind) in [(false, "errored"), (true, "panicked")] {
        let operations = operations();
        let client = Client(operations.wrap(Broken(panics)));
        let accepted = client.submit().await;
        let record = end_of(&operations, accepted.id()).await;
        assert!(record.started.is_some(), "it was as good as called");
        let answer = client.get(&accepted.location()).await;
        answer.is_problem(500, kind);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
        let usage = operations.usage();
        assert_eq!((usage.accepted, usage.running, usage.stored), (0, 0, 1));

        let in_time = request("POST", "/", &[("prefer", "wait=5")]);
        match client.try_send(in_time).await {
            Ok(answer) => answer.is_problem(500, kind),
            Err(error) => assert_eq!((error.0, panics), ("the secret", false)),
        }
    }
}

mod check {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[tokio::test(start_paused = true)]
    async fn what_it_refuses_is_answered_so_and_nothing_is_kept_or_run() {
        let handler = takes(secs(1));
        let operations = Operations::builder().shared_keys().build().unwrap();
        let layer = operations
            .layer()
            .check(|request: Request<Bytes>| async move {
                tokio::time::sleep(secs(1)).await;
                assert_eq!(
                    (request.uri().path(), request.method()),
                    ("/reports", &Method::POST)
                );
                if request.body() == "good" {
                    return Ok(());
                }
                let refusal = Response::builder().status(418).header("x-why", "bad");
                Err(refusal.body("no".into()).unwrap())
            });
        let client = Client(layer.wrap(handler.clone()));
        let send = |body: &'static str| {
            let request = post("/reports").header("idempotency-key", "k");
            client.send(request.body(full(body)).unwrap())
        };
        for _ in 0..2 {
            let refused = send("bad").await;
            assert_eq!(
                (refused.status.as_u16(), refused.header("x-why")),
                (418, Some("bad"))
            );
            assert_eq!((&refused.body[..], refused.after), (&b"no"[..], secs(1)));
        }
        assert_eq!((handler.calls(), operations.usage()), (0, Usage::default()));
        // A refused request has not used its key up.
        let accepted = send("good").await;
        assert_eq!(accepted.status, 202);
        end_of(&operations, accepted.id()).await;
        assert_eq!(client.get(&accepted.location()).await.body, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_once_for_what_is_deferred_and_not_for_repeats() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let operations = Operations::builder().shared_keys().build().unwrap();
        let layer = operations.layer().check(move |_| {
            count.fetch_add(1, SeqCst);
            async { Ok(()) }
        });
        let client = Client(layer.wrap(takes(secs(1))));
        let fields = [("idempotency-key", "k")];
        let first = client.send(request("POST", "/reports", &fields)).await;
        let repeat = client.send(request("POST", "/reports", &fields)).await;
        assert_eq!(repeat.location(), first.location());
        client.send(request("OPTIONS", "/reports", &[])).await;
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_while_it_is_asked_leaves_nothing() {
        let operations = operations();
        let layer = operations.layer().check(|_| std::future::pending());
        let client = Client(layer.wrap(takes(secs(1))));
        let gone = tokio::time::timeout(secs(9), client.send(request("POST", "/reports", &[])));
        assert!(gone.await.is_err());
        assert_eq!(operations.usage(), Usage::default());
    }
}

mod paths {
    use super::*;

    fn shapes(id: OperationId) -> Vec<String> {
        let id = id.to_string();
        let upper = id.to_uppercase();
        let upper = if upper == id {
            id.replace(|c: char| c.is_ascii_digit(), "A")
        } else {
            upper
        };
        vec![
            upper,
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            format!("%20{id}"),
            format!("{id}%20"),
            id.replacen('-', "%2D", 1),
            format!("{id}0"),
            id[1..].to_owned(),
            format!("/{id}"),
            format!("{id}/"),
            format!("{id}//status"),
            format!("{id}/status/"),
            format!("{id}/Status"),
            format!("{id}/%73tatus"),
            format!("{id}/events"),
            format!("{id}/status/x"),
            format!("{id}/../{id}"),
            format!("x/{id}"),
            "-".to_owned(),
            "00000000-0000-0000-0000-000000000000".to_owned(),
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_canonical_text_of_an_id_names_an_operation() {
        let handler = takes(secs(60));
        let operations = operations();
        let client = client(&operations, &handler);
        let id = client.submit().await.id();
        for shape in shapes(id) {
            for method in ["GET", "HEAD", "DELETE"] {
                let target = format!("/operations/{shape}");
                let answer = client.send(request(method, &target, &[])).await;
                assert_eq!(answer.status, 404, "{method} {target}");
                if method != "HEAD" {
                    assert_eq!(answer.problem(), "unknown");
                }
            }
        }
        settled().await;
        assert_eq!(handler.calls(), 1);
        for target in [
            format!("/operations/{id}"),
            format!("/operations/{id}?api-version=1&x=/y"),
            format!("http://elsewhere.example/operations/{id}"),
        ] {
            assert_eq!(client.get(&target).await.status, 202, "{target}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_mount_matches_whole_segments_of_the_raw_path() {
        let operations = Operations::builder().mount("/a/ops").build().unwrap();
        let (handler, seen) = seeing();
        // Whatever is not the monitor's passes.
        let layer = operations.layer().when(|_: Head<'_>| false);
        let client = Client(layer.wrap(handler));
        let id = OperationId::random();
        for target in [
            "/".to_owned(),
            "/a".to_owned(),
            "/ops".to_owned(),
            format!("/ops/{id}"),
            format!("/{id}"),
            format!("/a/opsx/{id}"),
            format!("/a/ops-x/{id}"),
            format!("/a/%6fps/{id}"),
            format!("/a%2Fops/{id}"),
            format!("/A/ops/{id}"),
            format!("//a/ops/{id}"),
            format!("/a//ops/{id}"),
            format!("/x/a/ops/{id}"),
            format!("/a/./ops/{id}"),
            format!("/x?/a/ops/{id}"),
        ] {
            assert_eq!(client.get(&target).await.body, "passed", "{target}");
            assert_eq!(only(&seen).uri(), &target.parse::<Uri>().unwrap());
        }
        for target in ["/a/ops", "/a/ops/", "/a/ops/x", "/a/ops?x", "/a/ops//"] {
            client.get(target).await.is_problem(404, "unknown");
        }
        assert_eq!(
            client.get(&format!("/a/ops/{id}")).await.problem(),
            "unknown"
        );
        assert_eq!(seen.lock().unwrap().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn through_wrap_connect_and_asterisk_are_the_inner_services() {
        let operations = operations();
        let (handler, seen) = seeing();
        let client = client(&operations, &handler);
        for (method, uri) in [
            ("CONNECT", "operations:443"),
            ("OPTIONS", "*"),
            ("GET", "*"),
        ] {
            assert_eq!(client.send(request(method, uri, &[])).await.body, "passed");
            assert_eq!(only(&seen).method().as_str(), method);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn alone_the_status_service_has_no_inner_service_to_ask() {
        let client = Client(operations().status_service());
        for (method, uri) in [
            ("CONNECT", "operations:443"),
            ("OPTIONS", "*"),
            ("GET", "/elsewhere"),
            ("POST", "/elsewhere"),
        ] {
            client
                .send(request(method, uri, &[]))
                .await
                .is_problem(404, "unknown");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_service_answers_with_and_without_its_prefix_for_any_body() {
        let operations = operations();
        let id = client(&operations, &takes(secs(60))).submit().await.id();
        struct NoBody;
        for target in [format!("/operations/{id}"), format!("/{id}")] {
            let request = Request::get(&target).body(NoBody).unwrap();
            let answer: Result<_, Infallible> = operations.status_service().oneshot(request).await;
            assert_eq!(answer.unwrap().status(), 202, "{target}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wrap_with_options_answers_under_the_mount_and_defers_by_them() {
        let operations = operations();
        let layer = operations.layer().when(admit::unsafe_methods());
        let client = Client(layer.wrap(takes(secs(60))));
        let accepted = client.submit().await;
        assert_eq!(client.get(&accepted.location()).await.status, 202);
        assert_eq!(client.get("/reports").await.body, "done");
        // A deferred request is not the monitor's because a monitor is asked for in it.
        let unsafe_ = client
            .send(request("POST", &accepted.location(), &[]))
            .await;
        unsafe_.is_problem(405, "method");
    }

    #[cfg(feature = "axum")]
    mod under_axum {
        use super::*;
        use axum::{Router, body::Body, routing::post};

        async fn slow(path: axum::extract::MatchedPath) -> String {
            path.as_str().to_owned()
        }

        async fn call(app: &Router, method: &str, target: &str) -> Response<Bytes> {
            let request = Request::builder().method(method).uri(target);
            let request = request.body(Body::empty()).unwrap();
            let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
            let body = http_body_util::BodyExt::collect(body).await.unwrap();
            Response::from_parts(head, body.to_bytes())
        }

        /// The monitor as `Location` names it, and the app.
        async fn submitted(operations: &Operations, app: &Router) -> String {
            let answer = call(app, "POST", "/api/reports/7").await;
            assert_eq!(answer.status(), 202);
            let location = answer.headers()["location"].to_str().unwrap().to_owned();
            let (_, id) = location.rsplit_once('/').unwrap();
            end_of(operations, id.parse().unwrap()).await;
            location
        }

        fn app(operations: &Operations) -> Router {
            let route = post(slow).route_layer(operations.layer());
            Router::new().nest("/api", Router::new().route("/reports/{id}", route))
        }

        #[tokio::test(start_paused = true)]
        async fn nested_routed_and_as_a_fallback_it_is_found_where_location_says() {
            for mount in ["/operations", "/api/v1/operations"] {
                let operations = Operations::builder().mount(mount).build().unwrap();
                let status = operations.status_service();
                let apps = [
                    app(&operations).nest_service(mount, status.clone()),
                    app(&operations).route_service(&format!("{mount}/{{*rest}}"), status.clone()),
                    app(&operations).fallback_service(status),
                ];
                for app in apps {
                    let location = submitted(&operations, &app).await;
                    assert!(location.starts_with(&format!("{mount}/")));
                    for path in ["", "/result"] {
                        let answer = call(&app, "GET", &format!("{location}{path}")).await;
                        assert_eq!(answer.body(), "/api/reports/{id}");
                    }
                    let answer = call(&app, "GET", &format!("{location}/status")).await;
                    let document: serde_json::Value =
                        serde_json::from_slice(answer.body()).unwrap();
                    // As the client sent it, and not as the router left it.
                    assert_eq!(document["request"]["target"], "/api/reports/7");
                    assert_eq!(document["links"]["monitor"], location);
                    let answer = call(&app, "DELETE", &format!("{location}/result")).await;
                    assert_eq!(answer.status(), 204);
                }
            }
        }

        #[tokio::test(start_paused = true)]
        async fn a_wrong_path_or_method_is_refused_at_once() {
            let operations = operations();
            let app = app(&operations).nest_service("/operations", operations.status_service());
            assert_eq!(call(&app, "GET", "/api/reports/7").await.status(), 405);
            assert_eq!(call(&app, "POST", "/api/other").await.status(), 404);
            assert_eq!(call(&app, "POST", "/operations/x/y/z").await.status(), 404);
            assert_eq!(operations.usage(), Usage::default());
        }

        #[tokio::test(start_paused = true)]
        async fn wrapped_around_a_router_it_leaves_the_router_the_rest() {
            let operations = operations();
            let router = Router::new().route("/reports/{id}", post(slow));
            let layer = operations.layer().when(admit::unsafe_methods());
            let service = Client(layer.wrap(router));
            let send = |method: &str, target: &str| {
                let request = Request::builder().method(method).uri(target);
                service
                    .0
                    .clone()
                    .oneshot(request.body(Body::empty()).unwrap())
            };
            let accepted = send("POST", "/reports/7").await.unwrap();
            assert_eq!(accepted.status(), 202);
            let location = accepted.headers()["location"].to_str().unwrap().to_owned();
            assert!([200, 202].contains(&send("GET", &location).await.unwrap().status().as_u16()));
            assert_eq!(send("GET", "/nowhere").await.unwrap().status(), 404);
        }
    }
}
