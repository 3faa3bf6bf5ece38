//! Operations to keep, stores to keep them in, and other processes.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use std::{
    io::{BufRead, BufReader, Lines},
    num::{NonZeroU16, NonZeroU32},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tower_lro::{
    OperationId, Record, Store,
    record::{
        BlobId, Content, Ending, Phase, Rerun, Revision, Sighting, StoredRequest, Submission,
        Timestamp,
    },
    store::{
        Claim, Claimed, Created, Held, Intent, Lookup, Settled, SqliteOptions, SqliteStore,
        StoreError,
    },
};

pub(crate) const ALL: NonZeroU32 = NonZeroU32::MAX;
pub(crate) const KEEP_FOR: Duration = Duration::from_secs(600);
/// For what takes a moment, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A place for a file that is gone afterwards.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("operations.db")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn open(&self) -> SqliteStore {
        self.open_with(SqliteOptions::default())
    }

    pub(crate) fn open_with(&self, options: SqliteOptions) -> SqliteStore {
        options.open(self.path()).unwrap()
    }

    /// The file, looked at past the store.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

pub(crate) fn record(attempts: u16) -> Arc<Record> {
    let mut submission = Submission::new(
        Method::POST,
        "/reports".into(),
        "/operations".into(),
        KEEP_FOR,
    );
    submission.rerun = NonZeroU16::new(attempts).map(|attempts| {
        Box::new(Rerun {
            queue: "default".into(),
            attempts,
            start_within: Duration::from_secs(600),
            run_time: Duration::from_secs(3600),
            response_body: 16 << 20,
        })
    });
    Arc::new(Record::new(OperationId::random(), submission, now()))
}

pub(crate) fn request(body: Content) -> StoredRequest {
    let head = Request::post("/reports").body(()).unwrap().into_parts().0;
    StoredRequest::capture(&head, &head.uri, body, None::<&HeaderMap>, &[])
}

pub(crate) async fn accept(store: &SqliteStore, attempts: u16) -> Claim {
    try_accept(store, attempts).await.unwrap()
}

pub(crate) async fn try_accept(store: &SqliteStore, attempts: u16) -> Result<Claim, StoreError> {
    let request = request(Content::Inline(Bytes::from_static(b"some data")));
    match store
        .create(&record(attempts), Intent::Run(Some(&request)))
        .await?
    {
        Created::New(claim) => Ok(claim),
        other => panic!("expected a new operation, got {other:?}"),
    }
}

pub(crate) async fn enqueue(store: &SqliteStore, attempts: u16) -> OperationId {
    let (record, request) = (record(attempts), request(Content::Inline(Bytes::new())));
    let created = store.create(&record, Intent::Queue(&request)).await;
    assert!(matches!(created, Ok(Created::Queued)), "{created:?}");
    record.id
}

pub(crate) async fn claim(store: &SqliteStore) -> Vec<Claimed> {
    store
        .claim(&"default".into(), NonZeroU16::MAX)
        .await
        .unwrap()
}

pub(crate) fn started(revision: u64) -> Sighting {
    Sighting {
        revision: Revision(revision),
        at: now(),
        started: Some(now()),
        report: None,
    }
}

/// A success with this body, as a process has written it down that is gone.
pub(crate) fn success(body: &[u8]) -> Ending {
    success_in(body, body.len(), false)
}

/// A success whose body is in a blob.
pub(crate) fn success_elsewhere(blob: BlobId, len: u64) -> Ending {
    let name = [&blob.as_uuid().as_bytes()[..], &len.to_be_bytes()].concat();
    success_in(&name, name.len(), true)
}

fn success_in(bytes: &[u8], body_end: usize, is_blob: bool) -> Ending {
    let (body_end, len) = (body_end as u64, bytes.len() as u64);
    let written = [
        &[1, 0][..],
        &now().as_micros().to_be_bytes(),
        &[0, 1],
        &200_u16.to_be_bytes(),
        &[u8::from(is_blob)],
        &0_u32.to_be_bytes(),
        &body_end.to_be_bytes(),
        &len.to_be_bytes(),
        bytes,
    ];
    Ending::decode(&written.concat()).unwrap()
}

