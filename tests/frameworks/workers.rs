//! Workers that run what a web tier has accepted: the same applications, below what authenticates.

use crate::{Gate, deferred, listen, raw::Ask};
use axum::{
    Extension, Router,
    body::Body,
    extract::{OriginalUri, Path, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{convert::Infallible, net::SocketAddr};
use tonic::service::Routes;
use tower::service_fn;
use tower_lro::{Operations, SeenUri};

#[derive(Clone)]
struct User(String);

#[derive(Clone)]
struct Shop {
    name: &'static str,
    gate: &'static Gate,
}

async fn report(
    State(shop): State<Shop>,
    Path((year, id)): Path<(u16, u32)>,
    Extension(User(user)): Extension<User>,
    OriginalUri(uri): OriginalUri,
    request: Request<Body>,
) -> (StatusCode, String) {
    shop.gate.pass().await;
    let (head, body) = request.into_parts();
    let token = head.headers.contains_key(header::AUTHORIZATION);
    let seen = head.extensions.get::<SeenUri>().map(|SeenUri(uri)| uri);
    let body = body.collect().await.unwrap().to_bytes();
    let text = format!(
        "{} {year} {id} {user} token={token} {uri} {} seen={seen:?} {}",
        shop.name,
        head.uri,
        String::from_utf8_lossy(&body)
    );
    (StatusCode::CREATED, text)
}

/// What both tiers have in common, layer included.
fn api(operations: &Operations, gate: &'static Gate) -> Router {
    let report = post(report).route_layer(operations.layer().accept_only());
    let year = Router::new().route("/reports/{id}", report);
    Router::new()
        .nest("/api/{year}", year)
        .with_state(Shop { name: "shop", gate })
}

/// Leaves who it is in a field, whatever the client says there: fields are stored, and extensions are not.
async fn authenticate(mut request: Request<Body>, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION);
    let Some(user) = token.and_then(|token| token.to_str().ok()?.strip_prefix("Bearer ")) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let user = HeaderValue::try_from(user).unwrap();
    request.headers_mut().insert("x-user", user);
    let (mut head, body) = request.into_parts();
    restore(&mut head);
    next.run(Request::from_parts(head, body)).await
}

/// The rest is the same for requests that come and those that come again.
fn restore(head: &mut Parts) {
    let user = head.headers["x-user"].to_str().unwrap().to_owned();
    head.extensions.insert(User(user));
}

#[tokio::test]
async fn an_axum_router_runs_below_what_authenticates() {
    static GATE: Gate = Gate::new();
    let operations = Operations::builder().build().unwrap();
    let web = api(&operations, &GATE)
        .nest_service("/operations", operations.status_service())
        .layer(from_fn(authenticate));
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, web).await });
    let worker = operations.worker::<_, Body>("default", api(&operations, &GATE));
    tokio::spawn(worker.restore(restore).run());

    let bearer = |ask: Ask| ask.field("Authorization", "Bearer alice");
    let ask = bearer(Ask::post("/api/2026/reports/7?x=1", "some data")).field("X-User", "mallory");
    let [accepted, pending, replay] = deferred(address, &ask, bearer, &GATE).await;
    assert_eq!((accepted.status, pending.status), (202, 202));
    assert_eq!(replay.status, 201);
    assert_eq!(
        replay.text(),
        "shop 2026 7 alice token=false /api/2026/reports/7?x=1 /reports/7?x=1 \
         seen=Some(/reports/7?x=1) some data"
    );
    let stranger = Ask::post("/api/2026/reports/7", "").send(address).await;
    assert_eq!(stranger.status, 401);
}

async fn incoming(request: Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = format!("{} {} {}", head.method, head.uri, body.len());
    Ok(http::Response::new(Full::new(text.into())))
}

#[tokio::test]
async fn a_service_of_incoming_bodies_runs_in_a_worker() {
    let operations = Operations::builder().build().unwrap();
    let web = operations.layer().accept_only().wrap(service_fn(incoming));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(web.clone());
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    let worker = operations.worker::<_, Incoming>("default", service_fn(incoming));
    tokio::spawn(worker.run());
    // Longer than what is parsed in one go.
    let body = "x".repeat(300_000);
    let replay = followed(address, Ask::post("/reports?x=1", body)).await;
    assert_eq!(replay, "POST /reports?x=1 300000");
}

#[tokio::test]
async fn tonic_routes_run_in_a_worker() {
    let operations = Operations::builder().build().unwrap();
    let report = |Path(id): Path<u32>, body: String| async move { format!("{id} {body}") };
    let plain = Router::new().route("/reports/{id}", post(report));
    let routes = Routes::from(Routes::default().into_axum_router().merge(plain));
    let worker = operations.worker::<_, tonic::body::Body>("default", routes);
    tokio::spawn(worker.run());
    let layer = operations.layer().accept_only();
    let web = Router::new()
        .route(
            "/reports/{id}",
            post(async || "not here").route_layer(layer),
        )
        .nest_service("/operations", operations.status_service());
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, web).await });
    let replay = followed(address, Ask::post("/reports/7", "some data")).await;
    assert_eq!(replay, "7 some data");
}

/// What the monitor says in the end.
async fn followed(address: SocketAddr, ask: Ask) -> String {
    let accepted = ask.send(address).await;
    assert_eq!(accepted.status, 202);
    let poll = Ask::get(&accepted.monitor()).field("Prefer", "wait=20");
    let replay = poll.send(address).await;
    assert_eq!(replay.status, 200, "{}", replay.text());
    replay.text().to_owned()
}
