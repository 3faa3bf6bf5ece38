use super::*;

async fn done(client: &Client<Wrapped<Handler>>, operations: &Operations) -> String {
    let accepted = client.submit().await;
    end_of(operations, accepted.id()).await;
    // They end one after the other.
    settled().await;
    accepted.location()
}

async fn statuses(client: &Client<Wrapped<Handler>>, monitors: &[&String]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for monitor in monitors {
        statuses.push(
            client
                .get(&format!("{monitor}/status"))
                .await
                .status
                .as_u16(),
        );
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn what_was_read_makes_room_the_first_to_end_first() {
    let operations = limited(|limits| limits.stored = 3).build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let (a, b, c) = (
        done(&client, &operations).await,
        done(&client, &operations).await,
        done(&client, &operations).await,
    );
    // In another order than they ended.
    for monitor in [&c, &a, &b] {
        assert_eq!(client.get(monitor).await.body, "done");
    }
    let mut all = vec![&a, &b, &c];
    for gone in 1..=3 {
        client.submit().await;
        let wanted: Vec<_> = (0..3).map(|at| if at < gone { 410 } else { 200 }).collect();
        assert_eq!(statuses(&client, &all).await, wanted);
    }
    client.get(&a).await.is_problem(410, "expired");
    all.clear();
    assert_eq!(
        (operations.usage().stored, operations.usage().tombstones),
        (3, 3)
    );
}

/// Servers never ask for what an empty body has. HEAD looks at it, and no more.
#[tokio::test(start_paused = true)]
async fn a_result_without_a_body_is_read_with_its_head() {
    let operations = limited(|limits| limits.stored = 1).build().unwrap();
    let client = with(&operations, &handler(async |_| Response::new(empty())));
    let monitor = done(&client, &operations).await;
    client.call(Request::head(&monitor)).await;
    client.send(sized(1)).await.is_problem(503, "full");
    let poll = Request::get(&monitor).body(empty()).unwrap();
    let replay = client.0.clone().oneshot(poll).await.unwrap();
    assert!(replay.body().is_end_stream());
    drop(replay);
    client.submit().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_unread_or_pending_never_makes_room() {
    let operations = limited(|limits| limits.stored = 2).build().unwrap();
    let client = with(&operations, &takes(secs(60)));
    let unread = done(&client, &operations).await;
    let pending = client.submit().await.location();
    // To look at it is not to read it.
    client.get(&format!("{unread}/status")).await;
    client.call(Request::head(&unread)).await;
    client.call(Request::head(format!("{unread}/result"))).await;
    operations
        .get(unread.rsplit_once('/').unwrap().1.parse().unwrap())
        .await
        .unwrap();
    // Nor is to begin to.
    let begun = operations.status_service();
    let half = tower::ServiceExt::oneshot(begun, Request::get(&unread).body(()).unwrap()).await;
    drop(half.unwrap());

    let refused = client.send(sized(1)).await;
    refused.is_problem(503, "full");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(statuses(&client, &[&unread, &pending]).await, [200, 200]);
    assert_eq!(client.get(&format!("{unread}/result")).await.body, "done");
    client.submit().await;
    assert_eq!(statuses(&client, &[&unread, &pending]).await, [410, 200]);
    client.send(sized(1)).await.is_problem(503, "full");
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_a_result_is_not_its_delivery() {
    let operations = limited(|limits| limits.stored = 1);
    let operations = operations.dialect(Rfc::see_other()).build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let monitor = done(&client, &operations).await;
    let redirect = client.get(&monitor).await;
    assert_eq!(redirect.status, 303);
    client.send(sized(1)).await.is_problem(503, "full");
    assert_eq!(client.get(&redirect.location()).await.body, "done");
    assert_eq!(client.send(sized(1)).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_response_is_read_with_its_problem() {
    let operations = limited(|limits| limits.stored = 1).build().unwrap();
    let client = with(&operations, &takes(secs(60)));
    let accepted = client.submit().await;
    operations.cancel(accepted.id()).await.unwrap();
    client.send(sized(1)).await.is_problem(503, "full");
    client
        .get(&accepted.location())
        .await
        .is_problem(410, "cancelled");
    assert_eq!(client.send(sized(1)).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_makes_room_read_or_not() {
    let operations = limited(|limits| limits.stored = 1).build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    done(&client, &operations).await;
    client.send(sized(1)).await.is_problem(503, "full");
    sleep(DAY).await;
    assert_eq!(client.send(sized(1)).await.status, 202);
}

/// Answers as many bytes as the request has.
fn mirror() -> Handler {
    handler(|request| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await;
        Response::new(full(body.unwrap().to_bytes()))
    })
}

async fn stored(
    client: &Client<Wrapped<Handler>>,
    operations: &Operations,
    length: usize,
) -> String {
    let accepted = client.send(sized(length)).await;
    end_of(operations, accepted.id()).await;
    settled().await;
    accepted.location()
}

#[tokio::test(start_paused = true)]
async fn bytes_make_room_as_operations_do() {
    let operations = limited(|limits| limits.stored_bytes = 1000)
        .build()
        .unwrap();
    let client = with(&operations, &mirror());
    let (a, b, c) = (
        stored(&client, &operations, 300).await,
        stored(&client, &operations, 300).await,
        stored(&client, &operations, 300).await,
    );
    assert_eq!(operations.usage().stored_bytes, 900);
    for monitor in [&c, &b] {
        assert_eq!(client.get(monitor).await.body.len(), 300);
    }
    let d = stored(&client, &operations, 300).await;
    assert_eq!(client.get(&d).await.body.len(), 300);
    assert_eq!(
        statuses(&client, &[&a, &b, &c, &d]).await,
        [200, 410, 200, 200]
    );
    assert_eq!(operations.usage().stored_bytes, 900);

    // No room can be made for this one beside what is unread.
    let e = stored(&client, &operations, 800).await;
    client.get(&e).await.is_problem(500, "result-too-large");
    // But without a need nothing goes.
    assert_eq!(statuses(&client, &[&a, &c, &d]).await, [200, 200, 200]);
    let f = stored(&client, &operations, 700).await;
    assert_eq!(client.get(&f).await.body.len(), 700);
    assert_eq!(
        statuses(&client, &[&a, &c, &d, &f]).await,
        [200, 410, 410, 200]
    );
    assert_eq!(operations.usage().stored_bytes, 1000);
}

#[tokio::test(start_paused = true)]
async fn with_no_byte_left_there_is_503_before_anything_runs() {
    let operations = limited(|limits| limits.stored_bytes = 100).build().unwrap();
    let client = with(&operations, &mirror());
    let unread = stored(&client, &operations, 100).await;
    client.send(sized(1)).await.is_problem(503, "full");
    assert_eq!(client.get(&unread).await.body.len(), 100);
    assert_eq!(client.send(sized(1)).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn running_captures_count() {
    let (sender, body) = sending();
    let body = std::sync::Mutex::new(Some(body));
    let streaming = handler(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async { Response::new(body) }
    });
    let operations = limited(|limits| limits.stored_bytes = 100).build().unwrap();
    let capturing = with(&operations, &streaming).submit().await;
    settled().await;
    assert_eq!(operations.usage().stored_bytes, 0);
    for (piece, bytes) in [(40, 40), (40, 80)] {
        send(&sender, vec![b'x'; piece]);
        settled().await;
        assert_eq!(operations.usage().stored_bytes, bytes);
    }
    // Two that do not fit beside each other: the later one fails.
    let client = with(&operations, &mirror());
    let late = stored(&client, &operations, 30).await;
    client.get(&late).await.is_problem(500, "result-too-large");
    assert_eq!(operations.usage().stored_bytes, 80);
    drop(sender);
    end_of(&operations, capturing.id()).await;
    assert_eq!(client.get(&capturing.location()).await.body.len(), 80);
    assert_eq!(operations.usage().stored_bytes, 80);
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_is_given_up_gives_its_bytes_back() {
    let (sender, body) = sending();
    let body = std::sync::Mutex::new(Some(body));
    let streaming = handler(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async { Response::new(body) }
    });
    let operations = Operations::builder().build().unwrap();
    let client = with(&operations, &streaming);
    let accepted = client.submit().await;
    send(&sender, vec![b'x'; 40]);
    settled().await;
    assert_eq!(operations.usage().stored_bytes, 40);
    operations.cancel(accepted.id()).await.unwrap();
    settled().await;
    assert!(sender.is_closed());
    assert_eq!(
        (operations.usage().stored_bytes, operations.usage().running),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_completed_from_outside_finds_room_or_says_so() {
    let operations = limited(|limits| limits.stored_bytes = 100).build().unwrap();
    let client = with(&operations, &takes(secs(60)));
    let accepted = client.submit().await;
    let complete =
        |length| operations.complete(accepted.id(), Response::new(full(vec![b'x'; length])));
    let error = complete(101).await.unwrap_err();
    assert!(
        matches!(error, tower_lro::CompleteError::TooLarge),
        "{error:?}"
    );
    assert_eq!(operations.usage().stored_bytes, 0);
    complete(100).await.unwrap();
    assert_eq!(operations.usage().stored_bytes, 100);
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_kept_for_its_time_and_then_remembered_for_its_own() {
    let operations = limited(|limits| {
        limits.keep_for = secs(100);
        limits.tombstone_for = secs(50);
    });
    let operations = operations.build().unwrap();
    for (layer, kept) in [
        (operations.layer(), 100),
        (operations.layer().keep_for(secs(10)), 10),
        (operations.layer().keep_for(secs(1000)), 1000),
    ] {
        let client = Client(layer.wrap(takes(secs(1))));
        let accepted = client.submit().await;
        let record = end_of(&operations, accepted.id()).await;
        assert_eq!(record.submission.keep_for, secs(kept));
        let tick = Duration::from_millis(10);
        sleep(secs(kept) - tick).await;
        assert_eq!(client.get(&accepted.location()).await.body, "done");
        sleep(tick).await;
        client
            .get(&accepted.location())
            .await
            .is_problem(410, "expired");
        assert!(operations.get(accepted.id()).await.unwrap().is_none());
        // The sweeper may come a moment later, and the tombstone stands from then on.
        sleep(secs(50) - tick).await;
        client
            .get(&accepted.location())
            .await
            .is_problem(410, "expired");
        sleep(secs(1)).await;
        client
            .get(&accepted.location())
            .await
            .is_problem(404, "unknown");
        sleep(secs(1)).await;
        is_idle(&operations);
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_their_number_the_oldest_tombstones_go_first() {
    let operations = limited(|limits| limits.tombstones = 2).build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let mut monitors = Vec::new();
    for _ in 0..4 {
        let monitor = done(&client, &operations).await;
        assert_eq!(
            client.delete(&format!("{monitor}/result")).await.status,
            204
        );
        monitors.push(monitor);
        settled().await;
    }
    let monitors: Vec<_> = monitors.iter().collect();
    assert_eq!(statuses(&client, &monitors).await, [404, 404, 410, 410]);
    assert_eq!(operations.usage().tombstones, 2);
}

#[tokio::test(start_paused = true)]
async fn without_tombstones_what_is_gone_never_was() {
    for change in [
        |limits: &mut Limits| limits.tombstones = 0,
        |limits: &mut Limits| {
            limits.tombstone_for = Duration::ZERO;
        },
    ] {
        let operations = limited(change).build().unwrap();
        let client = with(&operations, &takes(secs(1)));
        let monitor = done(&client, &operations).await;
        client.delete(&format!("{monitor}/result")).await;
        client.get(&monitor).await.is_problem(404, "unknown");
        is_idle(&operations);
    }
}
