use super::*;

/// Runs for this long, and tells whether it was dropped before.
fn watched(time: Duration) -> (Handler, Arc<AtomicBool>) {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = dropped.clone();
    let handler = handler(move |_| {
        let guard = Guard(flag.clone());
        async move {
            sleep(time).await;
            std::mem::forget(guard);
            Response::new(full("done"))
        }
    });
    (handler, dropped)
}

#[tokio::test(start_paused = true)]
async fn what_runs_too_long_is_timed_out_and_dropped() {
    for by_layer in [false, true] {
        let operations = limited(|limits| limits.run_time = secs(if by_layer { 9 } else { 5 }));
        let operations = operations.build().unwrap();
        let (handler, dropped) = watched(secs(60));
        let layer = operations.layer();
        let layer = if by_layer {
            layer.run_time(secs(5))
        } else {
            layer
        };
        let client = Client(layer.wrap(handler));
        let began = Instant::now();
        let accepted = client.submit().await;
        let record = end_of(&operations, accepted.id()).await;
        assert_eq!(began.elapsed(), secs(5));
        assert_eq!(
            record.ending().unwrap().outcome,
            Outcome::Failed(Reason::TimedOut)
        );
        assert!(dropped.load(SeqCst));
        let answer = client.get(&accepted.location()).await;
        answer.is_problem(504, "timed-out");
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(operations.usage().running, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_just_as_its_time_is_up_is_done() {
    let operations = limited(|limits| limits.run_time = secs(5)).build().unwrap();
    let client = with(&operations, &takes(secs(5)));
    let accepted = client.submit().await;
    end_of(&operations, accepted.id()).await;
    assert_eq!(client.get(&accepted.location()).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn the_time_runs_from_the_start_and_not_while_it_waits_for_it() {
    let operations = limited(|limits| {
        limits.running = 1;
        limits.run_time = secs(5);
    });
    let operations = operations.build().unwrap();
    let client = with(&operations, &takes(secs(4)));
    client.submit().await;
    let second = client.submit().await;
    end_of(&operations, second.id()).await;
    assert_eq!(client.get(&second.location()).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_start_does_not_run_on_when_it_has_started() {
    let operations = limited(|limits| {
        limits.running = 1;
        limits.start_within = secs(5);
    });
    let operations = operations.build().unwrap();
    let client = with(&operations, &takes(secs(4)));
    client.submit().await;
    let second = client.submit().await;
    end_of(&operations, second.id()).await;
    assert_eq!(client.get(&second.location()).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn a_layer_may_set_as_good_as_no_bounds() {
    let clock = Clock::manual(std::time::SystemTime::UNIX_EPOCH);
    let operations = Operations::builder().clock(clock.clone()).build().unwrap();
    let layer = operations
        .layer()
        .run_time(Duration::MAX)
        .keep_for(Duration::MAX)
        .wait(Duration::MAX)
        .retry_after(Duration::MAX)
        .request_body(u64::MAX)
        .response_body(u64::MAX);
    let client = Client(layer.wrap(takes(20 * DAY)));
    let accepted = client.submit().await;
    assert_eq!(accepted.after, secs(30));
    assert_eq!(accepted.header("retry-after"), Some("86400"));
    let record = end_of(&operations, accepted.id()).await;
    assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
    clock.advance(100_000 * DAY);
    assert_eq!(client.get(&accepted.location()).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_handler_has_its_grace_and_by_default_none() {
    for grace in [Duration::ZERO, secs(5)] {
        let operations = limited(|limits| limits.cancel_grace = grace)
            .build()
            .unwrap();
        let wound_up = Arc::new(AtomicBool::new(false));
        let flag = wound_up.clone();
        let handler = with_handle(move |handle| {
            let flag = flag.clone();
            async move {
                handle.cancelled().await;
                sleep(secs(3)).await;
                flag.store(true, SeqCst);
            }
        });
        let client = with(&operations, &handler);
        let accepted = client.submit().await;
        start_of(&operations, accepted.id()).await;
        let document = client.delete(&accepted.location()).await;
        // The operation is over at once, whatever its handler does.
        assert_eq!(document.json()["status"], "cancelled");
        settled().await;
        assert_eq!(operations.usage().running, u64::from(!grace.is_zero()));
        sleep(secs(4)).await;
        assert_eq!(wound_up.load(SeqCst), !grace.is_zero());
        assert_eq!(operations.usage().running, 0);
        client
            .get(&accepted.location())
            .await
            .is_problem(410, "cancelled");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_overstays_its_grace_is_dropped() {
    let operations = limited(|limits| limits.cancel_grace = secs(5))
        .build()
        .unwrap();
    let (handler, dropped) = watched(secs(60));
    let client = with(&operations, &handler);
    let accepted = client.submit().await;
    start_of(&operations, accepted.id()).await;
    operations.cancel(accepted.id()).await.unwrap();
    sleep(secs(5) - Duration::from_millis(2)).await;
    assert_eq!(
        (dropped.load(SeqCst), operations.usage().running),
        (false, 1)
    );
    sleep(Duration::from_millis(4)).await;
    assert_eq!(
        (dropped.load(SeqCst), operations.usage().running),
        (true, 0)
    );
}
