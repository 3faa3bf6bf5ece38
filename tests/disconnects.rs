//! A client that goes away loses nothing but its connection, at whatever moment it goes; one that is slow takes no more
//! than its share.
#![cfg(feature = "axum")]

mod common {
    pub(crate) mod drive;
    pub(crate) mod store;
}

use bytes::Bytes;
use common::{
    drive::{self, House, held, quiet, until, with},
    store::{Faulty, How, Verb},
};
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower_lro::{
    Limits, Operations, Record, Store,
    store::{ListQuery, MemoryLimits},
};

/// More than the buffers of a socket take in.
const BIG: usize = 48 << 20;

/// A server whose handlers wait for a permit before they answer.
struct Site {
    operations: Operations,
    store: Faulty,
    address: SocketAddr,
    gate: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    /// Handlers that were dropped before their end.
    dropped: Arc<AtomicUsize>,
}

async fn site(set: impl FnOnce(&mut Limits)) -> Site {
    let mut limits = Limits::default();
    limits.response_body = BIG as u64;
    set(&mut limits);
    let store = Faulty::new(MemoryLimits::default());
    let operations = Operations::builder()
        .limits(limits)
        .store(store.clone())
        .shared_keys()
        .build()
        .unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let (calls, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (gate, calls, dropped) = (gate.clone(), calls.clone(), dropped.clone());
        move |body: Bytes| {
            let (gate, calls, dropped) = (gate.clone(), calls.clone(), dropped.clone());
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                let unfinished = drive::OnDrop(|| {
                    dropped.fetch_add(1, Ordering::SeqCst);
                });
                gate.acquire().await.unwrap().forget();
                unfinished.disarm();
                match &*body {
                    b"big" => vec![b'x'; BIG],
                    _ => b"done".to_vec(),
                }
            }
        }
    };
    let routes = axum::Router::new()
        .route(
            "/work",
            axum::routing::post(handler).route_layer(operations.layer()),
        )
        .nest_service("/operations", operations.status_service());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, routes).into_future());
    Site {
        operations,
        store,
        address,
        gate,
        calls,
        dropped,
    }
}

