//! Panics, wherever they come from.
use super::*;

fn bomb() -> OnDrop<impl FnMut()> {
    OnDrop(|| panic!("{SECRET}"))
}

/// A future that panics when it is dropped, whatever has come of it.
struct Armed<F: FnMut()> {
    work: Work,
    _bomb: OnDrop<F>,
}

fn armed(work: impl Future<Output = Result<Response<Body>, Fault>> + Send + 'static) -> Work {
    struct Defused<F: FnMut()>(Armed<F>);
    impl<F: FnMut() + Unpin> Future for Defused<F> {
        type Output = Result<Response<Body>, Fault>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            self.0.work.as_mut().poll(cx)
        }
    }
    Box::pin(Defused(Armed {
        work: Box::pin(work),
        _bomb: bomb(),
    }))
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_call_is_a_failure() {
    fails_as(&house(|_| panic!("{SECRET}")), 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_poll_is_a_failure() {
    let late = house(|_| {
        Box::pin(async {
            tokio::time::sleep(seconds(1)).await;
            panic!("{SECRET}")
        })
    });
    fails_as(&late, 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_body_is_a_failure() {
    let mut frames = 0;
    let inner = house(move |_| {
        Box::pin(ready(Ok(Response::new(pour(move |_| {
            frames += 1;
            match frames {
                1 => Poll::Ready(Some(Ok(Frame::data("half a secret".into())))),
                _ => panic!("{SECRET}"),
            }
        })))))
    });
    fails_as(&inner, 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_carries_a_value_which_panics_itself_is_a_failure() {
    fails_as(&house(|_| panic_any(bomb())), 500, "panicked").await;
    fails_as(&house(|_| panic_any(String::from(SECRET))), 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_the_handler_is_a_failure() {
    fails_as(&house(|_| armed(ready(Ok(ok("done"))))), 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_what_the_response_carries_is_a_failure() {
    #[derive(Clone)]
    struct Carried(#[expect(dead_code, reason = "dropped")] Arc<OnDrop<fn()>>);
    let inner = house(|_| {
        let mut response = ok("done");
        let carried = OnDrop((|| panic!("{SECRET}")) as fn());
        response.extensions_mut().insert(Carried(Arc::new(carried)));
        Box::pin(ready(Ok(response)))
    });
    let monitor = inner.accepted(post("/work")).await;
    ended_as(&inner, &monitor, 500, "panicked").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_the_body_is_a_failure() {
    let inner = house(|_| {
        let bomb = bomb();
        let mut data = Some(Frame::data(Bytes::from("done")));
        Box::pin(ready(Ok(Response::new(pour(move |_| {
            let _ = &bomb;
            Poll::Ready(data.take().map(Ok))
        })))))
    });
    fails_as(&inner, 500, "panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_the_error_is_a_failure() {
    struct Bomb(OnDrop<fn()>);
    impl std::fmt::Debug for Bomb {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let _ = &self.0;
            f.write_str(SECRET)
        }
    }
    impl std::fmt::Display for Bomb {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(SECRET)
        }
    }
    impl std::error::Error for Bomb {}
    let inner = house(|_| {
        let error = Bomb(OnDrop((|| panic!("{SECRET}")) as fn()));
        Box::pin(ready(Err(Fault::other(error))))
    });
    let monitor = inner.accepted(post("/work")).await;
    ended_as(&inner, &monitor, 500, "panicked").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_drop_of_a_handler_that_is_stopped_changes_nothing() {
    let stopped = || {
        house_with(
            |limits| limits.run_time = seconds(5),
            |layer| layer,
            |_| armed(pending()),
        )
    };
    fails_as(&stopped(), 504, "timed-out").await;

    let inner = stopped();
    let monitor = inner.accepted(post("/work")).await;
    let document = inner.send(request("DELETE", &monitor)).await.unwrap();
    assert_eq!(document.json()["status"], "cancelled");
    ended_as(&inner, &monitor, 410, "cancelled").await;
    all_is_given_back(&inner).await;
}
