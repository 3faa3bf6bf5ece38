use super::*;

#[tokio::test(start_paused = true)]
async fn the_end_comes_from_whoever_completes_it() {
    let operations = operations();
    let handler = with_handle(|handle| async move {
        handle.detach().await.unwrap();
        // Again: nothing else.
        handle.detach().await.unwrap();
    });
    let client = client(&operations, &handler);
    let accepted = client.submit().await;
    sleep(secs(60)).await;
    let pending = client.get(&accepted.location()).await;
    assert_eq!(
        (pending.status.as_u16(), &pending.json()["status"]),
        (202, &"running".into())
    );
    let usage = operations.usage();
    assert_eq!((usage.accepted, usage.running, usage.stored), (0, 0, 1));

    let response = Response::builder()
        .status(201)
        .header("location", "7")
        .header("connection", "close, x-hop")
        .header("x-hop", "1");
    let settled = operations.complete(accepted.id(), response.body(full("made")).unwrap());
    let Settled::Done(record) = settled.await.unwrap() else {
        panic!("it has not ended before")
    };
    assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
    let answer = client.get(&accepted.location()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (201, &b"made"[..])
    );
    // By the replay table: as a handler's own.
    assert_eq!(answer.header("location"), Some("/7"));
    assert_eq!(
        (answer.header("x-hop"), answer.header("connection")),
        (None, None)
    );
}

