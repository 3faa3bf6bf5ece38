//! Everything that grows has a bound.
use super::*;

#[tokio::test(start_paused = true)]
async fn what_comes_in_is_bounded() {
    let limits = |limits: &mut Limits| {
        limits.request_body = 100;
        limits.uploading_bytes = 150;
        limits.upload_time = seconds(5);
        limits.retry_after = Duration::from_millis(2500);
    };
    let house = house(limits);
    let upload = |body| Request::post("/work").body(body).unwrap();
    for body in [full(vec![0; 101]), trickle(&[0; 101], seconds(1), 1)] {
        let answer = house.send(upload(body)).await.unwrap();
        assert_eq!(answer.refusal(), (413, "too-large".into()));
    }
    let announced = with(
        upload(trickle(b"x", seconds(1), 1)),
        "content-length",
        "101",
    );
    assert_eq!(
        house.send(announced).await.unwrap().refusal(),
        (413, "too-large".into())
    );
    let answer = house.send(upload(full(vec![0; 100]))).await.unwrap();
    assert_eq!(answer.status, 202);

    let before = Instant::now();
    let slow = house
        .send(upload(trickle(b"x", seconds(2), 10)))
        .await
        .unwrap();
    assert_eq!(slow.refusal(), (408, "upload-timeout".into()));
    // Who is refused in the midst of an upload is heard out for a while, or would not hear.
    assert_eq!(before.elapsed().as_secs(), 10);

    let two = (0..2).map(|_| {
        let mut pieces = [Some(&[0; 80][..]), None].into_iter();
        let mut late = tokio::time::interval(seconds(1));
        let body = pour(move |cx| {
            late.poll_tick(cx).map(|_| {
                pieces
                    .next()
                    .flatten()
                    .map(|piece| Ok(Frame::data(piece.into())))
            })
        });
        let (app, request) = (house.app.clone(), upload(body));
        tokio::spawn(async move { send(&app, request).await.unwrap() })
    });
    let mut told = Vec::new();
    for answer in two.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        if answer.status == 503 {
            assert_eq!(answer.problem(), "full");
            assert_eq!(answer.field("retry-after"), Some("3"));
        }
        told.push(answer.status.as_u16());
    }
    told.sort();
    assert_eq!(told, [202, 503]);
    quiet(&house.operations).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_heard_out_within_bounds() {
    let house = house(|limits| {
        limits.request_body = 10;
        limits.discards = 1;
    });
    let upload = || {
        let app = house.app.clone();
        let body = trickle(&[0; 11], seconds(2), 2);
        let request = Request::post("/work").body(body).unwrap();
        async move {
            let before = Instant::now();
            let answer = send(&app, request).await.unwrap();
            assert_eq!(answer.refusal(), (413, "too-large".into()));
            let closes = answer.field("connection") == Some("close");
            (before.elapsed().as_secs(), closes)
        }
    };
    // Each is refused with its first piece; the second comes two seconds later.
    assert_eq!(upload().await, (2, false));
    let (one, other) = tokio::join!(upload(), upload());
    assert_eq!((one, other), ((2, false), (0, true)));
    assert_eq!(upload().await, (2, false));
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_is_bounded() {
    let house = house(|limits| {
        limits.running = 2;
        limits.accepted = 3;
        limits.start_within = seconds(50);
        limits.run_time = seconds(40);
        limits.response_body = 3;
        limits.wait = seconds(10);
        limits.readers_per_operation = 2;
        limits.readers = 3;
    });
    let mut monitors = Vec::new();
    for _ in 0..5 {
        monitors.push(house.accepted(post("/never")).await);
    }
    let answer = house.send(post("/never")).await.unwrap();
    assert_eq!(answer.refusal(), (503, "full".into()));
    until("two run", || {
        held(house.operations.usage()) == [0, 0, 3, 2, 0]
    })
    .await;

    let mut readers = tokio::task::JoinSet::new();
    for monitor in [0, 0, 0, 1, 1] {
        let poll = with(request("GET", &monitors[monitor]), "prefer", "wait=100");
        let app = house.app.clone();
        readers.spawn(async move {
            let before = Instant::now();
            let answer = send(&app, poll).await.unwrap();
            assert_eq!(answer.status, 202);
            let applied = answer.field("preference-applied").map(str::to_owned);
            (before.elapsed().as_secs(), applied)
        });
    }
    let mut waited = readers.join_all().await;
    waited.sort();
    let cut = Some("wait=10".to_owned());
    assert_eq!(
        waited,
        [
            (0, None),
            (0, None),
            (10, cut.clone()),
            (10, cut.clone()),
            (10, cut)
        ]
    );

    // Two had their time, two more had theirs, and one waited in vain.
    tokio::time::sleep(seconds(80)).await;
    let mut told = Vec::new();
    for monitor in &monitors {
        told.push(house.get(monitor).await.problem());
    }
    assert_eq!(told[..2], ["timed-out", "timed-out"]);
    assert_eq!(told[2..], ["timed-out", "timed-out", "not-started"]);
    let long = house.accepted(post("/work")).await;
    assert_eq!(
        house.outcome(&long).await.refusal(),
        (500, "result-too-large".into())
    );
    quiet(&house.operations).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    let house = house(|limits| {
        limits.stored = 3;
        limits.tombstones = 2;
        limits.keep_for = seconds(1000);
        limits.tombstone_for = seconds(1000);
    });
    let mut monitors = Vec::new();
    for _ in 0..3 {
        monitors.push(house.accepted(post("/work")).await);
    }
    quiet(&house.operations).await;
    let answer = house.send(post("/work")).await.unwrap();
    assert_eq!(
        answer.refusal(),
        (503, "full".into()),
        "nobody has read any of them"
    );
    for number in 0..3 {
        // At one moment each, so that one is the oldest.
        tokio::time::sleep(seconds(2)).await;
        house.get(&monitors[number]).await;
        monitors.push(house.accepted(post("/work")).await);
    }
    quiet(&house.operations).await;
    let usage = house.operations.usage();
    assert_eq!((usage.stored, usage.tombstones), (3, 2));
    assert_eq!(
        house.get(&monitors[0]).await.refusal(),
        (404, "unknown".into())
    );
    assert_eq!(
        house.get(&monitors[1]).await.refusal(),
        (410, "expired".into())
    );
    assert_eq!(
        house.get(&monitors[2]).await.refusal(),
        (410, "expired".into())
    );
    tokio::time::sleep(seconds(1000)).await;
    assert_eq!(
        house.get(&monitors[5]).await.refusal(),
        (410, "expired".into())
    );
    until("all is swept", || house.operations.usage().stored == 0).await;

    let bytes = self::house(|limits| limits.stored_bytes = 10);
    for _ in 0..2 {
        let monitor = bytes.accepted(post("/work")).await;
        assert_eq!(bytes.outcome(&monitor).await.text(), "done");
    }
    assert!(bytes.operations.usage().stored_bytes <= 10);

    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    let inner = move |request: Request<Body>| {
        let long = "x".repeat(4095);
        *tell.lock().unwrap() = Some(handle(&request).metadata(&long));
        ready(Ok(ok("done")))
    };
    let app = app(bytes.operations.layer(), inner);
    let monitor = accepted(&app, post("/work")).await;
    outcome(&app, &monitor).await;
    assert!(matches!(
        told.lock().unwrap().take(),
        Some(Err(MetadataError::TooLong))
    ));
}
