//! A slow plain HTTP route in a tonic server, answered 202, beside gRPC services that notice nothing.
//!
//! The layer lies around the whole server. gRPC passes through it untouched, be it unary, server streaming or
//! bidirectional, and its trailers arrive: here the health service (`Check`, `Watch`) and the reflection service
//! (`ServerReflectionInfo`). The lines marked `// +` are what was added.
//!
//! ```text
//! cargo run --example tonic                 # or on another address: -- 127.0.0.1:8080
//!
//! # The slow route: 202, then the report. A tonic server speaks HTTP/2 from the first byte.
//! curl -i --http2-prior-knowledge -d 'sales in May' http://127.0.0.1:3000/reports/7
//! curl -i --http2-prior-knowledge -H 'Prefer: wait=10' http://127.0.0.1:3000/operations/ID
//!
//! # gRPC by hand, unary: an empty message is five zero bytes. Look for `grpc-status: 0` after the answer.
//! printf '\0\0\0\0\0' | curl -v --http2-prior-knowledge -H 'Content-Type: application/grpc' -H 'TE: trailers' \
//!     --data-binary @- -o - http://127.0.0.1:3000/grpc.health.v1.Health/Check
//!
//! # The same with a gRPC client, and a stream that goes on: the reports' health, every two seconds another.
//! grpcurl -plaintext 127.0.0.1:3000 grpc.health.v1.Health/Check
//! grpcurl -plaintext -d '{"service":"reports"}' 127.0.0.1:3000 grpc.health.v1.Health/Watch
//! grpcurl -plaintext 127.0.0.1:3000 list
//! ```
//!
//! Ends on ctrl-c.

use axum::{
    Router,
    extract::{Path, State},
    routing::post,
};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, pb, server::HealthReporter};
use tower::layer::layer_fn;
use tower_lro::{Operations, admit};

async fn report(
    State(shop): State<Arc<str>>,
    Path(id): Path<u32>,
    question: String,
) -> (http::StatusCode, String) {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let report = format!("Report {id} of {shop}: {question}\n");
    (http::StatusCode::CREATED, report)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let plain = Router::new()
        .route("/reports/{id}", post(report))
        .with_state("The Corner Shop".into());
    let services = Routes::new(health).add_service(reflection);
    let routes = Routes::from(services.into_axum_router().merge(plain));

    let operations = Operations::builder().build()?; // +
    let defer = operations.layer().when(admit::unsafe_methods()); // +
    let server = Server::builder()
        .layer(layer_fn(move |routes| defer.clone().wrap(routes))) // +
        .add_routes(routes);

    let alternation = tokio::spawn(alternate(reporter.clone()));
    server
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), async move {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending().await
            }
            operations.drain(Duration::from_secs(5)).await; // +
            // Streams that never end would hold up the server's end.
            alternation.abort();
            end_streams(reporter).await;
        })
        .await?;
    Ok(())
}

/// Lets watchers see something.
async fn alternate(reporter: HealthReporter) {
    let mut tick = tokio::time::interval(Duration::from_secs(2));
    let states = [ServingStatus::Serving, ServingStatus::NotServing];
    for state in states.into_iter().cycle() {
        tick.tick().await;
        reporter.set_service_status("reports", state).await;
    }
}

async fn end_streams(mut reporter: HealthReporter) {
    for service in ["", "reports"] {
        reporter.clear_service_status(service).await;
    }
}
