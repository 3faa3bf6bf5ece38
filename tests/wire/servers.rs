//! Three servers with one handler.

use axum::{
    Router,
    extract::{Path, State},
    routing::post,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::SystemTime};
use tokio::{net::TcpListener, sync::Notify};
use tower_lro::{Limits, Operations, Usage, store::Clock};

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) at: SocketAddr,
    /// What stands before `/reports`, as the client sees it.
    pub(crate) prefix: &'static str,
    pub(crate) operations: Operations,
    pub(crate) clock: Clock,
    /// Lets one `/reports/slow` go on.
    pub(crate) gate: Arc<Notify>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Bounds that are met fast.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.request_body = 1 << 20;
    limits
}

/// All three, one after the other: what holds for one must hold for each.
pub(crate) async fn servers() -> Vec<Server> {
    servers_with(limits()).await
}

pub(crate) async fn servers_with(limits: Limits) -> Vec<Server> {
    servers_on(Clock::manual(SystemTime::now()), limits).await
}

pub(crate) async fn servers_on(clock: Clock, limits: Limits) -> Vec<Server> {
    let mut servers = Vec::new();
    for (name, prefix) in [("hyper", ""), ("axum nest", "/api"), ("axum route", "/v1")] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let operations = Operations::builder()
            .clock(clock.clone())
            .limits(limits.clone())
            .build()
            .unwrap();
        let gate = Arc::new(Notify::new());
        match name {
            "hyper" => drop(tokio::spawn(hyper(
                listener,
                operations.clone(),
                gate.clone(),
            ))),
            _ => {
                let app = axum(name, prefix, &operations, gate.clone());
                tokio::spawn(async move { axum::serve(listener, app).await });
            }
        }
        servers.push(Server {
            name,
            at,
            prefix,
            operations,
            clock: clock.clone(),
            gate,
        });
    }
    servers
}

/// An existing handler, left as it is, and two lines around it.
async fn hyper(listener: TcpListener, operations: Operations, gate: Arc<Notify>) {
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let gate = gate.clone();
        async move {
            let path = request.uri().path().to_owned();
            let Some(what) = path.strip_prefix("/reports/") else {
                return Ok::<_, hyper::Error>(plain(StatusCode::NOT_FOUND, "no such route"));
            };
            let body = request.into_body().collect().await?.to_bytes();
            Ok(report(what, body, &gate).await)
        }
    });
    let service = operations.wrap(service);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// An existing router with `Path` and `State`, and two lines in it.
fn axum(name: &str, prefix: &str, operations: &Operations, gate: Arc<Notify>) -> Router {
    async fn handler(
        State(gate): State<Arc<Notify>>,
        Path(what): Path<String>,
        body: Bytes,
    ) -> Response<axum::body::Body> {
        report(&what, body, &gate).await.map(axum::body::Body::new)
    }
    let reports = Router::new()
        .route(
            "/reports/{what}",
            post(handler).route_layer(operations.layer()),
        )
        .with_state(gate);
    let app = Router::new().nest(prefix, reports);
    let status = operations.status_service();
    match name {
        "axum nest" => app.nest_service("/operations", status),
        _ => app
            .route_service("/operations", status.clone())
            .route_service("/operations/{*rest}", status),
    }
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    let mut response = Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = status;
    response
}

async fn report(what: &str, body: Bytes, gate: &Notify) -> Answer {
    let with = |status: u16, fields: &[(&'static str, &'static str)]| {
        let mut response = plain(status.try_into().unwrap(), "none of this");
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            response
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        response
    };
    match what {
        "echo" => {
            let mut response = plain(StatusCode::OK, "");
            *response.body_mut() = UnsyncBoxBody::new(Full::new(body));
            let kind = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        "slow" => {
            gate.notified().await;
            plain(StatusCode::OK, "at last")
        }
        "panic" => panic!("secret"),
        "table" => with(
            200,
            &[
                ("accept-ranges", "bytes"),
                ("age", "10"),
                ("cache-control", "max-age=60"),
                ("connection", "close, x-hop"),
                ("content-encoding", "x-none"),
                ("content-location", "?y=2"),
                ("date", "Sat, 21 Nov 2020 08:00:00 GMT"),
                ("etag", "\"theirs\""),
                ("keep-alive", "timeout=5"),
                ("link", "<../style.css>; rel=preload"),
                ("link", "<https://example.com/>; rel=next"),
                ("location", "7"),
                ("proxy-authenticate", "Basic"),
                ("retry-after", "120"),
                ("set-cookie", "b=1; Path=/"),
                ("set-cookie", "a=2"),
                ("set-cookie", "b=3"),
                ("te", "trailers"),
                ("upgrade", "h2c"),
                ("vary", "accept"),
                ("x-hop", "1"),
            ],
        ),
        "trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.append("x-sum", HeaderValue::from_static("9"));
            trailers.append("x-more", HeaderValue::from_static("a"));
            trailers.append("x-more", HeaderValue::from_static("b"));
            let body = Full::new(Bytes::from_static(b"with trailers"));
            let trailers = std::future::ready(Some(Ok(trailers)));
            Response::new(UnsyncBoxBody::new(body.with_trailers(trailers)))
        }
        "204" => with(204, &[("x-a", "1")]),
        "205" => with(205, &[("x-a", "1")]),
        "206" => with(206, &[("content-range", "bytes 0-11/99")]),
        "304" => with(304, &[("etag", "\"x\""), ("content-length", "1234")]),
        "503" => with(503, &[("retry-after", "120")]),
        _ => plain(StatusCode::NOT_FOUND, "no such report"),
    }
}

impl Server {
    pub(crate) fn reports(&self, what: &str) -> String {
        format!("{}/reports/{what}", self.prefix)
    }

    /// Waits until the usage is as wanted: what a server does after its last byte is not seen from outside.
    #[track_caller]
    pub(crate) fn until(&self, wanted: impl Fn(&Usage) -> bool) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            for _ in 0..2_000 {
                if wanted(&self.operations.usage()) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            panic!("{place}: {}: {:?}", self.name, self.operations.usage());
        }
    }

    /// Nothing runs, waits, is read or is stored.
    #[track_caller]
    pub(crate) fn is_empty(&self) -> impl Future<Output = ()> {
        self.until(|usage| *usage == Usage::default())
    }
}
