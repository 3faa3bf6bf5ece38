//! A drain refuses what is new, lets what runs go on, and ends in time whatever the handlers do.
#![cfg(feature = "axum")]

mod common {
    pub(crate) mod drive;
}

use common::drive::*;
use http::Request;
use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tower_lro::{Limits, Operations};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// `/work/n` takes n seconds, `/panic/n` and `/fail/n` end badly after them, and `/never` never ends.
async fn handler(request: Request<Body>) -> Result<http::Response<Body>, Fault> {
    let mut path = request.uri().path().split('/').skip(1);
    let (kind, time) = (path.next().unwrap(), path.next());
    match time {
        Some(time) => tokio::time::sleep(seconds(time.parse().unwrap())).await,
        None => pending().await,
    }
    match kind {
        "panic" => panic!("as asked for"),
        "fail" => Err(Fault::other("as asked for")),
        _ => Ok(ok("done")),
    }
}

fn house(set: impl FnOnce(&mut Limits)) -> House {
    let operations = operations(set);
    House::new(&operations, app(operations.layer(), handler))
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_is_drained_at_once() {
    let house = house(|_| {});
    let before = Instant::now();
    let drained = house.operations.drain(seconds(3600)).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(
        (drained.finished, drained.interrupted, drained.unread),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_last_operation_and_counts_what_became_of_all() {
    let house = house(|limits| limits.running = 3);
    let read = house.accepted(post("/work/1")).await;
    house.outcome(&read).await;
    let unread = house.accepted(post("/work/1")).await;
    tokio::time::sleep(seconds(2)).await;

    let mut monitors = Vec::new();
    for uri in ["/work/3", "/panic/4", "/fail/5", "/never", "/work/6"] {
        monitors.push(house.accepted(post(uri)).await);
    }
    let before = Instant::now();
    let cancelling = async {
        tokio::time::sleep(seconds(5)).await;
        house.operations.cancel(id_of(&monitors[3])).await.unwrap();
    };
    let (drained, ()) = tokio::join!(house.operations.drain(seconds(60)), cancelling);
    // Three at a time: the last of them waited for its turn, and had it.
    assert_eq!(before.elapsed().as_secs(), 10);
    assert_eq!((drained.finished, drained.interrupted), (5, 0));
    assert_eq!(drained.unread, 6);
    assert_eq!(house.get(&unread).await.text(), "done");
    assert_eq!(house.outcome(&monitors[4]).await.text(), "done");
    assert_eq!(held(house.operations.usage()), [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_under_load_ends_at_its_deadline() {
    let house = house(|limits| limits.running = 40);
    let mut monitors = Vec::new();
    for number in 0..100 {
        let uri = if number < 30 { "/work/3" } else { "/never" };
        monitors.push(house.accepted(post(uri)).await);
    }
    let before = Instant::now();
    let mut readers = tokio::task::JoinSet::new();
    for monitor in monitors.iter().cycle().take(500) {
        for suffix in ["", "/status"] {
            let poll = with(
                request("GET", &format!("{monitor}{suffix}")),
                "prefer",
                "wait=30",
            );
            let app = house.app.clone();
            readers.spawn(async move { send(&app, poll).await.unwrap() });
        }
    }
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (app, submit) = (house.app.clone(), with(post("/never"), "prefer", "wait=30"));
        clients.spawn(async move { send(&app, submit).await.unwrap() });
    }
    until("all wait", || {
        let usage = house.operations.usage();
        (usage.readers, usage.running, usage.accepted) == (1000, 40, 80)
    })
    .await;

    let drain = tokio::spawn({
        let operations = house.operations.clone();
        async move { operations.drain(seconds(10)).await }
    });
    // Everybody who waits is told how things stand, at once.
    let told = Instant::now();
    while let Some(answer) = readers.join_next().await {
        let answer = answer.unwrap();
        let status = answer.json()["status"].as_str().unwrap().to_owned();
        assert!(["accepted", "running"].contains(&&*status), "{answer}");
    }
    assert!(told.elapsed() < millis(100));
    assert_eq!(house.operations.usage().readers, 0);

    let drained = drain.await.unwrap();
    assert!(
        (10..=11).contains(&before.elapsed().as_secs()),
        "{:?}",
        before.elapsed()
    );
    assert_eq!((drained.finished, drained.interrupted), (30, 90));
    assert_eq!(held(house.operations.usage()), [0; 5]);
    while let Some(answer) = clients.join_next().await {
        assert_eq!(answer.unwrap().refusal(), (500, "interrupted".into()));
    }
    for (number, monitor) in monitors.iter().enumerate() {
        let answer = house.get(monitor).await;
        if number < 30 {
            assert_eq!(answer.text(), "done");
        } else {
            assert_eq!(answer.refusal(), (500, "interrupted".into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_at_the_deadline_is_never_called() {
    for grace in [0, 3600] {
        let operations = operations(|limits| {
            limits.running = 2;
            limits.cancel_grace = seconds(grace);
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let inner = move |request: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                // Gives its turn up at once, to whoever is next.
                handle(&request).cancelled().await;
                Ok(ok("saved what there was"))
            }
        };
        let house = House::new(&operations, app(operations.layer(), inner));
        for _ in 0..20 {
            house.accepted(post("/work")).await;
        }
        until("two run", || operations.usage().running == 2).await;
        operations.drain(seconds(5)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        assert_eq!(held(operations.usage()), [0; 5]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_taken_on_and_the_monitor_goes_on() {
    let house = house(|_| {});
    let ended = house.accepted(post("/work/0")).await;
    house.outcome(&ended).await;
    let running = house.accepted(post("/never")).await;
    let drain = tokio::spawn({
        let operations = house.operations.clone();
        async move { operations.drain(seconds(100)).await }
    });
    tokio::time::sleep(seconds(1)).await;

    for request in [
        post("/work/1"),
        with(post("/work/1"), "prefer", "wait=30"),
        with(post("/work/1"), "idempotency-key", "\"k\""),
    ] {
        let answer = house.send(request).await.unwrap();
        assert_eq!(answer.refusal(), (503, "draining".into()));
        assert_eq!(answer.field("retry-after"), Some("1"));
    }
    // What is never deferred is not the drain's affair.
    let options = house.send(request("OPTIONS", "/work/0")).await.unwrap();
    assert_eq!(options.text(), "done");

    assert_eq!(house.get(&ended).await.text(), "done");
    let before = Instant::now();
    let poll = with(request("GET", &running), "prefer", "wait=30");
    let answer = house.send(poll).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (202, &"running".into())
    );
    assert_eq!(
        before.elapsed(),
        Duration::ZERO,
        "nobody is held back any more"
    );

    let answer = house.send(request("DELETE", &running)).await.unwrap();
    assert_eq!(answer.json()["status"], "cancelled");
    let drained = drain.await.unwrap();
    assert_eq!((drained.finished, drained.interrupted), (1, 0));
    let answer = house
        .send(request("DELETE", &format!("{ended}/result")))
        .await
        .unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(house.get(&ended).await.refusal(), (410, "expired".into()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_being_read_is_refused_and_not_waited_for() {
    let house = house(|_| {});
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let body = trickle(b"piece", seconds(1), 20);
        let request = Request::post("/work/1").body(body).unwrap();
        let app = house.app.clone();
        uploads.spawn(async move { send(&app, request).await.unwrap() });
    }
    until("they are read", || house.operations.usage().uploading == 5).await;
    let before = Instant::now();
    let drained = house.operations.drain(seconds(3600)).await;
    assert_eq!((drained.finished, drained.interrupted), (0, 0));
    assert_eq!(before.elapsed(), Duration::ZERO);
    while let Some(answer) = uploads.join_next().await {
        assert_eq!(answer.unwrap().refusal(), (503, "draining".into()));
    }
    assert_eq!(held(house.operations.usage()), [0; 5]);
    assert_eq!(house.operations.usage().stored, 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ends_within_its_grace_has_finished() {
    let operations = operations(|limits| limits.cancel_grace = millis(400));
    let inner = |request: Request<Body>| async move {
        let operation = handle(&request);
        operation.cancelled().await;
        tokio::time::sleep(millis(100)).await;
        Ok(ok("saved what there was"))
    };
    let house = House::new(&operations, app(operations.layer(), inner));
    let monitor = house.accepted(post("/work")).await;
    until("it runs", || operations.usage().running == 1).await;
    let before = Instant::now();
    let drained = operations.drain(seconds(5)).await;
    assert_eq!((drained.finished, drained.interrupted), (1, 0));
    assert!(before.elapsed() < millis(5300));
    assert_eq!(house.get(&monitor).await.text(), "saved what there was");
}

#[tokio::test(start_paused = true)]
async fn a_grace_beyond_the_deadline_does_not_hold_the_drain_up() {
    let house = house(|limits| limits.cancel_grace = seconds(3600));
    let monitor = house.accepted(post("/never")).await;
    until("it runs", || house.operations.usage().running == 1).await;
    let before = Instant::now();
    let drained = house.operations.drain(seconds(5)).await;
    assert_eq!((drained.finished, drained.interrupted), (0, 1));
    assert!(before.elapsed() <= seconds(6));
    assert_eq!(
        house.get(&monitor).await.refusal(),
        (500, "interrupted".into())
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_abandoned_and_runs_still_has_not_finished() {
    let house = house(|_| {});
    let never = house.accepted(post("/never")).await;
    house.accepted(post("/work/1")).await;
    let id = never.rsplit('/').next().unwrap().parse().unwrap();
    house.operations.abandon(id).await.unwrap();
    let drained = house.operations.drain(seconds(5)).await;
    assert_eq!((drained.finished, drained.interrupted), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_finds_nothing_to_do() {
    let house = house(|_| {});
    house.accepted(post("/never")).await;
    house.accepted(post("/work/1")).await;
    let first = house.operations.drain(seconds(5)).await;
    assert_eq!((first.finished, first.interrupted, first.unread), (1, 1, 2));
    let before = Instant::now();
    let second = house.operations.drain(seconds(5)).await;
    assert_eq!(
        (second.finished, second.interrupted, second.unread),
        (0, 0, 2)
    );
    assert_eq!(before.elapsed(), Duration::ZERO);
    let refused = house.send(post("/work/1")).await.unwrap();
    assert_eq!(refused.refusal(), (503, "draining".into()));
}

#[tokio::test(start_paused = true)]
async fn two_drains_at_once_end_each_in_its_time() {
    let house = house(|_| {});
    house.accepted(post("/never")).await;
    let before = Instant::now();
    let time = |deadline| {
        let operations = house.operations.clone();
        async move {
            operations.drain(seconds(deadline)).await;
            before.elapsed().as_secs()
        }
    };
    let (long, short) = tokio::join!(time(60), time(5));
    assert_eq!((long, short), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_leaves_what_runs_running() {
    let house = house(|_| {});
    let monitor = house.accepted(post("/work/10")).await;
    let given_up = tokio::time::timeout(seconds(1), house.operations.drain(seconds(5))).await;
    assert!(given_up.is_err());
    assert_eq!(
        house.send(post("/work/1")).await.unwrap().refusal(),
        (503, "draining".into())
    );
    tokio::time::sleep(seconds(20)).await;
    assert_eq!(house.get(&monitor).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn what_was_detached_is_neither_waited_for_nor_ended() {
    let operations = operations(|_| {});
    let inner = |request: Request<Body>| async move {
        handle(&request).detach().await.unwrap();
        if request.uri().path() == "/never" {
            pending::<()>().await;
        }
        Ok(ok("unseen"))
    };
    let house = House::new(&operations, app(operations.layer(), inner));
    let gone = house.accepted(post("/work")).await;
    quiet(&operations).await;
    let here = house.accepted(post("/never")).await;
    until("it runs", || operations.usage().running == 1).await;
    let before = Instant::now();
    let drained = operations.drain(seconds(5)).await;
    assert_eq!(drained.interrupted, 0);
    assert!(before.elapsed() <= seconds(6));
    for monitor in [gone, here] {
        assert_eq!(house.get(&monitor).await.status, 202);
        operations
            .complete(id_of(&monitor), ok("from the bus"))
            .await
            .unwrap();
        assert_eq!(house.get(&monitor).await.text(), "from the bus");
    }
    assert_eq!(held(operations.usage()), [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn what_was_detached_has_finished_only_if_it_has_ended() {
    let operations = operations(|_| {});
    let inner = |request: Request<Body>| async move {
        handle(&request).detach().await.unwrap();
        handler(request).await
    };
    let house = House::new(&operations, app(operations.layer(), inner));
    for path in ["/work/1", "/never"] {
        house.accepted(post(path)).await;
    }
    let completed = house.accepted(post("/work/3")).await;
    until("they run", || operations.usage().running == 3).await;
    let drain = async { operations.drain(seconds(5)).await };
    let complete = async {
        tokio::time::sleep(seconds(2)).await;
        let ended = operations.complete(id_of(&completed), ok("by hand")).await;
        ended.unwrap();
    };
    let (drained, ()) = tokio::join!(drain, complete);
    assert_eq!((drained.finished, drained.interrupted), (1, 0));
    assert_eq!(held(operations.usage()), [0; 5]);
}

// In real time: a thread that is blocked does not care for a paused clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_its_thread_does_not_hold_the_drain_up() {
    let operations = operations(|_| {});
    let (unblock, blocked) = mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let entered = Arc::new(AtomicBool::new(false));
    let inner = {
        let entered = entered.clone();
        move |request: Request<Body>| {
            let (blocked, entered) = (blocked.clone(), entered.clone());
            async move {
                match request.uri().path() {
                    "/detached" => handle(&request).detach().await.unwrap(),
                    "/short" => tokio::time::sleep(millis(100)).await,
                    _ => {
                        entered.store(true, Ordering::SeqCst);
                        let _ = blocked.lock().unwrap().recv();
                    }
                }
                Ok(ok("done"))
            }
        }
    };
    let house = House::new(&operations, app(operations.layer(), inner));
    for _ in 0..3 {
        house.accepted(post("/detached")).await;
    }
    quiet(&operations).await;
    let monitor = house.accepted(post("/work")).await;
    until("it blocks", || entered.load(Ordering::SeqCst)).await;
    house.accepted(post("/short")).await;
    let poll = {
        let (app, monitor) = (house.app.clone(), monitor.clone());
        tokio::spawn(async move { outcome(&app, &monitor).await })
    };
    let before = Instant::now();
    let drained = operations.drain(millis(300)).await;
    // The thread is blocked for good: so a machine may stand still for a while meanwhile.
    assert!(before.elapsed() < seconds(5), "{:?}", before.elapsed());
    assert_eq!((drained.finished, drained.interrupted), (1, 1));
    assert_eq!(poll.await.unwrap().refusal(), (500, "interrupted".into()));
    // The documented exception: what it holds comes back only with its thread.
    assert_eq!(operations.usage().running, 1);
    unblock.send(()).unwrap();
    quiet(&operations).await;
    assert_eq!(
        house.get(&monitor).await.refusal(),
        (500, "interrupted".into())
    );
}

/// It was held back for a client that waits, or was let go of: of neither the store knows anything that it could end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_blocks_its_thread_and_is_not_stored_has_not_finished() {
    let operations = operations(|_| {});
    let (unblock, blocked) = mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let entered = Arc::new(AtomicUsize::new(0));
    let inner = {
        let entered = entered.clone();
        move |_| {
            let (blocked, entered) = (blocked.clone(), entered.clone());
            async move {
                entered.fetch_add(1, Ordering::SeqCst);
                let _ = blocked.lock().unwrap().recv();
                Ok(ok("done"))
            }
        }
    };
    let house = House::new(&operations, app(operations.layer(), inner));
    let monitor = house.accepted(post("/work")).await;
    until("it blocks", || entered.load(Ordering::SeqCst) == 1).await;
    operations.abandon(id_of(&monitor)).await.unwrap();
    let held = {
        let app = house.app.clone();
        let request = with(post("/work"), "prefer", "wait=30");
        tokio::spawn(async move { send(&app, request).await })
    };
    until("both block", || entered.load(Ordering::SeqCst) == 2).await;
    let drained = operations.drain(millis(100)).await;
    assert_eq!((drained.finished, drained.interrupted), (0, 2));
    drop(unblock);
    quiet(&operations).await;
    held.await.unwrap().unwrap();
}

async fn raw(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads one answer with a `Content-Length`, and leaves the connection open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text.into_owned();
            }
        }
        assert_ne!(
            stream.read_buf(&mut read).await.unwrap(),
            0,
            "closed after {read:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_drained_before_it_is_stopped_answers_everybody() {
    let operations: Operations = operations(|limits| limits.running = 4);
    let routes = axum::Router::new()
        .route(
            "/work",
            axum::routing::post(async || tokio::time::sleep(seconds(3600)).await)
                .route_layer(operations.layer()),
        )
        .nest_service("/operations", operations.status_service());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());

    let mut readers = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        raw(
            &mut stream,
            "POST /work HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        let accepted = answer(&mut stream).await;
        assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
        let monitor = accepted
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        let poll = format!(
            "GET {} HTTP/1.1\r\nhost: h\r\nprefer: wait=30\r\n\r\n",
            monitor.unwrap()
        );
        raw(&mut stream, &poll).await;
        readers.push(stream);
    }
    until("all wait", || operations.usage().readers == 32).await;

    let before = Instant::now();
    let drained = operations.drain(millis(500)).await;
    assert!(before.elapsed() < millis(1500), "{:?}", before.elapsed());
    assert_eq!((drained.finished, drained.interrupted), (0, 32));
    for stream in &mut readers {
        let told = answer(stream).await;
        assert!(told.starts_with("HTTP/1.1 202 "), "{told}");
    }
    // The server still runs: it refuses work, and tells how things ended.
    let stream = &mut readers[0];
    raw(
        stream,
        "POST /work HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let refused = answer(stream).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.contains("draining"),
        "{refused}"
    );
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert_eq!(held(operations.usage()), [0; 5]);
}
