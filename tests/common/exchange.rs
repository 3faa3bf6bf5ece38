//! One request and its answer, for dialects that are tried through their services.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{Builder, Limits, OperationHandle, Operations};

pub(crate) type Collected = Response<Bytes>;

pub(crate) async fn collected<B>(response: Response<B>) -> Collected
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

pub(crate) fn request(
    method: Method,
    target: &str,
    fields: &[(&str, &str)],
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    request = request.header(header::HOST, "example.com");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

/// Has a handler answer so, and lets it end. What a deferred handler has still seen of the opt-in comes back as `seen`.
pub(crate) async fn submit(
    operations: &Operations,
    request: Request<Full<Bytes>>,
    answer: Response<Full<Bytes>>,
) -> Collected {
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        let mut answer = answer.clone();
        let deferred = request.extensions().get::<OperationHandle>().is_some();
        let prefer = request.headers().get("prefer").cloned();
        if let (true, Some(prefer)) = (deferred, prefer) {
            answer.headers_mut().insert("seen", prefer);
        }
        async { Ok::<_, Infallible>(answer) }
    });
    let service = operations.layer().layer(inner);
    let answer = collected(service.oneshot(request).await.unwrap()).await;
    while operations.usage().running + operations.usage().accepted > 0 {
        tokio::task::yield_now().await;
    }
    answer
}

pub(crate) async fn ask(operations: &Operations, request: Request<Full<Bytes>>) -> Collected {
    collected(operations.status_service().oneshot(request).await.unwrap()).await
}

/// What a handler answers.
pub(crate) fn response(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = response.header(header::CONTENT_TYPE, kind);
    response.body(Full::new(body.into())).unwrap()
}

pub(crate) fn document(answer: &Collected) -> serde_json::Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// There is room for one, and for another once that has been delivered.
pub(crate) fn one_place(builder: Builder) -> Operations {
    let mut limits = Limits::default();
    limits.stored = 1;
    builder.limits(limits).build().unwrap()
}

/// Whether a result counts as delivered with the answer to what `asked` makes of the first one.
pub(crate) async fn is_delivered(
    builder: Builder,
    job: impl Fn() -> Request<Full<Bytes>>,
    answer: Response<Full<Bytes>>,
    asked: impl FnOnce(&Collected) -> String,
) -> bool {
    let operations = one_place(builder);
    let first = submit(&operations, job(), answer.clone()).await;
    let refused = submit(&operations, job(), answer.clone()).await;
    assert_eq!(refused.status(), 503);
    ask(&operations, request(Method::GET, &asked(&first), &[])).await;
    submit(&operations, job(), answer).await.status() != 503
}
