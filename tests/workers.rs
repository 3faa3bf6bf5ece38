//! Work that others accepted, gave back, or lost, and bodies that are kept beside their records.

#[path = "common/drive.rs"]
mod drive;
#[path = "common/durable.rs"]
mod durable;

use bytes::Bytes;
use drive::{
    App, Body, Fault, accepted, app, full, get, ok, outcome, post, pour, quiet, until, with,
};
use durable::Durable;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full};
use std::{
    future::pending,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};
use tower::service_fn;
use tower_lro::{
    Limits, MemoryStore, OperationHandle, Operations, SeenUri, Store, defer::rebuild::Rebuilt,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn over(store: impl Store) -> Operations {
    let mut limits = Limits::default();
    limits.response_body = 1 << 30;
    limits.request_body = 1 << 30;
    let operations = Operations::builder().store(store).limits(limits);
    operations.build().unwrap()
}

fn times(attempts: u16) -> NonZeroU16 {
    NonZeroU16::new(attempts).unwrap()
}

/// Runs what is queued with a handler.
fn work<F, Fut>(operations: &Operations, handler: F) -> tokio::task::JoinHandle<()>
where
    F: Fn(Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, Fault>> + Send + 'static,
{
    tokio::spawn(operations.worker("default", service_fn(handler)).run())
}

async fn never(_: Request<Body>) -> Result<Response<Body>, Fault> {
    pending().await
}

/// Says how it was called.
async fn echo(request: Request<Body>) -> Result<Response<Body>, Fault> {
    let (head, body) = request.into_parts();
    let field = |name| {
        head.headers
            .get(name)
            .map_or("-", |value| value.to_str().unwrap())
    };
    let (attempt, secret, custom) = (
        field("operation-attempt"),
        field("cookie"),
        field("x-custom"),
    );
    let seen = head
        .extensions
        .get::<SeenUri>()
        .map(|seen| seen.0.to_string());
    let known = head
        .extensions
        .get::<OperationHandle>()
        .map(OperationHandle::attempt);
    let body = body.collect().await?.to_bytes();
    let text = format!(
        "{} {} {seen:?} {known:?} attempt={attempt} cookie={secret} custom={custom} {}",
        head.method,
        head.uri,
        String::from_utf8_lossy(&body),
    );
    Ok(ok(text))
}

fn rich() -> Request<Body> {
    let request = with(post("/reports?x=1"), "cookie", "secret");
    let request = with(request, "operation-attempt", "9");
    with(request, "x-custom", "1")
}

async fn works_through_a_queue(store: impl Store + Clone) {
    let web = over(store.clone());
    let tier = app(web.layer().accept_only(), never);
    let monitor = accepted(&tier, rich()).await;
    assert_eq!(web.usage().running + web.usage().accepted, 0);
    assert_eq!(get(&tier, &monitor).await.json()["status"], "accepted");
    let worker = work(&web, echo);
    let answer = outcome(&tier, &monitor).await;
    assert_eq!(
        answer.text(),
        "POST /reports?x=1 Some(\"/reports?x=1\") Some(1) attempt=- cookie=- custom=1 a request"
    );
    assert_eq!(answer.field("operation-outcome"), Some("succeeded"));
    quiet(&web).await;
    web.drain(seconds(1)).await;
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_only_accepted_is_run_by_a_worker() {
    works_through_a_queue(Arc::new(MemoryStore::default())).await;
}

#[tokio::test(start_paused = true)]
async fn a_durable_store_has_its_queue_worked_through() {
    works_through_a_queue(Durable::default()).await;
}

/// A body type of another crate, for which nobody here can implement a trait.
type Foreign = Either<Body, Full<Bytes>>;

#[tokio::test(start_paused = true)]
async fn a_worker_makes_bodies_of_other_crates_with_a_function() {
    let web = over(Arc::new(MemoryStore::default()));
    let tier = app(web.layer().accept_only(), never);
    let monitor = accepted(&tier, post("/")).await;
    let service = service_fn(|request: Request<Foreign>| async {
        match request.into_body() {
            Either::Left(_) => panic!("nobody has made it"),
            Either::Right(body) => Ok::<_, Fault>(Response::new(body)),
        }
    });
    let worker = web.worker("default", service);
    let worker = worker.rebuild_with(|read| {
        let (bytes, _) = read.into_parts();
        Rebuilt::ready(Foreign::Right(Full::new(bytes)))
    });
    tokio::spawn(worker.run());
    assert_eq!(outcome(&tier, &monitor).await.text(), "a request");
}

#[tokio::test(start_paused = true)]
async fn a_worker_puts_back_what_is_not_stored() {
    let web = over(Durable::default());
    let tier = app(web.layer().accept_only(), never);
    let worker = web.worker("default", service_fn(echo)).restore(|head| {
        head.headers.insert("cookie", "restored".parse().unwrap());
    });
    tokio::spawn(worker.run());
    let monitor = accepted(&tier, rich()).await;
    assert!(
        outcome(&tier, &monitor)
            .await
            .text()
            .contains("cookie=restored")
    );
}

/// HTTP/2 lets names through that `HeaderName::from_bytes` refuses.
#[tokio::test(start_paused = true)]
async fn a_name_with_quotes_hides_no_other_field_from_a_worker() {
    let web = over(MemoryStore::default());
    let tier = app(web.layer().accept_only(), never);
    work(&web, echo);
    let mut request = post("/");
    let quoted = HeaderName::from_lowercase(b"x-\"quoted\"").unwrap();
    request
        .headers_mut()
        .insert(quoted, HeaderValue::from_static("1"));
    // As a layer outside would.
    let monitor = accepted(&tier, with(request, "x-custom", "1")).await;
    let answer = outcome(&tier, &monitor).await;
    assert!(answer.text().contains("custom=1"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn what_a_client_names_in_connection_reaches_a_worker_all_the_same() {
    let web = over(MemoryStore::default());
    let tier = app(web.layer().accept_only(), never);
    work(&web, echo);
    let request = with(post("/"), "connection", "close, x-custom");
    // As a layer outside would.
    let monitor = accepted(&tier, with(request, "x-custom", "1")).await;
    let answer = outcome(&tier, &monitor).await;
    assert!(answer.text().contains("custom=1"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_ends_its_operation_alone() {
    let web = over(Durable::default());
    let tier = app(web.layer().accept_only(), never);
    let worker = web.worker("default", service_fn(echo)).restore(|head| {
        assert!(!head.headers.contains_key("x-bad"), "as it should not be");
    });
    tokio::spawn(worker.run());
    let bad = accepted(&tier, with(post("/"), "x-bad", "1")).await;
    let good = accepted(&tier, post("/")).await;
    assert_eq!(outcome(&tier, &bad).await.problem(), "panicked");
    assert_eq!(outcome(&tier, &good).await.status, 200);
}

/// An engine that runs no more at a time.
fn with_turns(running: usize, store: Durable) -> Operations {
    let mut limits = Limits::default();
    limits.running = running;
    let builder = Operations::builder().store(store).limits(limits);
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_worker_takes_no_more_than_can_run() {
    let web = with_turns(2, Durable::default());
    let tier = app(web.layer().accept_only(), never);
    for _ in 0..5 {
        accepted(&tier, post("/")).await;
    }
    work(&web, never);
    until("two run", || web.usage().running == 2).await;
    tokio::time::sleep(seconds(10)).await;
    assert_eq!((web.usage().running, web.usage().accepted), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_while_a_worker_has_all_turns_does_not_count_as_running() {
    let store = Durable::default();
    let here = with_turns(8, store.clone());
    let gate = store.gate_claims();
    accepted(&app(here.layer().accept_only(), never), post("/")).await;
    work(&here, never);
    tokio::time::sleep(seconds(1)).await;
    let tier = app(here.layer(), never);
    for _ in 0..5 {
        accepted(&tier, post("/")).await;
    }
    tokio::time::sleep(seconds(1)).await;
    assert_eq!((here.usage().running, here.usage().accepted), (0, 5));
    gate.add_permits(1);
    until("all run", || here.usage().running == 6).await;
    assert_eq!(here.usage().accepted, 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_worker_takes_is_not_started() {
    let web = over(Durable::default());
    let tier = app(web.layer().accept_only(), never);
    let monitor = accepted(&tier, post("/")).await;
    tokio::time::sleep(Limits::default().start_within + seconds(120)).await;
    assert_eq!(get(&tier, &monitor).await.problem(), "not-started");
}

#[tokio::test(start_paused = true)]
async fn who_lives_keeps_its_claims() {
    let store = Durable::default();
    let here = over(store.clone());
    let there = over(store.clone());
    let service = app(here.layer(), |_| async {
        tokio::time::sleep(durable::LEASE * 10).await;
        Ok(ok("done"))
    });
    let elsewhere = app(there.layer(), never);
    work(&there, echo);
    let monitor = accepted(&service, post("/")).await;
    let answer = outcome(&elsewhere, &monitor).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
    // Three beats in a lease, not one for each look at the clock.
    assert!(
        (20..=40).contains(&store.renewals()),
        "{}",
        store.renewals()
    );
}

#[tokio::test(start_paused = true)]
async fn others_see_how_far_it_is() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store));
    let service = app(here.layer(), |request| async move {
        drive::handle(&request).progress(0.5, "halfway");
        pending().await
    });
    let elsewhere = app(there.layer(), never);
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(2)).await;
    let json = get(&elsewhere, &format!("{monitor}/status")).await.json();
    assert_eq!(json["status"], "running");
    assert_eq!(json["progress"]["message"], "halfway");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_elsewhere_stops_what_runs_here() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store));
    let service = app(here.layer(), never);
    let elsewhere = app(there.layer(), never);
    let monitor = accepted(&service, post("/")).await;
    until("it runs", || here.usage().running == 1).await;
    drive::delete(&elsewhere, &monitor).await;
    tokio::time::sleep(durable::LEASE / 2).await;
    assert_eq!(here.usage().running, 0);
    assert_eq!(get(&service, &monitor).await.problem(), "cancelled");
}

/// An engine of its own runtime, which can be killed as a process can.
fn doomed(store: &Durable, attempts: u16) -> (std::thread::JoinHandle<String>, Operations) {
    let operations = over(store.clone());
    let mine = operations.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let monitor = runtime.block_on(async {
            let service = app(mine.layer().attempts(times(attempts)), never);
            let monitor = accepted(&service, rich()).await;
            until("it runs", || mine.usage().running == 1).await;
            monitor
        });
        // With everything that runs in it.
        drop(runtime);
        monitor
    });
    (thread, operations)
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_ran_is_lost_where_it_may_run_once() {
    let store = Durable::default();
    let (thread, _dead) = doomed(&store, 1);
    let monitor = thread.join().unwrap();
    let alive = over(store);
    let service = app(alive.layer(), never);
    work(&alive, echo);
    // Something that has the store swept.
    accepted(&service, post("/")).await;
    tokio::time::sleep(durable::LEASE + seconds(121)).await;
    assert_eq!(get(&service, &monitor).await.problem(), "lost");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_ran_is_taken_over_where_it_may_run_twice() {
    let store = Durable::default();
    let (thread, _dead) = doomed(&store, 2);
    let monitor = thread.join().unwrap();
    let alive = over(store);
    let service = app(alive.layer(), never);
    work(&alive, echo);
    let answer = outcome(&service, &monitor).await;
    assert!(answer.text().contains("Some(2) attempt=2"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_back_what_others_may_run() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store.clone()));
    let retried = app(here.layer().attempts(times(2)), never);
    let once = app(here.layer(), never);
    let handed_back = accepted(&retried, post("/")).await;
    let interrupted = accepted(&once, post("/")).await;
    until("both run", || here.usage().running == 2).await;
    let drained = here.drain(seconds(1)).await;
    assert_eq!((drained.handed_back, drained.interrupted), (1, 1));
    assert_eq!(drained.finished, 0);
    let elsewhere = app(there.layer(), never);
    assert_eq!(get(&elsewhere, &interrupted).await.problem(), "interrupted");
    work(&there, echo);
    let answer = outcome(&elsewhere, &handed_back).await;
    assert!(answer.text().contains("attempt=2"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_back_what_has_not_begun_though_it_may_run_once() {
    let store = Durable::default();
    let mut limits = Limits::default();
    limits.running = 1;
    let here = Operations::builder().store(store.clone()).limits(limits);
    let here = here.build().unwrap();
    let service = app(here.layer(), never);
    accepted(&service, post("/")).await;
    let waiting = accepted(&service, post("/")).await;
    until("one waits", || here.usage().accepted == 1).await;
    let drained = here.drain(seconds(1)).await;
    assert_eq!((drained.handed_back, drained.interrupted), (1, 1));
    let there = over(store);
    let elsewhere = app(there.layer(), never);
    work(&there, echo);
    let answer = outcome(&elsewhere, &waiting).await;
    assert!(answer.text().contains("Some(1) attempt=-"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_looks_seldom_ends_with_the_drain() {
    let operations = over(Durable::default());
    let worker = operations.worker("default", service_fn(never));
    let worker = tokio::spawn(worker.poll_every(Duration::MAX).run());
    tokio::time::sleep(seconds(5)).await;
    operations.drain(seconds(1)).await;
    let ended = tokio::time::timeout(seconds(1), worker).await;
    ended.expect("it has nothing to do").unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_while_it_runs_is_stopped() {
    let operations = over(MemoryStore::default());
    let service = app(operations.layer(), never);
    let monitor = accepted(&service, post("/")).await;
    until("it runs", || operations.usage().running == 1).await;
    operations.remove(drive::id_of(&monitor)).await.unwrap();
    quiet(&operations).await;
    assert_eq!(get(&service, &monitor).await.status, 410);
}

const LONG: usize = 3 << 20;

/// A body of `LONG` bytes in frames of a few kilobytes, and how many of them were asked for.
fn long(asked: &Arc<AtomicUsize>) -> Body {
    let (asked, mut left) = (asked.clone(), LONG);
    pour(move |_| {
        if left == 0 {
            return Poll::Ready(None);
        }
        let next = left.min(10_000);
        left -= next;
        asked.fetch_add(next, SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; next])))))
    })
}

fn streams(operations: &Operations, asked: &Arc<AtomicUsize>) -> App {
    let asked = asked.clone();
    app(operations.layer(), move |_| {
        let body = long(&asked);
        async { Ok(Response::new(body)) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_long_response_is_taken_in_chunk_by_chunk() {
    let store = Durable::default();
    let gate = store.gate_chunks();
    let operations = over(store.clone());
    let asked = Arc::default();
    let service = streams(&operations, &asked);
    let monitor = accepted(&service, post("/")).await;
    let chunk = 256 << 10;
    for stored in 0..8 {
        tokio::time::sleep(seconds(1)).await;
        let held = asked.load(SeqCst) - stored * chunk;
        assert!(
            held <= 2 * chunk,
            "{held} bytes are held after {stored} chunks"
        );
        gate.add_permits(1);
    }
    gate.add_permits(100);
    let answer = outcome(&service, &monitor).await;
    assert_eq!(answer.body.len(), LONG);
    assert_eq!(answer.field("operation-outcome"), Some("succeeded"));
    let [chunks] = &store.chunks()[..] else {
        panic!("expected one blob")
    };
    assert_eq!(chunks.iter().sum::<usize>(), LONG);
}

#[tokio::test(start_paused = true)]
async fn a_long_response_is_replayed_chunk_by_chunk() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = streams(&operations, &Arc::default());
    let monitor = accepted(&service, post("/")).await;
    until("it has ended", || operations.usage().running == 0).await;
    let request = drive::request("GET", &monitor);
    let response = tower::ServiceExt::oneshot(service, request).await.unwrap();
    let mut body = response.into_body();
    let (mut len, mut frames) = (0, 0);
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(LONG as u64));
    while let Some(frame) = body.frame().await {
        len += frame.unwrap().into_data().unwrap().len();
        frames += 1;
    }
    assert_eq!(len, LONG);
    assert!(frames >= 12, "{frames}");
    let held = store.most_chunks_held();
    assert!((1..=2).contains(&held), "{held}");
}

#[tokio::test(start_paused = true)]
async fn a_long_request_comes_to_the_worker_whole() {
    let store = Durable::default();
    let web = over(store.clone());
    let tier = app(web.layer().accept_only(), never);
    work(&web, |request: Request<Body>| async move {
        let body = request.into_body().collect().await?.to_bytes();
        Ok(ok(body.len().to_string()))
    });
    let body = full(vec![b'x'; LONG]);
    let monitor = accepted(&tier, Request::post("/").body(body).unwrap()).await;
    let [chunks] = &store.chunks()[..] else {
        panic!("expected one blob")
    };
    assert_eq!(chunks.len(), LONG.div_ceil(256 << 10));
    assert_eq!(outcome(&tier, &monitor).await.text(), LONG.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_came_too_late_leaves_no_blob() {
    let store = Durable::default();
    let gate = store.gate_chunks();
    let operations = over(store.clone());
    let service = streams(&operations, &Arc::default());
    let monitor = accepted(&service, post("/")).await;
    gate.add_permits(3);
    until("some is written", || !store.chunks().is_empty()).await;
    drive::delete(&service, &monitor).await;
    gate.add_permits(100);
    quiet(&operations).await;
    until("it is removed", || store.chunks().is_empty()).await;
    assert_eq!(get(&service, &monitor).await.problem(), "cancelled");
}
