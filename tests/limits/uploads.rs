use super::*;
use http_body_util::BodyExt;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

#[tokio::test(start_paused = true)]
async fn a_request_body_over_its_bound_is_413() {
    let handler = takes(secs(1));
    let operations = limited(|limits| limits.request_body = 10).build().unwrap();
    let client = with(&operations, &handler);
    client.send(sized(11)).await.is_problem(413, "too-large");
    // Told only by its bytes.
    let (sender, body) = sending();
    send(&sender, "12345");
    send(&sender, "123456");
    drop(sender);
    let answer = client.send(post("/").body(body).unwrap()).await;
    answer.is_problem(413, "too-large");
    assert_eq!(answer.header("retry-after"), None);
    // Told by its head, and not read at all where that does no harm.
    let declared = post("/")
        .header("expect", "100-continue")
        .header("content-length", "11");
    let answer = client.send(declared.body(unread()).unwrap()).await;
    answer.is_problem(413, "too-large");
    is_idle(&operations);
    assert_eq!(handler.calls(), 0);

    assert_eq!(client.send(sized(10)).await.status, 202);
    let (sender, body) = sending();
    send(&sender, "12345");
    send(&sender, "67890");
    drop(sender);
    assert_eq!(client.send(post("/").body(body).unwrap()).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_target_over_its_bound_is_414() {
    let handler = takes(secs(1));
    let operations = limited(|limits| limits.target = 10).build().unwrap();
    let client = with(&operations, &handler);
    for target in ["/12345678/0", "/123456?890"] {
        let request = Request::post(target).header("expect", "100-continue");
        let answer = client.send(request.body(unread()).unwrap()).await;
        answer.is_problem(414, "target-too-long");
    }
    is_idle(&operations);
    assert_eq!(handler.calls(), 0);
    for target in ["/12345678/", "/123456?89", "http://example.com/1234567/9"] {
        let request = Request::post(target).body(full("")).unwrap();
        assert_eq!(client.send(request).await.status, 202, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_may_take_longer_and_shorter_requests() {
    let operations = limited(|limits| limits.request_body = 10).build().unwrap();
    for (bytes, takes_eleven) in [(5, false), (11, true), (u64::MAX, true)] {
        let layer = operations.layer().request_body(bytes);
        let client = Client(layer.wrap(takes(secs(1))));
        let answer = client.send(sized(11)).await;
        assert_eq!(answer.status == 202, takes_eleven, "{bytes}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_in_progress_have_a_bound_together() {
    let operations = limited(|limits| limits.uploading_bytes = 10)
        .build()
        .unwrap();
    let client = with(&operations, &takes(secs(1)));
    let (sender, body) = sending();
    let first = tokio::spawn({
        let client = client.clone();
        // What is announced takes no room.
        let request = post("/").header("content-length", "9").body(body);
        async move { client.send(request.unwrap()).await }
    });
    settled().await;
    assert_eq!(
        (
            operations.usage().uploading,
            operations.usage().uploading_bytes
        ),
        (1, 0)
    );
    send(&sender, "123456");
    settled().await;
    assert_eq!(operations.usage().uploading_bytes, 6);

    let refused = client.send(sized(5)).await;
    refused.is_problem(503, "full");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(client.send(sized(4)).await.status, 202);
    drop(sender);
    assert_eq!(first.await.unwrap().status, 202);
    assert_eq!(
        (
            operations.usage().uploading,
            operations.usage().uploading_bytes
        ),
        (0, 0)
    );
    assert_eq!(client.send(sized(10)).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn an_upload_in_pieces_may_take_all_the_room_there_is() {
    let operations = limited(|limits| limits.uploading_bytes = 10);
    let operations = operations.build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let (sender, body) = sending();
    // Twice as much as the first would be more than there is.
    send(&sender, "123456");
    send(&sender, "7890");
    drop(sender);
    let answer = client.send(post("/").body(body).unwrap()).await;
    assert_eq!(answer.status, 202);
}

/// Whether an upload of so many mebibytes, which is too long, costs its connection.
async fn closes_after(client: &Client<Wrapped<Handler>>, pieces: usize) -> bool {
    let mebibyte = Bytes::from(vec![b'x'; 1 << 20]);
    let (sender, body) = sending();
    for _ in 0..pieces {
        send(&sender, mebibyte.clone());
    }
    drop(sender);
    let answer = client.send(post("/").body(body).unwrap()).await;
    answer.is_problem(413, "too-large");
    match answer.header("connection") {
        None => false,
        Some(told) => {
            assert_eq!(told, "close");
            true
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_long_requests_four_times_their_bound_is_read_away() {
    let operations = limited(|limits| limits.request_body = 5 << 20);
    let operations = operations.build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    // What has been read by the refusal, and what is read away.
    for (pieces, closes) in [(6 + 19, false), (6 + 22, true)] {
        assert_eq!(closes_after(&client, pieces).await, closes, "{pieces}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expectation_of_http_1_0_means_nothing() {
    let operations = limited(|limits| limits.request_body = 10).build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let request = post("/")
        .version(Version::HTTP_10)
        .header("expect", "100-continue")
        .body(full("more than fits"));
    let answer = client.send(request.unwrap()).await;
    answer.is_problem(413, "too-large");
    assert_eq!(answer.header("connection"), None);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_takes_too_long_is_408() {
    let handler = takes(secs(1));
    let operations = limited(|limits| limits.upload_time = secs(3))
        .build()
        .unwrap();
    let client = with(&operations, &handler);
    let (sender, body) = sending();
    let drip = tokio::spawn(async move {
        while sender
            .send(Ok(Frame::data(Bytes::from_static(b"x"))))
            .is_ok()
        {
            sleep(secs(1)).await;
        }
    });
    let request = post("/").version(Version::HTTP_2).body(body).unwrap();
    let answer = client.send(request).await;
    answer.is_problem(408, "upload-timeout");
    assert_eq!(answer.after, secs(3));
    is_idle(&operations);
    drip.await.unwrap();
    // One that takes as long as it may is taken.
    let (sender, body) = sending();
    let late = async move {
        sleep(secs(3) - Duration::from_millis(2)).await;
        send(&sender, "late");
    };
    let request = post("/").body(body).unwrap();
    assert_eq!(tokio::join!(client.send(request), late).0.status, 202);
    settled().await;
    assert_eq!(handler.calls(), 1);
}

/// More of nothing, always and at once, until then.
struct Nothing(std::time::Instant);

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let goes_on = std::time::Instant::now() < self.0;
        Poll::Ready(goes_on.then(|| Ok(Frame::data(Bytes::new()))))
    }
}

// In real time: a paused clock stands still while something is always ready.
#[tokio::test]
async fn an_upload_of_nothing_that_goes_on_is_408() {
    let operations = limited(|limits| limits.upload_time = Duration::from_millis(100))
        .build()
        .unwrap();
    let client = with(&operations, &takes(secs(1)));
    let end = std::time::Instant::now() + secs(1);
    // In HTTP/1 what is left of it is read before the answer.
    let answer = async |version| {
        let request = post("/").version(version).body(Nothing(end).boxed_unsync());
        let answer = client.send(request.unwrap()).await;
        answer.is_problem(408, "upload-timeout");
    };
    tokio::join!(answer(Version::HTTP_11), answer(Version::HTTP_2));
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_is_400_and_leaves_nothing() {
    let operations = Operations::builder().build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let (sender, body) = sending();
    send(&sender, "half");
    sender.send(Err(Fault("reset"))).unwrap();
    let answer = client.send(post("/").body(body).unwrap()).await;
    answer.is_problem(400, "upload-failed");
    assert_eq!(answer.header("connection"), Some("close"));
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_mid_upload_leaves_nothing() {
    let handler = takes(secs(1));
    let operations = Operations::builder().build().unwrap();
    let client = with(&operations, &handler);
    let (sender, body) = sending();
    send(&sender, "half");
    let request = post("/").body(body).unwrap();
    let gone = tokio::time::timeout(secs(2), client.send(request)).await;
    assert!(gone.is_err());
    is_idle(&operations);
    assert_eq!(handler.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_refused_upload_is_read_away_on_http_1_up_to_a_bound() {
    let operations = limited(|limits| limits.request_body = 10).build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    for (pieces, closes) in [(15, false), (18, true)] {
        assert_eq!(closes_after(&client, pieces).await, closes, "{pieces}");
    }
    // Nor for ever.
    let (_sender, body) = sending();
    let request = post("/").header("content-length", "11").body(body).unwrap();
    let answer = client.send(request).await;
    assert_eq!(
        (answer.after, answer.header("connection")),
        (secs(5), Some("close"))
    );
    // Who has not begun to send is told not to.
    let expecting = post("/")
        .header("content-length", "11")
        .header("expect", "100-Continue")
        .body(unread());
    let answer = client.send(expecting.unwrap()).await;
    assert_eq!(
        (answer.after, answer.header("connection")),
        (Duration::ZERO, Some("close"))
    );
}

#[tokio::test(start_paused = true)]
async fn trailers_count_with_the_body() {
    let operations = limited(|limits| {
        limits.request_body = 10;
        limits.uploading_bytes = 10;
    });
    let operations = operations.build().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let upload = |value: &str| {
        let (sender, body) = sending();
        send(&sender, "12345");
        let value = HeaderValue::try_from(value).unwrap();
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-t"), value)]);
        sender.send(Ok(Frame::trailers(trailers))).unwrap();
        post("/").body(body).unwrap()
    };
    let answer = client.send(upload("123")).await;
    answer.is_problem(413, "too-large");
    assert_eq!(client.send(upload("12")).await.status, 202);

    // And with all that is being read.
    let (sender, body) = sending();
    send(&sender, "x");
    let other = tokio::spawn({
        let client = client.clone();
        async move { client.send(post("/").body(body).unwrap()).await }
    });
    settled().await;
    let answer = client.send(upload("12")).await;
    answer.is_problem(503, "full");
    drop(sender);
    assert_eq!(other.await.unwrap().status, 202);
    assert_eq!(operations.usage().uploading_bytes, 0);
}
