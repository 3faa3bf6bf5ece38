//! Commands and queries: a command is put on a bus, and its operation ends when the event comes back.
//!
//! A channel stands for the bus; the guide tells how it is done with a real one. Commands are answered 202 with
//! `X-Operation` and `X-Resource`, queries at once.
//!
//! ```text
//! cargo run --example x_operation           # or on another address: -- 127.0.0.1:8080
//!
//! # A command: 202. X-Operation is where it is followed, X-Resource what it makes; both are relative to the API's root.
//! curl -i http://127.0.0.1:3000/orders -d 'three apples'
//!
//! # `created`, and after a second `completed` with the code `success`: the shop has told so.
//! curl -i http://127.0.0.1:3000/operations/ID
//!
//! # A query, which passes.
//! curl -i http://127.0.0.1:3000/orders/ID
//!
//! # Of what is out of stock the shop tells too: `rejected`, `out_of_stock`.
//! curl -i http://127.0.0.1:3000/orders -d 'three moons'
//!
//! # What is wrong from the first is refused at once: 400.
//! curl -i http://127.0.0.1:3000/orders -d ''
//! ```
//!
//! Ends on ctrl-c.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use http::{Request, Response};
use http_body_util::Full;
use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;
use tower_lro::{OperationHandle, OperationId, Operations, XOperation};

/// What goes to the shop over the bus.
struct Command {
    id: OperationId,
    order: String,
}

/// What comes back.
enum Event {
    Shipped { id: OperationId, order: String },
    OutOfStock { id: OperationId },
}

/// What queries are answered from.
type Orders = Arc<Mutex<HashMap<String, String>>>;

#[derive(Clone)]
struct Bus {
    commands: mpsc::Sender<Command>,
    operations: Operations,
}

async fn order(State(bus): State<Bus>, operation: OperationHandle, order: String) -> StatusCode {
    let id = operation.id();
    // First detached, then sent: else the event could come before.
    if operation.detach().await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if bus.commands.send(Command { id, order }).await.is_err() {
        let mut end = Response::new(Full::from("There is no way to the shop.\n"));
        *end.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        if let Err(error) = bus.operations.complete(id, end).await {
            eprintln!("a command was lost: {error}");
        }
    }
    StatusCode::OK // nobody will see it
}

async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    if request.body().is_empty() {
        let mut refusal = Response::new(Bytes::from_static(b"What do you want?\n"));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    Ok(())
}

/// Another service, on the other side of the bus.
async fn shop(mut commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    while let Some(Command { id, order }) = commands.recv().await {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let event = match order.contains("moon") {
            true => Event::OutOfStock { id },
            false => Event::Shipped { id, order },
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Ends operations as events come in.
async fn subscribe(mut events: mpsc::Receiver<Event>, operations: Operations, orders: Orders) {
    while let Some(event) = events.recv().await {
        let response = Response::builder();
        let (id, end) = match event {
            Event::Shipped { id, order } => {
                let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
                orders.insert(id.to_string(), order);
                (
                    id,
                    response.status(StatusCode::CREATED).body(Full::from("")),
                )
            }
            Event::OutOfStock { id } => {
                let why = r#"{"code":"out_of_stock","message":"There are no more of these."}"#;
                let response = response.status(StatusCode::CONFLICT);
                let response = response.header("content-type", "application/json");
                (id, response.body(Full::from(why)))
            }
        };
        let Ok(end) = end else { continue };
        // With a real bus this is where the event is acknowledged, or comes again.
        if let Err(error) = operations.complete(id, end).await {
            eprintln!("an event was lost: {error}");
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = tokio::net::TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000"));
    let listener = listener.await?;
    println!("listening on http://{}", listener.local_addr()?);

    // The id of the order is that of its operation, so it is known from the first.
    let operations = Operations::builder()
        .mount("/operations")
        .dialect(XOperation::new().resource("orders/{id}"))
        .build()?;
    let (commands_in, commands) = mpsc::channel(64);
    let (events_in, events) = mpsc::channel(64);
    let orders = Orders::default();
    tokio::spawn(shop(commands, events_in));
    tokio::spawn(subscribe(events, operations.clone(), orders.clone()));
    let bus = Bus {
        commands: commands_in,
        operations: operations.clone(),
    };

    let one = get(async move |Path(id): Path<String>| {
        let orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.get(&id).cloned().ok_or(StatusCode::NOT_FOUND)
    });
    let app = Router::new()
        .route(
            "/orders",
            post(order).route_layer(operations.layer().check(check)),
        )
        .with_state(bus)
        .route("/orders/{id}", one)
        .nest_service("/operations", operations.status_service());
    let server = axum::serve(listener, app);
    server
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            operations.drain(Duration::from_secs(5)).await;
        })
        .await?;
    Ok(())
}
