//! `Prefer: wait`, on submit and on poll: how long an answer is held back, and what it is in the end.
#![cfg(feature = "testing")]

#[path = "../harness/mod.rs"]
mod harness;
mod on_poll;
mod on_submit;

use harness::*;
use http::{HeaderMap, Request, Response};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tower_lro::{DeferLayer, Operations, Usage, Wrapped, admit, record::Outcome};

fn operations() -> Operations {
    Operations::builder().build().unwrap()
}

fn with(layer: &DeferLayer, handler: &Handler) -> Client<Wrapped<Handler>> {
    Client(layer.clone().wrap(handler.clone()))
}

fn preferring(prefer: &str) -> Request<Body> {
    post("/reports")
        .header("prefer", prefer)
        .body(empty())
        .unwrap()
}

/// Asserts that nothing is left: no operation, no place, no reader.
#[track_caller]
fn is_idle(operations: &Operations) {
    assert_eq!(operations.usage(), Usage::default());
}
