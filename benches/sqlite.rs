//! The store in a file beside its engine's own floor: the same statements and bytes, synced in the same way, by as many
//! at once, written in groups. See `benches/README.md`.
#![allow(missing_docs, reason = "a program")]

#[path = "support/harness.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "three programs share it, and each uses a part"
)]
mod harness;

use bytes::Bytes;
use harness::{Rounds, Turn, heading, per, row, times};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use rusqlite::{Connection, params};
use std::{
    convert::Infallible,
    num::NonZeroU16,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use tokio::{runtime::Runtime, sync::oneshot};
use tower::{ServiceExt, service_fn};
use tower_lro::{
    Limits, OperationId, Operations, Record, Store,
    record::{Content, Ending, Rerun, Revision, Sighting, StoredRequest, Submission},
    store::{Claim, Created, Intent, Lookup, Settled, SqliteStore},
};

/// Those that wait for an answer at any time.
const CONNECTIONS: usize = 64;
/// Asked by each of them in a turn.
const EACH: usize = 20;
const COUNT: usize = CONNECTIONS * EACH;
const ROUNDS: usize = 41;
const BODY: usize = 1024;
/// As many threads that read as the store has.
const READERS: usize = 4;

// --- the floor

type Job = Box<dyn FnOnce(&Connection) -> Box<dyn FnOnce() + Send> + Send>;

/// One thread that writes in groups, and some that read: nothing else.
struct Floor {
    write: SyncSender<Job>,
    read: SyncSender<Job>,
    next: AtomicU64,
    groups: Arc<AtomicU64>,
}

const INSERT: &str = "INSERT INTO operations (place, id, phase, revision, attempt, created, updated, due, node, token, \
    queue, owner, key, submission, report, started) \
    VALUES (?1, ?2, 0, 1, 1, ?3, ?3, NULL, 1, ?1, NULL, NULL, NULL, ?4, NULL, NULL) ON CONFLICT DO NOTHING";
const INSERT_REQUEST: &str =
    "INSERT INTO requests (place, size, blob, request) VALUES (?1, ?2, NULL, ?3)";
const BY_ID: &str = "SELECT place, id, phase, due, size, is_read, token, queue IS NOT NULL, owner, response, revision, \
    attempt, created, started, updated, submission, report, ending FROM operations WHERE id = ?1";
const END: &str = "UPDATE operations SET phase = 2, revision = 3, started = ?2, updated = ?2, due = ?2, ended = ?2, \
    size = ?3, node = NULL, token = NULL, queue = NULL, report = NULL, response = NULL, ending = ?4 WHERE place = ?1";
const DELETE_REQUEST: &str = "DELETE FROM requests WHERE place = ?1 RETURNING size, blob";
const LOG: &str = "INSERT INTO changes (id) VALUES (?1)";

fn connect(path: &Path) -> Connection {
    let sql = Connection::open(path).unwrap();
    sql.pragma_update(None, "synchronous", "FULL").unwrap();
    sql.set_prepared_statement_cache_capacity(64);
    sql
}

fn run(sql: &Connection, statement: &str, values: impl rusqlite::Params) {
    sql.prepare_cached(statement)
        .unwrap()
        .execute(values)
        .unwrap();
}

impl Floor {
    fn start(path: &Path) -> Self {
        // The same tables.
        drop(SqliteStore::open(path).unwrap());
        let (write, jobs) = sync_channel::<Job>(4096);
        let groups = Arc::new(AtomicU64::new(0));
        let (sql, counted) = (connect(path), groups.clone());
        thread::spawn(move || write_groups(&sql, &jobs, &counted));
        let (read, jobs) = sync_channel::<Job>(4096);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..READERS {
            let (sql, jobs) = (connect(path), jobs.clone());
            thread::spawn(move || {
                loop {
                    let job = jobs.lock().unwrap().recv();
                    match job {
                        Ok(job) => job(&sql)(),
                        Err(_) => return,
                    }
                }
            });
        }
        Self {
            write,
            read,
            next: AtomicU64::new(1),
            groups,
        }
    }

    async fn ask<T: Send + 'static>(
        to: &SyncSender<Job>,
        act: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |sql| {
            let done = act(sql);
            Box::new(move || drop(reply.send(done)))
        });
        assert!(to.try_send(job).is_ok());
        answer.await.unwrap()
    }

    async fn accept(&self, new: &(OperationId, Vec<u8>, Vec<u8>)) -> i64 {
        let place = self.next.fetch_add(1, Relaxed) as i64;
        let (id, submission, request) = new.clone();
        Self::ask(&self.write, move |sql| {
            let id = id.as_uuid().as_bytes();
            run(sql, INSERT, params![place, id, micros(), submission]);
            run(
                sql,
                INSERT_REQUEST,
                params![place, request.len() as i64, request],
            );
            place
        })
        .await
    }

    async fn finish(&self, id: OperationId, ending: Vec<u8>) {
        Self::ask(&self.write, move |sql| {
            let id = id.as_uuid().as_bytes();
            let place = read(sql, id);
            run(
                sql,
                END,
                params![place, micros(), ending.len() as i64, ending],
            );
            let mut delete = sql.prepare_cached(DELETE_REQUEST).unwrap();
            let mut rows = delete.query([place]).unwrap();
            while rows.next().unwrap().is_some() {}
            run(sql, LOG, [id]);
        })
        .await;
    }

    async fn poll(&self, id: OperationId) {
        let place = Self::ask(&self.read, move |sql| read(sql, id.as_uuid().as_bytes())).await;
        assert!(place > 0);
    }
}

