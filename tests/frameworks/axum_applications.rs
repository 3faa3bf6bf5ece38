//! Handlers under `nest`, and the layer in a `ServiceBuilder`.

use crate::{Gate, as_it_was, assert_nothing_is_held, assert_replays, deferred, listen, raw::Ask};
use axum::ServiceExt;
use axum::{
    Extension, Router,
    body::Body,
    extract::{OriginalUri, Path, State},
    middleware::{Next, from_fn},
    response::{AppendHeaders, IntoResponse},
    routing::{get, post},
};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use std::{
    net::SocketAddr,
    task::{Context, Poll},
};
use tower::{Layer, Service, ServiceBuilder, util::MapResponseLayer};
use tower_http::auth::AsyncRequireAuthorizationLayer;
use tower_lro::{Operations, Owner};

#[derive(Clone)]
struct Shop {
    name: &'static str,
    gate: &'static Gate,
}

#[derive(Clone)]
struct User(String);

async fn report(
    State(shop): State<Shop>,
    Path((year, id)): Path<(u16, u32)>,
    Extension(User(user)): Extension<User>,
    OriginalUri(uri): OriginalUri,
    body: String,
) -> impl IntoResponse {
    shop.gate.pass().await;
    let fields = AppendHeaders([(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "b=2")]);
    let text = format!("{} {year} {id} {user} {uri} {body}", shop.name);
    (StatusCode::CREATED, fields, text)
}

async fn authorize(mut request: Request<Body>) -> Result<Request<Body>, Response<Body>> {
    let credentials = request.headers().get(header::AUTHORIZATION);
    let token = credentials.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(user) = token.map(|token| User(token.to_owned())) else {
        return Err(StatusCode::UNAUTHORIZED.into_response());
    };
    request.extensions_mut().insert(user);
    Ok(request)
}

async fn serve(app: Router) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

fn alice(ask: Ask) -> Ask {
    ask.field("Authorization", "Bearer alice")
}

#[tokio::test]
async fn a_handler_under_nest_with_path_state_and_auth_is_deferred_by_adding_lines() {
    static GATE: Gate = Gate::new();
    let shop = Shop {
        name: "corner",
        gate: &GATE,
    };

    let plain = serve({
        let reports = Router::new()
            .route(
                "/{year}/reports/{id}",
                get(|| async { "quick" }).merge(post(report)),
            )
            .with_state(shop.clone())
            .layer(AsyncRequireAuthorizationLayer::new(authorize));
        Router::new().nest("/api", Router::new().nest("/v1", reports))
    })
    .await;

    let operations = Operations::builder()
        .mount("/api/v1/operations")
        .owner(|head| {
            let user: Option<&User> = head.extensions.get();
            user.map(|User(name)| Owner::new(name))
        })
        .build()
        .unwrap();
    let wrapped = serve({
        let reports = Router::new()
            .route(
                "/{year}/reports/{id}",
                get(|| async { "quick" }).merge(post(report).route_layer(operations.layer())),
            )
            .nest_service("/operations", operations.status_service())
            .with_state(shop)
            .layer(AsyncRequireAuthorizationLayer::new(authorize));
        Router::new().nest("/api", Router::new().nest("/v1", reports))
    })
    .await;

    let target = "/api/v1/2026/reports/7?style=long";
    let ask = alice(Ask::post(target, "sales in May"));
    let original = as_it_was(plain, &ask, &GATE).await;
    assert_eq!(
        (original.status, original.text()),
        (
            201,
            "corner 2026 7 alice /api/v1/2026/reports/7?style=long sales in May"
        )
    );
    let [accepted, pending, replay] = deferred(wrapped, &ask, alice, &GATE).await;
    let request = serde_json::json!({"method": "POST", "target": target});
    assert_eq!(accepted.json()["request"], request);
    assert!(["accepted", "running"].contains(&pending.json()["status"].as_str().unwrap()));
    assert_replays(&replay, &original, "succeeded");
    let cookies = replay
        .fields
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    let cookies: Vec<_> = cookies.map(|(_, value)| &**value).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_nothing_is_held(&operations);

    // What lies outside of the layer, and what it does not lie on, answers as ever: at once.
    let quick = alice(Ask::get(target)).send(wrapped).await;
    assert_eq!((quick.status, quick.text()), (200, "quick"));
    let nobody = Ask::post(target, "x").send(wrapped).await;
    assert_eq!(nobody.status, 401);
    let wrong_method = alice(Ask::new("PATCH", target)).send(wrapped).await;
    assert_eq!(wrong_method.status, 405);
    let wrong_path = alice(Ask::post("/api/v1/2026/report/7", "x"));
    assert_eq!(wrong_path.send(wrapped).await.status, 404);

    // The monitor is behind the same authentication, and shows nobody else's operations.
    let monitor = accepted.monitor();
    assert_eq!(Ask::get(&monitor).send(wrapped).await.status, 401);
    for tail in ["", "/status", "/result"] {
        let ask = Ask::get(&format!("{monitor}{tail}"));
        let stranger = ask.field("Authorization", "Bearer bob").send(wrapped).await;
        assert_eq!(
            (stranger.status, &*stranger.problem()),
            (404, "urn:tower-lro:problem:unknown")
        );
    }
}

