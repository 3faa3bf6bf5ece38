use super::*;
use tower_lro::OperationId;

/// A client, an operation that ends after 10 s and tells its progress at 2 s, and its engine.
async fn ten_seconds(operations: &Operations) -> (Client<Wrapped<Handler>>, Answer) {
    let handler = with_handle(|handle| async move {
        sleep(secs(2)).await;
        handle.progress(0.2, "on the way");
        sleep(secs(8)).await;
    });
    let client = client(operations, &handler);
    let answer = client.submit().await;
    start_of(operations, answer.id()).await;
    (client, answer)
}

async fn poll(client: &Client<Wrapped<Handler>>, target: &str, prefer: &str) -> Answer {
    client
        .call(Request::get(target).header("prefer", prefer))
        .await
}

#[tokio::test(start_paused = true)]
async fn the_monitor_waits_for_the_end() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let answer = poll(&client, &accepted.location(), "wait=30").await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(10)));
    assert_eq!(answer.body, "done");
    assert_eq!(answer.header("operation-outcome"), Some("succeeded"));
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
    assert_eq!(operations.usage().readers, 0);
}

#[tokio::test(start_paused = true)]
async fn after_the_wait_the_monitor_tells_how_it_stands() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let answer = poll(&client, &accepted.location(), "wait=5").await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(5)));
    assert_eq!(answer.header("preference-applied"), Some("wait=5"));
    // As it is then, not as it was when the poll came.
    assert_eq!(answer.json()["progress"]["message"], "on the way");
    assert_eq!(operations.usage().readers, 0);
}

#[tokio::test(start_paused = true)]
async fn the_result_waits_for_the_end() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let result = format!("{}/result", accepted.location());
    let answer = poll(&client, &result, "wait=5").await;
    answer.is_problem(404, "result-not-ready");
    assert_eq!(answer.after, secs(5));
    let answer = poll(&client, &result, "wait=30").await;
    assert_eq!((&answer.body[..], answer.after), (&b"done"[..], secs(5)));
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
}

#[tokio::test(start_paused = true)]
async fn head_waits_as_get_does() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let request = Request::head(accepted.location()).header("prefer", "wait=30");
    let answer = client.call(request).await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(10)));
    assert_eq!(
        (answer.header("content-length"), answer.body.len()),
        (Some("4"), 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_status_with_the_clients_tag_waits_for_the_next_change() {
    let (handler, gate) = {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let inner = gate.clone();
        let handler = with_handle(move |handle| {
            let gate = inner.clone();
            async move {
                sleep(secs(3)).await;
                handle.progress(0.5, "half");
                gate.acquire().await.unwrap().forget();
            }
        });
        (handler, gate)
    };
    let operations = limited(|limits| limits.running = 1).build().unwrap();
    let client = client(&operations, &handler);
    let first = client.submit().await;
    let second = client.submit().await;
    let status = format!("{}/status", second.location());
    let next = |tag: String| {
        let request = Request::get(&status).header("prefer", "wait=30");
        client.call(request.header("if-none-match", tag))
    };
    let tag = |answer: &Answer| answer.header("etag").unwrap().to_owned();

    // Queued behind the first, which does not end by itself.
    let queued = client.get(&status).await;
    let unchanged = next(tag(&queued)).await;
    assert_eq!(
        (unchanged.status.as_u16(), unchanged.after),
        (304, secs(30))
    );
    assert_eq!(unchanged.header("preference-applied"), Some("wait=30"));
    assert_eq!((tag(&unchanged), unchanged.body.len()), (tag(&queued), 0));

    gate.add_permits(1);
    let started = next(tag(&unchanged)).await;
    assert_eq!(
        (started.status.as_u16(), started.after),
        (200, Duration::ZERO)
    );
    assert_eq!(started.json()["status"], "running");
    let reported = next(tag(&started)).await;
    assert_eq!((reported.status.as_u16(), reported.after), (200, secs(3)));
    assert_eq!(reported.json()["progress"]["fraction"], 0.5);

    let ends = async {
        sleep(secs(7)).await;
        gate.add_permits(1);
    };
    let (ended, ()) = tokio::join!(next(tag(&reported)), ends);
    assert_eq!((ended.status.as_u16(), ended.after), (200, secs(7)));
    assert_eq!(ended.json()["status"], "succeeded");
    // There is nothing to come any more.
    let over = next(tag(&ended)).await;
    assert_eq!((over.status.as_u16(), over.after), (304, Duration::ZERO));
    let tags = [&queued, &started, &reported, &ended].map(tag);
    for (at, tag) in tags.iter().enumerate() {
        assert!(!tags[..at].contains(tag), "{tags:?}");
    }
    end_of(&operations, first.id()).await;
}

#[tokio::test(start_paused = true)]
async fn the_status_with_a_tag_of_old_is_answered_at_once() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let status = format!("{}/status", accepted.location());
    let request = Request::get(&status).header("prefer", "wait=30");
    let answer = client.call(request.header("if-none-match", "\"0\"")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.after),
        (200, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn the_status_without_a_tag_waits_for_the_end() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let answer = poll(
        &client,
        &format!("{}/status", accepted.location()),
        "wait=30",
    )
    .await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(10)));
    assert_eq!(answer.json()["status"], "succeeded");
}

