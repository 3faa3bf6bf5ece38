//! Which requests are deferred, which pass as if the layer were not there, and which are the monitor's.
#![cfg(feature = "testing")]

mod bodies;
mod check;
#[path = "../harness/mod.rs"]
mod harness;
mod paths;
mod readiness;

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
async fn what_passes_keeps_its_vary_in_one_line_with_prefer() {
    for (inner, told) in [
        (&["accept"][..], &["accept, prefer"][..]),
        (&["accept", "origin"], &["accept, origin, prefer"]),
        (&["accept, Prefer"], &["accept, Prefer"]),
        (&["accept", "Prefer"], &["accept", "Prefer"]),
        (&["*"], &["*"]),
        (&["preferred"], &["preferred, prefer"]),
        (&[""], &["prefer"]),
    ] {
        let handler = handler(move |_| async move {
            let mut response = Response::builder();
            for line in inner {
                response = response.header("vary", *line);
            }
            response.body(empty()).unwrap()
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
