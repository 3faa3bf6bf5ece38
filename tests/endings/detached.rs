//! What outlives its handler.
use super::*;

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

/// Completed from outside it ends, and gives everything back.
async fn is_completed(house: &House, monitor: &str) {
    let done = house.operations.complete(id_of(monitor), ok("done"));
    done.await.unwrap();
    assert_eq!(house.outcome(monitor).await.text(), "done");
    all_is_given_back(house).await;
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
    is_completed(&house, &monitor).await;
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
        is_completed(&house, &monitor).await;
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
