//! Errors of the inner service and of bodies, and what it may not answer.
use super::*;

#[tokio::test(start_paused = true)]
async fn an_error_is_a_failure_and_its_text_stays_inside() {
    let inner = house(|_| Box::pin(ready(Err(failure()))));
    let monitor = inner.accepted(post("/work")).await;
    ended_as(&inner, &monitor, 500, "errored").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_time_passes_through_as_without_the_layer() {
    let inner = house(|_| Box::pin(ready(Err(failure()))));
    let held = || with(post("/work"), "prefer", "wait=30");
    assert!(is_failure(&inner.send(held()).await.unwrap_err()));
    assert_eq!(inner.operations.usage().stored, 0);
    all_is_given_back(&inner).await;

    let keyed = || with(held(), "idempotency-key", "\"k\"");
    assert!(is_failure(&inner.send(keyed()).await.unwrap_err()));
    // A repeat must not run it again, and has no error to be given.
    let monitor = inner.accepted(keyed()).await;
    ended_as(&inner, &monitor, 500, "errored").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_body_is_a_failure() {
    let mut frames = 0;
    let inner = house(move |_| {
        Box::pin(ready(Ok(Response::new(pour(move |_| {
            frames += 1;
            Poll::Ready(Some(match frames {
                1 => Ok(Frame::data("half a secret".into())),
                _ => Err(failure()),
            }))
        })))))
    });
    fails_as(&inner, 500, "errored").await;
}

/// As it was sent, no server would have let it pass for whole (RFC 9112, section 8).
#[tokio::test(start_paused = true)]
async fn a_body_that_ends_before_its_length_is_a_failure() {
    let inner = house(|_| {
        let mut half = Some(Frame::data("half".into()));
        let mut response = Response::new(pour(move |_| Poll::Ready(half.take().map(Ok))));
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_LENGTH, 8.into());
        Box::pin(ready(Ok(response)))
    });
    fails_as(&inner, 500, "errored").await;
}

#[tokio::test(start_paused = true)]
async fn an_interim_response_is_a_failure() {
    let inner = house(|_| {
        let mut response = ok(SECRET);
        *response.status_mut() = http::StatusCode::EARLY_HINTS;
        Box::pin(ready(Ok(response)))
    });
    fails_as(&inner, 500, "errored").await;
}

/// An inner service that is unready for good on `/work`, in one way or the other; ready for all else once it has been.
#[derive(Clone)]
struct Refusing {
    how: fn() -> Poll<Result<(), Fault>>,
    calls: Arc<AtomicUsize>,
    refusals: Arc<AtomicUsize>,
}

impl Service<Request<Body>> for Refusing {
    type Response = Response<Body>;
    type Error = Fault;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.refusals.fetch_add(1, Ordering::SeqCst) == 0 {
            (self.how)()
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn call(&mut self, _: Request<Body>) -> Work {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(ready(Ok(ok("next"))))
    }
}

fn refusing(how: fn() -> Poll<Result<(), Fault>>) -> (House, Refusing) {
    let operations = operations(|limits| limits.running = 1);
    let inner = Refusing {
        how,
        calls: Arc::default(),
        refusals: Arc::default(),
    };
    let app = around(operations.layer(), inner.clone());
    (House::new(&operations, app), inner)
}

#[tokio::test(start_paused = true)]
async fn an_error_in_poll_ready_is_a_failure() {
    let (house, inner) = refusing(|| Poll::Ready(Err(failure())));
    let monitor = house.accepted(post("/work")).await;
    ended_as(&house, &monitor, 500, "errored").await;
    assert_eq!(inner.calls.load(Ordering::SeqCst), 0);
    all_is_given_back(&house).await;

    let (house, inner) = refusing(|| Poll::Ready(Err(failure())));
    let held = with(post("/work"), "prefer", "wait=30");
    assert!(is_failure(&house.send(held).await.unwrap_err()));
    assert_eq!(inner.calls.load(Ordering::SeqCst), 0);
    all_is_given_back(&house).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_poll_ready_is_a_failure() {
    let (house, inner) = refusing(|| panic!("{SECRET}"));
    let monitor = house.accepted(post("/work")).await;
    ended_as(&house, &monitor, 500, "panicked").await;
    assert_eq!(inner.calls.load(Ordering::SeqCst), 0);
    all_is_given_back(&house).await;
}
