//! What must stay true, each by its name.

mod common {
    pub(crate) mod drive;
    pub(crate) mod store;
}

use bytes::{Bytes, BytesMut};
use common::{
    drive::*,
    store::{Faulty, How, Verb},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
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
use tokio::{sync::Semaphore, time::Instant};
use tower::{Layer, Service, ServiceExt};
use tower_lro::{
    Limits, MetadataError, OperationHandle, OperationId, Operations, Owner, Record, Rfc, Store,
    admit::{self, Admit},
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

#[tokio::test(start_paused = true)]
async fn no_202_without_a_record() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let inner = move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        handler(request)
    };
    let app = app(operations.layer(), inner);

    let monitor = accepted(&app, post("/never")).await;
    let found = store.find(id_of(&monitor)).await.unwrap();
    assert!(matches!(found, Lookup::Found(record) if !record.phase().is_ended()));
    delete(&app, &monitor).await;
    assert_eq!(calls.swap(0, Ordering::SeqCst), 1);

    // What can't be stored is not begun;
    store.set(Verb::Create, How::Fail(StoreErrorKind::Unavailable));
    let answer = send(&app, post("/work")).await.unwrap();
    assert_eq!(answer.refusal(), (503, "unavailable".into()));
    tokio::time::sleep(seconds(10)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);

    // what has begun is held to its end, however short the wait.
    let slow = {
        let count = calls.clone();
        move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(seconds(50)).await;
                Ok(ok("done"))
            }
        }
    };
    let app = common::drive::app(operations.layer(), slow);
    let before = Instant::now();
    let answer = send(&app, with(post("/work"), "prefer", "wait=1"))
        .await
        .unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
    assert_eq!(before.elapsed().as_secs(), 50);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn an_operation_ends_exactly_once() {
    let ends = Arc::new(Mutex::new(HashMap::<OperationId, Vec<Phase>>::new()));
    let told = ends.clone();
    let operations = Operations::builder()
        .on_end(move |record| {
            let mut ends = told.lock().unwrap();
            ends.entry(record.id).or_default().push(record.phase());
            drop(ends);
            panic!("a hook that panics takes nothing with it");
        })
        .build()
        .unwrap();
    let app = app(operations.layer(), handler);
    type Deed = fn(Operations, OperationId) -> std::pin::Pin<Box<dyn Future<Output = Settled>>>;
    let deeds: [Deed; 3] = [
        |operations, id| Box::pin(async move { operations.cancel(id).await.unwrap() }),
        |operations, id| Box::pin(async move { operations.complete(id, ok("x")).await.unwrap() }),
        |operations, id| {
            Box::pin(async move {
                tokio::time::sleep(seconds(2)).await;
                let record = operations.get(id).await.unwrap().unwrap();
                Settled::Done(Arc::new(record))
            })
        },
    ];
    for first in deeds {
        let monitor = accepted(&app, post("/work")).await;
        let id = id_of(&monitor);
        let Settled::Done(done) = first(operations.clone(), id).await else {
            panic!("nobody was there before")
        };
        let end = get(&app, &monitor).await.to_string();
        for again in deeds.iter().take(2) {
            let Settled::Stands(stands) = again(operations.clone(), id).await else {
                panic!("it had ended")
            };
            assert_eq!(stands.phase(), done.phase());
            assert_eq!(stands.revision, done.revision);
        }
        delete(&app, &monitor).await;
        tokio::time::sleep(seconds(10)).await;
        assert_eq!(get(&app, &monitor).await.to_string(), end);
        assert_eq!(ends.lock().unwrap()[&id], [done.phase()]);
    }
    quiet(&operations).await;
}