/// The whole row, copied out.
fn read(sql: &Connection, id: &[u8; 16]) -> i64 {
    let mut select = sql.prepare_cached(BY_ID).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let _: (Vec<u8>, Option<Vec<u8>>) = (row.get(15)?, row.get(17)?);
        row.get(0)
    };
    select.query_row([id], row).unwrap()
}

fn write_groups(sql: &Connection, jobs: &Receiver<Job>, groups: &AtomicU64) {
    while let Ok(first) = jobs.recv() {
        let group: Vec<_> = [first]
            .into_iter()
            .chain(jobs.try_iter().take(255))
            .collect();
        run(sql, "BEGIN IMMEDIATE", []);
        let answers: Vec<_> = group.into_iter().map(|job| job(sql)).collect();
        run(
            sql,
            "UPDATE meta SET next = next + 1, tick = ?1, wall = ?1",
            [micros()],
        );
        run(sql, "COMMIT", []);
        groups.fetch_add(1, Relaxed);
        answers.into_iter().for_each(|answer| answer());
    }
}

fn micros() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_micros() as i64
}

// --- what is kept

fn record() -> Arc<Record> {
    let keep_for = Duration::from_secs(24 * 60 * 60);
    let mut submission =
        Submission::new(Method::POST, "/work".into(), "/operations".into(), keep_for);
    submission.rerun = Some(Box::new(Rerun {
        queue: "default".into(),
        attempts: NonZeroU16::MIN,
        start_within: Duration::from_secs(600),
        run_time: Duration::MAX,
        response_body: u64::MAX,
    }));
    Arc::new(Record::new(
        OperationId::random(),
        submission,
        SystemTime::now().into(),
    ))
}

fn request() -> StoredRequest {
    let head = Request::post("/work")
        .header("user-agent", "curl/8.5.0")
        .header("accept", "*/*");
    let head = head.body(()).unwrap().into_parts().0;
    let body = Content::Inline(Bytes::from_static(&[b'x'; BODY]));
    StoredRequest::capture(&head, &head.uri, body, None::<&HeaderMap>, &[])
}

/// A response of 1 KiB.
fn ending() -> Ending {
    let len = (BODY as u64).to_be_bytes();
    let written = [
        &[1, 0][..],
        &micros().to_be_bytes(),
        &[0, 1],
        &200_u16.to_be_bytes(),
        &[0],
        &0_u32.to_be_bytes(),
        &len,
        &len,
        &[b'x'; BODY],
    ];
    Ending::decode(&written.concat()).unwrap()
}

// --- turns

