//! What is told is what was said.
use super::*;

/// With everything in it that the replay has an opinion on.
fn said() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    let mut frames = [
        Frame::data(Bytes::from_static(b"\x1f\x8b some ")),
        Frame::data(Bytes::from_static(b"coded bytes")),
        Frame::trailers(trailers),
    ]
    .into_iter();
    Response::builder()
        .status(207)
        .header("content-type", "text/plain")
        .header("content-encoding", "gzip")
        .header("x-twice", "b")
        .header("x-twice", "a")
        .header("set-cookie", "one=1; Secure")
        .header("set-cookie", "two=2")
        .header("etag", "\"theirs\"")
        .header("location", "../parts/7?y=2")
        .header("content-location", "7")
        .header("link", "<next>; rel=\"next\"")
        .header("vary", "accept")
        .header("cache-control", "max-age=60")
        .header("cdn-cache-control", "max-age=60")
        .header("surrogate-control", "max-age=60")
        .header("x-accel-expires", "60")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-authenticate", "Basic")
        .header("age", "10")
        .header("retry-after", "99")
        .header("accept-ranges", "bytes")
        .body(pour(move |_| Poll::Ready(frames.next().map(Ok))))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_what_the_inner_service_said() {
    let operations = operations(|limits| {
        limits.keep_for = seconds(100);
        limits.tombstone_for = seconds(100);
    });
    let app = app(operations.layer(), |_| ready(Ok(said())));
    let monitor = accepted(&app, post("/reports/all?x=1")).await;
    quiet(&operations).await;
    let first = get(&app, &monitor).await;
    assert_eq!(first.status, 207);
    assert_eq!(first.body, &b"\x1f\x8b some coded bytes"[..]);
    assert_eq!(first.trailers["x-sum"], "42");
    let all = |name: &str| -> Vec<&str> {
        let values = first.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    };
    for (name, values) in [
        ("content-type", &["text/plain"][..]),
        ("content-encoding", &["gzip"]),
        ("x-twice", &["b", "a"]),
        ("set-cookie", &["one=1; Secure", "two=2"]),
        ("etag", &["\"theirs\""]),
        ("location", &["/parts/7?y=2"]),
        ("content-location", &["/reports/7"]),
        ("link", &["</reports/next>; rel=\"next\""]),
        ("vary", &["accept"]),
        ("cache-control", &["no-store"]),
        ("operation-outcome", &["succeeded"]),
        ("trailer", &["x-sum"]),
    ] {
        assert_eq!(all(name), values, "{name}");
    }
    for gone in [
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "age",
        "retry-after",
        "accept-ranges",
        "cdn-cache-control",
        "surrogate-control",
        "x-accel-expires",
    ] {
        assert!(all(gone).is_empty(), "{gone}");
    }
    for _ in 0..3 {
        tokio::time::sleep(seconds(30)).await;
        assert_eq!(get(&app, &monitor).await.to_string(), first.to_string());
        let result = get(&app, &format!("{monitor}/result")).await;
        assert_eq!(result.to_string(), first.to_string());
    }
    tokio::time::sleep(seconds(10)).await;
    assert_eq!(get(&app, &monitor).await.refusal(), (410, "expired".into()));
    tokio::time::sleep(seconds(100)).await;
    assert_eq!(get(&app, &monitor).await.refusal(), (404, "unknown".into()));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_an_early_expiry() {
    let house = house(|limits| limits.stored = 2);
    let first = house.accepted(post("/work")).await;
    // It ends before the other.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let second = house.accepted(post("/work")).await;
    assert_eq!(house.outcome(&second).await.text(), "done");
    assert_eq!(house.outcome(&first).await.text(), "done");
    house.accepted(post("/work")).await;
    assert_eq!(house.get(&first).await.refusal(), (410, "expired".into()));
    assert_eq!(house.get(&second).await.text(), "done");
}

/// What is known of an operation beyond its record goes when it ends, and who has read the record before that was told less
/// than had been told already.
#[tokio::test(start_paused = true)]
async fn a_poll_that_the_end_overtakes_does_not_tell_what_was_before() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    let app = app(operations.layer(), async |request| {
        handle(&request).progress(0.5, "half way");
        handler(request).await
    });
    for by_program in [false, true] {
        let monitor = accepted(&app, post("/work")).await;
        let status = format!("{monitor}/status");
        let id = id_of(&monitor);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(get(&app, &status).await.json()["status"], "running");
        let seen = operations.get(id).await.unwrap().unwrap().revision;

        let gate = Arc::new(Semaphore::new(0));
        store.times(Verb::Find, How::Gated(gate.clone()), 1);
        let (app, operations) = (app.clone(), operations.clone());
        let late = tokio::spawn(async move {
            if by_program {
                let record = operations.get(id).await.unwrap().unwrap();
                assert!(record.revision > seen && record.phase().is_ended());
            } else {
                assert_eq!(get(&app, &status).await.json()["status"], "succeeded");
            }
        });
        tokio::time::sleep(seconds(2)).await;
        assert!(!late.is_finished());
        gate.add_permits(1);
        late.await.unwrap();
    }
}
