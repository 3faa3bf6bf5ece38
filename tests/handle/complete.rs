use super::*;

#[tokio::test(start_paused = true)]
async fn it_ends_what_runs_and_stops_its_handler() {
    let running = Running::new().await;
    let id = running.handle.id();
    let settled_ = running
        .operations
        .complete(id, Response::new(full("from outside")))
        .await;
    assert!(matches!(settled_, Ok(Settled::Done(_))));
    settled().await;
    assert!(running.handle.is_cancelled());
    assert_eq!(running.operations.usage().running, 0);
    running.gate.add_permits(1);
    settled().await;
    assert_eq!(
        running.client.get(&running.monitor).await.body,
        "from outside"
    );
}

#[tokio::test(start_paused = true)]
async fn it_ends_what_waits_for_its_turn_and_that_never_runs() {
    let operations = limited(|limits| limits.running = 1).build().unwrap();
    let (handler, gate) = gated();
    let client = client(&operations, &handler);
    let first = client.submit().await;
    let second = client.submit().await;
    operations
        .complete(second.id(), Response::new(full("from outside")))
        .await
        .unwrap();
    settled().await;
    assert_eq!(operations.usage().accepted, 0);
    gate.add_permits(2);
    end_of(&operations, first.id()).await;
    settled().await;
    assert_eq!(handler.calls(), 1);
    assert_eq!(client.get(&second.location()).await.body, "from outside");
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_stands() {
    let running = Running::new().await;
    running.end().await;
    let id = running.handle.id();
    for _ in 0..2 {
        let late = running
            .operations
            .complete(id, Response::new(full("late")))
            .await
            .unwrap();
        let Settled::Stands(record) = late else {
            panic!("{late:?}")
        };
        assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
    }
    assert_eq!(running.client.get(&running.monitor).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_or_never_was_is_unknown() {
    let running = Running::new().await;
    running.end().await;
    let id = running.handle.id();
    running.operations.forget(id).await.unwrap();
    for id in [id, OperationId::random()] {
        let answer = running
            .operations
            .complete(id, Response::new(empty()))
            .await;
        assert!(matches!(answer, Ok(Settled::Unknown)));
        assert!(matches!(
            running.operations.cancel(id).await,
            Ok(Settled::Unknown)
        ));
        assert!(matches!(
            running.operations.forget(id).await,
            Ok(Settled::Unknown)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_fails_or_is_interim_leaves_the_operation_as_it_was() {
    let running = Running::new().await;
    let id = running.handle.id();
    let (sender, body) = sending();
    send(&sender, "half");
    sender.send(Err(Fault("reset"))).unwrap();
    let error = running
        .operations
        .complete(id, Response::new(body))
        .await
        .unwrap_err();
    assert!(matches!(error, CompleteError::Body(_)), "{error:?}");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "reset"
    );
    for status in [100, 101, 103] {
        let interim = Response::builder().status(status).body(empty()).unwrap();
        let error = running.operations.complete(id, interim).await.unwrap_err();
        assert!(matches!(error, CompleteError::Interim), "{error:?}");
    }
    assert_eq!(running.operations.usage().stored_bytes, 0);
    running.end().await;
    assert_eq!(running.client.get(&running.monitor).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_says_so() {
    let store = Faulty::remote();
    let running = Running::of(Operations::builder().store(store.clone()).build().unwrap()).await;
    let (operations, id) = (&running.operations, running.handle.id());
    store.set_all(&DOWN);
    let error = operations
        .complete(id, Response::new(empty()))
        .await
        .unwrap_err();
    assert!(matches!(error, CompleteError::Store(_)), "{error:?}");
    assert!(operations.cancel(id).await.is_err() && operations.get(id).await.is_err());
    assert!(operations.forget(id).await.is_err());
    assert!(operations.list(&ListQuery::all()).await.is_err());
    let since = tower_lro::record::Revision(0);
    assert!(operations.changed(id, since).await.is_err());
    running
        .client
        .get(&running.monitor)
        .await
        .is_problem(503, "unavailable");
    store.heal();
    assert!(!running.handle.is_cancelled());
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_interim_response_of_a_handler_is_an_error() {
    let operations = operations();
    let handler = handler(|_| async { Response::builder().status(101).body(empty()).unwrap() });
    let client = client(&operations, &handler);
    let accepted = client.submit().await;
    end_of(&operations, accepted.id()).await;
    client
        .get(&accepted.location())
        .await
        .is_problem(500, "errored");
}