/// Has `ask` done for each of `items`, by so many at once. What it took.
fn at_once<I: Send + 'static, F>(
    runtime: &Runtime,
    items: Vec<I>,
    ask: impl Fn(I) -> F + Clone + Send + 'static,
) -> (Duration, Vec<F::Output>)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut shares: Vec<Vec<I>> = (0..CONNECTIONS).map(|_| Vec::with_capacity(EACH)).collect();
    for (at, item) in items.into_iter().enumerate() {
        shares[at % CONNECTIONS].push(item);
    }
    runtime.block_on(async {
        let begun = Instant::now();
        let tasks: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let ask = ask.clone();
                tokio::spawn(async move {
                    let mut answers = Vec::with_capacity(share.len());
                    for item in share {
                        answers.push(ask(item).await);
                    }
                    answers
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.extend(task.await.unwrap());
        }
        (begun.elapsed(), answers)
    })
}

fn main() {
    // Where a sync is one: the usual place for temporary files may be in memory.
    let place = std::env::var_os("DISK").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let directory = tempfile::tempdir_in(place).unwrap();
    let at = |name: &str| directory.path().join(name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let floor = Arc::new(Floor::start(&at("floor.db")));
    let store = Arc::new(SqliteStore::open(at("store.db")).unwrap());

    // Each turn leaves what the next case needs.
    let of_floor = Mutex::new(Vec::new());
    let of_store: Mutex<Vec<Claim>> = Mutex::new(Vec::new());
    let (groups, work) = (floor.groups.load(Relaxed), store.work());
    let mut floor_accepts = || {
        let request = request().encode();
        let new = |record: Arc<Record>| (record.id, record.submission.encode(), request.clone());
        let new: Vec<_> = (0..COUNT).map(|_| new(record())).collect();
        let floor = floor.clone();
        let (took, ids) = at_once(&runtime, new, move |new| {
            let floor = floor.clone();
            async move {
                floor.accept(&new).await;
                new.0
            }
        });
        of_floor.lock().unwrap().extend(ids);
        per(took, COUNT)
    };
    let mut store_accepts = || {
        let new = (0..COUNT).map(|_| (record(), request())).collect();
        let store = store.clone();
        let (took, claims) = at_once(&runtime, new, move |(record, request)| {
            let store = store.clone();
            async move {
                match store.create(&record, Intent::Run(Some(&request))).await {
                    Ok(Created::New(claim)) => claim,
                    other => panic!("{other:?}"),
                }
            }
        });
        of_store.lock().unwrap().extend(claims);
        per(took, COUNT)
    };
    let mut limits = Limits::default();
    (limits.accepted, limits.running) = (1 << 20, 1 << 20);
    let operations = Operations::builder()
        .mount("/operations")
        .store(SqliteStore::open(at("service.db")).unwrap())
        .limits(limits)
        .build()
        .unwrap();
    let handler = service_fn(|_: Request<Full<Bytes>>| async {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let service = operations.wrap(handler);
    let locations = Mutex::new(Vec::new());
    let mut service_accepts = || {
        let new = || {
            let post = Request::post("/work")
                .header("user-agent", "curl/8.5.0")
                .header("accept", "*/*");
            post.body(Full::new(Bytes::from_static(&[b'x'; BODY])))
                .unwrap()
        };
        let service = service.clone();
        let (took, answers) = at_once(
            &runtime,
            (0..COUNT).map(|_| new()).collect(),
            move |request| {
                let service = service.clone();
                async move {
                    let response = service.oneshot(request).await.unwrap();
                    assert_eq!(response.status(), 202);
                    let location = response.headers()["location"].to_str().unwrap().to_owned();
                    response.into_body().collect().await.unwrap();
                    location
                }
            },
        );
        locations.lock().unwrap().extend(answers);
        per(took, COUNT)
    };
    let turns: &mut [Turn<'_>] = &mut [
        Box::new(&mut floor_accepts),
        Box::new(&mut store_accepts),
        Box::new(&mut service_accepts),
    ];
    heading(
        "64 at once",
        &["floor", "store", "service", "store/floor", "service/floor"],
    );
    show("accept", &Rounds::run(ROUNDS, turns));
    let turns = (ROUNDS + 1) as u64;
    let accepted = turns * COUNT as u64;
    let (synced, after) = (floor.groups.load(Relaxed) - groups, store.work());
    let share = |count: u64| format!("{:.2}", count as f64 / accepted as f64);
    let counts = |name: &str,
                  synced: u64,
                  before: tower_lro::store::SqliteWork,
                  after: tower_lro::store::SqliteWork| {
        println!(
            "  {name}: syncs {} (floor {}), statements {}",
            share(after.syncs - before.syncs),
            share(synced),
            share(after.statements - before.statements),
        );
    };
    counts("each accept", synced, work, after);

    let ids: Vec<_> = of_floor.lock().unwrap().clone();
    let mut floor_polls = || {
        let floor = floor.clone();
        let some = ids[..COUNT].to_vec();
        let (took, _) = at_once(&runtime, some, move |id| {
            let floor = floor.clone();
            async move { floor.poll(id).await }
        });
        per(took, COUNT)
    };
    let known: Vec<_> = of_store
        .lock()
        .unwrap()
        .iter()
        .map(Claim::id)
        .take(COUNT)
        .collect();
    let mut store_polls = || {
        let store = store.clone();
        let (took, _) = at_once(&runtime, known.clone(), move |id| {
            let store = store.clone();
            async move { assert!(matches!(store.find(id).await, Ok(Lookup::Found(_)))) }
        });
        per(took, COUNT)
    };
    let monitors: Vec<_> = locations
        .lock()
        .unwrap()
        .iter()
        .take(COUNT)
        .cloned()
        .collect();
    let mut service_polls = || {
        let service = service.clone();
        let (took, _) = at_once(&runtime, monitors.clone(), move |location| {
            let service = service.clone();
            async move {
                let get = Request::get(location).body(Full::default()).unwrap();
                let response = service.oneshot(get).await.unwrap();
                assert_eq!(response.status(), 202);
                response.into_body().collect().await.unwrap();
            }
        });
        per(took, COUNT)
    };
    let turns: &mut [Turn<'_>] = &mut [
        Box::new(&mut floor_polls),
        Box::new(&mut store_polls),
        Box::new(&mut service_polls),
    ];
    show("poll", &Rounds::run(ROUNDS, turns));

    let (groups, work) = (floor.groups.load(Relaxed), store.work());
    let mut floor_finishes = || {
        let mut all = of_floor.lock().unwrap();
        let from = all.len() - COUNT;
        let some = all.split_off(from);
        drop(all);
        let floor = floor.clone();
        let (took, _) = at_once(&runtime, some, move |id| {
            let floor = floor.clone();
            async move { floor.finish(id, ending().encode()).await }
        });
        per(took, COUNT)
    };
    let mut store_finishes = || {
        let mut all = of_store.lock().unwrap();
        let from = all.len() - COUNT;
        let some = all.split_off(from);
        drop(all);
        let store = store.clone();
        let (took, _) = at_once(&runtime, some, move |claim| {
            let store = store.clone();
            async move {
                let now = SystemTime::now().into();
                let seen = Sighting {
                    revision: Revision(2),
                    at: now,
                    started: Some(now),
                    report: None,
                };
                let done = store.finish(&claim, &seen, &mut Some(ending())).await;
                assert!(matches!(done, Ok(Settled::Done(_))));
            }
        });
        per(took, COUNT)
    };
    let turns: &mut [Turn<'_>] =
        &mut [Box::new(&mut floor_finishes), Box::new(&mut store_finishes)];
    show("finish", &Rounds::run(ROUNDS, turns));
    counts(
        "each finish",
        floor.groups.load(Relaxed) - groups,
        work,
        store.work(),
    );
    drop(directory);
    // What is still pending is of no use to anybody.
    std::process::exit(0);
}

/// Operations in a second, and the share of the floor.
fn show(name: &str, rounds: &Rounds) {
    let of = rounds.len();
    let rate = |at: usize| format!("{:.0}/s", 1e9 / rounds.median(at));
    let ratio = |at: usize| times(1.0 / rounds.ratio(at, 0));
    let rates = (0..3).map(|at| if at < of { rate(at) } else { String::new() });
    let ratios = (1..3).map(|at| if at < of { ratio(at) } else { String::new() });
    row(name, &rates.chain(ratios).collect::<Vec<_>>());
}
