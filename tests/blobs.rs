//! Bodies that are kept beside their records: what clients see when one breaks off, and that none stays.

#[path = "common/drive.rs"]
mod drive;
#[path = "common/durable.rs"]
mod durable;

use bytes::Bytes;
use drive::{
    Body, Fault, accepted, app, delete, full, get, ok, outcome, post, request, send, until,
};
use durable::{Durable, Faults};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use std::{
    future::{pending, ready},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tower_lro::{
    CompleteError, DeferLayer, Dialect, Head, Limits, OperationId, Operations, Rfc, Store,
    dialect::{Address, Answer, Ask, Listing, OptIn, Route, View},
    problem::Problem,
    store::{
        Clock, MemoryLimits, Settled, StoreError,
        StoreErrorKind::{self, Full, Unavailable, Uncertain},
    },
};

const LONG: usize = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn over(store: impl Store) -> Operations {
    Operations::builder().store(store).build().unwrap()
}

fn with_limits(store: impl Store, limits: Limits) -> Operations {
    let builder = Operations::builder().limits(limits);
    builder.store(store).build().unwrap()
}

async fn never(_: Request<Body>) -> Result<Response<Body>, Fault> {
    pending().await
}

async fn long(_: Request<Body>) -> Result<Response<Body>, Fault> {
    Ok(ok(vec![b'x'; LONG]))
}

fn append_fails(kind: StoreErrorKind) -> Faults {
    Faults {
        append: Some((2, kind)),
        ..Faults::default()
    }
}

fn read_fails(kind: StoreErrorKind) -> Faults {
    Faults {
        read: Some((2, kind)),
        ..Faults::default()
    }
}

/// Long before a sweep would see to it.
async fn none_is_left(store: &Durable) {
    tokio::time::sleep(seconds(60)).await;
    assert!(store.chunks().is_empty());
}

/// As long as is asked for, and with a trailer.
fn with_trailer(length: usize) -> Response<Body> {
    let value = HeaderValue::from_static("9");
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), value)]);
    let body = full(vec![b'x'; length]);
    let body = body.with_trailers(ready(Some(Ok(trailers))));
    Response::new(body.boxed_unsync())
}

#[tokio::test(start_paused = true)]
async fn a_long_response_keeps_its_trailers() {
    for around in [0, 1 << 16, 1 << 18, 1 << 19, LONG] {
        for length in around.saturating_sub(1)..=around + 1 {
            let operations = over(Durable::default());
            let service = app(operations.layer(), move |_| ready(Ok(with_trailer(length))));
            let by_handler = accepted(&service, post("/")).await;
            let service = app(operations.layer(), never);
            let from_outside = accepted(&service, post("/")).await;
            let completed = operations.complete(drive::id_of(&from_outside), with_trailer(length));
            assert!(matches!(completed.await, Ok(Settled::Done(_))));
            for monitor in [by_handler, from_outside] {
                let replay = outcome(&service, &monitor).await;
                assert_eq!((replay.status.as_u16(), replay.body.len()), (200, length));
                assert_eq!(replay.trailers["x-sum"], "9", "{length}");
            }
        }
    }
}

/// What is left to an operation, and for how long its end is tried to be written.
fn within(run_time: Duration, keep_for: Duration) -> Limits {
    let mut limits = Limits::default();
    (limits.run_time, limits.keep_for) = (run_time, keep_for);
    limits
}

/// How an operation ends whose response can be written down half only, and when.
async fn half_written(kind: StoreErrorKind, limits: Limits) -> (String, u64) {
    let store = Durable::default();
    store.break_down(append_fails(kind));
    let service = app(with_limits(store.clone(), limits).layer(), long);
    let begun = Instant::now();
    let monitor = accepted(&service, post("/")).await;
    let problem = outcome(&service, &monitor).await.problem();
    let took = begun.elapsed().as_secs();
    none_is_left(&store).await;
    (problem, took)
}