#[tokio::test]
async fn a_write_by_who_has_lost_the_claim_is_refused() {
    let store = MemoryStore::new(MemoryLimits::default(), Clock::system());
    let submission = Submission::new(Method::POST, "/".into(), "/operations".into(), seconds(60));
    let at = Timestamp::from_micros(1);
    let record = Arc::new(Record::new(OperationId::random(), submission, at));
    let Created::New(claim) = store.create(&record, Intent::Run(None)).await.unwrap() else {
        panic!("it is new")
    };
    let sighting = Sighting {
        revision: record.revision.next(),
        at,
        started: Some(at),
        report: None,
    };
    let done = store.detach(&claim, &sighting, seconds(60)).await.unwrap();
    assert!(matches!(done, Settled::Done(_)));
    let mut ending = Some(Ending::without_response(Stop::Panicked, at));
    let late = store.finish(&claim, &sighting, &mut ending).await.unwrap();
    assert!(matches!(late, Settled::Stands(record) if record.phase() == Phase::Running));
    let again = store.release(&claim, &sighting).await.unwrap();
    assert!(matches!(again, Settled::Stands(_)));
}

#[tokio::test(start_paused = true)]
async fn one_task_owns_an_operation_from_create_to_finish() {
    let house = house(|_| {});
    // Before it is created, a client that goes away leaves nothing;
    let body = trickle(b"piece", seconds(1), 10);
    let slow = house.send(Request::post("/work").body(body).unwrap());
    assert!(tokio::time::timeout(seconds(3), slow).await.is_err());
    assert_eq!(held(house.operations.usage()), [0; 5]);
    assert_eq!(house.operations.usage().stored, 0);

    // from then on it runs to its end though nobody got the 202,
    let mut service = house.app.clone();
    let mut future = Box::pin(service.ready().await.unwrap().call(post("/work")));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_ready());
    drop(future);
    quiet(&house.operations).await;
    let page = house.operations.list(&ListQuery::all()).await.unwrap();
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.records[0].phase().as_str(), "succeeded");

    // and its panic is its own.
    let other = house.accepted(post("/work")).await;
    let panics = house.accepted(post("/panic")).await;
    assert_eq!(
        house.outcome(&panics).await.refusal(),
        (500, "panicked".into())
    );
    assert_eq!(house.outcome(&other).await.text(), "done");
    quiet(&house.operations).await;
}

