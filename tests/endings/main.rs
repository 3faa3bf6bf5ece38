//! However a handler ends, its operation ends once, its client is told without inner detail, the process lives, and
//! all that was held is given back.

mod cancelled;
mod detached;
#[path = "../common/drive.rs"]
mod drive;
mod errors;
mod length;
mod outside;
mod panics;
mod shutdown;
mod time;

use bytes::Bytes;
use drive::*;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use std::{
    future::{Future, pending, ready},
    panic::panic_any,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::Service;
use tower_lro::{CompleteError, DeferLayer, Limits, Operations, store::Settled};

/// Stands in every panic and error of the handlers here.
const SECRET: &str = "inner-detail-4711";

type Work = Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + Send>>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Room for one running operation. `/work` is done by `act`; whatever else is asked for is answered at once.
fn house_with(
    set: impl FnOnce(&mut Limits),
    layer: impl FnOnce(DeferLayer) -> DeferLayer,
    act: impl Fn(Request<Body>) -> Work + Send + Sync + 'static,
) -> House {
    let mut limits = Limits::default();
    limits.running = 1;
    set(&mut limits);
    let operations = Operations::builder()
        .limits(limits)
        .shared_keys()
        .build()
        .unwrap();
    let act = Arc::new(act);
    let inner = move |request: Request<Body>| match request.uri().path() {
        "/work" => act(request),
        _ => Box::pin(ready(Ok(ok("next")))),
    };
    House::new(&operations, app(layer(operations.layer()), inner))
}

fn house(act: impl Fn(Request<Body>) -> Work + Send + Sync + 'static) -> House {
    house_with(|_| {}, |layer| layer, act)
}

/// Nothing is held, the permit is there for the next, and nothing that was sent tells more than it should.
async fn all_is_given_back(house: &House) {
    quiet(&house.operations).await;
    let next = house.accepted(post("/next")).await;
    assert_eq!(house.outcome(&next).await.text(), "next");
    quiet(&house.operations).await;
    house.never_sent(SECRET);
}

async fn ended_as(house: &House, monitor: &str, status: u16, problem: &str) {
    let word = if problem == "cancelled" {
        "cancelled"
    } else {
        "failed"
    };
    let waited = house.outcome(monitor).await;
    let again = house.get(monitor).await;
    let result = house.get(&format!("{monitor}/result")).await;
    for answer in [waited, again, result] {
        assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
        assert_eq!(answer.field("operation-outcome"), Some(word));
        assert_eq!(answer.field("retry-after"), None);
    }
    let document = house.get(&format!("{monitor}/status")).await;
    assert_eq!(document.status, 200);
    assert_eq!(document.json()["status"], word);
    if word == "failed" {
        let urn = format!("urn:tower-lro:problem:{problem}");
        assert_eq!(document.json()["problem"]["type"], urn);
    }
}

/// Submits plainly, held, and held with a key; each time the client hears of the same failure.
async fn fails_as(house: &House, status: u16, problem: &str) {
    let monitor = house.accepted(post("/work")).await;
    ended_as(house, &monitor, status, problem).await;
    all_is_given_back(house).await;

    let stored = house.operations.usage().stored;
    let held = with(post("/work"), "prefer", "wait=30");
    let answer = house.send(held).await.unwrap();
    assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
    assert_eq!(house.operations.usage().stored, stored, "nothing is stored");
    all_is_given_back(house).await;

    let keyed = || with(post("/work"), "idempotency-key", "\"k\"");
    let held = with(keyed(), "prefer", "wait=30");
    let answer = house.send(held).await.unwrap();
    assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
    // A repeat is told what the first was.
    let answer = house.send(keyed()).await.unwrap();
    assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
    all_is_given_back(house).await;
}

/// An error that shows the secret in every way an error can.
#[derive(Debug)]
struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(SECRET)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(const { &std::fmt::Error })
    }
}

fn failure() -> Fault {
    Fault::other(Failure)
}

fn is_failure(error: &Fault) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Failure>())
}
