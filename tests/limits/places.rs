use super::*;

#[tokio::test(start_paused = true)]
async fn beyond_running_operations_wait_in_their_order_and_beyond_accepted_there_is_503() {
    let (handler, gate) = gated();
    let operations = limited(|limits| {
        limits.running = 2;
        limits.accepted = 3;
    });
    let operations = operations.build().unwrap();
    let client = with(&operations, &handler);
    let mut accepted = Vec::new();
    for _ in 0..5 {
        accepted.push(client.submit().await);
    }
    settled().await;
    assert_eq!(
        (operations.usage().running, operations.usage().accepted),
        (2, 3)
    );
    let refused = client.send(sized(1)).await;
    refused.is_problem(503, "full");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // From the head alone.
    let request = post("/")
        .header("expect", "100-continue")
        .body(unread())
        .unwrap();
    client.send(request).await.is_problem(503, "full");

    let mut running = 2;
    for ended in 0..5 {
        gate.add_permits(1);
        end_of(&operations, accepted[ended].id()).await;
        settled().await;
        running = (running + 1).min(5);
        for (at, answer) in accepted.iter().enumerate() {
            let started = operations.get(answer.id()).await.unwrap().unwrap().started;
            assert_eq!(started.is_some(), at < running, "{at} after {ended}");
        }
    }
    assert_eq!(
        (operations.usage().running, operations.usage().accepted),
        (0, 0)
    );
    assert_eq!(client.send(sized(1)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_the_first_has_the_turn_though_its_thread_is_held_up() {
    let (handler, gate) = gated();
    let operations = limited(|limits| limits.running = 1).build().unwrap();
    let client = with(&operations, &handler);
    let (accepted, is_accepted) = tokio::sync::oneshot::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel();
    let first = tokio::spawn({
        let client = client.clone();
        async move {
            let first = client.submit().await;
            accepted.send(()).unwrap();
            // What was just spawned is this thread's next, and no other thread takes that from it.
            goes_on.recv().unwrap();
            first
        }
    });
    is_accepted.await.unwrap();
    let second = client.submit().await;
    // Runs after the second's task, on the thread that is left.
    tokio::spawn(async {}).await.unwrap();
    assert_eq!(handler.calls(), 0);
    go_on.send(()).unwrap();
    start_of(&operations, first.await.unwrap().id()).await;
    // It is called right behind its start.
    while handler.calls() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handler.calls(), 1);
    gate.add_permits(2);
    end_of(&operations, second.id()).await;
}

#[tokio::test(start_paused = true)]
async fn uploads_take_places_among_the_accepted() {
    let operations = limited(|limits| {
        limits.running = 1;
        limits.accepted = 1;
    });
    let operations = operations.build().unwrap();
    let client = with(&operations, &takes(secs(60)));
    client.submit().await;
    let (sender, body) = sending();
    let uploading = tokio::spawn({
        let client = client.clone();
        async move { client.send(post("/").body(body).unwrap()).await }
    });
    settled().await;
    client.send(sized(1)).await.is_problem(503, "full");
    sender.send(Err(Fault("reset"))).unwrap();
    assert_eq!(uploading.await.unwrap().status, 400);
    assert_eq!(client.send(sized(1)).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_operation_gives_its_place_back_at_once() {
    let operations = limited(|limits| {
        limits.running = 1;
        limits.accepted = 1;
    });
    let operations = operations.build().unwrap();
    let client = with(&operations, &takes(secs(60)));
    let (running, queued) = (client.submit().await, client.submit().await);
    for id in [queued.id(), running.id()] {
        client.send(sized(1)).await.is_problem(503, "full");
        operations.cancel(id).await.unwrap();
        settled().await;
        client.submit().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_gets_no_turn_in_time_is_not_started() {
    let (handler, _gate) = gated();
    let operations = limited(|limits| {
        limits.running = 1;
        limits.start_within = secs(20);
    });
    let operations = operations.build().unwrap();
    let client = with(&operations, &handler);
    client.submit().await;
    let began = Instant::now();
    let second = client.submit().await;
    let record = end_of(&operations, second.id()).await;
    assert_eq!(began.elapsed(), secs(20));
    assert!(record.started.is_none());
    let answer = client.get(&second.location()).await;
    answer.is_problem(500, "not-started");
    assert_eq!(answer.header("operation-outcome"), Some("failed"));
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!((handler.calls(), operations.usage().accepted), (1, 0));
}