#[tokio::test(start_paused = true)]
async fn the_handlers_own_end_does_not_count() {
    for end in ["response", "error", "panic"] {
        let operations = operations();
        let handler = try_handler(move |request| async move {
            let handle = request.extensions().get::<OperationHandle>().unwrap();
            handle.detach().await.unwrap();
            sleep(secs(1)).await;
            match end {
                "response" => Ok(Response::new(full("not this"))),
                "error" => Err(Fault("nor this")),
                _ => panic!("nor this"),
            }
        });
        let client = client(&operations, &handler);
        let accepted = client.submit().await;
        sleep(secs(60)).await;
        assert_eq!(client.get(&accepted.location()).await.status, 202, "{end}");
        assert_eq!(operations.usage().running, 0, "{end}");
        operations
            .complete(accepted.id(), Response::new(full("this")))
            .await
            .unwrap();
        assert_eq!(client.get(&accepted.location()).await.body, "this", "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn its_run_time_ends_it_when_nobody_else_does() {
    let ended = Arc::new(Mutex::new(Vec::new()));
    let seen = ended.clone();
    let builder = limited(|limits| limits.run_time = secs(100));
    let operations = builder
        .on_end(move |record| seen.lock().unwrap().push(record.ending().unwrap().outcome))
        .build()
        .unwrap();
    let handler = with_handle(|handle| async move {
        sleep(secs(30)).await;
        handle.detach().await.unwrap();
    });
    let client = client(&operations, &handler);
    let accepted = client.submit().await;
    sleep(secs(129)).await;
    assert_eq!(client.get(&accepted.location()).await.status, 202);
    sleep(secs(2)).await;
    client
        .get(&accepted.location())
        .await
        .is_problem(504, "timed-out");
    assert_eq!(*ended.lock().unwrap(), [Outcome::Failed(Reason::TimedOut)]);
    let late = operations
        .complete(accepted.id(), Response::new(empty()))
        .await;
    assert!(matches!(late, Ok(Settled::Stands(_))));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_it() {
    let operations = operations();
    let handler = with_handle(|handle| async move { handle.detach().await.unwrap() });
    let client = client(&operations, &handler);
    let accepted = client.submit().await;
    settled().await;
    assert_eq!(
        client.delete(&accepted.location()).await.json()["status"],
        "cancelled"
    );
    let late = operations
        .complete(accepted.id(), Response::new(empty()))
        .await;
    assert!(matches!(late, Ok(Settled::Stands(_))));
    client
        .get(&accepted.location())
        .await
        .is_problem(410, "cancelled");
}

#[tokio::test(start_paused = true)]
async fn what_the_handler_has_spawned_goes_on_with_its_handle() {
    let running = Running::new().await;
    running.handle.progress(0.1, "handed over");
    running.handle.detach().await.unwrap();
    running.gate.add_permits(1);
    settled().await;
    // The handler has returned.
    assert_eq!(running.operations.usage().running, 0);
    assert!(!running.handle.is_cancelled());
    let tag = running.status().await.header("etag").unwrap().to_owned();
    running.handle.progress(0.6, "in the background");
    let status = running.status().await;
    assert_eq!(status.json()["progress"]["message"], "in the background");
    assert_ne!(status.header("etag"), Some(&*tag));

    let (hears, heard) = oneshot::channel();
    let handle = running.handle.clone();
    tokio::spawn(async move {
        handle.cancelled().await;
        hears.send(()).unwrap();
    });
    running
        .operations
        .cancel(running.handle.id())
        .await
        .unwrap();
    timeout(secs(1), heard).await.unwrap().unwrap();
    assert_eq!(
        running.document().await["progress"]["message"],
        "in the background"
    );
    running.handle.progress(0.9, "too late");
    assert_eq!(
        running.document().await["progress"]["message"],
        "in the background"
    );
}

/// The first to ask may be told only when another has ended it.
#[tokio::test(start_paused = true)]
async fn who_asks_after_the_end_is_told_that_it_was_handed_over() {
    let running = Running::new().await;
    running.handle.detach().await.unwrap();
    let id = running.handle.id();
    running.operations.cancel(id).await.unwrap();
    assert!(running.handle.is_cancelled());
    running.handle.detach().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_a_detached_operation_hears_of_its_time_limit() {
    let operations = limited(|limits| limits.run_time = secs(100))
        .build()
        .unwrap();
    let running = Running::of(operations).await;
    running.handle.detach().await.unwrap();
    running.gate.add_permits(1);
    settled().await;
    running.handle.progress(0.6, "in the background");
    let tag = running.status().await.header("etag").unwrap().to_owned();
    let mut answer;
    loop {
        let request = Request::get(format!("{}/status", running.monitor));
        let request = request
            .header("prefer", "wait=30")
            .header("if-none-match", &tag);
        answer = running.client.call(request).await;
        if answer.status != 304 {
            break;
        }
        assert!(!answer.after.is_zero(), "it is to be waited for");
    }
    assert_eq!(
        answer.json()["problem"]["type"],
        "urn:tower-lro:problem:timed-out"
    );
    assert!(running.handle.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_drain_neither_waits_for_it_nor_ends_it() {
    let running = Running::new().await;
    running.handle.detach().await.unwrap();
    running.gate.add_permits(1);
    settled().await;
    let drained = running.operations.drain(secs(5)).await;
    assert_eq!((drained.finished, drained.interrupted), (0, 0));
    assert!(!running.record().await.phase().is_ended());
    let response = Response::new(full("later"));
    running
        .operations
        .complete(running.handle.id(), response)
        .await
        .unwrap();
    assert_eq!(running.client.get(&running.monitor).await.body, "later");
}

#[tokio::test(start_paused = true)]
async fn a_detach_that_the_store_refuses_leaves_the_end_to_the_handler() {
    let store = Faulty::remote();
    let running = Running::of(Operations::builder().store(store.clone()).build().unwrap()).await;
    store.set_all(&DOWN);
    running.handle.detach().await.unwrap_err();
    running.handle.progress(0.5, "still heard");
    store.heal();
    let record = running.end().await;
    assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(
        record.report.unwrap().message.as_deref(),
        Some("still heard")
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_the_end_of_what_was_abandoned() {
    for handler_first in [true, false] {
        let running = Running::of(operations()).await;
        running.handle.detach().await.unwrap();
        if handler_first {
            running.gate.add_permits(1);
            settled().await;
            assert!(!running.handle.is_cancelled());
        }
        running
            .operations
            .abandon(running.handle.id())
            .await
            .unwrap();
        if !handler_first {
            assert!(!running.handle.is_cancelled(), "it runs on");
            running.gate.add_permits(1);
        }
        let told = tokio::time::timeout(secs(1), running.handle.cancelled());
        told.await.unwrap();
    }
}

#[test]
fn its_time_runs_out_when_another_runtime_takes_something_on() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    };
    let (ended, mut is_ended) = tokio::sync::mpsc::unbounded_channel();
    let operations = limited(|limits| limits.run_time = Duration::from_millis(300));
    let operations = operations.on_end(move |record| ended.send(record.id).unwrap());
    let operations = operations.build().unwrap();
    let handler = with_handle(|handle| async move { handle.detach().await.unwrap() });
    let another = client(&operations, &takes(secs(60)));
    let client = client(&operations, &handler);
    let first = runtime().block_on(async {
        let accepted = client.submit().await;
        start_of(&operations, accepted.id()).await;
        settled().await;
        accepted.id()
    });
    runtime().block_on(async {
        another.submit().await;
        let ended = async { while is_ended.recv().await != Some(first) {} };
        tokio::time::timeout(secs(20), ended).await.unwrap();
    });
}

#[test]
fn its_time_runs_out_though_the_runtime_is_gone_that_took_it_on() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let operations = limited(|limits| limits.run_time = Duration::from_millis(300));
    let operations = operations.build().unwrap();
    let handler = with_handle(|handle| async move { handle.detach().await.unwrap() });
    let client = client(&operations, &handler);
    let accepted = runtime().block_on(async {
        let accepted = client.submit().await;
        start_of(&operations, accepted.id()).await;
        settled().await;
        accepted
    });
    runtime().block_on(async {
        let poll = Request::get(accepted.location()).header("prefer", "wait=20");
        client.call(poll).await.is_problem(504, "timed-out");
    });
}

#[test]
fn who_waits_is_told_that_its_time_is_up_though_the_runtime_is_gone_that_took_it_on() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let operations = limited(|limits| limits.run_time = Duration::from_secs(1));
    let operations = operations.build().unwrap();
    let handler = with_handle(|handle| async move { handle.detach().await.unwrap() });
    let client = client(&operations, &handler);
    let id = first.block_on(async {
        let accepted = client.submit().await;
        start_of(&operations, accepted.id()).await;
        settled().await;
        accepted.id()
    });
    second.block_on(async {
        let waits = operations.changed(id, Revision(u64::MAX));
        let told = async {
            let goes = async { first.shutdown_background() };
            tokio::join!(waits, goes).0
        };
        let told = tokio::time::timeout(secs(10), told).await;
        let record = told.expect("it waits for ever").unwrap().unwrap();
        assert!(record.phase().is_ended());
    });
}