/// With everything in it that the replay has an opinion on.
fn said() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    let mut frames = [
        Frame::data(Bytes::from_static(b"\x1f\x8b some ")),
        Frame::data(Bytes::from_static(b"coded bytes")),
        Frame::trailers(trailers),
    ]
    .into_iter();
    Response::builder()
        .status(207)
        .header("content-type", "text/plain")
        .header("content-encoding", "gzip")
        .header("x-twice", "b")
        .header("x-twice", "a")
        .header("set-cookie", "one=1; Secure")
        .header("set-cookie", "two=2")
        .header("etag", "\"theirs\"")
        .header("location", "../parts/7?y=2")
        .header("content-location", "7")
        .header("link", "<next>; rel=\"next\"")
        .header("vary", "accept")
        .header("cache-control", "max-age=60")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-authenticate", "Basic")
        .header("age", "10")
        .header("retry-after", "99")
        .header("accept-ranges", "bytes")
        .body(pour(move |_| Poll::Ready(frames.next().map(Ok))))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_what_the_inner_service_said() {
    let operations = operations(|limits| {
        limits.keep_for = seconds(100);
        limits.tombstone_for = seconds(100);
    });
    let app = app(operations.layer(), |_| ready(Ok(said())));
    let monitor = accepted(&app, post("/reports/all?x=1")).await;
    quiet(&operations).await;
    let first = get(&app, &monitor).await;
    assert_eq!(first.status, 207);
    assert_eq!(first.body, &b"\x1f\x8b some coded bytes"[..]);
    assert_eq!(first.trailers["x-sum"], "42");
    let all = |name: &str| -> Vec<&str> {
        let values = first.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    };
    for (name, values) in [
        ("content-type", &["text/plain"][..]),
        ("content-encoding", &["gzip"]),
        ("x-twice", &["b", "a"]),
        ("set-cookie", &["one=1; Secure", "two=2"]),
        ("etag", &["\"theirs\""]),
        ("location", &["/parts/7?y=2"]),
        ("content-location", &["/reports/7"]),
        ("link", &["</reports/next>; rel=\"next\""]),
        ("vary", &["accept"]),
        ("cache-control", &["no-store"]),
        ("operation-outcome", &["succeeded"]),
        ("trailer", &["x-sum"]),
    ] {
        assert_eq!(all(name), values, "{name}");
    }
    for gone in [
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "age",
        "retry-after",
        "accept-ranges",
    ] {
        assert!(all(gone).is_empty(), "{gone}");
    }
    for _ in 0..3 {
        tokio::time::sleep(seconds(30)).await;
        assert_eq!(get(&app, &monitor).await.to_string(), first.to_string());
        let result = get(&app, &format!("{monitor}/result")).await;
        assert_eq!(result.to_string(), first.to_string());
    }
    tokio::time::sleep(seconds(10)).await;
    assert_eq!(get(&app, &monitor).await.refusal(), (410, "expired".into()));
    tokio::time::sleep(seconds(100)).await;
    assert_eq!(get(&app, &monitor).await.refusal(), (404, "unknown".into()));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_an_early_expiry() {
    let house = house(|limits| limits.stored = 2);
    let first = house.accepted(post("/work")).await;
    // It ends before the other.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let second = house.accepted(post("/work")).await;
    assert_eq!(house.outcome(&second).await.text(), "done");
    assert_eq!(house.outcome(&first).await.text(), "done");
    house.accepted(post("/work")).await;
    assert_eq!(house.get(&first).await.refusal(), (410, "expired".into()));
    assert_eq!(house.get(&second).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_is_bounded() {
    let limits = |limits: &mut Limits| {
        limits.request_body = 100;
        limits.uploading_bytes = 150;
        limits.upload_time = seconds(5);
        limits.retry_after = Duration::from_millis(2500);
    };
    let house = house(limits);
    let upload = |body| Request::post("/work").body(body).unwrap();
    for body in [full(vec![0; 101]), trickle(&[0; 101], seconds(1), 1)] {
        let answer = house.send(upload(body)).await.unwrap();
        assert_eq!(answer.refusal(), (413, "too-large".into()));
    }
    let announced = with(
        upload(trickle(b"x", seconds(1), 1)),
        "content-length",
        "101",
    );
    assert_eq!(
        house.send(announced).await.unwrap().refusal(),
        (413, "too-large".into())
    );
    let answer = house.send(upload(full(vec![0; 100]))).await.unwrap();
    assert_eq!(answer.status, 202);

    let before = Instant::now();
    let slow = house
        .send(upload(trickle(b"x", seconds(2), 10)))
        .await
        .unwrap();
    assert_eq!(slow.refusal(), (408, "upload-timeout".into()));
    // Who is refused in the midst of an upload is heard out for a while, or would not hear.
    assert_eq!(before.elapsed().as_secs(), 10);

    let two = (0..2).map(|_| {
        let mut pieces = [Some(&[0; 80][..]), None].into_iter();
        let mut late = tokio::time::interval(seconds(1));
        let body = pour(move |cx| {
            late.poll_tick(cx).map(|_| {
                pieces
                    .next()
                    .flatten()
                    .map(|piece| Ok(Frame::data(piece.into())))
            })
        });
        let (app, request) = (house.app.clone(), upload(body));
        tokio::spawn(async move { send(&app, request).await.unwrap() })
    });
    let mut told = Vec::new();
    for answer in two.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        if answer.status == 503 {
            assert_eq!(answer.problem(), "full");
            assert_eq!(answer.field("retry-after"), Some("3"));
        }
        told.push(answer.status.as_u16());
    }
    told.sort();
    assert_eq!(told, [202, 503]);
    quiet(&house.operations).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_heard_out_within_bounds() {
    let house = house(|limits| {
        limits.request_body = 10;
        limits.discards = 1;
    });
    let upload = || {
        let app = house.app.clone();
        let body = trickle(&[0; 11], seconds(2), 2);
        let request = Request::post("/work").body(body).unwrap();
        async move {
            let before = Instant::now();
            let answer = send(&app, request).await.unwrap();
            assert_eq!(answer.refusal(), (413, "too-large".into()));
            let closes = answer.field("connection") == Some("close");
            (before.elapsed().as_secs(), closes)
        }
    };
    // Each is refused with its first piece; the second comes two seconds later.
    assert_eq!(upload().await, (2, false));
    let (one, other) = tokio::join!(upload(), upload());
    assert_eq!((one, other), ((2, false), (0, true)));
    assert_eq!(upload().await, (2, false));
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_is_bounded() {
    let house = house(|limits| {
        limits.running = 2;
        limits.accepted = 3;
        limits.start_within = seconds(50);
        limits.run_time = seconds(40);
        limits.response_body = 3;
        limits.wait = seconds(10);
        limits.readers_per_operation = 2;
        limits.readers = 3;
    });
    let mut monitors = Vec::new();
    for _ in 0..5 {
        monitors.push(house.accepted(post("/never")).await);
    }
    let answer = house.send(post("/never")).await.unwrap();
    assert_eq!(answer.refusal(), (503, "full".into()));
    until("two run", || {
        held(house.operations.usage()) == [0, 0, 3, 2, 0]
    })
    .await;

    let mut readers = tokio::task::JoinSet::new();
    for monitor in [0, 0, 0, 1, 1] {
        let poll = with(request("GET", &monitors[monitor]), "prefer", "wait=100");
        let app = house.app.clone();
        readers.spawn(async move {
            let before = Instant::now();
            let answer = send(&app, poll).await.unwrap();
            assert_eq!(answer.status, 202);
            let applied = answer.field("preference-applied").map(str::to_owned);
            (before.elapsed().as_secs(), applied)
        });
    }
    let mut waited = readers.join_all().await;
    waited.sort();
    let cut = Some("wait=10".to_owned());
    assert_eq!(
        waited,
        [
            (0, None),
            (0, None),
            (10, cut.clone()),
            (10, cut.clone()),
            (10, cut)
        ]
    );

    // Two had their time, two more had theirs, and one waited in vain.
    tokio::time::sleep(seconds(80)).await;
    let mut told = Vec::new();
    for monitor in &monitors {
        told.push(house.get(monitor).await.problem());
    }
    assert_eq!(told[..2], ["timed-out", "timed-out"]);
    assert_eq!(told[2..], ["timed-out", "timed-out", "not-started"]);
    let long = house.accepted(post("/work")).await;
    assert_eq!(
        house.outcome(&long).await.refusal(),
        (500, "result-too-large".into())
    );
    quiet(&house.operations).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    let house = house(|limits| {
        limits.stored = 3;
        limits.tombstones = 2;
        limits.keep_for = seconds(1000);
        limits.tombstone_for = seconds(1000);
    });
    let mut monitors = Vec::new();
    for _ in 0..3 {
        monitors.push(house.accepted(post("/work")).await);
    }
    quiet(&house.operations).await;
    let answer = house.send(post("/work")).await.unwrap();
    assert_eq!(
        answer.refusal(),
        (503, "full".into()),
        "nobody has read any of them"
    );
    for number in 0..3 {
        // At one moment each, so that one is the oldest.
        tokio::time::sleep(seconds(2)).await;
        house.get(&monitors[number]).await;
        monitors.push(house.accepted(post("/work")).await);
    }
    quiet(&house.operations).await;
    let usage = house.operations.usage();
    assert_eq!((usage.stored, usage.tombstones), (3, 2));
    assert_eq!(
        house.get(&monitors[0]).await.refusal(),
        (404, "unknown".into())
    );
    assert_eq!(
        house.get(&monitors[1]).await.refusal(),
        (410, "expired".into())
    );
    assert_eq!(
        house.get(&monitors[2]).await.refusal(),
        (410, "expired".into())
    );
    tokio::time::sleep(seconds(1000)).await;
    assert_eq!(
        house.get(&monitors[5]).await.refusal(),
        (410, "expired".into())
    );
    until("all is swept", || house.operations.usage().stored == 0).await;

    let bytes = self::house(|limits| limits.stored_bytes = 10);
    for _ in 0..2 {
        let monitor = bytes.accepted(post("/work")).await;
        assert_eq!(bytes.outcome(&monitor).await.text(), "done");
    }
    assert!(bytes.operations.usage().stored_bytes <= 10);

    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    let inner = move |request: Request<Body>| {
        let long = "x".repeat(4095);
        *tell.lock().unwrap() = Some(handle(&request).metadata(&long));
        ready(Ok(ok("done")))
    };
    let app = app(bytes.operations.layer(), inner);
    let monitor = accepted(&app, post("/work")).await;
    outcome(&app, &monitor).await;
    assert!(matches!(
        told.lock().unwrap().take(),
        Some(Err(MetadataError::TooLong))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_a_secret() {
    let house = house(|_| {});
    let monitor = house.accepted(post("/work")).await;
    let id = id_of(&monitor);
    assert_eq!(id.as_uuid().get_version_num(), 4);
    let record = house.operations.get(id).await.unwrap().unwrap();
    let found = house.operations.list(&ListQuery::all()).await.unwrap();
    let cancelled = house.operations.cancel(id).await.unwrap();
    let whole = id.to_string();
    for shown in [
        format!("{id:?}"),
        format!("{record:?}"),
        format!("{found:?}"),
        format!("{cancelled:?}"),
        format!("{:?}", house.operations),
        format!("{:?}", house.operations.layer()),
        format!("{:?}", house.operations.status_service()),
    ] {
        assert!(!shown.contains(&whole), "{shown}");
    }

    let shown = Arc::new(Mutex::new(String::new()));
    let show = shown.clone();
    let inner = move |request: Request<Body>| {
        *show.lock().unwrap() = format!("{request:?} {:?}", handle(&request));
        ready(Ok(ok("done")))
    };
    let app = app(house.operations.layer(), inner);
    let monitor = accepted(&app, post("/work")).await;
    outcome(&app, &monitor).await;
    let shown = shown.lock().unwrap();
    assert!(!shown.is_empty() && !shown.contains(&id_of(&monitor).to_string()));
}

/// Whatever can be asked of an operation, as one text, with its id taken out.
async fn everything(app: &App, id: OperationId, who: Option<&str>) -> String {
    let mut all = String::new();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"] {
        for suffix in ["", "/status", "/result", "/other"] {
            for wait in ["", "wait=5"] {
                let mut ask = request(method, &format!("/operations/{id}{suffix}"));
                ask = with(ask, "prefer", wait);
                if let Some(who) = who {
                    ask = with(ask, "x-who", who);
                }
                let before = Instant::now();
                let answer = send(app, ask).await.unwrap();
                all += &format!("{method} {suffix} {:?} {answer}", before.elapsed());
            }
        }
    }
    all.replace(&id.to_string(), "{id}")
}

#[tokio::test(start_paused = true)]
async fn for_others_an_operation_never_was() {
    let operations = Operations::builder()
        .owner(|head| Some(Owner::new(head.headers.get("x-who")?)))
        .build()
        .unwrap();
    let app = app(operations.layer(), handler);
    let never = everything(&app, OperationId::random(), Some("mallory")).await;
    for uri in ["/never", "/work", "/panic"] {
        for forgotten in [false, true] {
            let monitor = accepted(&app, with(post(uri), "x-who", "alice")).await;
            let id = id_of(&monitor);
            let page = operations.list(&ListQuery::all()).await.unwrap();
            assert!(
                !format!("{page:?}").contains("alice"),
                "principals are hashed"
            );
            let alice = |method| with(request(method, &monitor), "x-who", "alice");
            assert_eq!(send(&app, alice("GET")).await.unwrap().status, 202);
            tokio::time::sleep(seconds(2)).await;
            if forgotten {
                operations.cancel(id).await.unwrap();
                operations.forget(id).await.unwrap();
                let gone = send(&app, alice("GET")).await.unwrap();
                assert_eq!(gone.refusal(), (410, "expired".into()));
            }
            for who in [Some("mallory"), None] {
                assert_eq!(everything(&app, id, who).await, never, "{uri} {forgotten}");
            }
            operations.cancel(id).await.unwrap();
        }
    }
    let list = |who| with(request("GET", "/operations"), "x-who", who);
    let theirs = send(&app, list("mallory")).await.unwrap();
    assert_eq!(theirs.json()["operations"], serde_json::json!([]));
    let hers = send(&app, list("alice")).await.unwrap();
    assert_eq!(hers.json()["operations"].as_array().unwrap().len(), 3);
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_its_owners_own() {
    let operations = Operations::builder()
        .owner(|head| Some(Owner::new(head.headers.get("x-who")?)))
        .build()
        .unwrap();
    let app = app(operations.layer(), handler);
    let keyed = |who: Option<&str>| {
        let submit = with(post("/work"), "idempotency-key", "\"1\"");
        who.map_or(submit.clone_head(), |who| {
            with(submit.clone_head(), "x-who", who)
        })
    };
    let alice = accepted(&app, keyed(Some("alice"))).await;
    assert_eq!(accepted(&app, keyed(Some("alice"))).await, alice);
    let mallory = accepted(&app, keyed(Some("mallory"))).await;
    assert_ne!(mallory, alice);
    // Who is nobody has no keys.
    let nobody = accepted(&app, keyed(None)).await;
    let again = accepted(&app, keyed(None)).await;
    assert!(nobody != again && nobody != alice && nobody != mallory);
    quiet(&operations).await;
}

/// The same request again; bodies can't be cloned.
trait CloneHead {
    fn clone_head(&self) -> Request<Body>;
}

impl CloneHead for Request<Body> {
    fn clone_head(&self) -> Request<Body> {
        let mut request = post(&self.uri().to_string());
        *request.headers_mut() = self.headers().clone();
        request
    }
}

/// A service that can only be compared, so that nothing but itself could stand in its place.
#[derive(Debug)]
struct Plain {
    clones: Arc<AtomicUsize>,
}

impl Clone for Plain {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self {
            clones: self.clones.clone(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct PlainError(u8);

impl std::fmt::Display for PlainError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("plain")
    }
}

impl std::error::Error for PlainError {}

impl Service<Request<Body>> for Plain {
    type Response = Response<Body>;
    type Error = PlainError;
    type Future = std::future::Ready<Result<Response<Body>, PlainError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PlainError>> {
        Poll::Ready(Ok(()))
    }

    /// Answers with the request's own body, unread.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(request.extensions().get::<OperationHandle>().is_none());
        if request.uri().path() == "/error" {
            return ready(Err(PlainError(7)));
        }
        let prefer = request.headers().get("prefer").cloned();
        let mut response = Response::new(request.into_body());
        response
            .headers_mut()
            .extend(prefer.map(|value| (http::header::WARNING, value)));
        ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn pass_through_adds_nothing_of_its_own() {
    let operations = operations(|_| {});
    for (layer, varies) in [
        (operations.layer().when(admit::unsafe_methods()), false),
        (operations.layer().when(admit::asked()), true),
        (
            operations
                .layer()
                .when(admit::unsafe_methods().and(admit::asked().not())),
            true,
        ),
    ] {
        let clones = Arc::new(AtomicUsize::new(0));
        let inner = Plain {
            clones: clones.clone(),
        };
        let mut service = layer.layer(inner);
        // A body of which nothing more comes is no reason to wait.
        let bytes = Bytes::from_static(b"the very same bytes");
        let mut first = Some(bytes.clone());
        let body = pour(move |_| match first.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        });
        let passing = Request::get("/work")
            .header("prefer", "wait=5, x=1")
            .body(body)
            .unwrap();
        let response = service.ready().await.unwrap().call(passing).await.unwrap();
        assert_eq!(clones.load(Ordering::SeqCst), 1);
        let vary = response.headers().get("vary").map(HeaderValue::as_bytes);
        assert_eq!(vary, varies.then_some(&b"prefer"[..]));
        assert_eq!(
            response.headers()["warning"],
            "wait=5, x=1",
            "what passes is left as it is"
        );
        assert_eq!(response.headers().len(), 1 + usize::from(varies));
        let frame = response.into_body().frame().await.unwrap().unwrap();
        let same = frame.into_data().unwrap();
        assert_eq!((same.as_ptr(), same.len()), (bytes.as_ptr(), bytes.len()));

        let failing = service
            .ready()
            .await
            .unwrap()
            .call(request("GET", "/error"));
        assert_eq!(failing.await.unwrap_err(), PlainError(7));
        assert_eq!(clones.load(Ordering::SeqCst), 2);
        let usage = operations.usage();
        assert_eq!((held(usage), usage.stored), ([0; 5], 0));
    }
}

#[tokio::test(start_paused = true)]
async fn layer_and_monitor_agree() {
    let operations = Operations::builder()
        .mount("/a/operations")
        .base_url("https://example.com/api/")
        .build()
        .unwrap();
    let other = operations.also("/b/status", Rfc::see_other()).unwrap();
    assert_eq!(
        operations.also("/b/status", Rfc::new()).unwrap_err().option,
        "mount"
    );
    let faces = [
        (
            &operations,
            "https://example.com/api",
            "/a/operations/",
            200,
        ),
        (&other, "https://example.com/api", "/b/status/", 303),
    ];
    for (face, base, mount, _) in faces {
        let layered = app(face.layer(), handler);
        let monitor = accepted(&layered, post("/work")).await;
        let path = monitor.strip_prefix(base).expect("is absolute");
        assert!(path.starts_with(mount), "{monitor}");
        quiet(&operations).await;
        let id = id_of(&monitor);
        // Every face answers, each in its own way, and points to where it was accepted.
        for (asked, _, mount, status) in faces {
            let app = app(asked.layer(), handler);
            let answer = get(&app, &format!("{mount}{id}")).await;
            assert_eq!(answer.status, status, "{answer}");
            if status == 303 {
                assert_eq!(answer.location(), format!("{monitor}/result"));
            }
            let document = get(&app, &format!("{mount}{id}/status")).await.json();
            assert_eq!(document["links"]["monitor"], monitor);
            // Below a router that has taken the mount away it is the same.
            let nested = asked
                .status_service()
                .oneshot(request("GET", &format!("/{id}")));
            assert_eq!(nested.await.unwrap().status(), status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn urls_are_made_of_what_was_configured_alone() {
    let house = house(|_| {});
    for (name, value) in [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-proto", "evil"),
        ("forwarded", "host=evil.example;proto=evil"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
    ] {
        for uri in ["/work", "http://evil.example/work"] {
            let answer = house.send(with(post(uri), name, value)).await.unwrap();
            let monitor = answer.location();
            assert_eq!(monitor, format!("/operations/{}", id_of(&monitor)));
            assert!(!answer.to_string().contains("evil"), "{answer}");
            let poll = with(request("GET", &monitor), name, value);
            assert!(!house.send(poll).await.unwrap().to_string().contains("evil"));
        }
    }
    quiet(&house.operations).await;
}

/// A piece of a buffer as a server reads requests into.
fn slice(buffer: &Bytes, piece: &str) -> Bytes {
    let at = buffer
        .windows(piece.len())
        .position(|window| window == piece.as_bytes());
    let at = at.unwrap();
    buffer.slice(at..at + piece.len())
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_pins_nothing() {
    let operations = operations(|_| {});
    let seen = Arc::new(Mutex::new(None));
    let told = seen.clone();
    let inner = move |request: Request<Body>| {
        let told = told.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            let (trailers, bytes) = (body.trailers().cloned(), body.to_bytes());
            let original = head.extensions.get::<axum::extract::OriginalUri>();
            *told.lock().unwrap() = Some(format!(
                "{} {} {:?} {trailers:?} {bytes:?}",
                head.uri,
                original.unwrap().0,
                head.headers["x-custom"],
            ));
            let _held = (head, trailers, bytes);
            pending().await
        }
    };
    let app = app(operations.layer(), inner);

    let mut buffer = BytesMut::from(
        "POST /api/work?x=1 /work?x=1 x-custom: a value; x-sum: a sum; the body; more of it",
    );
    buffer.resize(64 << 10, b' ');
    let buffer = buffer.freeze();
    let uri = |piece| Uri::from_maybe_shared(slice(&buffer, piece)).unwrap();
    let value = |piece| HeaderValue::from_maybe_shared(slice(&buffer, piece)).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", value("a sum"));
    let mut frames = [
        Frame::data(slice(&buffer, "the body; ")),
        Frame::data(slice(&buffer, "more of it")),
        Frame::trailers(trailers),
    ]
    .into_iter();
    let request = Request::post(uri(" /work?x=1".trim()))
        .header("x-custom", value("a value"))
        .extension(axum::extract::OriginalUri(uri("/api/work?x=1")))
        .body(pour(move |_| Poll::Ready(frames.next().map(Ok))))
        .unwrap();
    assert!(!buffer.is_unique());
    let monitor = accepted(&app, request).await;
    until("the handler has it all", || seen.lock().unwrap().is_some()).await;
    let seen = seen.lock().unwrap().take().unwrap();
    assert_eq!(
        seen,
        "/work?x=1 /api/work?x=1 \"a value\" Some({\"x-sum\": \"a sum\"}) b\"the body; more of it\""
    );
    assert!(
        buffer.is_unique(),
        "the handler holds all of it, and the buffer is free"
    );
    delete(&app, &monitor).await;
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_response_pins_nothing() {
    let operations = operations(|_| {});
    let mut buffer = BytesMut::from("a value; a sum; the body; more of it");
    buffer.resize(64 << 10, b' ');
    let buffer = buffer.freeze();
    let shared = Arc::new(Mutex::new(Some(buffer.clone())));
    let inner = move |_| {
        let buffer = shared.lock().unwrap().take().unwrap();
        let value = |piece| HeaderValue::from_maybe_shared(slice(&buffer, piece)).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", value("a sum"));
        let mut frames = [
            Frame::data(slice(&buffer, "the body; ")),
            Frame::data(slice(&buffer, "more of it")),
            Frame::trailers(trailers),
        ]
        .into_iter();
        let mut response = Response::new(pour(move |_| Poll::Ready(frames.next().map(Ok))));
        response.headers_mut().insert("x-custom", value("a value"));
        *response.status_mut() = StatusCode::CREATED;
        ready(Ok(response))
    };
    let app = app(operations.layer(), inner);
    let monitor = accepted(&app, post("/work")).await;
    let answer = outcome(&app, &monitor).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (201, "the body; more of it")
    );
    assert_eq!(
        (&answer.headers["x-custom"], &answer.trailers["x-sum"]),
        (&"a value".parse().unwrap(), &"a sum".parse().unwrap())
    );
    assert!(buffer.is_unique());
}

/// What is known of an operation beyond its record goes when it ends, and who has read the record before that was told less
/// than had been told already.
#[tokio::test(start_paused = true)]
async fn a_poll_that_the_end_overtakes_does_not_tell_what_was_before() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    let app = app(operations.layer(), async |request| {
        handle(&request).progress(0.5, "half way");
        handler(request).await
    });
    for by_program in [false, true] {
        let monitor = accepted(&app, post("/work")).await;
        let status = format!("{monitor}/status");
        let id = id_of(&monitor);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(get(&app, &status).await.json()["status"], "running");
        let seen = operations.get(id).await.unwrap().unwrap().revision;

        let gate = Arc::new(Semaphore::new(0));
        store.times(Verb::Find, How::Gated(gate.clone()), 1);
        let (app, operations) = (app.clone(), operations.clone());
        let late = tokio::spawn(async move {
            if by_program {
                let record = operations.get(id).await.unwrap().unwrap();
                assert!(record.revision > seen && record.phase().is_ended());
            } else {
                assert_eq!(get(&app, &status).await.json()["status"], "succeeded");
            }
        });
        tokio::time::sleep(seconds(2)).await;
        assert!(!late.is_finished());
        gate.add_permits(1);
        late.await.unwrap();
    }
}
