//! Existing handlers of axum, hyper and tonic, behind their own servers and over sockets: deferred by adding lines, and
//! replayed as they would have answered without.
//!
//! Each application is written down twice, as it was and wrapped; the handlers are the same functions. Bodies arrive
//! 100 ms after their heads.
#![cfg(all(feature = "axum", feature = "hyper", feature = "tonic"))]

mod axum_applications;
mod http2;
mod hyper_servers;
mod tonic_servers;
mod workers;

#[path = "../raw/mod.rs"]
mod raw;

use raw::{Answer, Ask};
use std::net::SocketAddr;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit},
};
use tower_lro::Operations;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Keeps handlers at their work until the test lets one of them go.
struct Gate(Semaphore);

impl Gate {
    const fn new() -> Self {
        Self(Semaphore::const_new(0))
    }

    fn let_one_go(&self) {
        self.0.add_permits(1);
    }

    async fn pass(&self) {
        self.0.acquire().await.map(SemaphorePermit::forget).unwrap();
    }
}

/// What an application says as it was, with late bodies as well.
async fn as_it_was(address: SocketAddr, ask: &Ask, gate: &Gate) -> Answer {
    gate.let_one_go();
    ask.send_late(address).await
}

/// Sends the request to the wrapped application, follows it, and gives the 202, a pending monitor, and the replay.
async fn deferred(
    address: SocketAddr,
    ask: &Ask,
    follow: impl Fn(Ask) -> Ask,
    gate: &Gate,
) -> [Answer; 3] {
    let accepted = ask.send_late(address).await;
    let monitor = accepted.monitor();
    let pending = follow(Ask::get(&monitor)).send(address).await;
    assert_eq!(pending.monitor(), monitor);
    gate.let_one_go();
    let waiting = follow(Ask::get(&monitor)).field("Prefer", "wait=20");
    let replay = waiting.send(address).await;
    let again = follow(Ask::get(&monitor)).send(address).await;
    let same = |answer: &Answer| (answer.status, answer.body.clone(), end_to_end(answer));
    assert_eq!(same(&again), same(&replay));
    [accepted, pending, replay]
}

/// The fields, but for those that every message has anew.
fn end_to_end(answer: &Answer) -> Vec<(String, String)> {
    let own = ["connection", "date", "preference-applied"];
    let fields = answer.fields.iter();
    let mut fields: Vec<_> = fields
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .cloned()
        .collect();
    fields.sort();
    fields
}

/// A replay says what the application has said as it was, and beyond that only what a monitor adds.
fn assert_replays(replay: &Answer, original: &Answer, outcome: &str) {
    let mut expected = end_to_end(original);
    expected.push(("cache-control".into(), "no-store".into()));
    expected.push(("operation-outcome".into(), outcome.into()));
    expected.sort();
    assert_eq!(end_to_end(replay), expected);
    assert_eq!(
        (replay.status, replay.text()),
        (original.status, original.text())
    );
}

fn assert_nothing_is_held(operations: &Operations) {
    let usage = operations.usage();
    let held = [
        usage.uploading,
        usage.uploading_bytes,
        usage.accepted,
        usage.running,
        usage.readers,
    ];
    assert_eq!(held, [0; 5], "{usage:?}");
}
