//! What handlers say through their handle, and what programs do with operations.
#![cfg(feature = "testing")]

mod complete;
mod detached;
#[cfg(feature = "axum")]
mod extractor;
#[path = "../harness/mod.rs"]
mod harness;
mod is_told;
mod on_end;
mod outlives;
mod programs;
mod says;
mod verdict;

use harness::*;
use http::{Request, Response, Uri, response};
use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};
use tower_lro::{
    CompleteError, MemoryStore, MetadataError, OperationHandle, OperationId, Operations, Owner,
    Record, Usage, Wrapped,
    record::{Content, Outcome, Reason, Revision},
    store::{ListQuery, Settled, StateSet},
};

fn operations() -> Operations {
    Operations::builder().build().unwrap()
}

/// A handler that hands its handle out and then waits.
fn handing() -> (Handler, Arc<Mutex<Vec<OperationHandle>>>, Arc<Semaphore>) {
    let handles = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Semaphore::new(0));
    let (out, wait) = (handles.clone(), gate.clone());
    let handler = with_handle(move |handle| {
        out.lock().unwrap().push(handle);
        let gate = wait.clone();
        async move { gate.acquire().await.unwrap().forget() }
    });
    (handler, handles, gate)
}

struct Running {
    operations: Operations,
    client: Client<Wrapped<Handler>>,
    handle: OperationHandle,
    gate: Arc<Semaphore>,
    monitor: String,
}

impl Running {
    async fn new() -> Self {
        Self::of(operations()).await
    }

    async fn of(operations: Operations) -> Self {
        let (handler, handles, gate) = handing();
        let client = client(&operations, &handler);
        let accepted = client.submit().await;
        start_of(&operations, accepted.id()).await;
        let handle = handles.lock().unwrap().pop().unwrap();
        let monitor = accepted.location();
        assert_eq!(handle.id(), accepted.id());
        Self {
            operations,
            client,
            handle,
            gate,
            monitor,
        }
    }

    async fn status(&self) -> Answer {
        self.client.get(&format!("{}/status", self.monitor)).await
    }

    async fn document(&self) -> serde_json::Value {
        self.status().await.json()
    }

    async fn record(&self) -> Record {
        self.operations
            .get(self.handle.id())
            .await
            .unwrap()
            .unwrap()
    }

    async fn end(&self) -> Record {
        self.gate.add_permits(1);
        end_of(&self.operations, self.handle.id()).await
    }
}