/// Stands outside of the layer.
async fn outside(request: Request<Body>, next: Next) -> axum::response::Response {
    let mut response = next.run(request).await;
    let seen = response.status().as_u16().into();
    response.headers_mut().insert("x-outside", seen);
    response
}

/// Stands inside, reads the body, and hands on another of its own.
async fn inside(request: Request<Body>, next: Next) -> axum::response::Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let louder = body.to_ascii_uppercase();
    let mut response = next.run(Request::from_parts(head, louder.into())).await;
    let seen = response.status().as_u16().into();
    response.headers_mut().insert("x-inside", seen);
    response
}

#[tokio::test]
async fn the_layer_stands_in_a_service_builder_beside_from_fn() {
    static GATE: Gate = Gate::new();
    let shop = Shop {
        name: "corner",
        gate: &GATE,
    };

    let plain = serve({
        let layers = ServiceBuilder::new()
            .layer(from_fn(outside))
            .layer(from_fn(inside));
        let reports = Router::new()
            .route("/{year}/reports/{id}", post(report).route_layer(layers))
            .with_state(shop.clone())
            .layer(AsyncRequireAuthorizationLayer::new(authorize));
        Router::new().nest("/api", reports)
    })
    .await;

    let operations = Operations::builder().build().unwrap();
    let wrapped = serve({
        let layers = ServiceBuilder::new()
            .layer(from_fn(outside))
            .layer(operations.layer())
            .layer(from_fn(inside));
        let reports = Router::new()
            .route("/{year}/reports/{id}", post(report).route_layer(layers))
            .with_state(shop)
            .layer(AsyncRequireAuthorizationLayer::new(authorize));
        Router::new()
            .nest("/api", reports)
            .nest_service("/operations", operations.status_service())
    })
    .await;

    let ask = alice(Ask::post("/api/2026/reports/7", "sales in May"));
    let mut original = as_it_was(plain, &ask, &GATE).await;
    assert_eq!(
        (original.status, original.text()),
        (201, "corner 2026 7 alice /api/2026/reports/7 SALES IN MAY")
    );
    let [accepted, pending, replay] = deferred(wrapped, &ask, |ask| ask, &GATE).await;
    let (out, ins) = ("x-outside", "x-inside");
    assert_eq!(
        (accepted.field(out), accepted.field(ins)),
        (Some("202"), None)
    );
    assert_eq!((pending.field(out), pending.field(ins)), (None, None));
    assert_eq!((replay.field(out), replay.field(ins)), (None, Some("201")));
    original.fields.retain(|(name, _)| name != out);
    assert_replays(&replay, &original, "succeeded");

    // Answered in time, it passes both.
    GATE.let_one_go();
    let waiting = ask.field("Prefer", "wait=20").send_late(wrapped).await;
    assert_eq!(waiting.field("preference-applied"), Some("wait=20"));
    assert_eq!(
        (waiting.status, waiting.field(out), waiting.field(ins)),
        (201, Some("201"), Some("201"))
    );
    assert_eq!(waiting.body, original.body);
    assert_nothing_is_held(&operations);
}

/// Written for axum's own body, and so for nothing else.
#[derive(Clone)]
struct Stamped<S>(S);

impl<S> Service<Request<Body>> for Stamped<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.0.call(request)
    }
}

#[tokio::test]
async fn with_its_body_mapped_it_stands_where_axums_own_is_wanted() {
    static GATE: Gate = Gate::new();
    let shop = Shop {
        name: "corner",
        gate: &GATE,
    };
    let own = || MapResponseLayer::new(|response: Response<_>| response.map(Body::new));
    let app = |operations: Option<&Operations>| {
        let layers = ServiceBuilder::new().layer_fn(Stamped).option_layer(
            operations.map(|it| ServiceBuilder::new().layer(own()).layer(it.layer())),
        );
        Router::new()
            .route("/{year}/reports/{id}", post(report).route_layer(layers))
            .with_state(shop.clone())
            .layer(AsyncRequireAuthorizationLayer::new(authorize))
    };
    let plain = serve(app(None)).await;
    let layered = Operations::builder().build().unwrap();
    let by_layer = app(Some(&layered)).nest_service("/operations", layered.status_service());
    let by_layer = serve(by_layer).await;
    let wrapped = Operations::builder().build().unwrap();
    let by_wrap = own().layer(wrapped.wrap(app(None)));
    let (listener, address) = listen().await;
    tokio::spawn(
        axum::serve(
            listener,
            ServiceExt::<Request<Body>>::into_make_service(by_wrap),
        )
        .into_future(),
    );

    let ask = alice(Ask::post("/2026/reports/7", "sales in May"));
    let original = as_it_was(plain, &ask, &GATE).await;
    assert_eq!(original.status, 201);
    for address in [by_layer, address] {
        let [_, _, replay] = deferred(address, &ask, |ask| ask, &GATE).await;
        assert_replays(&replay, &original, "succeeded");
    }
    assert_nothing_is_held(&layered);
    assert_nothing_is_held(&wrapped);
}
