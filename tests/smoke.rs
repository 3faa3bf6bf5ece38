//! The thin thread: an unchanged axum handler answers 202, and its response is replayed.
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    routing::post,
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_lro::Operations;

async fn handler(
    State(state): State<&'static str>,
    Path(id): Path<u32>,
    body: String,
) -> (StatusCode, String) {
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    (StatusCode::CREATED, format!("{state} {id} {body}"))
}

#[tokio::test]
async fn smoke() {
    let operations = Operations::builder().build().unwrap();
    let app: Router = Router::new()
        .nest(
            "/api",
            Router::new()
                .route(
                    "/reports/{id}",
                    post(handler).route_layer(operations.layer()),
                )
                .with_state("state"),
        )
        .nest_service("/operations", operations.status_service());
    let request = Request::post("/api/reports/7?x=1")
        .body(Body::from("hello"))
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    println!("{:?}", response.headers());
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
    for prefer in ["", "wait=0", "wait=5"] {
        for path in ["", "/status", "/result"] {
            let request = Request::get(format!("{location}{path}"))
                .header("prefer", prefer)
                .body(Body::empty())
                .unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            println!("{path} {:?} {:?}", response.status(), response.headers());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            println!("{}", String::from_utf8_lossy(&body));
        }
    }
    println!("{:?}", operations.usage());
}
