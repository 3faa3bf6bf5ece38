//! What must stay true, each by its name.

mod bounds;
mod claims;
#[path = "../common/drive.rs"]
mod drive;
mod faces;
mod memory;
mod passing;
mod replays;
mod secrets;
#[path = "../common/store.rs"]
mod store;

use bytes::{Bytes, BytesMut};
use drive::*;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use std::{
    collections::HashMap,
    future::{Future, pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use store::{Faulty, How, Verb};
use tokio::{sync::Semaphore, time::Instant};
use tower::{Layer, Service, ServiceExt};
use tower_lro::{
    Limits, MetadataError, OperationHandle, OperationId, Operations, Owner, Record, Rfc, Store,
    admit::{self, Admit},
    dialect::Answer,
    record::{Ending, Phase, Sighting, Stop, Submission, Timestamp},
    store::{
        Clock, Created, Intent, ListQuery, Lookup, MemoryLimits, MemoryStore, Settled,
        StoreErrorKind,
    },
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `/never` never ends, `/panic` panics, and all else takes a second.
async fn handler(request: Request<Body>) -> Result<Response<Body>, Fault> {
    match request.uri().path() {
        "/never" => pending().await,
        "/panic" => panic!("as asked for"),
        _ => tokio::time::sleep(seconds(1)).await,
    }
    Ok(ok("done"))
}

fn house(set: impl FnOnce(&mut Limits)) -> House {
    let operations = operations(set);
    House::new(&operations, app(operations.layer(), handler))
}
