//! Azure's data plane, beyond what its transcripts show: what counts as delivered, whose URLs are told, and what of a
//! handler's error is believed.
#![cfg(feature = "testing")]

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::{convert::Infallible, future::pending};
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{
    Azure, Limits, OperationHandle, Operations, Rfc,
    dialect::{OPERATION_LOCATION, View},
};

struct Answer {
    status: u16,
    location: Option<String>,
    body: Bytes,
}

impl Answer {
    async fn of<B>(response: Response<B>) -> Self
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = response.into_parts();
        let location = head
            .headers
            .get(OPERATION_LOCATION)
            .or(head.headers.get(header::LOCATION));
        Self {
            status: head.status.as_u16(),
            location: location.map(|value| value.to_str().unwrap().to_owned()),
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn request(method: Method, target: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(target);
    let request = request.header(header::HOST, "example.com");
    request.body(Full::default()).unwrap()
}

/// Has a handler answer so, and gives the 202.
async fn accepted(
    operations: &Operations,
    method: Method,
    response: Response<Full<Bytes>>,
) -> Answer {
    let inner = service_fn(move |_: Request<Full<Bytes>>| {
        let response = response.clone();
        async { Ok::<_, Infallible>(response) }
    });
    let service = operations.layer().layer(inner);
    let answer = Answer::of(service.oneshot(request(method, "/reports")).await.unwrap()).await;
    while operations.usage().running + operations.usage().accepted > 0 {
        tokio::task::yield_now().await;
    }
    answer
}

async fn get(operations: &Operations, url: &str) -> Answer {
    let service = operations.status_service();
    Answer::of(service.oneshot(request(Method::GET, url)).await.unwrap()).await
}

fn response(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind);
    response.body(Full::new(body.into())).unwrap()
}

/// There is room for one, and for another once that has been delivered.
fn one_place() -> Operations {
    let mut limits = Limits::default();
    limits.stored = 1;
    Operations::builder()
        .dialect(Azure::new())
        .limits(limits)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_document_that_holds_the_result_delivers_it() {
    let operations = one_place();
    let json = || response(200, "application/json", "[1]");
    let first = accepted(&operations, Method::POST, json()).await;
    assert_eq!(
        accepted(&operations, Method::POST, json()).await.status,
        503
    );
    let document = get(&operations, &first.location.unwrap()).await.json();
    assert_eq!(document["result"], json!([1]));
    assert_eq!(
        accepted(&operations, Method::POST, json()).await.status,
        202
    );
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_all_there_is_to_tell_delivers_it() {
    for (method, result) in [
        (Method::PUT, response(200, "application/json", "{}")),
        (Method::POST, response(500, "text/plain", "no")),
        (Method::POST, response(200, "text/plain", "")),
    ] {
        let operations = one_place();
        let first = accepted(&operations, method, result.clone()).await;
        assert_eq!(
            accepted(&operations, Method::POST, result.clone())
                .await
                .status,
            503
        );
        get(&operations, &first.location.unwrap()).await;
        assert_eq!(
            accepted(&operations, Method::POST, result).await.status,
            202
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_that_points_at_the_result_does_not_deliver_it() {
    let operations = one_place();
    let text = || response(200, "text/plain", "text");
    let first = accepted(&operations, Method::POST, text()).await;
    let document = get(&operations, &first.location.unwrap()).await.json();
    assert_eq!(
        accepted(&operations, Method::POST, text()).await.status,
        503
    );
    let place = document["resultLocation"].as_str().unwrap();
    assert_eq!(get(&operations, place).await.body, "text");
    assert_eq!(
        accepted(&operations, Method::POST, text()).await.status,
        202
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_small_error_object_is_told_on() {
    let operations = Operations::builder().dialect(Azure::new()).build().unwrap();
    let padding = "x".repeat(View::SMALL);
    let large = format!(r#"{{"error":{{"code":"Mine","message":"{padding}"}}}}"#);
    for (kind, body) in [
        ("application/json", large.as_str()),
        ("application/json", r#"{"error":{"code":1,"message":"no"}}"#),
        ("application/json", r#"{"error":"Mine"}"#),
        (
            "application/json",
            r#"{"error":{"code":"Mine","message":"no"}"#,
        ),
        ("application/json", "\"Mine\""),
        ("text/plain", r#"{"error":{"code":"Mine","message":"no"}}"#),
    ] {
        let accepted = accepted(
            &operations,
            Method::POST,
            response(404, kind, body.to_owned()),
        )
        .await;
        let document = get(&operations, &accepted.location.unwrap()).await.json();
        let wanted = json!({"code": "NotFound", "message": "Not Found"});
        assert_eq!(
            (&document["status"], &document["error"]),
            (&json!("Failed"), &wanted),
            "{body}"
        );
    }
}

/// azure-core takes the `code` and `message` of a document without `error` for the error's own.
#[tokio::test(start_paused = true)]
async fn the_progress_of_what_is_cancelled_is_not_taken_for_its_error() {
    let operations = Operations::builder().dialect(Azure::new()).build().unwrap();
    let inner = service_fn(async |request: Request<Full<Bytes>>| {
        let operation = request.extensions().get::<OperationHandle>();
        operation.unwrap().progress(0.5, "half way");
        pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    });
    let service = operations.layer().layer(inner);
    let accepted = service.oneshot(request(Method::POST, "/reports")).await;
    let monitor = Answer::of(accepted.unwrap()).await.location.unwrap();
    tokio::task::yield_now().await;
    let cancel = request(Method::POST, &format!("{monitor}:cancel"));
    let cancelled = operations.status_service().oneshot(cancel).await.unwrap();
    assert_eq!(Answer::of(cancelled).await.status, 200);

    let document = get(&operations, &monitor).await.json();
    assert_eq!(document["status"], "Canceled");
    assert_eq!(document["progressMessage"], "half way");
    for member in ["error", "code", "message"] {
        assert_eq!(document.get(member), None);
    }
}

#[tokio::test(start_paused = true)]
async fn another_dialect_shows_the_operation_under_its_own_urls() {
    let azure = Operations::builder()
        .mount("/azure")
        .dialect(Azure::new())
        .build()
        .unwrap();
    let plain = azure.also("/plain", Rfc::new()).unwrap();
    let accepted = accepted(
        &azure,
        Method::POST,
        response(200, "application/json", "[1]"),
    )
    .await;
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        accepted.location.unwrap(),
        format!("http://example.com/azure/{id}")
    );
    let document = get(&plain, &format!("/plain/{id}/status")).await.json();
    assert_eq!(document["links"]["monitor"], format!("/plain/{id}"));
    assert_eq!(get(&plain, &format!("/plain/{id}")).await.body, "[1]");
}