#[tokio::test(start_paused = true)]
async fn a_response_without_room_is_too_large() {
    let (problem, _) = half_written(Full, Limits::default()).await;
    assert_eq!(problem, "result-too-large");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_cannot_be_written_is_given_up_when_it_would_have_expired() {
    let (problem, took) = half_written(Unavailable, within(HOUR, seconds(600))).await;
    assert_eq!(problem, "errored");
    assert!((600..=605).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_cannot_be_written_is_given_up_when_its_time_to_run_is_over() {
    let (problem, took) = half_written(Unavailable, within(seconds(600), HOUR)).await;
    assert_eq!((problem.as_str(), took), ("timed-out", 600));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_cannot_be_written_can_be_cancelled() {
    let store = Durable::default();
    store.break_down(append_fails(Unavailable));
    let service = app(over(store.clone()).layer(), long);
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(600)).await;
    delete(&service, &monitor).await;
    let cancelled = outcome(&service, &monitor).await.problem();
    assert_eq!(cancelled, "cancelled");
    none_is_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_waits_for_a_store_that_comes_back() {
    let store = Durable::default();
    store.break_down(append_fails(Unavailable));
    let service = app(over(store.clone()).layer(), long);
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(1800)).await;
    assert_eq!(get(&service, &monitor).await.status, 202);
    store.break_down(Faults::default());
    assert_eq!(outcome(&service, &monitor).await.body.len(), LONG);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_of_a_response_stays_while_the_rest_waits() {
    let finish_fails = Faults {
        finish: Some(Unavailable),
        ..Faults::default()
    };
    for faults in [append_fails(Unavailable), finish_fails] {
        let store = Durable::default();
        store.break_down(faults);
        let limits = within(HOUR * 24, HOUR * 24);
        let service = app(with_limits(store.clone(), limits).layer(), long);
        let monitor = accepted(&service, post("/")).await;
        tokio::time::sleep(HOUR * 5).await;
        assert_eq!(get(&service, &monitor).await.status, 202);
        store.break_down(Faults::default());
        assert_eq!(outcome(&service, &monitor).await.body.len(), LONG);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_written_is_refused_and_not_run() {
    let store = Durable::default();
    store.break_down(append_fails(Unavailable));
    let operations = over(store.clone());
    let service = app(operations.layer(), long);
    let body = Request::post("/").body(full(vec![b'x'; LONG])).unwrap();
    let refused = send(&service, body).await.unwrap();
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
    assert_eq!(operations.usage().stored, 0);
    none_is_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_breaks_off_is_whole_again_later() {
    let store = Durable::default();
    let service = app(over(store.clone()).layer(), long);
    let monitor = accepted(&service, post("/")).await;
    assert_eq!(outcome(&service, &monitor).await.body.len(), LONG);
    store.break_down(read_fails(Unavailable));
    let broken = send(&service, request("GET", &monitor)).await;
    assert!(broken.is_err(), "{broken:?}");
    store.break_down(Faults::default());
    assert_eq!(get(&service, &monitor).await.body.len(), LONG);
}

/// Everything that a server sends until it closes the connection.
async fn sent(service: drive::App, version: &str, monitor: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service =
        tower::util::MapRequest::new(service, |request: Request<hyper::body::Incoming>| {
            request.map(|_| drive::empty())
        });
    let service = hyper_util::service::TowerToHyperService::new(service);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
            .await;
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = format!("GET {monitor} {version}\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut sent = Vec::new();
    let _ = stream.read_to_end(&mut sent).await;
    String::from_utf8(sent).unwrap()
}

#[tokio::test]
async fn a_client_can_tell_a_replay_that_breaks_off_from_one_that_ends() {
    let store = Durable::default();
    let service = app(over(store.clone()).layer(), long);
    let monitor = accepted(&service, post("/")).await;
    outcome(&service, &monitor).await;
    store.break_down(read_fails(Unavailable));
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let sent = sent(service.clone(), version, &monitor).await;
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{head}");
        assert!(head.contains(&format!("content-length: {LONG}")), "{head}");
        assert!(body.len() < LONG, "{}", body.len());
    }
}

/// Ends an operation with a long response and lets go of it, in one way or another.
async fn let_go(
    layer: impl Fn(DeferLayer) -> DeferLayer,
    how: impl AsyncFnOnce(&Operations, &drive::App, &str),
) {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(layer(operations.layer()), long);
    let monitor = accepted(&service, post("/")).await;
    assert_eq!(outcome(&service, &monitor).await.body.len(), LONG);
    how(&operations, &service, &monitor).await;
    assert_eq!(store.chunks().len(), 1, "somebody may be reading it");
    tokio::time::sleep(HOUR - seconds(180)).await;
    assert_eq!(store.chunks().len(), 1, "somebody may be reading it");
    tokio::time::sleep(seconds(360)).await;
    assert!(store.chunks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_goes_within_the_hour() {
    let_go(
        |layer| layer,
        async |_, service, monitor| {
            let forgotten = delete(service, &format!("{monitor}/result")).await;
            assert_eq!(forgotten.status, 204);
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_goes_within_the_hour() {
    let_go(
        |layer| layer,
        async |operations, _, monitor| {
            let id = drive::id_of(monitor);
            operations.remove(id).await.unwrap();
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_goes_within_the_hour() {
    let_go(
        |layer| layer.keep_for(seconds(60)),
        async |_, service, monitor| {
            tokio::time::sleep(seconds(61)).await;
            assert_eq!(get(service, monitor).await.problem(), "expired");
        },
    )
    .await;
}

/// Gives results once.
#[derive(Debug)]
struct Once(Rfc);

impl Dialect for Once {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        match self.0.address(head, route)? {
            Address::Operation(id, Ask::Result) if head.method == Method::GET => {
                Some(Address::Operation(id, Ask::Take))
            }
            other => Some(other),
        }
    }

    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer> {
        self.0.accepted(view, opt_in)
    }

    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer> {
        let ask = if ask == Ask::Take { Ask::Result } else { ask };
        self.0.answer(view, ask, head)
    }

    fn listed(&self, listing: &Listing<'_>, head: Head<'_>) -> Response<Bytes> {
        self.0.listed(listing, head)
    }

    fn problem(&self, problem: &Problem, opt_in: &OptIn) -> Response<Bytes> {
        self.0.problem(problem, opt_in)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_and_removed_goes_when_it_has_been_read() {
    let store = Durable::default();
    let operations = Operations::builder().store(store.clone());
    let operations = operations.dialect(Once(Rfc::new())).build().unwrap();
    let service = app(operations.layer(), long);
    let monitor = accepted(&service, post("/")).await;
    until("it has ended", || operations.usage().running == 0).await;
    assert_eq!(store.chunks().len(), 1);
    let taken = get(&service, &format!("{monitor}/result")).await;
    assert_eq!(taken.body.len(), LONG);
    none_is_left(&store).await;
    assert_eq!(get(&service, &monitor).await.problem(), "expired");
}

#[tokio::test(start_paused = true)]
async fn a_long_result_that_was_read_makes_room() {
    let limits = MemoryLimits::default().operations(1);
    let store = Durable::new(limits, Clock::system());
    let service = app(over(store).layer(), long);
    for _ in 0..2 {
        let monitor = accepted(&service, post("/")).await;
        assert_eq!(outcome(&service, &monitor).await.body.len(), LONG);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_a_wait_goes_when_it_has_been_read() {
    let store = Durable::default();
    let service = app(over(store.clone()).layer(), long);
    let held = drive::with(post("/"), "prefer", "wait=10");
    let answer = send(&service, held).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, LONG));
    none_is_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_comes_after_an_end_from_elsewhere_leaves_nothing() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store.apart()));
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let service = app(here.layer(), move |_| {
        let gate = inner.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(ok(vec![b'x'; LONG]))
        }
    });
    let monitor = accepted(&service, post("/")).await;
    until("it runs", || here.usage().running == 1).await;
    there.cancel(drive::id_of(&monitor)).await.unwrap();
    // Nobody here has heard of that yet.
    gate.add_permits(1);
    until("it is over", || here.usage().running == 0).await;
    none_is_left(&store).await;
    assert_eq!(get(&service, &monitor).await.problem(), "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_leaves_nothing() {
    let limits = MemoryLimits::default().operations(1);
    let store = Durable::new(limits, Clock::system());
    let service = app(over(store.clone()).layer(), never);
    accepted(&service, post("/")).await;
    let request = Request::post("/").body(full(vec![b'x'; LONG])).unwrap();
    let refused = send(&service, request).await.unwrap();
    assert_eq!(refused.refusal(), (503, "full".into()));
    none_is_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_with_its_operation() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer(), async |_| Ok(ok("done")));
    let body = || Request::post("/").body(full(vec![b'x'; LONG])).unwrap();
    let monitor = accepted(&service, body()).await;
    assert_eq!(outcome(&service, &monitor).await.text(), "done");
    none_is_left(&store).await;
    // As where a worker runs it.
    let tier = app(operations.layer().accept_only(), never);
    let worker = tower::service_fn(async |_: Request<Body>| Ok::<_, Fault>(ok("done")));
    tokio::spawn(operations.worker("default", worker).run());
    let monitor = accepted(&tier, body()).await;
    assert_eq!(outcome(&tier, &monitor).await.text(), "done");
    none_is_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_never_run_goes_within_the_hour() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer().accept_only(), never);
    let body = Request::post("/").body(full(vec![b'x'; LONG])).unwrap();
    accepted(&service, body).await;
    assert_eq!(store.chunks().len(), 1);
    tokio::time::sleep(Limits::default().start_within + HOUR + seconds(180)).await;
    assert!(store.chunks().is_empty());
}

/// An operation that runs, and a response that comes in to complete it with. Gives what is left once `meanwhile` has
/// been done, the response is in, and the completion has answered.
async fn completed(
    faults: Faults,
    meanwhile: impl AsyncFnOnce(&Operations, OperationId),
) -> (Durable, Result<Settled, CompleteError>) {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer(), never);
    let id = drive::id_of(&accepted(&service, post("/")).await);
    until("it runs", || operations.usage().running == 1).await;
    store.break_down(faults);
    let gate = store.gate_chunks();
    let completing = {
        let operations = operations.clone();
        tokio::spawn(async move { operations.complete(id, ok(vec![b'x'; LONG])).await })
    };
    gate.add_permits(1);
    until("it comes in", || store.chunks().len() == 1).await;
    meanwhile(&operations, id).await;
    gate.add_permits(100);
    (store, completing.await.unwrap())
}

fn complete_fails(kind: StoreErrorKind) -> Faults {
    Faults {
        complete: Some(kind),
        ..Faults::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_is_refused_leaves_nothing() {
    let (store, full) = completed(complete_fails(Full), async |_, _| {}).await;
    assert!(matches!(full, Err(CompleteError::TooLarge)), "{full:?}");
    none_is_left(&store).await;

    let (store, away) = completed(complete_fails(Unavailable), async |_, _| {}).await;
    let kind = |error: &StoreError| error.kind();
    assert!(matches!(&away, Err(CompleteError::Store(error)) if kind(error) == Unavailable));
    none_is_left(&store).await;

    let cancel = async |operations: &Operations, id| drop(operations.cancel(id).await.unwrap());
    let (store, late) = completed(Faults::default(), cancel).await;
    assert!(matches!(late, Ok(Settled::Stands(_))), "{late:?}");
    none_is_left(&store).await;

    let remove = async |operations: &Operations, id| drop(operations.remove(id).await.unwrap());
    let (store, later) = completed(Faults::default(), remove).await;
    assert!(matches!(later, Ok(Settled::Unknown)), "{later:?}");
    none_is_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_cannot_be_written_is_given_up_after_a_minute() {
    let begun = Instant::now();
    let (store, away) = completed(append_fails(Unavailable), async |_, _| {}).await;
    assert!(matches!(&away, Err(CompleteError::Store(error)) if error.kind() == Unavailable));
    assert!((60..=65).contains(&begun.elapsed().as_secs()));
    none_is_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_may_have_been_taken_keeps_its_body() {
    let (store, unsure) = completed(complete_fails(Uncertain), async |_, _| {}).await;
    assert!(matches!(&unsure, Err(CompleteError::Store(error)) if error.kind() == Uncertain));
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(store.chunks().len(), 1);
    let (store, done) = completed(Faults::default(), async |_, _| {}).await;
    assert!(matches!(done, Ok(Settled::Done(_))), "{done:?}");
    tokio::time::sleep(HOUR * 2).await;
    assert_eq!(store.chunks().len(), 1);
}
