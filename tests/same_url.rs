//! Polling at the URL itself, beyond what its transcripts show: who is deferred, who joins, and what an answer within the
//! wait is.
#![cfg(feature = "testing")]

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use std::{
    convert::Infallible,
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_lro::{Builder, DeferLayer, Operations, Owner, Rfc, SameUrl};

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Answer, Infallible>;

struct Answer {
    status: StatusCode,
    tag: Option<String>,
    cache_control: Option<String>,
    cdn_cache_control: Option<String>,
    length: Option<String>,
    body: Bytes,
}

fn operations() -> Builder {
    Operations::builder().dialect(SameUrl::new())
}

fn shared() -> Operations {
    operations().shared_keys().build().unwrap()
}

/// A layer around a handler, and how often that was called. It is told how often it was called before.
fn service<H, F>(layer: &DeferLayer, handler: H) -> (Service, Arc<AtomicU32>)
where
    H: Fn(u32, Request<Full<Bytes>>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |request| {
        let response = handler(counted.fetch_add(1, SeqCst), request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let service = layer.layer(inner).and_then(async |response: Response<_>| {
        let (head, body) = response.into_parts();
        let field = |name| {
            head.headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let body: Bytes = BodyExt::collect(body).await.unwrap().to_bytes();
        Ok(Answer {
            status: head.status,
            tag: field(header::ETAG),
            cache_control: field(header::CACHE_CONTROL),
            cdn_cache_control: field(HeaderName::from_static("cdn-cache-control")),
            length: field(header::CONTENT_LENGTH),
            body,
        })
    });
    (BoxCloneSyncService::new(service), calls)
}

fn get(target: &str) -> Request<Full<Bytes>> {
    Request::get(target).body(Full::default()).unwrap()
}

fn with(
    mut request: Request<Full<Bytes>>,
    name: &'static str,
    value: &str,
) -> Request<Full<Bytes>> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn text(status: u16, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    response.body(Full::new(text.into())).unwrap()
}

async fn ask(service: &Service, request: Request<Full<Bytes>>) -> Answer {
    service.clone().oneshot(request).await.unwrap()
}

#[test]
fn it_needs_an_owner_rule_or_shared_keys() {
    let error = operations().build().unwrap_err();
    assert_eq!(error.option, "dialect");
    assert!(error.to_string().contains("owner"), "{error}");
    shared();
    operations().owner(|_| None).build().unwrap();

    let plain = Operations::builder().dialect(Rfc::new()).build().unwrap();
    let error = plain.also("/reports", SameUrl::new()).unwrap_err();
    assert_eq!(error.option, "dialect");
}

#[tokio::test(start_paused = true)]
async fn identical_gets_join_and_run_once() {
    let (service, calls) = service(&shared().layer(), async |_, _| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        text(200, "done")
    });
    let mut asked = Vec::new();
    for _ in 0..10 {
        let service = service.clone();
        asked.push(tokio::spawn(async move {
            ask(&service, get("/reports?x=1")).await
        }));
    }
    let mut tags = Vec::new();
    for answer in asked {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 202);
        tags.push(answer.tag.unwrap());
    }
    tags.dedup();
    assert_eq!((tags.len(), calls.load(SeqCst)), (1, 1));

    tokio::time::sleep(Duration::from_secs(61)).await;
    let done = ask(
        &service,
        with(get("/reports?x=1"), "if-none-match", &tags[0]),
    )
    .await;
    assert_eq!((done.status, &*done.body), (StatusCode::OK, &b"done"[..]));
    let known = with(get("/reports?x=1"), "if-none-match", &done.tag.unwrap());
    assert_eq!(ask(&service, known).await.status, 304);
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_get_passes() {
    let (service, _) = service(&shared().layer(), async |calls, request| {
        text(200, format!("{calls} {}", request.method()))
    });
    for (calls, method) in [Method::POST, Method::HEAD, Method::DELETE]
        .into_iter()
        .enumerate()
    {
        let mut request = get("/reports");
        *request.method_mut() = method.clone();
        let answer = ask(&service, request).await;
        assert_eq!((answer.status, answer.tag), (StatusCode::OK, None));
        assert_eq!(answer.body, format!("{calls} {method}"));
    }
}

#[tokio::test(start_paused = true)]
async fn head_is_answered_as_get_is_and_begins_and_consumes_nothing() {
    let (service, calls) = service(&shared().layer(), async |calls, request| {
        if *request.method() == Method::HEAD {
            return text(418, "");
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        text(if calls == 1 { 200 } else { 500 }, "done")
    });
    let head = |tag: Option<&str>| {
        let mut request = get("/reports");
        *request.method_mut() = Method::HEAD;
        match tag {
            Some(tag) => with(request, "if-none-match", tag),
            None => request,
        }
    };
    let same = |head: &Answer, get: &Answer| {
        assert_eq!((head.status, &head.tag), (get.status, &get.tag));
        assert_eq!(head.cache_control, get.cache_control);
        assert_eq!(head.length, Some(get.body.len().to_string()));
        assert_eq!(head.body, "");
    };
    assert_eq!(ask(&service, head(None)).await.status, 418);

    let pending = ask(&service, get("/reports")).await;
    same(&ask(&service, head(None)).await, &pending);
    let known = ask(&service, head(pending.tag.as_deref())).await;
    assert_eq!(
        (known.status, &known.tag),
        (StatusCode::NOT_MODIFIED, &pending.tag)
    );
    tokio::time::sleep(Duration::from_secs(61)).await;
    let looked = ask(&service, head(None)).await;
    same(&looked, &ask(&service, get("/reports")).await);
    assert_eq!((looked.status.as_u16(), calls.load(SeqCst)), (200, 2));

    // A failure is told to a GET, whoever has looked before.
    ask(&service, get("/other")).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let other = || with_target(head(None), "/other");
    let looked = [ask(&service, other()).await, ask(&service, other()).await];
    let failed = ask(&service, get("/other")).await;
    assert_eq!(failed.status, 500);
    looked.iter().for_each(|looked| same(looked, &failed));
    assert_eq!(ask(&service, other()).await.status, 418, "it was told");
}

fn with_target(mut request: Request<Full<Bytes>>, target: &str) -> Request<Full<Bytes>> {
    *request.uri_mut() = target.parse().unwrap();
    request
}

/// axum's router adds the length of a body that knows it, and has none to HEAD.
#[cfg(feature = "axum")]
mod behind_axum {
    use super::*;
    use axum::{Router, body::Body, routing::get};
    use http::{HeaderName, HeaderValue};

    async fn ask(app: &Router, method: Method, tag: &HeaderValue) -> Response<Body> {
        let request = Request::builder().uri("/report").method(method);
        let request = request.header(header::IF_NONE_MATCH, tag);
        let request = request.body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    }

    fn length(response: &Response<Body>) -> Option<&str> {
        let length = response.headers().get(header::CONTENT_LENGTH)?;
        length.to_str().ok()
    }

    /// Where the report is there.
    async fn reporting(report: axum::routing::MethodRouter) -> Router {
        let app = Router::new().route("/report", report.layer(shared().layer()));
        ask(&app, Method::GET, &NONE).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        app
    }

    static NONE: HeaderValue = HeaderValue::from_static("\"none\"");

    #[tokio::test(start_paused = true)]
    async fn what_is_not_modified_has_no_length() {
        let app = reporting(get(async || "done")).await;
        let whole = ask(&app, Method::HEAD, &NONE).await;
        assert_eq!(length(&whole), Some("4"));
        let tag = &whole.headers()[header::ETAG];
        for method in [Method::HEAD, Method::GET] {
            let unchanged = ask(&app, method.clone(), tag).await;
            assert_eq!(unchanged.status(), 304);
            assert_eq!(length(&unchanged), None, "{method}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_of_what_has_trailers_has_no_more_length_than_the_get() {
        let report = async || {
            let trailers = std::future::ready(Some(Ok(http::HeaderMap::from_iter([(
                HeaderName::from_static("x-sum"),
                HeaderValue::from_static("9"),
            )]))));
            Body::new(Body::from("done").with_trailers(trailers))
        };
        let app = reporting(get(report)).await;
        for method in [Method::GET, Method::HEAD] {
            let whole = ask(&app, method.clone(), &NONE).await;
            assert_eq!(
                (whole.status(), length(&whole)),
                (StatusCode::OK, None),
                "{method}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn head_shows_nobody_what_is_anothers() {
    let operations = operations()
        .owner(|head| Some(Owner::new(head.headers.get("x-user")?.as_bytes())))
        .build()
        .unwrap();
    let (service, calls) = service(&operations.layer(), async |_, _| text(418, ""));
    let alices = with(get("/reports"), "x-user", "alice");
    ask(&service, alices.clone()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(calls.load(SeqCst), 1);
    for (user, calls_then) in [(Some("alice"), 1), (Some("bob"), 2), (None, 3)] {
        let mut head = get("/reports");
        *head.method_mut() = Method::HEAD;
        let head = match user {
            Some(user) => with(head, "x-user", user),
            None => head,
        };
        assert_eq!(ask(&service, head).await.status, 418);
        assert_eq!(calls.load(SeqCst), calls_then, "{user:?}");
    }
    assert_eq!(operations.usage().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_of_nobody_passes_where_there_are_owners() {
    let operations = operations()
        .owner(|head| Some(Owner::new(head.headers.get("x-user")?.as_bytes())))
        .build()
        .unwrap();
    let (service, calls) = service(&operations.layer(), async |_, _| text(200, "done"));
    for call in 1..3 {
        let answer = ask(&service, get("/reports")).await;
        assert_eq!((answer.status, answer.tag), (StatusCode::OK, None));
        assert_eq!(calls.load(SeqCst), call);
    }
    let answer = ask(&service, with(get("/reports"), "x-user", "alice")).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_within_the_wait_is_answered_as_it_will_be_again() {
    let layer = shared().layer().wait(Duration::from_secs(5));
    let (service, calls) = service(&layer, async |_, _| text(200, "done"));
    let first = ask(&service, get("/reports")).await;
    assert_eq!((first.status, &*first.body), (StatusCode::OK, &b"done"[..]));
    assert_eq!(first.cache_control.as_deref(), Some("no-cache"));
    let tag = first.tag.unwrap();
    let again = ask(&service, get("/reports")).await;
    assert_eq!(
        (again.status, again.tag.as_ref()),
        (StatusCode::OK, Some(&tag))
    );
    let known = ask(&service, with(get("/reports"), "if-none-match", &tag)).await;
    assert_eq!(
        (known.status, calls.load(SeqCst)),
        (StatusCode::NOT_MODIFIED, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_done_within_the_wait_is_answered_on_the_clients_conditions() {
    let layer = shared().layer().wait(Duration::from_secs(5));
    let (service, calls) = service(&layer, async |_, _| {
        let mut response = text(200, "done");
        let own = "\"own\"".parse().unwrap();
        response.headers_mut().insert(header::ETAG, own);
        response
    });
    for (condition, tag, status) in [
        ("if-match", "\"other\"", 412),
        ("if-match", "\"own\"", 200),
        ("if-none-match", "\"own\"", 304),
        ("if-none-match", "\"other\"", 200),
    ] {
        // The first, which waits for the handler, and then what asks for the same.
        let target = format!("/reports?{condition}={}", tag.trim_matches('"'));
        for _ in 0..2 {
            let answer = ask(&service, with(get(&target), condition, tag)).await;
            assert_eq!(answer.status, status, "{target}");
        }
    }
    assert_eq!(calls.load(SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_failure_within_the_wait_is_told_and_the_next_begins_anew() {
    let layer = shared().layer().wait(Duration::from_secs(5));
    let (service, calls) = service(&layer, async |calls, _| match calls {
        0 => text(503, "later"),
        1 => panic!("secret"),
        _ => text(200, "done"),
    });
    let failed = ask(&service, get("/reports")).await;
    assert_eq!(
        (failed.status, failed.tag),
        (StatusCode::SERVICE_UNAVAILABLE, None)
    );
    assert_eq!(failed.cache_control.as_deref(), Some("no-store"));
    let panicked = ask(&service, get("/reports")).await;
    assert_eq!(panicked.status, 500);
    let done = ask(&service, get("/reports")).await;
    assert_eq!((done.status, calls.load(SeqCst)), (StatusCode::OK, 3));
}

#[tokio::test(start_paused = true)]
async fn some_caches_are_told_of_what_has_succeeded_and_none_of_a_failure() {
    let (service, calls) = service(&shared().layer(), async |calls, _| {
        let mut response = text(if calls == 0 { 503 } else { 200 }, "said");
        let a_minute = HeaderValue::from_static("max-age=60");
        response.headers_mut().insert("cdn-cache-control", a_minute);
        response
    });
    for (status, told) in [(503, None), (200, Some("max-age=60"))] {
        assert_eq!(ask(&service, get("/reports")).await.status, 202);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ended = ask(&service, get("/reports")).await;
        assert_eq!(ended.status, status);
        assert_eq!(ended.cdn_cache_control.as_deref(), told);
    }
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_the_wait_is_joined() {
    let layer = shared().layer().wait(Duration::from_secs(5));
    let (service, calls) = service(&layer, async |_, _| pending().await);
    let first = ask(&service, get("/reports")).await;
    let second = ask(&service, get("/reports")).await;
    assert_eq!(
        (first.status, second.status),
        (StatusCode::ACCEPTED, StatusCode::ACCEPTED)
    );
    assert_eq!((first.tag, calls.load(SeqCst)), (second.tag, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_layer_names_requests_and_the_dialect_those_it_leaves() {
    let layer = shared().layer().key(|head| {
        let (_, name) = head.uri.query()?.split_once("name=")?;
        Some(name.to_owned())
    });
    let (service, _) = service(&layer, async |_, _| pending().await);
    let tag = async |target| ask(&service, get(target)).await.tag.unwrap();
    let named = tag("/reports?t=1&name=a").await;
    assert_eq!(tag("/reports?t=2&name=a").await, named);
    assert_ne!(tag("/reports?t=2&name=b").await, named);
    assert_ne!(tag("/reports?t=1").await, tag("/reports?t=2").await);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_face_meets_no_name_of_a_request() {
    let same_url = shared();
    let plain = same_url.also("/plain", Rfc::new()).unwrap();
    let (polled, _) = service(&same_url.layer(), async |_, _| pending().await);
    let layer = plain.layer().key(|_| Some("GET /reports"));
    let (kept, calls) = service(&layer, async |_, _| pending().await);
    ask(&polled, get("/reports")).await;
    assert_eq!(ask(&kept, get("/reports")).await.status, 202);
    tokio::task::yield_now().await;
    assert_eq!(calls.load(SeqCst), 1);
}
