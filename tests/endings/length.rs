//! Responses that are too long, or for which there is no room.
use super::*;

#[tokio::test(start_paused = true)]
async fn a_response_that_is_too_long_is_a_failure_announced_or_not() {
    let announced = house_with(
        |limits| limits.response_body = 1000,
        |layer| layer,
        |_| Box::pin(ready(Ok(ok(vec![b'x'; 1001])))),
    );
    fails_as(&announced, 500, "result-too-large").await;

    let streamed = house_with(
        |_| {},
        |layer| layer.response_body(1000),
        |_| {
            Box::pin(async {
                Ok(Response::new(trickle(
                    b"0123456789",
                    Duration::from_millis(1),
                    101,
                )))
            })
        },
    );
    fails_as(&streamed, 500, "result-too-large").await;

    let endless = house_with(
        |limits| limits.response_body = 100_000,
        |layer| layer,
        |_| {
            let body = pour(|_| Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1000]))))));
            Box::pin(ready(Ok(Response::new(body))))
        },
    );
    fails_as(&endless, 500, "result-too-large").await;

    let just_right = house_with(
        |limits| limits.response_body = 1000,
        |layer| layer,
        |_| Box::pin(ready(Ok(ok(vec![b'x'; 1000])))),
    );
    let monitor = just_right.accepted(post("/work")).await;
    assert_eq!(just_right.outcome(&monitor).await.body.len(), 1000);
    all_is_given_back(&just_right).await;
}

#[tokio::test(start_paused = true)]
async fn trailers_that_are_too_long_are_a_failure() {
    let inner = house_with(
        |limits| limits.response_body = 1000,
        |layer| layer,
        |_| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "9".repeat(1001).parse().unwrap());
            let mut frame = Some(Frame::trailers(trailers));
            Box::pin(ready(Ok(Response::new(pour(move |_| {
                Poll::Ready(frame.take().map(Ok))
            })))))
        },
    );
    fails_as(&inner, 500, "result-too-large").await;
}

#[tokio::test(start_paused = true)]
async fn a_response_for_which_the_store_has_no_room_is_a_failure() {
    let inner = house_with(
        |limits| limits.stored_bytes = 1000,
        |layer| layer,
        |_| Box::pin(ready(Ok(ok(vec![b'x'; 1001])))),
    );
    fails_as(&inner, 500, "result-too-large").await;
    let usage = inner.operations.usage();
    assert!(usage.stored_bytes < 100, "{usage:?}");
}
