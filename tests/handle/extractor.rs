use super::*;
use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use http_body_util::BodyExt;
use tower::ServiceExt;

async fn required(handle: OperationHandle) -> String {
    handle.id().to_string()
}

async fn optional(handle: Option<OperationHandle>) -> String {
    handle.map_or("none".into(), |handle| handle.id().to_string())
}

async fn call(app: &Router, method: &str, target: &str) -> (Response<()>, Bytes) {
    let request = Request::builder().method(method).uri(target);
    let request = request.body(Body::empty()).unwrap();
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), body)
}

#[tokio::test(start_paused = true)]
async fn it_is_there_in_what_is_deferred_and_an_option_of_it_elsewhere() {
    let operations = operations();
    let app: Router = Router::new()
        .route("/required", post(required).route_layer(operations.layer()))
        .route("/optional", post(optional).route_layer(operations.layer()))
        .route("/passing/required", post(required))
        .route("/passing/optional", post(optional))
        .fallback_service(operations.status_service());
    for target in ["/required", "/optional"] {
        let (accepted, _) = call(&app, "POST", target).await;
        let location = accepted.headers()["location"].to_str().unwrap();
        let (_, id) = location.rsplit_once('/').unwrap();
        end_of(&operations, id.parse().unwrap()).await;
        assert_eq!(call(&app, "GET", location).await.1, id);
    }
    let (refused, _) = call(&app, "POST", "/passing/required").await;
    assert_eq!(refused.status(), 500);
    assert_eq!(call(&app, "POST", "/passing/optional").await.1, "none");
}
