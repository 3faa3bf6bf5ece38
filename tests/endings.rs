//! However a handler ends, its operation ends once, its client is told without inner detail, the process lives, and
//! all that was held is given back.

mod common {
    pub(crate) mod drive;
}

use bytes::Bytes;
use common::drive::*;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use std::{
    future::{Future, pending, ready},
    panic::panic_any,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::Service;
use tower_lro::{CompleteError, DeferLayer, Limits, Operations, store::Settled};

/// Stands in every panic and error of the handlers here.
const SECRET: &str = "inner-detail-4711";

type Work = Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + Send>>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Room for one running operation. `/work` is done by `act`; whatever else is asked for is answered at once.
fn house_with(
    set: impl FnOnce(&mut Limits),
    layer: impl FnOnce(DeferLayer) -> DeferLayer,
    act: impl Fn(Request<Body>) -> Work + Send + Sync + 'static,
) -> House {
    let mut limits = Limits::default();
    limits.running = 1;
    set(&mut limits);
    let operations = Operations::builder()
        .limits(limits)
        .shared_keys()
        .build()
        .unwrap();
    let act = Arc::new(act);
    let inner = move |request: Request<Body>| match request.uri().path() {
        "/work" => act(request),
        _ => Box::pin(ready(Ok(ok("next")))),
    };
    House::new(&operations, app(layer(operations.layer()), inner))
}

fn house(act: impl Fn(Request<Body>) -> Work + Send + Sync + 'static) -> House {
    house_with(|_| {}, |layer| layer, act)
}

/// Nothing is held, the permit is there for the next, and nothing that was sent tells more than it should.
async fn all_is_given_back(house: &House) {
    quiet(&house.operations).await;
    let next = house.accepted(post("/next")).await;
    assert_eq!(house.outcome(&next).await.text(), "next");
    quiet(&house.operations).await;
    house.never_sent(SECRET);
}

async fn ended_as(house: &House, monitor: &str, status: u16, problem: &str) {
    let word = if problem == "cancelled" {
        "cancelled"
    } else {
        "failed"
    };
    let waited = house.outcome(monitor).await;
    let again = house.get(monitor).await;
    let result = house.get(&format!("{monitor}/result")).await;
    for answer in [waited, again, result] {
        assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
        assert_eq!(answer.field("operation-outcome"), Some(word));
        assert_eq!(answer.field("retry-after"), None);
    }
    let document = house.get(&format!("{monitor}/status")).await;
    assert_eq!(document.status, 200);
    assert_eq!(document.json()["status"], word);
    if word == "failed" {
        let urn = format!("urn:tower-lro:problem:{problem}");
        assert_eq!(document.json()["problem"]["type"], urn);
    }
}

/// Submits plainly, held, and held with a key; each time the client hears of the same failure.
async fn fails_as(house: &House, status: u16, problem: &str) {
    let monitor = house.accepted(post("/work")).await;
    ended_as(house, &monitor, status, problem).await;
    all_is_given_back(house).await;

    let stored = house.operations.usage().stored;
    let held = with(post("/work"), "prefer", "wait=30");
    let answer = house.send(held).await.unwrap();
    assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
    assert_eq!(house.operations.usage().stored, stored, "nothing is stored");
    all_is_given_back(house).await;

    let keyed = || with(post("/work"), "idempotency-key", "\"k\"");
    let held = with(keyed(), "prefer", "wait=30");
    let answer = house.send(held).await.unwrap();
    assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
    // A repeat is told what the first was.
    let answer = house.send(keyed()).await.unwrap();
    assert_eq!(answer.refusal(), (status, problem.into()), "{answer}");
    all_is_given_back(house).await;
}

fn bomb() -> OnDrop<impl FnMut()> {
    OnDrop(|| panic!("{SECRET}"))
}

/// A future that panics when it is dropped, whatever has come of it.
struct Armed<F: FnMut()> {
    work: Work,
    _bomb: OnDrop<F>,
}

fn armed(work: impl Future<Output = Result<Response<Body>, Fault>> + Send + 'static) -> Work {
    struct Defused<F: FnMut()>(Armed<F>);
    impl<F: FnMut() + Unpin> Future for Defused<F> {
        type Output = Result<Response<Body>, Fault>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            self.0.work.as_mut().poll(cx)
        }
    }
    Box::pin(Defused(Armed {
        work: Box::pin(work),
        _bomb: bomb(),
    }))
}

