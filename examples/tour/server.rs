//! The server: a slow handler, and the two lines that make its route answer 202.

use axum::{
    Json, Router,
    body::Bytes,
    extract::Query,
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, io, net::SocketAddr, num::NonZeroU32, path::Path, time::Duration};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};
use tower_lro::{OperationHandle, Operations, store::SqliteStore};

/// Bytes that the route takes.
pub(crate) const LARGEST: usize = 64 << 20;

/// How many words are common.
pub(crate) const COMMON: usize = 5;

/// Slices of the work, and steps of its progress.
const SLICES: u32 = 40;

#[derive(Debug, Deserialize)]
struct Terms {
    rounds: NonZeroU32,
}

/// What there is to say about a file.
#[derive(Debug, Serialize)]
struct Fingerprint {
    bytes: usize,
    lines: usize,
    words: usize,
    common: Vec<(String, u32)>,
    rounds: u32,
    seal: String,
}

fn routes(operations: &Operations) -> Router {
    // A body of axum's own is bounded by 2 MB; the layer's bound comes first.
    let no_limit = axum::extract::DefaultBodyLimit::disable();
    let defer = operations.layer().request_body(LARGEST as u64);
    Router::new()
        .route("/", get("POST something to /fingerprints?rounds=20000\n"))
        .route(
            "/fingerprints",
            post(fingerprint).layer(no_limit).route_layer(defer),
        )
        .nest_service("/operations", operations.status_service())
}

/// Counts what is in a file, and seals it: so many rounds of SHA-256 over the seal so far and the file.
///
/// The work is done in slices on the threads for it, so that the runtime stays free. A cancel drops this future where
/// it waits for a slice: no further one begins.
async fn fingerprint(
    Query(Terms { rounds }): Query<Terms>,
    operation: Option<OperationHandle>,
    file: Bytes,
) -> Result<Json<Fingerprint>, StatusCode> {
    let progress = |fraction: f32, message: String| {
        if let Some(operation) = &operation {
            operation.progress(fraction, message);
        }
    };
    let panicked = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let rounds = rounds.get();

    progress(0.0, "counting words".into());
    let counted = file.clone();
    let (lines, words, common) = spawn_blocking(move || count(&counted))
        .await
        .map_err(panicked)?;

    let (mut seal, mut done) = (Vec::new(), 0);
    for slice in 1..=SLICES {
        let until = (u64::from(rounds) * u64::from(slice) / u64::from(SLICES)) as u32;
        let (sealed, more) = (file.clone(), until - done);
        seal = spawn_blocking(move || (0..more).fold(seal, |seal, _| round(&seal, &sealed)))
            .await
            .map_err(panicked)?;
        done = until;
        let message = format!("sealing: {done} of {rounds} rounds");
        progress(slice as f32 / SLICES as f32, message);
    }

    Ok(Json(Fingerprint {
        bytes: file.len(),
        lines,
        words,
        common,
        rounds,
        seal: seal.iter().map(|byte| format!("{byte:02x}")).collect(),
    }))
}

fn round(seal: &[u8], file: &[u8]) -> Vec<u8> {
    Sha256::new()
        .chain_update(seal)
        .chain_update(file)
        .finalize()
        .to_vec()
}

fn count(file: &[u8]) -> (usize, usize, Vec<(String, u32)>) {
    let lines = file.iter().filter(|byte| **byte == b'\n').count();
    let mut words = 0;
    let mut seen: HashMap<&[u8], u32> = HashMap::new();
    for word in file.split(u8::is_ascii_whitespace) {
        if !word.is_empty() {
            words += 1;
            *seen.entry(word).or_default() += 1;
        }
    }
    let mut common: Vec<_> = seen.into_iter().collect();
    common.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    common.truncate(COMMON);
    let text = |word| String::from_utf8_lossy(word).into_owned();
    let common = common.into_iter().map(|(word, n)| (text(word), n));
    (lines, words, common.collect())
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    operations: Operations,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

/// With operations in a file, or in memory.
pub(crate) async fn start(store: Option<&Path>) -> super::Result<Server> {
    let mut builder = Operations::builder();
    if let Some(path) = store {
        builder = builder.store(SqliteStore::open(path)?);
    }
    let operations = builder.build()?;
    let app = routes(&operations);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let serve = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    Ok(Server {
        address,
        operations,
        stop,
        task: tokio::spawn(serve.into_future()),
    })
}

impl Server {
    /// First the operations, then the server.
    pub(crate) async fn stop(self) -> super::Result<()> {
        self.operations.drain(Duration::from_secs(1)).await;
        let _ = self.stop.send(());
        self.task.await??;
        Ok(())
    }
}
