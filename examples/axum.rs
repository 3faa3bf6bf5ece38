//! An axum application whose slow routes answer 202, by adding lines and changing none.
//!
//! The handlers, the state, the middleware and the tree of routers are an ordinary application's. What makes two of its
//! routes asynchronous are the lines marked `// +`. It shows
//!
//! - an unchanged handler with `Path`, `State` and `Extension` in a nested router, deferred by `route_layer`, beside a
//!   quick one on the same path that is not;
//! - the layer in a `ServiceBuilder` beside `from_fn`: what stands outside of it sees each 202, what stands inside runs
//!   in the operation's own task and sees the report;
//! - an authenticating middleware outside of everything, and the owner rule that reads what it has found out: to
//!   everybody else an operation never was (404).
//!
//! ```text
//! cargo run --example axum                  # or on another address: -- 127.0.0.1:8080
//!
//! API=http://127.0.0.1:3000/api/v1
//!
//! # Alice asks for a report: 202, and where to look for it.
//! curl -i -H 'Authorization: Bearer alice-token' -d 'sales in May' $API/reports/7
//!
//! # How it stands (put the `Location` in): first 202, then the report as the handler has answered it.
//! curl -i -H 'Authorization: Bearer alice-token' $API/operations/ID
//!
//! # To Bob it never was, and nobody else gets in.
//! curl -i -H 'Authorization: Bearer bob-token' $API/operations/ID
//! curl -i $API/operations/ID
//!
//! # The export; who wants to wait up to 10 s for it is answered in one go. `Server-Timing` is from the layer inside.
//! curl -i -H 'Authorization: Bearer bob-token' -H 'Prefer: wait=10' -d 'csv' $API/exports/sales
//!
//! # One's own operations.
//! curl -H 'Authorization: Bearer alice-token' $API/operations
//!
//! # A quick route and a wrong method are answered at once, as ever.
//! curl -i -H 'Authorization: Bearer alice-token' $API/reports/7
//! curl -i -H 'Authorization: Bearer alice-token' -X PUT $API/reports/7
//! ```
//!
//! Ends on ctrl-c.

use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::post,
};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::Instant};
use tower::ServiceBuilder;
use tower_lro::{Operations, Owner};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?;

    let operations = Operations::builder() // +
        .mount("/api/v1/operations") // +
        .owner(|head| head.extensions.get().map(|User(name)| Owner::new(name))) // +
        .build()?; // +
    let app = app(&operations);

    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            interrupted().await;
            operations.drain(Duration::from_secs(5)).await; // +
        })
        .await?;
    Ok(())
}

fn app(operations: &Operations) -> Router {
    let exports = ServiceBuilder::new()
        .layer(from_fn(log)) // outside: sees the 202
        .layer(operations.layer()) // +
        .layer(from_fn(stamp)); // inside: sees the export
    let reports = post(report)
        .route_layer(operations.layer()) // +
        .get(outline); // comes after the layer: answered at once
    let api = Router::new()
        .route("/reports/{id}", reports)
        .route("/exports/{name}", post(export).route_layer(exports))
        .nest_service("/operations", operations.status_service()) // +
        .layer(from_fn(authenticate))
        .with_state(Shop {
            name: "The Corner Shop".into(),
        });
    Router::new().nest("/api/v1", api)
}

#[derive(Clone, Debug)]
struct Shop {
    name: Arc<str>,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
struct User(&'static str);

async fn outline(State(shop): State<Shop>, Path(id): Path<u32>) -> String {
    format!("Report {id} of {}: what did you want to know?\n", shop.name)
}

async fn report(
    State(shop): State<Shop>,
    Path(id): Path<u32>,
    Extension(User(user)): Extension<User>,
    question: String,
) -> (StatusCode, String) {
    query_the_warehouse().await;
    let report = format!("Report {id} of {} for {user}: {question}\n", shop.name);
    (StatusCode::CREATED, report)
}

async fn export(Path(name): Path<String>, format: String) -> impl IntoResponse {
    query_the_warehouse().await;
    let disposition = format!("attachment; filename=\"{name}.{format}\"");
    let fields = [
        (header::CONTENT_TYPE, "text/csv".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (fields, "month,sales\nMay,1200\n")
}

/// Stands for the work that takes longer than a balancer lets a request live.
async fn query_the_warehouse() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

async fn authenticate(mut request: Request, next: Next) -> Response {
    let credentials = request.headers().get(header::AUTHORIZATION);
    let user = match credentials.map(HeaderValue::as_bytes) {
        Some(b"Bearer alice-token") => User("alice"),
        Some(b"Bearer bob-token") => User("bob"),
        _ => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge, "Who are you?\n").into_response();
        }
    };
    request.extensions_mut().insert(user);
    next.run(request).await
}

async fn log(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    println!("{method} {uri}: {}", response.status());
    response
}

async fn stamp(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let mut response = next.run(request).await;
    let took = format!("total;dur={}", begin.elapsed().as_millis());
    if let Ok(took) = took.try_into() {
        response.headers_mut().insert("server-timing", took);
    }
    response
}

async fn interrupted() {
    // Without a handler for ctrl-c there is no graceful end, and the server had better go on.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