impl Site {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends what is told on a connection of its own.
    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Sends a request and reads the answer, whose end is that of the connection.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.send(request).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str, fields: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}\r\n"
        ))
        .await
    }

    async fn submit(&self, body: &str) -> String {
        let answer = self.ask(&post(body, "connection: close\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        location.unwrap().to_owned()
    }

    async fn only_record(&self) -> Arc<Record> {
        let page = self.operations.list(&ListQuery::all()).await.unwrap();
        assert_eq!(page.records.len(), 1);
        page.records[0].clone()
    }

    /// The only operation that there is ends well.
    async fn ends_well(&self) -> String {
        let id = self.only_record().await.id;
        let answer = self
            .get(&format!("/operations/{id}"), "prefer: wait=20\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{}", &answer[..20]);
        assert!(answer.contains("operation-outcome: succeeded"));
        assert_eq!(self.calls.load(Ordering::SeqCst), 1);
        assert_eq!(self.dropped.load(Ordering::SeqCst), 0);
        quiet(&self.operations).await;
        answer
    }
}

/// Closes a connection, and waits until the server has noticed: until it has dropped the connection's task.
async fn go_away(stream: TcpStream) {
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    drop(stream);
    until("the server has noticed", || {
        tasks.num_alive_tasks() < before
    })
    .await;
}

fn post(body: &str, fields: &str) -> String {
    let length = body.len();
    format!("POST /work HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_uploads_leaves_nothing() {
    let site = site(|_| {}).await;
    for request in [
        "POST /work HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\nonly a part",
        "POST /work HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        "POST /work HTTP/1.1\r\nhost: h\r\nidempotency-key: \"k\"\r\ncontent-length: 9\r\n\r\npart",
    ] {
        let stream = site.send(request).await;
        until("it is read", || {
            let usage = site.operations.usage();
            usage.uploading == 1 && usage.uploading_bytes > 0
        })
        .await;
        drop(stream);
        quiet(&site.operations).await;
        assert_eq!(site.operations.usage().stored, 0);
    }
    assert_eq!(site.calls.load(Ordering::SeqCst), 0);
    site.gate.add_permits(1);
    site.submit("x").await;
    site.ends_well().await;
}

#[tokio::test]
async fn a_client_that_says_no_more_in_the_midst_of_its_upload_is_told() {
    let site = site(|_| {}).await;
    for request in [
        "POST /work HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\nonly a part",
        "POST /work HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n\r\n",
    ] {
        let mut stream = site.send(request).await;
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.contains("urn:tower-lro:problem:upload-failed"),
            "{answer}"
        );
        quiet(&site.operations).await;
    }
    assert_eq!(site.operations.usage().stored, 0);
    assert_eq!(site.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_while_its_operation_is_stored_has_it_run_all_the_same() {
    for fields in ["", "idempotency-key: \"k\"\r\nprefer: wait=20\r\n"] {
        let site = site(|_| {}).await;
        let stored = Arc::new(Semaphore::new(0));
        site.store.set(Verb::Create, How::Gated(stored.clone()));
        let stream = site.send(&post("x", fields)).await;
        until("it is being stored", || {
            !site.store.calls(Verb::Create).is_empty()
        })
        .await;
        go_away(stream).await;
        stored.add_permits(1);
        site.gate.add_permits(1);
        until("it runs", || site.calls.load(Ordering::SeqCst) == 1).await;
        site.ends_well().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_after_the_202_has_lost_nothing() {
    let site = site(|_| {}).await;
    let monitor = site.submit("x").await;
    until("it runs", || site.calls.load(Ordering::SeqCst) == 1).await;
    assert_eq!(held(site.operations.usage()), [0, 0, 0, 1, 0]);
    site.gate.add_permits(1);
    let answer = site.get(&monitor, "prefer: wait=20\r\n").await;
    assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
    site.ends_well().await;
}

#[tokio::test]
async fn a_client_that_goes_away_unheard_has_its_operation_run() {
    let site = site(|_| {}).await;
    drop(site.send(&post("x", "")).await);
    until("it runs", || site.calls.load(Ordering::SeqCst) == 1).await;
    site.gate.add_permits(1);
    site.ends_well().await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_polls_gives_its_place_back() {
    let site = site(|_| {}).await;
    let monitor = site.submit("x").await;
    let poll = format!("GET {monitor} HTTP/1.1\r\nhost: h\r\nprefer: wait=30\r\n\r\n");
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(site.send(&poll).await);
    }
    until("they wait", || site.operations.usage().readers == 20).await;
    readers.truncate(5);
    until("some have gone", || site.operations.usage().readers == 5).await;
    until("it runs", || site.operations.usage().running == 1).await;
    site.gate.add_permits(1);
    for mut reader in readers {
        let mut answer = vec![0; 12];
        reader.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200");
    }
    site.ends_well().await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_midst_of_a_replay_leaves_it_unread() {
    let site = site(|_| {}).await;
    site.gate.add_permits(1);
    let monitor = site.submit("big").await;
    until("it has ended", || site.store.usage().unread == 1).await;
    let mut stream = site
        .send(&format!("GET {monitor} HTTP/1.1\r\nhost: h\r\n\r\n"))
        .await;
    let mut start = vec![0; 10_000];
    stream.read_exact(&mut start).await.unwrap();
    go_away(stream).await;
    assert_eq!(site.store.usage().unread, 1, "nobody has had it whole");

    let answer = site.get(&monitor, "").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {BIG}")), "{head}");
    assert!(body.len() == BIG && body.bytes().all(|byte| byte == b'x'));
    until("it is read", || site.store.usage().unread == 0).await;
    site.ends_well().await;
}

#[tokio::test]
async fn work_that_only_a_waiting_client_wants_goes_with_it() {
    let site = site(|_| {}).await;
    let stream = site.send(&post("x", "prefer: wait=30\r\n")).await;
    until("it runs", || site.calls.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    quiet(&site.operations).await;
    assert_eq!(site.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(site.operations.usage().stored, 0);
}

#[tokio::test]
async fn work_with_a_key_outlives_the_client_that_waited() {
    let site = site(|_| {}).await;
    let fields = "prefer: wait=30\r\nidempotency-key: \"k\"\r\n";
    let stream = site.send(&post("x", fields)).await;
    until("it runs", || site.calls.load(Ordering::SeqCst) == 1).await;
    go_away(stream).await;
    assert_eq!(held(site.operations.usage()), [0, 0, 0, 1, 0]);
    site.gate.add_permits(1);
    // Who comes again has what the first one has missed.
    let again = site
        .ask(&post("x", &format!("{fields}connection: close\r\n")))
        .await;
    let status = again.split(' ').nth(1).unwrap();
    assert!(["200", "202"].contains(&status), "{again}");
    site.ends_well().await;
}

#[tokio::test]
async fn a_stream_of_http_2_that_is_reset_loses_nothing_else() {
    let site = site(|_| {}).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let url = |path: &str| format!("http://{}{path}", site.address);
    let body = |pieces: &'static [&'static str]| {
        let mut pieces = pieces.iter();
        drive::pour(move |_| match pieces.next() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))),
            None => Poll::Pending,
        })
    };

    // While it uploads.
    let upload = Request::post(url("/work"))
        .body(body(&["a piece"]))
        .unwrap();
    let upload = tokio::spawn(client.request(upload));
    until("it is read", || site.operations.usage().uploading_bytes > 0).await;
    upload.abort();
    quiet(&site.operations).await;
    assert_eq!(site.operations.usage().stored, 0);

    // While it waits for the work.
    let submit = Request::post(url("/work")).body(drive::full("x")).unwrap();
    let waiting = tokio::spawn(client.request(with(submit, "prefer", "wait=30")));
    until("it runs", || site.calls.load(Ordering::SeqCst) == 1).await;
    waiting.abort();
    quiet(&site.operations).await;
    assert_eq!(site.dropped.load(Ordering::SeqCst), 1);

    // While it polls.
    let submit = Request::post(url("/work")).body(drive::full("x")).unwrap();
    let accepted = client.request(submit).await.unwrap();
    let monitor = url(accepted.headers()["location"].to_str().unwrap());
    let poll = || {
        let poll = Request::get(&monitor).body(drive::empty()).unwrap();
        client.request(with(poll, "prefer", "wait=30"))
    };
    let reset = tokio::spawn(poll());
    let stays = tokio::spawn(poll());
    until("both wait", || site.operations.usage().readers == 2).await;
    reset.abort();
    until("one has gone", || site.operations.usage().readers == 1).await;
    site.gate.add_permits(1);
    let answer = stays.await.unwrap().unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );
    quiet(&site.operations).await;
}

/// How far the server is with an upload, as its sender sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    Read,
    Answered,
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_slow_uploads_stay_within_the_bounds() {
    const PLACES: u64 = 1280;
    const BYTES: u64 = 1 << 20;
    for keyed in [false, true] {
        let mut limits = Limits::default();
        limits.uploading_bytes = BYTES;
        assert_eq!((limits.running + limits.accepted) as u64, PLACES);
        let builder = Operations::builder().limits(limits).shared_keys();
        let operations = builder.build().unwrap();
        let app = drive::app(operations.layer(), |_| async { Ok(drive::ok("done")) });
        let house = Arc::new(House::new(&operations, app));
        // The most that was ever held, looked at whenever a piece arrives; by the engine's account and by our own.
        let most = Arc::new([const { AtomicU64::new(0) }; 3]);
        let reading = Arc::new(AtomicU64::new(0));

        let mut uploads = tokio::task::JoinSet::new();
        for number in 0..10_000_u64 {
            let (operations, most) = (operations.clone(), most.clone());
            // Those at the end come when some of the first have gone.
            let start = Duration::from_millis(number * 5);
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            let mut left = 20 + number % 20;
            let stage = Arc::new(Mutex::new(Stage::Sent));
            let (seen, begun) = (stage.clone(), reading.clone());
            let body = drive::pour(move |cx| {
                let mut stage = seen.lock().unwrap();
                if *stage == Stage::Sent {
                    *stage = Stage::Read;
                    let now = begun.fetch_add(1, Ordering::Relaxed) + 1;
                    most[2].fetch_max(now, Ordering::Relaxed);
                }
                let usage = operations.usage();
                most[0].fetch_max(usage.uploading, Ordering::Relaxed);
                most[1].fetch_max(usage.uploading_bytes, Ordering::Relaxed);
                if left == 0 {
                    return Poll::Ready(None);
                }
                ticks.poll_tick(cx).map(|_| {
                    left -= 1;
                    Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 64]))))
                })
            });
            // Not of HTTP/1, where what is refused is read to its end before it is answered.
            let request = Request::post("/work").version(http::Version::HTTP_2);
            let mut request = request.body(body).unwrap();
            if keyed {
                request = with(request, "idempotency-key", &format!("\"{number}\""));
            }
            let (house, reading) = (house.clone(), reading.clone());
            uploads.spawn(async move {
                tokio::time::sleep(start).await;
                let answer = house.send(request).await.unwrap();
                // What is read on behind an answer has no place, and needs none.
                if std::mem::replace(&mut *stage.lock().unwrap(), Stage::Answered) == Stage::Read {
                    reading.fetch_sub(1, Ordering::Relaxed);
                }
                match answer.status.as_u16() {
                    202 => "accepted".to_owned(),
                    _ => answer.problem(),
                }
            });
        }
        let mut told = std::collections::BTreeMap::new();
        while let Some(answer) = uploads.join_next().await {
            *told.entry(answer.unwrap()).or_insert(0) += 1;
        }
        // Some were slow enough to be refused for it, some found no place, and some came through.
        assert_eq!(told.values().sum::<i32>(), 10_000);
        let kinds: Vec<_> = told.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["accepted", "full", "upload-timeout"], "{told:?}");
        let [places, bytes, read] = [0, 1, 2].map(|at: usize| most[at].load(Ordering::Relaxed));
        assert!((PLACES / 2..=PLACES).contains(&places), "{places}");
        assert!((PLACES / 2..=PLACES).contains(&read), "{read}");
        assert!((BYTES / 2..=BYTES).contains(&bytes), "{bytes}");
        quiet(&operations).await;
        assert_eq!(operations.usage().stored, told["accepted"] as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_slow_sockets_stay_within_the_bounds() {
    let site = site(|limits| {
        limits.running = 8;
        limits.accepted = 24;
        limits.upload_time = Duration::from_millis(800);
    })
    .await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..300_u64 {
        let mut stream = site.connect().await;
        clients.spawn(async move {
            let head = "POST /work HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let dripping = tokio::spawn(async move {
                let mut drips = tokio::time::interval(Duration::from_millis(40 + number % 20));
                loop {
                    drips.tick().await;
                    if write.write_all(b"x").await.is_err() {
                        break;
                    }
                }
            });
            let mut answer = String::new();
            let _ = read.read_to_string(&mut answer).await;
            dripping.abort();
            answer
        });
    }
    let mut most = 0;
    let mut told = [0, 0, 0];
    let sample = async {
        loop {
            most = site.operations.usage().uploading.max(most);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let collect = async {
        while let Some(answer) = clients.join_next().await {
            let answer = answer.unwrap();
            told[match answer.get(9..12) {
                Some("503") => 0,
                Some("408") => 1,
                _ => 2,
            }] += 1;
        }
    };
    tokio::select! {
        () = sample => {}
        () = collect => {}
    }
    assert!((1..=32).contains(&most), "{most}");
    assert!(told[0] > 0 && told[1] > 0, "{told:?}");
    assert_eq!(told[2], 0, "everybody is told");
    quiet(&site.operations).await;
    assert_eq!(site.calls.load(Ordering::SeqCst), 0);
    site.gate.add_permits(1);
    site.submit("x").await;
    site.ends_well().await;
}
