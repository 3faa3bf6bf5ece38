//! One request and its answer, for dialects that are tried through their services.

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{OperationHandle, Operations};

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
