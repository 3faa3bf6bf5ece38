//! Graceful shutdown in the right order, and what clients see of it.
//!
//! On ctrl-c
//!
//! 1. [`Operations::drain`]: new work is refused (503 `draining`), clients that wait are answered at once with how their
//!    operation stands, and what runs may end within a deadline; what does not is ended as interrupted. The server goes
//!    on answering meanwhile, so that clients can fetch results;
//! 2. outcomes in memory die with the process: if there are some that nobody has read, clients that poll get another
//!    moment;
//! 3. only then is the server told to stop, and given a few seconds to see open connections off.
//!
//! The other way round, stopping the server first, clients could not fetch what they waited for, and their long-polls
//! would hold up the server's end.
//!
//! ```text
//! cargo run --example drain                 # or on another address, with another deadline: -- 127.0.0.1:8080 3
//!
//! # Two operations, of 5 s and of 60 s.
//! curl -i -d 5 http://127.0.0.1:3000/reports
//! curl -i -d 60 http://127.0.0.1:3000/reports
//!
//! # Wait for the second in another terminal, then press ctrl-c where the server runs: this is answered at once.
//! curl -i -H 'Prefer: wait=30' http://127.0.0.1:3000/operations/ID
//!
//! # For the next 10 s new work gets a 503, and the first report can be fetched when it is ready.
//! curl -i -d 1 http://127.0.0.1:3000/reports
//! curl -i http://127.0.0.1:3000/operations/ID
//! ```
//!
//! A second ctrl-c ends it at once.

use axum::{Router, http::StatusCode, routing::post};
use std::{error::Error, time::Duration};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tower_lro::Operations;

/// Time that clients get to fetch outcomes that nobody has read: a few of their polls.
const LAST_READS: Duration = Duration::from_secs(3);

/// Time that open connections get to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Takes as many seconds as the body says.
async fn report(body: String) -> Result<String, (StatusCode, &'static str)> {
    let seconds = body.trim().parse();
    let seconds = seconds.map_err(|_| (StatusCode::BAD_REQUEST, "how many seconds?\n"))?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(format!("a report of {seconds} s\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let deadline = arguments.next().map_or(Ok(10), |seconds| seconds.parse())?;
    let deadline = Duration::from_secs(deadline);

    let operations = Operations::builder().build()?;
    let app = Router::new()
        .route("/reports", post(report).route_layer(operations.layer()))
        .nest_service("/operations", operations.status_service());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());

    tokio::signal::ctrl_c().await?;
    tokio::select! {
        // In this order: the second one is listened for before anything is said.
        biased;
        again = tokio::signal::ctrl_c() => {
            again?;
            println!("ctrl-c again: ending at once");
            return Ok(());
        }
        () = finish(&operations, deadline) => {}
    }

    println!("stopping the server");
    let _ = stop.send(());
    match timeout(LAST_WORDS, server).await {
        Ok(ended) => ended??,
        Err(_) => println!("clients are still connected; leaving them"),
    }
    println!("ended");
    Ok(())
}

/// Brings operations to their end, and their results to who waits for them.
async fn finish(operations: &Operations, deadline: Duration) {
    let usage = operations.usage();
    let pending = usage.accepted + usage.running;
    println!("draining: {pending} pending; new work is refused, {deadline:?} to end");
    let drained = operations.drain(deadline).await;
    println!(
        "drained: {} finished, {} interrupted, {} outcomes unread",
        drained.finished, drained.interrupted, drained.unread
    );
    if drained.unread > 0 {
        println!("leaving {LAST_READS:?} to fetch them");
        tokio::time::sleep(LAST_READS).await;
    }
}
