//! What takes too long, or never begins.
use super::*;

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
