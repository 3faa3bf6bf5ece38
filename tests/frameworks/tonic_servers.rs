//! A plain route beside gRPC services.

use super::*;
use crate::http2::{Client, Read, connect, late, next, open, read};
use axum::{
    Router,
    extract::{Path, State},
    routing::post,
};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use std::net::SocketAddr;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, pb, server::HealthReporter};
use tower::layer::layer_fn;
use tower_lro::Operations;

async fn report(
    State(gate): State<&'static Gate>,
    Path(id): Path<u32>,
    body: String,
) -> (StatusCode, String) {
    gate.pass().await;
    (StatusCode::CREATED, format!("{id} {body}"))
}

fn routes(gate: &'static Gate) -> (Routes, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .unwrap();
    let plain = Router::new()
        .route("/reports/{id}", post(report))
        .with_state(gate);
    let services = Routes::new(health).add_service(reflection);
    let routes = services.into_axum_router().merge(plain).into();
    (routes, reporter)
}

async fn as_it_was(gate: &'static Gate) -> (SocketAddr, HealthReporter) {
    let (listener, address) = listen().await;
    let (routes, reporter) = routes(gate);
    let server = Server::builder().accept_http1(true).add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (address, reporter)
}

async fn wrapped(gate: &'static Gate, operations: &Operations) -> (SocketAddr, HealthReporter) {
    let (listener, address) = listen().await;
    let (routes, reporter) = routes(gate);
    let operations = operations.clone();
    let server = Server::builder()
        .accept_http1(true)
        .layer(layer_fn(move |routes| operations.wrap(routes)))
        .add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (address, reporter)
}

#[tokio::test]
async fn a_plain_route_of_a_tonic_server_is_deferred_by_adding_lines() {
    static GATE: Gate = Gate::new();
    let (plain, _) = as_it_was(&GATE).await;
    let operations = Operations::builder().build().unwrap();
    let (wrapped, _) = wrapped(&GATE, &operations).await;

    let ask = Ask::post("/reports/7", "sales in May");
    let original = crate::as_it_was(plain, &ask, &GATE).await;
    assert_eq!((original.status, original.text()), (201, "7 sales in May"));
    let [_, _, replay] = deferred(wrapped, &ask, |ask| ask, &GATE).await;
    assert_replays(&replay, &original, "succeeded");

    let mut client = connect(wrapped).await;
    let request = Request::post(format!("http://{wrapped}/reports/8"));
    let accepted = late(&mut client, request.body(()).unwrap(), "sales in June").await;
    assert_eq!(accepted.status, 202);
    let monitor = accepted.headers[header::LOCATION].to_str().unwrap();
    GATE.let_one_go();
    let waiting = Request::get(format!("http://{wrapped}{monitor}"));
    let waiting = waiting.header("prefer", "wait=20").body(()).unwrap();
    let (feed, replay) = open(&mut client, waiting);
    drop(feed);
    let replay = read(replay.await).await;
    assert_eq!(
        (replay.status.as_u16(), &*replay.data),
        (201, &b"8 sales in June"[..])
    );
    assert_eq!(replay.headers["operation-outcome"], "succeeded");
    assert_nothing_is_held(&operations);
}

/// A message in its frame.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// `HealthCheckRequest { service }`, in its frame.
fn health_of(service: &str) -> Bytes {
    let length = u8::try_from(service.len()).unwrap();
    framed(&[&[0x0a, length], service.as_bytes()].concat())
}

/// `HealthCheckResponse { status }`, in its frame.
fn health(status: u8) -> Bytes {
    framed(&[0x08, status])
}

fn grpc(address: SocketAddr, method: &str) -> Request<()> {
    Request::post(format!("http://{address}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

async fn call(client: &mut Client, head: Request<()>, message: Bytes) -> Read {
    let (mut feed, response) = open(client, head);
    feed.send_data(message).await.unwrap();
    drop(feed);
    read(response.await).await
}

/// Every kind of call, and all that was heard of it.
async fn calls(address: SocketAddr, reporter: HealthReporter) -> Vec<Read> {
    const CHECK: &str = "grpc.health.v1.Health/Check";
    let mut client = connect(address).await;
    let set = async |status| reporter.set_service_status("reports", status).await;
    set(ServingStatus::Serving).await;
    let mut heard = Vec::new();

    // Unary: answered, refused, not there, and with a message that comes late.
    heard.push(call(&mut client, grpc(address, CHECK), health_of("reports")).await);
    heard.push(call(&mut client, grpc(address, CHECK), health_of("nobody")).await);
    heard.push(call(&mut client, grpc(address, "no.such/Service"), framed(b"")).await);
    heard.push(late(&mut client, grpc(address, CHECK), "\0\0\0\0\0").await);

    // A stream of answers: each is heard when it is said, and the trailers at its end.
    let (mut feed, response) = open(&mut client, grpc(address, "grpc.health.v1.Health/Watch"));
    feed.send_data(health_of("reports")).await.unwrap();
    drop(feed);
    let mut response = response.await;
    assert_eq!(next(response.body_mut()).await, health(1));
    set(ServingStatus::NotServing).await;
    assert_eq!(next(response.body_mut()).await, health(2));
    reporter.clone().clear_service_status("reports").await;
    heard.push(read(response).await);

    // Streams both ways: each question is answered before the next is asked.
    const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let (mut feed, response) = open(&mut client, grpc(address, REFLECTION));
    let list_services = framed(b"\x3a\x01*");
    feed.send_data(list_services.clone()).await.unwrap();
    let mut response = response.await;
    let first = next(response.body_mut()).await;
    assert!(
        first
            .windows(21)
            .any(|name| name == b"grpc.health.v1.Health")
    );
    feed.send_data(list_services).await.unwrap();
    assert_eq!(next(response.body_mut()).await, first);
    drop(feed);
    heard.push(read(response).await);
    heard
}

#[tokio::test]
async fn grpc_passes_unharmed_unary_and_streaming_trailers_and_all() {
    static GATE: Gate = Gate::new();
    let (plain, reporter) = as_it_was(&GATE).await;
    let expected = calls(plain, reporter).await;

    let operations = Operations::builder().build().unwrap();
    let (wrapped, reporter) = wrapped(&GATE, &operations).await;
    let heard = calls(wrapped, reporter).await;

    assert_eq!(heard, expected);
    let statuses = heard.iter().map(|read| {
        let trailers = read.trailers.as_ref();
        // What fails before its first message has its status in the head.
        let fields = trailers.unwrap_or(&read.headers);
        (trailers.is_some(), fields["grpc-status"].to_str().unwrap())
    });
    let statuses: Vec<_> = statuses.collect();
    assert_eq!(
        statuses,
        [
            (true, "0"),
            (false, "5"),
            (false, "12"),
            (true, "0"),
            (true, "0"),
            (true, "0")
        ]
    );
    assert_eq!(heard[0].data, health(1));
    assert_eq!(operations.usage().stored, 0);
    assert_nothing_is_held(&operations);
}
