//! A dialect of one's own: asynchronous processing as JSON:API recommends it.
//!
//! The monitor is a resource object, named by `Content-Location`. It is 200 while the operation is pending or has failed, and
//! 303 to what was made once it has succeeded: what the handler has told, or else the stored response at `…/result`.
//!
//! ```text
//! cargo run --example dialect               # or on another address: -- 127.0.0.1:8080
//!
//! # 202, and the job as a resource object.
//! curl -i -X POST http://127.0.0.1:3000/photos
//!
//! # How it stands (put the `Content-Location` in): 200 while it is pending, then 303.
//! curl -i http://127.0.0.1:3000/photos/queue-jobs/ID
//! curl -iL http://127.0.0.1:3000/photos/queue-jobs/ID
//!
//! # No more interest.
//! curl -i -X DELETE http://127.0.0.1:3000/photos/queue-jobs/ID
//! ```
//!
//! Ends on ctrl-c.

use axum::{Router, routing::post};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use std::{error::Error, time::Duration};
use tower_lro::{
    Dialect, Head, OperationHandle, Operations,
    dialect::{Address, Answer, Ask, OptIn, Route, View},
    problem::{Problem, ProblemKind},
    record::{Outcome, Phase},
};

#[derive(Clone, Copy, Debug)]
struct JsonApi;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const MONITOR: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

impl Dialect for JsonApi {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let tail = tail.strip_prefix('/')?;
        let (id, read) = match tail.strip_suffix("/result") {
            Some(id) => (id, Ask::Result),
            None => (tail, Ask::Monitor),
        };
        let Ok(id) = id.parse() else {
            return Some(Address::Problem(Problem::new(ProblemKind::Unknown)));
        };
        Some(match *head.method {
            Method::GET | Method::HEAD => Address::Operation(id, read),
            Method::DELETE => Address::Operation(id, Ask::CancelAndForget),
            Method::OPTIONS => Address::Options(MONITOR),
            _ => Address::Problem(Problem::new(ProblemKind::Method).allow(MONITOR)),
        })
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        let mut response = job(view, StatusCode::ACCEPTED);
        let monitor = view.links().header("");
        response
            .headers_mut()
            .insert(header::CONTENT_LOCATION, monitor);
        response.map(Answer::Bytes)
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        match (ask, view.phase(), view.replay()) {
            (Ask::Result, _, Some(mut head)) => {
                head.headers.insert(header::CACHE_CONTROL, NO_STORE);
                Response::from_parts(head, Answer::Stored)
            }
            (Ask::Result, _, None) => {
                let mut problem = Problem::new(ProblemKind::ResultNotReady);
                if !view.phase().is_ended() {
                    problem = problem.retry_after(view.retry_after());
                }
                self.problem(&problem, &OptIn::default()).map(Answer::Bytes)
            }
            (Ask::Monitor, Phase::Ended(Outcome::Succeeded), _) => {
                let mut response = job(view, StatusCode::SEE_OTHER);
                let told = view.report().and_then(|report| report.resource.as_deref());
                let target = told.and_then(|told| HeaderValue::try_from(told).ok());
                let target = target.unwrap_or_else(|| view.links().header("/result"));
                response.headers_mut().insert(header::LOCATION, target);
                response.map(Answer::Bytes)
            }
            // A failure is told nowhere else: with this it is delivered.
            _ => job(view, StatusCode::OK).map(Answer::Instead),
        }
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        let status = problem.status.as_str();
        let error =
            json!({"status": status, "code": problem.kind.name(), "detail": problem.detail});
        let mut response = document(problem.status, &json!({"errors": [error]}));
        if let Some(seconds) = problem.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn job(view: &View<'_>, status: StatusCode) -> Response<Bytes> {
    let link = view.links().header("");
    let job = json!({"data": {
        "type": "queue-jobs",
        "id": view.id().to_string(),
        "attributes": {"status": view.phase().as_str()},
        "links": {"self": link.to_str().unwrap_or_default()},
    }});
    let mut response = document(status, &job);
    if !view.phase().is_ended() {
        let seconds = view.retry_after().into();
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn document(status: StatusCode, document: &Value) -> Response<Bytes> {
    let mut response = Response::new(document.to_string().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/vnd.api+json");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

async fn develop(operation: OperationHandle) -> &'static str {
    operation.progress(0.5, "in the bath");
    tokio::time::sleep(Duration::from_secs(2)).await;
    "a photo\n"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = tokio::net::TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000"));
    let listener = listener.await?;
    println!("listening on http://{}", listener.local_addr()?);

    let mount = "/photos/queue-jobs";
    let operations = Operations::builder()
        .mount(mount)
        .dialect(JsonApi)
        .build()?;
    let app = Router::new()
        .route("/photos", post(develop).route_layer(operations.layer()))
        .nest_service(mount, operations.status_service());
    let server = axum::serve(listener, app);
    server
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            operations.drain(Duration::from_secs(5)).await;
        })
        .await?;
    Ok(())
}