/// An error that shows the secret in every way an error can.
#[derive(Debug)]
struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(SECRET)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(const { &std::fmt::Error })
    }
}

fn failure() -> Fault {
    Fault::other(Failure)
}

fn is_failure(error: &Fault) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Failure>())
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_call_is_a_failure() {
    fails_as(&house(|_| panic!("{SECRET}")), 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_poll_is_a_failure() {
    let late = house(|_| {
        Box::pin(async {
            tokio::time::sleep(seconds(1)).await;
            panic!("{SECRET}")
        })
    });
    fails_as(&late, 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_body_is_a_failure() {
    let mut frames = 0;
    let inner = house(move |_| {
        Box::pin(ready(Ok(Response::new(pour(move |_| {
            frames += 1;
            match frames {
                1 => Poll::Ready(Some(Ok(Frame::data("half a secret".into())))),
                _ => panic!("{SECRET}"),
            }
        })))))
    });
    fails_as(&inner, 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_carries_a_value_which_panics_itself_is_a_failure() {
    fails_as(&house(|_| panic_any(bomb())), 500, "panicked").await;
    fails_as(&house(|_| panic_any(String::from(SECRET))), 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_the_handler_is_a_failure() {
    fails_as(&house(|_| armed(ready(Ok(ok("done"))))), 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_what_the_response_carries_is_a_failure() {
    #[derive(Clone)]
    struct Carried(#[expect(dead_code, reason = "dropped")] Arc<OnDrop<fn()>>);
    let inner = house(|_| {
        let mut response = ok("done");
        let carried = OnDrop((|| panic!("{SECRET}")) as fn());
        response.extensions_mut().insert(Carried(Arc::new(carried)));
        Box::pin(ready(Ok(response)))
    });
    let monitor = inner.accepted(post("/work")).await;
    ended_as(&inner, &monitor, 500, "panicked").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_the_body_is_a_failure() {
    let inner = house(|_| {
        let bomb = bomb();
        let mut data = Some(Frame::data(Bytes::from("done")));
        Box::pin(ready(Ok(Response::new(pour(move |_| {
            let _ = &bomb;
            Poll::Ready(data.take().map(Ok))
        })))))
    });
    fails_as(&inner, 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_the_error_is_a_failure() {
    struct Bomb(OnDrop<fn()>);
    impl std::fmt::Debug for Bomb {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let _ = &self.0;
            f.write_str(SECRET)
        }
    }
    impl std::fmt::Display for Bomb {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(SECRET)
        }
    }
    impl std::error::Error for Bomb {}
    let inner = house(|_| {
        let error = Bomb(OnDrop((|| panic!("{SECRET}")) as fn()));
        Box::pin(ready(Err(Fault::other(error))))
    });
    let monitor = inner.accepted(post("/work")).await;
    ended_as(&inner, &monitor, 500, "panicked").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_a_handler_that_is_stopped_changes_nothing() {
    let stopped = || {
        house_with(
            |limits| limits.run_time = seconds(5),
            |layer| layer,
            |_| armed(pending()),
        )
    };
    fails_as(&stopped(), 504, "timed-out").await;

    let inner = stopped();
    let monitor = inner.accepted(post("/work")).await;
    let document = inner.send(request("DELETE", &monitor)).await.unwrap();
    assert_eq!(document.json()["status"], "cancelled");
    ended_as(&inner, &monitor, 410, "cancelled").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_is_a_failure_and_its_text_stays_inside() {
    let inner = house(|_| Box::pin(ready(Err(failure()))));
    let monitor = inner.accepted(post("/work")).await;
    ended_as(&inner, &monitor, 500, "errored").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_time_passes_through_as_without_the_layer() {
    let inner = house(|_| Box::pin(ready(Err(failure()))));
    let held = || with(post("/work"), "prefer", "wait=30");
    assert!(is_failure(&inner.send(held()).await.unwrap_err()));
    assert_eq!(inner.operations.usage().stored, 0);
    all_is_given_back(&inner).await;

    let keyed = || with(held(), "idempotency-key", "\"k\"");
    assert!(is_failure(&inner.send(keyed()).await.unwrap_err()));
    // A repeat must not run it again, and has no error to be given.
    let monitor = inner.accepted(keyed()).await;
    ended_as(&inner, &monitor, 500, "errored").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_body_is_a_failure() {
    let mut frames = 0;
    let inner = house(move |_| {
        Box::pin(ready(Ok(Response::new(pour(move |_| {
            frames += 1;
            Poll::Ready(Some(match frames {
                1 => Ok(Frame::data("half a secret".into())),
                _ => Err(failure()),
            }))
        })))))
    });
    fails_as(&inner, 500, "errored").await;
}

#[tokio::test(start_paused = true)]
async fn an_interim_response_is_a_failure() {
    let inner = house(|_| {
        let mut response = ok(SECRET);
        *response.status_mut() = http::StatusCode::EARLY_HINTS;
        Box::pin(ready(Ok(response)))
    });
    fails_as(&inner, 500, "errored").await;
}

/// An inner service that is unready for good on `/work`, in one way or the other; ready for all else once it has been.
#[derive(Clone)]
struct Refusing {
    how: fn() -> Poll<Result<(), Fault>>,
    calls: Arc<AtomicUsize>,
    refusals: Arc<AtomicUsize>,
}

impl Service<Request<Body>> for Refusing {
    type Response = Response<Body>;
    type Error = Fault;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.refusals.fetch_add(1, Ordering::SeqCst) == 0 {
            (self.how)()
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn call(&mut self, _: Request<Body>) -> Work {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(ready(Ok(ok("next"))))
    }
}

fn refusing(how: fn() -> Poll<Result<(), Fault>>) -> (House, Refusing) {
    let operations = operations(|limits| limits.running = 1);
    let inner = Refusing {
        how,
        calls: Arc::default(),
        refusals: Arc::default(),
    };
    let app = around(operations.layer(), inner.clone());
    (House::new(&operations, app), inner)
}

#[tokio::test(start_paused = true)]
async fn an_error_in_poll_ready_is_a_failure() {
    let (house, inner) = refusing(|| Poll::Ready(Err(failure())));
    let monitor = house.accepted(post("/work")).await;
    ended_as(&house, &monitor, 500, "errored").await;
    assert_eq!(inner.calls.load(Ordering::SeqCst), 0);
    all_is_given_back(&house).await;

    let (house, inner) = refusing(|| Poll::Ready(Err(failure())));
    let held = with(post("/work"), "prefer", "wait=30");
    assert!(is_failure(&house.send(held).await.unwrap_err()));
    assert_eq!(inner.calls.load(Ordering::SeqCst), 0);
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_poll_ready_is_a_failure() {
    let (house, inner) = refusing(|| panic!("{SECRET}"));
    let monitor = house.accepted(post("/work")).await;
    ended_as(&house, &monitor, 500, "panicked").await;
    assert_eq!(inner.calls.load(Ordering::SeqCst), 0);
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_is_timed_out() {
    let inner = house_with(
        |limits| limits.run_time = seconds(20),
        |layer| layer,
        |_| Box::pin(pending()),
    );
    fails_as(&inner, 504, "timed-out").await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_has_a_run_time_of_its_own() {
    let inner = house_with(
        |_| {},
        |layer| layer.run_time(seconds(20)),
        |_| Box::pin(pending()),
    );
    let before = tokio::time::Instant::now();
    let monitor = inner.accepted(post("/work")).await;
    ended_as(&inner, &monitor, 504, "timed-out").await;
    assert_eq!(before.elapsed().as_secs(), 20);
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn no_run_time_at_all_may_be_spelled_as_the_longest_duration() {
    let inner = house_with(
        |_| {},
        |layer| layer.run_time(Duration::MAX).keep_for(Duration::MAX),
        |_| {
            Box::pin(async {
                tokio::time::sleep(seconds(10)).await;
                Ok(ok("done"))
            })
        },
    );
    let monitor = inner.accepted(post("/work")).await;
    let answer = inner.outcome(&monitor).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
    all_is_given_back(&inner).await;
}

/// A handler that is always busy with things that are ready lets the runtime have its turn, and nothing else.
async fn busy<T>() -> T {
    loop {
        tokio::task::coop::consume_budget().await;
    }
}

// In real time: a clock that is paused goes on only while nobody is busy.
#[tokio::test]
async fn a_handler_that_is_always_busy_is_timed_out() {
    let inner = house_with(
        |limits| limits.run_time = Duration::from_millis(50),
        |layer| layer,
        |_| Box::pin(busy()),
    );
    fails_as(&inner, 504, "timed-out").await;
}

#[tokio::test]
async fn a_handler_that_is_always_busy_does_not_outlast_the_clients_patience() {
    let inner = house(|_| Box::pin(busy()));
    let held = with(post("/work"), "prefer", "wait=1");
    let monitor = inner.accepted(held).await;
    inner.operations.cancel(id_of(&monitor)).await.unwrap();
    all_is_given_back(&inner).await;
}

#[tokio::test]
async fn a_body_of_endless_empty_frames_is_timed_out() {
    let inner = house_with(
        |limits| limits.run_time = Duration::from_millis(50),
        |layer| layer,
        |_| {
            let body = pour(|_| Poll::Ready(Some(Ok(Frame::data(Bytes::new())))));
            Box::pin(ready(Ok(Response::new(body))))
        },
    );
    fails_as(&inner, 504, "timed-out").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_ends_is_timed_out() {
    let inner = house_with(
        |limits| limits.run_time = seconds(25),
        |layer| layer,
        |_| Box::pin(async { Ok(Response::new(trickle(b".", seconds(1), u64::MAX))) }),
    );
    fails_as(&inner, 504, "timed-out").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_ten_minutes_is_replayed_whole() {
    let inner =
        house(|_| Box::pin(async { Ok(Response::new(trickle(b"0123456789", seconds(1), 601))) }));
    let before = tokio::time::Instant::now();
    let monitor = inner
        .accepted(with(post("/work"), "prefer", "wait=20"))
        .await;
    assert_eq!(
        before.elapsed().as_secs(),
        20,
        "the wait is for the body too"
    );
    let pending = inner.get(&monitor).await;
    assert_eq!(
        (pending.status.as_u16(), &pending.json()["status"]),
        (202, &"running".into())
    );
    let answer = inner.outcome(&monitor).await;
    assert_eq!(before.elapsed().as_secs(), 600);
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 6010));
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_too_long_is_a_failure_announced_or_not() {
    let announced = house_with(
        |limits| limits.response_body = 1000,
        |layer| layer,
        |_| Box::pin(ready(Ok(ok(vec![b'x'; 1001])))),
    );
    fails_as(&announced, 500, "result-too-large").await;

    let streamed = house_with(
        |_| {},
        |layer| layer.response_body(1000),
        |_| {
            Box::pin(async {
                Ok(Response::new(trickle(
                    b"0123456789",
                    Duration::from_millis(1),
                    101,
                )))
            })
        },
    );
    fails_as(&streamed, 500, "result-too-large").await;

    let endless = house_with(
        |limits| limits.response_body = 100_000,
        |layer| layer,
        |_| {
            let body = pour(|_| Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1000]))))));
            Box::pin(ready(Ok(Response::new(body))))
        },
    );
    fails_as(&endless, 500, "result-too-large").await;

    let just_right = house_with(
        |limits| limits.response_body = 1000,
        |layer| layer,
        |_| Box::pin(ready(Ok(ok(vec![b'x'; 1000])))),
    );
    let monitor = just_right.accepted(post("/work")).await;
    assert_eq!(just_right.outcome(&monitor).await.body.len(), 1000);
    all_is_given_back(&just_right).await;
}

#[tokio::test(start_paused = true)]
async fn trailers_that_are_too_long_are_a_failure() {
    let inner = house_with(
        |limits| limits.response_body = 1000,
        |layer| layer,
        |_| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "9".repeat(1001).parse().unwrap());
            let mut frame = Some(Frame::trailers(trailers));
            Box::pin(ready(Ok(Response::new(pour(move |_| {
                Poll::Ready(frame.take().map(Ok))
            })))))
        },
    );
    fails_as(&inner, 500, "result-too-large").await;
}

#[tokio::test(start_paused = true)]
async fn a_response_for_which_the_store_has_no_room_is_a_failure() {
    let inner = house_with(
        |limits| limits.stored_bytes = 1000,
        |layer| layer,
        |_| Box::pin(ready(Ok(ok(vec![b'x'; 1001])))),
    );
    fails_as(&inner, 500, "result-too-large").await;
    let usage = inner.operations.usage();
    assert!(usage.stored_bytes < 100, "{usage:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_the_handler_at_once() {
    for by_program in [false, true] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = dropped.clone();
        let inner = house(move |_| {
            let count = count.clone();
            let guard = OnDrop(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            Box::pin(async move {
                let _guard = guard;
                pending().await
            })
        });
        let monitor = inner.accepted(post("/work")).await;
        until("it runs", || inner.operations.usage().running == 1).await;
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        let before = tokio::time::Instant::now();
        if by_program {
            let settled = inner.operations.cancel(id_of(&monitor)).await.unwrap();
            assert!(matches!(settled, Settled::Done(_)));
        } else {
            let document = inner.send(request("DELETE", &monitor)).await.unwrap();
            assert_eq!(
                (document.status.as_u16(), &document.json()["status"]),
                (200, &"cancelled".into())
            );
        }
        ended_as(&inner, &monitor, 410, "cancelled").await;
        quiet(&inner.operations).await;
        assert!(before.elapsed() < seconds(1));
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        // Once more changes nothing.
        let document = inner.send(request("DELETE", &monitor)).await.unwrap();
        assert_eq!(
            (document.status.as_u16(), &document.json()["status"]),
            (200, &"cancelled".into())
        );
        all_is_given_back(&inner).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_with_grace_may_wind_up_and_cannot_change_the_end() {
    let wound_up = Arc::new(AtomicUsize::new(0));
    let count = wound_up.clone();
    let inner = house_with(
        |limits| limits.cancel_grace = seconds(10),
        |layer| layer,
        move |request| {
            let (operation, count) = (handle(&request), count.clone());
            Box::pin(async move {
                operation.cancelled().await;
                assert!(operation.is_cancelled());
                operation.progress(0.9, SECRET);
                tokio::time::sleep(seconds(4)).await;
                count.fetch_add(1, Ordering::SeqCst);
                Ok(ok(SECRET))
            })
        },
    );
    let monitor = inner.accepted(post("/work")).await;
    until("it runs", || inner.operations.usage().running == 1).await;
    let before = tokio::time::Instant::now();
    inner.send(request("DELETE", &monitor)).await.unwrap();
    ended_as(&inner, &monitor, 410, "cancelled").await;
    assert_eq!(
        inner.operations.usage().running,
        1,
        "it has its permit still"
    );
    quiet(&inner.operations).await;
    assert_eq!(
        (before.elapsed().as_secs(), wound_up.load(Ordering::SeqCst)),
        (4, 1)
    );
    ended_as(&inner, &monitor, 410, "cancelled").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_when_its_grace_is_over() {
    let inner = house_with(
        |limits| limits.cancel_grace = seconds(10),
        |layer| layer,
        |_| Box::pin(pending()),
    );
    let monitor = inner.accepted(post("/work")).await;
    until("it runs", || inner.operations.usage().running == 1).await;
    let before = tokio::time::Instant::now();
    inner.send(request("DELETE", &monitor)).await.unwrap();
    quiet(&inner.operations).await;
    assert_eq!(before.elapsed().as_secs(), 10);
    ended_as(&inner, &monitor, 410, "cancelled").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_while_it_waits_for_its_turn_is_never_called() {
    for grace in [0, 3600] {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let inner = house_with(
            |limits| limits.cancel_grace = seconds(grace),
            |layer| layer,
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async {
                    tokio::time::sleep(seconds(60)).await;
                    Ok(ok("done"))
                })
            },
        );
        let first = inner.accepted(post("/work")).await;
        until("it runs", || inner.operations.usage().running == 1).await;
        let second = inner.accepted(post("/work")).await;
        until("it waits", || inner.operations.usage().accepted == 1).await;
        inner.send(request("DELETE", &second)).await.unwrap();
        until("its place is free", || {
            inner.operations.usage().accepted == 0
        })
        .await;
        ended_as(&inner, &second, 410, "cancelled").await;
        assert_eq!(inner.outcome(&first).await.text(), "done");
        all_is_given_back(&inner).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_get_its_turn_in_time_was_not_started() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let inner = house_with(
        |limits| limits.start_within = seconds(30),
        |layer| layer,
        move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(pending())
        },
    );
    let first = inner.accepted(post("/work")).await;
    until("it runs", || inner.operations.usage().running == 1).await;
    let before = tokio::time::Instant::now();
    let second = inner.accepted(post("/work")).await;
    ended_as(&inner, &second, 500, "not-started").await;
    assert_eq!(before.elapsed().as_secs(), 30);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(inner.operations.usage().accepted, 0);
    inner.send(request("DELETE", &first)).await.unwrap();
    all_is_given_back(&inner).await;
}

/// Hands its end over and answers what nobody is to see.
fn detaching(limit: u64) -> House {
    house_with(
        |limits| limits.run_time = seconds(limit),
        |layer| layer,
        |request| {
            let operation = handle(&request);
            Box::pin(async move {
                operation.progress(0.5, "on the bus");
                operation.detach().await.unwrap();
                Ok(ok(SECRET))
            })
        },
    )
}

/// Nothing is held for a detached operation, and it is not at its end.
async fn stands_detached(house: &House, monitor: &str) {
    quiet(&house.operations).await;
    let answer = house.get(monitor).await;
    assert_eq!(answer.status, 202, "{answer}");
    assert_eq!(answer.json()["status"], "running");
    assert_eq!(answer.json()["progress"]["message"], "on the bus");
    let result = house.get(&format!("{monitor}/result")).await;
    assert_eq!(result.refusal(), (404, "result-not-ready".into()));
}

#[tokio::test(start_paused = true)]
async fn a_detached_operation_ends_when_it_is_completed() {
    let house = detaching(3600);
    let monitor = house.accepted(post("/work")).await;
    stands_detached(&house, &monitor).await;

    let failing = Response::new(pour(|_| Poll::Ready(Some(Err(failure())))));
    let refused = house.operations.complete(id_of(&monitor), failing).await;
    assert!(matches!(refused, Err(CompleteError::Body(_))));
    stands_detached(&house, &monitor).await;

    let (app, url) = (house.app.clone(), monitor.clone());
    let reader = tokio::spawn(async move { outcome(&app, &url).await });
    until("it is read", || house.operations.usage().readers == 1).await;
    let response = Response::builder().status(201).body(full("from the bus"));
    let settled = house
        .operations
        .complete(id_of(&monitor), response.unwrap())
        .await;
    assert!(matches!(settled, Ok(Settled::Done(_))));
    let answer = reader.await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (201, "from the bus")
    );

    let again = house
        .operations
        .complete(id_of(&monitor), ok("twice"))
        .await;
    assert!(matches!(again, Ok(Settled::Stands(_))));
    assert_eq!(house.outcome(&monitor).await.text(), "from the bus");
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn a_detached_operation_is_timed_out_with_its_readers_told() {
    let house = detaching(600);
    let before = tokio::time::Instant::now();
    let monitor = house.accepted(post("/work")).await;
    stands_detached(&house, &monitor).await;
    let answer = house.outcome(&monitor).await;
    assert_eq!(answer.refusal(), (504, "timed-out".into()));
    assert!(
        (600..602).contains(&before.elapsed().as_secs()),
        "{:?}",
        before.elapsed()
    );
    ended_as(&house, &monitor, 504, "timed-out").await;
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn a_detached_operation_can_be_cancelled() {
    let house = detaching(3600);
    let monitor = house.accepted(post("/work")).await;
    stands_detached(&house, &monitor).await;
    house.send(request("DELETE", &monitor)).await.unwrap();
    ended_as(&house, &monitor, 410, "cancelled").await;
    let late = house.operations.complete(id_of(&monitor), ok(SECRET)).await;
    assert!(matches!(late, Ok(Settled::Stands(_))));
    ended_as(&house, &monitor, 410, "cancelled").await;
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_is_answered_when_the_operation_is_detached() {
    let house = detaching(3600);
    let before = tokio::time::Instant::now();
    let monitor = house
        .accepted(with(post("/work"), "prefer", "wait=30"))
        .await;
    assert!(before.elapsed() < seconds(1));
    stands_detached(&house, &monitor).await;
    house
        .operations
        .complete(id_of(&monitor), ok("done"))
        .await
        .unwrap();
    assert_eq!(house.outcome(&monitor).await.text(), "done");
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_handler_that_has_detached_does_not_matter() {
    let after: [fn() -> Work; 3] = [
        || Box::pin(async { panic!("{SECRET}") }),
        || Box::pin(ready(Err(failure()))),
        || Box::pin(async { Ok(Response::new(pour(|_| Poll::Ready(Some(Err(failure())))))) }),
    ];
    for after in after {
        let house = house(move |request| {
            let operation = handle(&request);
            Box::pin(async move {
                operation.progress(0.5, "on the bus");
                operation.detach().await.unwrap();
                operation.detach().await.expect("twice is once");
                after().await
            })
        });
        let monitor = house.accepted(post("/work")).await;
        stands_detached(&house, &monitor).await;
        house
            .operations
            .complete(id_of(&monitor), ok("done"))
            .await
            .unwrap();
        assert_eq!(house.outcome(&monitor).await.text(), "done");
        all_is_given_back(&house).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_that_goes_on_is_dropped_at_its_limit() {
    let house = house_with(
        |limits| limits.run_time = seconds(60),
        |layer| layer,
        |request| {
            let operation = handle(&request);
            Box::pin(async move {
                operation.detach().await.unwrap();
                pending().await
            })
        },
    );
    let monitor = house.accepted(post("/work")).await;
    let answer = house.outcome(&monitor).await;
    assert_eq!(answer.refusal(), (504, "timed-out".into()));
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_cannot_be_detached() {
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    let house = house_with(
        |limits| limits.cancel_grace = seconds(10),
        |layer| layer,
        move |request| {
            let (operation, tell) = (handle(&request), tell.clone());
            Box::pin(async move {
                operation.cancelled().await;
                *tell.lock().unwrap() = Some(operation.detach().await);
                Ok(ok(SECRET))
            })
        },
    );
    let monitor = house.accepted(post("/work")).await;
    until("it runs", || house.operations.usage().running == 1).await;
    house.send(request("DELETE", &monitor)).await.unwrap();
    all_is_given_back(&house).await;
    assert!(told.lock().unwrap().take().unwrap().is_err());
    ended_as(&house, &monitor, 410, "cancelled").await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_kept_is_told_of_the_end_and_keeps_nothing() {
    let kept = Arc::new(Mutex::new(None));
    let keep = kept.clone();
    let house = house(move |request| {
        *keep.lock().unwrap() = Some(handle(&request));
        Box::pin(ready(Ok(ok("done"))))
    });
    let monitor = house.accepted(post("/work")).await;
    assert_eq!(house.outcome(&monitor).await.text(), "done");
    let handle = kept.lock().unwrap().take().unwrap();
    handle.cancelled().await;
    assert!(handle.is_cancelled() && handle.detach().await.is_err());
    handle.progress(0.1, SECRET);
    handle.metadata(&SECRET).unwrap();
    house.get(&format!("{monitor}/status")).await;
    all_is_given_back(&house).await;
    drop(house);
    // Nothing is left to hear it.
    handle.progress(0.2, SECRET);
    handle.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_response_from_outside_stops_the_handler_and_stands() {
    let house = house_with(
        |limits| limits.cancel_grace = seconds(10),
        |layer| layer,
        |request| {
            let operation = handle(&request);
            Box::pin(async move {
                operation.cancelled().await;
                Ok(ok(SECRET))
            })
        },
    );
    let monitor = house.accepted(post("/work")).await;
    until("it runs", || house.operations.usage().running == 1).await;
    house
        .operations
        .complete(id_of(&monitor), ok("from outside"))
        .await
        .unwrap();
    assert_eq!(house.outcome(&monitor).await.text(), "from outside");
    all_is_given_back(&house).await;
    assert_eq!(house.outcome(&monitor).await.text(), "from outside");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_is_told_what_ended_the_operation_from_outside() {
    let house = house(|_| Box::pin(pending()));
    for (key, cancel) in [("\"a\"", false), ("\"b\"", true)] {
        let held = with(
            with(post("/work"), "prefer", "wait=30"),
            "idempotency-key",
            key,
        );
        let waiting = house.send(held);
        let ending = async {
            until("it runs", || house.operations.usage().running == 1).await;
            let page = house
                .operations
                .list(&tower_lro::store::ListQuery::all())
                .await
                .unwrap();
            let id = page.records[0].id;
            if cancel {
                house.operations.cancel(id).await.unwrap();
            } else {
                house
                    .operations
                    .complete(id, ok("from outside"))
                    .await
                    .unwrap();
            }
        };
        let (answer, ()) = tokio::join!(waiting, ending);
        let answer = answer.unwrap();
        // What ended it elsewhere, the monitor tells.
        assert_eq!(answer.status, 202);
        let word = if cancel { "cancelled" } else { "succeeded" };
        assert_eq!(answer.json()["status"], word);
        let ended = house.get(&answer.location()).await;
        assert_eq!(ended.field("operation-outcome"), Some(word));
        all_is_given_back(&house).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_interrupts_what_does_not_end() {
    let house = house(|_| Box::pin(pending()));
    let running = house.accepted(post("/work")).await;
    until("it runs", || house.operations.usage().running == 1).await;
    let queued = house.accepted(post("/work")).await;
    let held = {
        let app = house.app.clone();
        tokio::spawn(async move {
            send(&app, with(post("/work"), "prefer", "wait=30"))
                .await
                .unwrap()
        })
    };
    until("both wait", || house.operations.usage().accepted == 2).await;
    house.operations.drain(seconds(5)).await;
    ended_as(&house, &running, 500, "interrupted").await;
    ended_as(&house, &queued, 500, "interrupted").await;
    assert_eq!(held.await.unwrap().refusal(), (500, "interrupted".into()));
    quiet(&house.operations).await;
}

/// Counts every end that the engine tells of.
fn counting(set: impl FnOnce(&mut Limits)) -> (Operations, Arc<AtomicUsize>) {
    let ends = Arc::new(AtomicUsize::new(0));
    let count = ends.clone();
    let mut limits = Limits::default();
    set(&mut limits);
    let builder = Operations::builder().limits(limits);
    let builder = builder.on_end(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (builder.build().unwrap(), ends)
}

#[test]
fn a_runtime_that_shuts_down_interrupts_its_operations() {
    for threads in [0, 2] {
        let runtime = match threads {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        }
        .enable_all()
        .build()
        .unwrap();
        let (operations, ends) = counting(|limits| limits.running = 1);
        let inner = |request: Request<Body>| {
            let operation = handle(&request);
            async move {
                if request.uri().path() == "/detached" {
                    operation.detach().await.unwrap();
                }
                pending().await
            }
        };
        let house = House::new(&operations, app(operations.layer(), inner));
        let (running, queued, detached) = runtime.block_on(async {
            let detached = house.accepted(post("/detached")).await;
            until("it is detached", || operations.usage().running == 1).await;
            tokio::task::yield_now().await;
            let running = house.accepted(post("/work")).await;
            let queued = house.accepted(post("/work")).await;
            (running, queued, detached)
        });
        drop(runtime);
        assert_eq!(held(operations.usage()), [0; 5]);
        assert_eq!(ends.load(Ordering::SeqCst), 2);

        // The handle outlives the runtime, and goes on in another.
        let mut other = tokio::runtime::Builder::new_current_thread();
        let runtime = other.enable_all().build().unwrap();
        runtime.block_on(async {
            ended_as(&house, &running, 500, "interrupted").await;
            ended_as(&house, &queued, 500, "interrupted").await;
            assert_eq!(house.get(&detached).await.status, 202, "others will end it");
            operations
                .complete(id_of(&detached), ok("done"))
                .await
                .unwrap();
            assert_eq!(house.outcome(&detached).await.text(), "done");
            house.never_sent(SECRET);
        });
    }
}

#[test]
fn a_client_that_waits_is_told_when_the_runtime_of_its_operation_shuts_down() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let house = house(|_| Box::pin(pending()));
    let (app, handle) = (house.app.clone(), runtime.handle().clone());
    let client = std::thread::spawn(move || {
        let held = with(post("/work"), "prefer", "wait=30");
        handle.block_on(send(&app, held)).unwrap()
    });
    while house.operations.usage().running == 0 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert_eq!(
        client.join().unwrap().refusal(),
        (500, "interrupted".into())
    );
    assert_eq!(held(house.operations.usage()), [0; 5]);
    assert_eq!(house.operations.usage().stored, 0);
}