pub(crate) async fn finish(store: &SqliteStore, claim: &Claim, body: &[u8]) -> Settled {
    let ending = &mut Some(success(body));
    store.finish(claim, &started(100), ending).await.unwrap()
}

pub(crate) async fn renew(store: &SqliteStore, claims: &[&Claim]) -> Vec<OperationId> {
    let held = claims.iter().map(|claim| Held {
        id: claim.id(),
        token: claim.token(),
        sighting: None,
    });
    store.renew(&held.collect::<Vec<_>>()).await.unwrap()
}

pub(crate) async fn find(store: &SqliteStore, id: OperationId) -> Option<Arc<Record>> {
    match store.find(id).await.unwrap() {
        Lookup::Found(record) => Some(record),
        Lookup::Gone { .. } | Lookup::Unknown => None,
    }
}

pub(crate) async fn phase(store: &SqliteStore, id: OperationId) -> Option<Phase> {
    find(store, id).await.map(|record| record.phase())
}

pub(crate) fn body(record: &Record) -> Bytes {
    let response = record.ending().unwrap().response.as_ref().unwrap();
    match response.body() {
        Content::Inline(bytes) => bytes,
        Content::Blob { .. } => panic!("the body is elsewhere"),
    }
}

// --- other processes

/// Names the file to a test that is run as another process.
const FILE: &str = "TOWER_LRO_TEST_FILE";

/// The file, in a test that is run as another process. `None` when it is run as any other.
pub(crate) fn file_of_child() -> Option<PathBuf> {
    std::env::var_os(FILE).map(Into::into)
}

/// This program, to run one of its tests with a file, as a process of its own: what asks first whether it is that.
pub(crate) fn child(test: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    as_child(&mut command, test, file);
    command
}

pub(crate) fn as_child(command: &mut Command, test: &str, file: &Path) {
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
}

/// Another process, killed when it is no longer needed.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What follows `word` in the next line that begins with it.
    pub(crate) fn hear(&mut self, word: &str) -> String {
        self.try_hear(word)
            .unwrap_or_else(|| panic!("it ended without a word of {word}"))
    }

    pub(crate) fn try_hear(&mut self, word: &str) -> Option<String> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| {
            // What the test runner itself says may stand before it.
            let (_, rest) = line.split_once(&format!("{word} "))?;
            Some(rest.to_owned())
        })
    }

    /// Whatever it says to its end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.lines.by_ref().map_while(Result::ok).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is counted is what is there.
pub(crate) fn totals_are_true(sql: &rusqlite::Connection) {
    let one = |query: &str| {
        sql.query_row(query, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    for (counted, count) in [
        (
            "operations",
            "SELECT count(*) FROM operations WHERE phase < 9",
        ),
        (
            "tombstones",
            "SELECT count(*) FROM operations WHERE phase = 9",
        ),
        (
            "unread",
            "SELECT count(*) FROM operations WHERE phase BETWEEN 2 AND 4 AND NOT is_read",
        ),
        (
            "bytes",
            "SELECT (SELECT ifnull(sum(size), 0) FROM operations) + (SELECT ifnull(sum(size), 0) FROM requests) \
             + (SELECT ifnull(sum(size), 0) FROM blobs WHERE counted)",
        ),
        (
            "evictable_bytes",
            "SELECT (SELECT ifnull(sum(size), 0) FROM operations WHERE phase BETWEEN 2 AND 4 AND is_read) \
             + (SELECT ifnull(sum(size), 0) FROM blobs WHERE counted = 2)",
        ),
    ] {
        assert_eq!(
            one(&format!("SELECT {counted} FROM meta")),
            one(count),
            "{counted}"
        );
    }
}
