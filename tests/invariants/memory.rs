//! What is kept holds no more than itself.
use super::*;

/// A piece of a buffer as a server reads requests into.
fn slice(buffer: &Bytes, piece: &str) -> Bytes {
    let at = buffer
        .windows(piece.len())
        .position(|window| window == piece.as_bytes());
    let at = at.unwrap();
    buffer.slice(at..at + piece.len())
}

/// A body and its trailers, all of them pieces of the buffer.
fn poured(buffer: &Bytes) -> Body {
    let sum = HeaderValue::from_maybe_shared(slice(buffer, "a sum")).unwrap();
    let trailers = [(HeaderName::from_static("x-sum"), sum)];
    let mut frames = [
        Frame::data(slice(buffer, "the body; ")),
        Frame::data(slice(buffer, "more of it")),
        Frame::trailers(trailers.into_iter().collect()),
    ]
    .into_iter();
    pour(move |_| Poll::Ready(frames.next().map(Ok)))
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn what_is_kept_pins_nothing() {
    let operations = operations(|_| {});
    let seen = Arc::new(Mutex::new(None));
    let told = seen.clone();
    let inner = move |request: Request<Body>| {
        let told = told.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            let (trailers, bytes) = (body.trailers().cloned(), body.to_bytes());
            let original = head.extensions.get::<axum::extract::OriginalUri>();
            *told.lock().unwrap() = Some(format!(
                "{} {} {:?} {trailers:?} {bytes:?}",
                head.uri,
                original.unwrap().0,
                head.headers["x-custom"],
            ));
            let _held = (head, trailers, bytes);
            pending().await
        }
    };
    let app = app(operations.layer(), inner);

    let mut buffer = BytesMut::from(
        "POST /api/work?x=1 /work?x=1 x-custom: a value; x-sum: a sum; the body; more of it",
    );
    buffer.resize(64 << 10, b' ');
    let buffer = buffer.freeze();
    let uri = |piece| http::Uri::from_maybe_shared(slice(&buffer, piece)).unwrap();
    let value = |piece| HeaderValue::from_maybe_shared(slice(&buffer, piece)).unwrap();
    let request = Request::post(uri(" /work?x=1".trim()))
        .header("x-custom", value("a value"))
        .extension(axum::extract::OriginalUri(uri("/api/work?x=1")))
        .body(poured(&buffer))
        .unwrap();
    assert!(!buffer.is_unique());
    let monitor = accepted(&app, request).await;
    until("the handler has it all", || seen.lock().unwrap().is_some()).await;
    let seen = seen.lock().unwrap().take().unwrap();
    assert_eq!(
        seen,
        "/work?x=1 /api/work?x=1 \"a value\" Some({\"x-sum\": \"a sum\"}) b\"the body; more of it\""
    );
    assert!(
        buffer.is_unique(),
        "the handler holds all of it, and the buffer is free"
    );
    delete(&app, &monitor).await;
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_response_pins_nothing() {
    let operations = operations(|_| {});
    let mut buffer = BytesMut::from("a value; a sum; the body; more of it");
    buffer.resize(64 << 10, b' ');
    let buffer = buffer.freeze();
    let shared = Arc::new(Mutex::new(Some(buffer.clone())));
    let inner = move |_| {
        let buffer = shared.lock().unwrap().take().unwrap();
        let value = |piece| HeaderValue::from_maybe_shared(slice(&buffer, piece)).unwrap();
        let mut response = Response::new(poured(&buffer));
        response.headers_mut().insert("x-custom", value("a value"));
        *response.status_mut() = StatusCode::CREATED;
        ready(Ok(response))
    };
    let app = app(operations.layer(), inner);
    let monitor = accepted(&app, post("/work")).await;
    let answer = outcome(&app, &monitor).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (201, "the body; more of it")
    );
    assert_eq!(
        (&answer.headers["x-custom"], &answer.trailers["x-sum"]),
        (&"a value".parse().unwrap(), &"a sum".parse().unwrap())
    );
    assert!(buffer.is_unique());
}