#[tokio::test(start_paused = true)]
async fn no_poll_waits_longer_than_the_limit() {
    let operations = limited(|limits| limits.wait = secs(3)).build().unwrap();
    let (client, accepted) = ten_seconds(&operations).await;
    let answer = poll(&client, &accepted.location(), "wait=600").await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(3)));
    assert_eq!(answer.header("preference-applied"), Some("wait=3"));
}

#[tokio::test(start_paused = true)]
async fn who_wishes_for_no_wait_is_answered_at_once() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    for prefer in [
        "wait=0",
        "wait=soon",
        "wait",
        "respond-async",
        "waiting=5",
        "",
    ] {
        let answer = poll(&client, &accepted.location(), prefer).await;
        assert_eq!(
            (answer.status.as_u16(), answer.after),
            (202, Duration::ZERO)
        );
        assert_eq!(answer.header("preference-applied"), None, "{prefer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_or_never_was_is_not_waited_for() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    end_of(&operations, accepted.id()).await;
    for path in ["", "/status", "/result"] {
        let target = format!("{}{path}", accepted.location());
        let answer = poll(&client, &target, "wait=30").await;
        assert_eq!(
            (answer.status.as_u16(), answer.after),
            (200, Duration::ZERO)
        );
    }
    let never = format!("/operations/{}", OperationId::random());
    let answer = poll(&client, &never, "wait=30").await;
    answer.is_problem(404, "unknown");
    assert_eq!(answer.after, Duration::ZERO);
    operations.forget(accepted.id()).await.unwrap();
    let answer = poll(&client, &accepted.location(), "wait=30").await;
    answer.is_problem(410, "expired");
    assert_eq!(answer.after, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_or_an_end_from_outside_ends_the_wait() {
    for cancels in [true, false] {
        let operations = operations();
        let (client, accepted) = ten_seconds(&operations).await;
        let (monitor, id) = (accepted.location(), accepted.id());
        let act = async {
            sleep(secs(1)).await;
            if cancels {
                operations.cancel(id).await.unwrap();
            } else {
                let response = Response::new(full("from outside"));
                operations.complete(id, response).await.unwrap();
            }
        };
        let (answer, ()) = tokio::join!(poll(&client, &monitor, "wait=30"), act);
        assert_eq!(answer.after, secs(1));
        if cancels {
            answer.is_problem(410, "cancelled");
        } else {
            assert_eq!(answer.body, "from outside");
        }
    }
}

/// Waits in a task of its own.
fn waiting(client: &Client<Wrapped<Handler>>, target: &str) -> tokio::task::JoinHandle<Answer> {
    let (client, target) = (client.clone(), target.to_owned());
    tokio::spawn(async move { poll(&client, &target, "wait=30").await })
}

#[tokio::test(start_paused = true)]
async fn beyond_the_readers_of_one_operation_the_pending_answer_comes_at_once() {
    let operations = limited(|limits| limits.readers_per_operation = 2)
        .build()
        .unwrap();
    let (client, accepted) = ten_seconds(&operations).await;
    let monitor = accepted.location();
    let first = waiting(&client, &monitor);
    let second = waiting(&client, &format!("{monitor}/status"));
    settled().await;
    assert_eq!(operations.usage().readers, 2);

    let third = poll(&client, &monitor, "wait=30").await;
    assert_eq!((third.status.as_u16(), third.after), (202, Duration::ZERO));
    assert_eq!(third.header("preference-applied"), None);
    assert_eq!(third.header("retry-after"), Some("1"));
    // The place is the operation's: others have their own.
    let other = client.submit().await;
    assert_eq!(
        poll(&client, &other.location(), "wait=1").await.after,
        secs(1)
    );

    // A reader that leaves gives its place to the next.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(operations.usage().readers, 1);
    assert_eq!(poll(&client, &monitor, "wait=30").await.body, "done");
    assert_eq!(second.await.unwrap().status, 200);
    assert_eq!(operations.usage().readers, 0);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_readers_in_all_the_pending_answer_comes_at_once() {
    let operations = limited(|limits| limits.readers = 2).build().unwrap();
    let (client, first) = ten_seconds(&operations).await;
    let second = client.submit().await;
    let readers = [first, second.clone()].map(|of| waiting(&client, &of.location()));
    settled().await;
    let third = client.submit().await;
    for of in [&second, &third] {
        let answer = poll(&client, &of.location(), "wait=30").await;
        assert_eq!(
            (answer.status.as_u16(), answer.after),
            (202, Duration::ZERO)
        );
        assert_eq!(answer.header("preference-applied"), None);
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap().body, "done");
    }
    assert_eq!(
        poll(&client, &third.location(), "wait=30").await.body,
        "done"
    );
}

#[tokio::test(start_paused = true)]
async fn with_no_readers_allowed_nobody_waits() {
    let operations = limited(|limits| limits.readers = 0).build().unwrap();
    let (client, accepted) = ten_seconds(&operations).await;
    let answer = poll(&client, &accepted.location(), "wait=30").await;
    assert_eq!(
        (answer.status.as_u16(), answer.after),
        (202, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_are_told() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let readers: Vec<_> = (0..100)
        .map(|_| waiting(&client, &accepted.location()))
        .collect();
    settled().await;
    assert_eq!(operations.usage().readers, 100);
    for reader in readers {
        assert_eq!(reader.await.unwrap().body, "done");
    }
    assert_eq!(operations.usage().readers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_all_who_wait_and_lets_nobody_wait_again() {
    let operations = operations();
    let (client, accepted) = ten_seconds(&operations).await;
    let targets = ["", "/status", "/result"].map(|path| accepted.location() + path);
    let readers = targets.each_ref().map(|target| waiting(&client, target));
    sleep(secs(1)).await;
    let drain = tokio::spawn({
        let operations = operations.clone();
        async move { operations.drain(secs(30)).await }
    });
    for (reader, status) in readers.into_iter().zip([202, 200, 404]) {
        let answer = reader.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.after), (status, secs(1)));
    }
    let answer = poll(&client, &accepted.location(), "wait=30").await;
    assert_eq!(
        (answer.status.as_u16(), answer.after),
        (202, Duration::ZERO)
    );
    assert_eq!(drain.await.unwrap().finished, 1);
    assert_eq!(
        poll(&client, &accepted.location(), "wait=30").await.body,
        "done"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_of_ends_that_others_write() {
    // Without an engine of its own in between: as another node would.
    let store = Arc::new(tower_lro::MemoryStore::default());
    let ours = Operations::builder().store(store.clone()).build().unwrap();
    let theirs = Operations::builder().store(store).build().unwrap();
    let (_, accepted) = ten_seconds(&theirs).await;
    let client = client(&ours, &takes(secs(1)));
    let answer = poll(&client, &accepted.location(), "wait=30").await;
    assert_eq!((&answer.body[..], answer.after), (&b"done"[..], secs(10)));
    let record = ours.get(accepted.id()).await.unwrap().unwrap();
    assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
}
