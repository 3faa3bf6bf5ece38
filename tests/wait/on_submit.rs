use super::*;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::Sleep;
use tower_lro::OperationId;

/// Answers with its head at once, and with its body `after` a time.
fn streaming(after: Duration) -> Handler {
    handler(
        move |_| async move { Response::new(Slow(Some(Box::pin(sleep(after)))).boxed_unsync()) },
    )
}

/// A body that takes its time.
struct Slow(Option<Pin<Box<Sleep>>>);

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(sleep) = &mut self.0 else {
            return Poll::Ready(None);
        };
        std::task::ready!(sleep.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(Ok(Frame::data("slow".into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_for_the_whole_response_not_only_its_head() {
    let operations = operations();
    let client = client(&operations, &streaming(secs(4)));
    let answer = client.send(preferring("wait=5")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(4)));
    assert_eq!(answer.body, "slow");
    is_idle(&operations);

    let answer = client.send(preferring("wait=3")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(3)));
    end_of(&operations, answer.id()).await;
    assert_eq!(client.get(&answer.location()).await.body, "slow");
}

/// Servers take a body at its word that knows its length, and the field beside it as well: of a client that reads by the
/// field, the rest would be the next answer.
#[tokio::test(start_paused = true)]
async fn a_response_in_time_is_told_as_long_as_it_is() {
    for (status, told) in [
        (200, Some("4")),
        (204, None),
        (205, Some("0")),
        (304, Some("3")),
    ] {
        let handler = handler(move |_| async move {
            let slow = Slow(Some(Box::pin(sleep(secs(4)))));
            let response = Response::builder().status(status);
            let response = response.header("content-length", "3");
            response.body(slow.boxed_unsync()).unwrap()
        });
        let client = client(&operations(), &handler);
        let answer = client.send(preferring("wait=5")).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-length"), told, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_whole_when_the_wait_ends_wins() {
    let operations = operations();
    for handler in [takes(secs(5)), streaming(secs(5))] {
        let client = client(&operations, &handler);
        let answer = client.send(preferring("wait=5")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let layer = operations.layer().wait(secs(5));
    let client = with(&layer, &takes(secs(5)));
    assert_eq!(client.call(post("/reports")).await.status, 200);
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn after_the_wait_there_is_a_202_and_the_operation_goes_on() {
    let handler = takes(secs(60));
    let operations = operations();
    let client = client(&operations, &handler);
    let answer = client.send(preferring("wait=5")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(5)));
    assert_eq!(answer.header("preference-applied"), Some("wait=5"));
    assert_eq!(answer.header("vary"), Some("prefer"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["status"], "running");

    let ended = end_of(&operations, answer.id()).await;
    assert_eq!(ended.phase().as_str(), "succeeded");
    assert_eq!(client.get(&answer.location()).await.body, "done");
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_wait_is_longer_than_the_limit() {
    let operations = limited(|limits| limits.wait = secs(3)).build().unwrap();
    let layers = [operations.layer(), operations.layer().wait(Duration::MAX)];
    for layer in layers {
        let client = with(&layer, &takes(secs(60)));
        for prefer in ["wait=600", "wait=99999999999999999999"] {
            let answer = client.send(preferring(prefer)).await;
            assert_eq!((answer.status.as_u16(), answer.after), (202, secs(3)));
            assert_eq!(answer.header("preference-applied"), Some("wait=3"));
        }
    }
    let answer = with(&operations.layer().wait(secs(60)), &takes(secs(60)))
        .call(post("/reports"))
        .await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(3)));
}

#[tokio::test(start_paused = true)]
async fn without_a_wish_the_layers_own_hold_counts() {
    let operations = operations();
    let layer = operations.layer().wait(secs(2));
    for prefer in [None, Some("return=minimal"), Some("wait=soon")] {
        for (time, status) in [(secs(1), 200), (secs(3), 202)] {
            let mut request = post("/reports");
            if let Some(prefer) = prefer {
                request = request.header("prefer", prefer);
            }
            let answer = with(&layer, &takes(time)).call(request).await;
            assert_eq!(
                (answer.status.as_u16(), answer.after),
                (status, time.min(secs(2)))
            );
            assert_eq!(answer.header("preference-applied"), None);
            assert_eq!(answer.header("vary"), Some("prefer"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_takes_the_place_of_the_layers_own_hold() {
    let operations = operations();
    let layer = operations.layer().wait(secs(2));
    let client = with(&layer, &takes(secs(60)));
    for (prefer, after, applied) in [
        ("wait=0", 0, "wait=0"),
        ("wait=1", 1, "wait=1"),
        ("wait=4", 4, "wait=4"),
        ("respond-async", 0, "respond-async"),
        ("respond-async, wait=4", 4, "respond-async, wait=4"),
        ("wait=4, wait=1", 4, "wait=4"),
        ("Wait=\"4\"; foo", 4, "wait=4"),
    ] {
        let answer = client.send(preferring(prefer)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.after),
            (202, secs(after)),
            "{prefer}"
        );
        assert_eq!(
            answer.header("preference-applied"),
            Some(applied),
            "{prefer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_as_without_the_layer_but_for_two_fields() {
    let handler = handler(|_| async {
        sleep(secs(1)).await;
        Response::builder()
            .status(303)
            .header("location", "7")
            .header("retry-after", "7")
            .header("cache-control", "max-age=60")
            .header("x-custom", "a")
            .header("x-custom", "b")
            .body(full("see there"))
            .unwrap()
    });
    let operations = operations();
    let client = client(&operations, &handler);
    let answer = client.send(preferring("wait=5")).await;
    let mut wanted = HeaderMap::new();
    for (name, value) in [
        ("location", "7"),
        ("retry-after", "7"),
        ("cache-control", "max-age=60"),
        ("x-custom", "a"),
        ("x-custom", "b"),
        ("preference-applied", "wait=5"),
        ("vary", "prefer"),
    ] {
        wanted.append(name, value.parse().unwrap());
    }
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (303, &b"see there"[..])
    );
    assert_eq!(answer.headers, wanted);
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn what_the_inner_service_says_of_preferences_and_caches_stays() {
    for (vary, told) in [
        ("accept", vec!["accept, prefer"]),
        ("Accept, Prefer", vec!["Accept, Prefer"]),
        ("*", vec!["*"]),
    ] {
        let handler = handler(move |request| async move {
            Response::builder()
                .header("preference-applied", "return=minimal")
                .header("vary", vary)
                .header("x-prefer", request.headers()["prefer"].clone())
                .body(empty())
                .unwrap()
        });
        let client = client(&operations(), &handler);
        let answer = client.send(preferring("wait=5, return=minimal")).await;
        let all = |name| {
            let values = answer.headers.get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(all("preference-applied"), ["return=minimal", "wait=5"]);
        assert_eq!(all("vary"), told);
        // What has been applied is not there to be applied again.
        assert_eq!(answer.header("x-prefer"), Some("return=minimal"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_time_is_the_inner_services_own() {
    let handler = try_handler(|_| async {
        sleep(secs(1)).await;
        Err(Fault("connection refused"))
    });
    let operations = operations();
    let client = client(&operations, &handler);
    let error = client.try_send(preferring("wait=5")).await.unwrap_err();
    assert_eq!(error.0, "connection refused");
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_time_is_its_problem_without_its_text() {
    let handler = handler(|_| async {
        sleep(secs(1)).await;
        panic!("the secret")
    });
    let operations = operations();
    let client = client(&operations, &handler);
    let answer = client.send(preferring("wait=5")).await;
    answer.is_problem(500, "panicked");
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    assert_eq!(answer.header("location"), None);
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_in_time_is_a_problem_too() {
    let handler = handler(|_| async {
        let (sender, body) = sending();
        send(&sender, "half");
        sender.send(Err(Fault("the secret"))).unwrap();
        Response::new(body)
    });
    let operations = operations();
    let answer = client(&operations, &handler)
        .send(preferring("wait=5"))
        .await;
    answer.is_problem(500, "errored");
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_reached_in_time_are_their_problems() {
    let operations = operations();
    let layer = operations.layer().run_time(secs(2));
    let answer = with(&layer, &takes(secs(60)))
        .send(preferring("wait=5"))
        .await;
    answer.is_problem(504, "timed-out");
    assert_eq!(answer.after, secs(2));
    let layer = operations.layer().response_body(3);
    let answer = with(&layer, &takes(secs(1)))
        .send(preferring("wait=5"))
        .await;
    answer.is_problem(500, "result-too-large");
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn when_the_store_fails_at_the_limit_the_client_is_held_to_the_end() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    store.set_all(&DOWN);
    let handler = takes(secs(3600) - secs(1));
    let answer = client(&operations, &handler)
        .send(preferring("wait=5"))
        .await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(3599)));
    assert_eq!((&answer.body[..], handler.calls()), (&b"done"[..], 1));
    is_idle(&operations);

    let failing = try_handler(|_| async {
        sleep(secs(60)).await;
        Err(Fault("connection refused"))
    });
    let client = client(&operations, &failing);
    assert!(client.try_send(preferring("wait=5")).await.is_err());
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_recovers_after_the_limit_changes_nothing_for_the_client() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    store.set_all(&DOWN);
    let client = client(&operations, &takes(secs(60)));
    let answer = client.send(preferring("wait=5"));
    let recovers = async {
        sleep(secs(10)).await;
        store.heal();
    };
    let (answer, ()) = tokio::join!(answer, recovers);
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(60)));
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_at_the_limit_still_gives_the_202() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    store.set_all(&How::Late(secs(2)));
    let handler = takes(secs(60));
    let client = client(&operations, &handler);
    let answer = client.send(preferring("wait=5")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(7)));
    end_of(&operations, answer.id()).await;
    assert_eq!(client.get(&answer.location()).await.body, "done");
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_at_the_limit_holds_the_client_as_well() {
    let operations = limited(|limits| limits.stored = 1).build().unwrap();
    let client = client(&operations, &takes(secs(10)));
    client.submit().await;
    let answer = client.send(preferring("wait=5")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(10)));
    assert_eq!(operations.usage().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn a_detach_ends_the_hold_with_the_202() {
    let detached = Arc::new(AtomicBool::new(false));
    let done = detached.clone();
    let handler = with_handle(move |handle| {
        let done = done.clone();
        async move {
            sleep(secs(1)).await;
            handle.detach().await.unwrap();
            done.store(true, SeqCst);
        }
    });
    let operations = operations();
    let client = client(&operations, &handler);
    let answer = client.send(preferring("wait=5")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(1)));
    assert_eq!(answer.header("preference-applied"), Some("wait=5"));
    sleep(secs(60)).await;
    assert!(detached.load(SeqCst));
    let record = operations.get(answer.id()).await.unwrap().unwrap();
    assert_eq!(record.phase().as_str(), "running");
    operations
        .complete(answer.id(), Response::new(full("later")))
        .await
        .unwrap();
    assert_eq!(client.get(&answer.location()).await.body, "later");
}

#[tokio::test(start_paused = true)]
async fn a_detach_that_cannot_be_stored_is_refused_and_the_client_held() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    let handler = with_handle(|handle| async move {
        assert!(handle.detach().await.is_err());
        sleep(secs(10)).await;
    });
    store.set_all(&DOWN);
    let answer = client(&operations, &handler)
        .send(preferring("wait=5"))
        .await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(10)));
    is_idle(&operations);
}

/// A handler that never ends, and tells when it is dropped.
fn endless() -> (Handler, Arc<AtomicUsize>) {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let count = drops.clone();
    let handler = handler(move |_| {
        let dropped = Dropped(count.clone());
        async move {
            let _dropped = dropped;
            std::future::pending().await
        }
    });
    (handler, drops)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_takes_its_work_with_it() {
    let (handler, drops) = endless();
    let operations = operations();
    let client = client(&operations, &handler);
    let gone = timeout(secs(2), client.send(preferring("wait=5"))).await;
    assert!(gone.is_err());
    settled().await;
    assert_eq!((handler.calls(), drops.load(SeqCst)), (1, 1));
    is_idle(&operations);
    // Nothing comes of it later.
    sleep(secs(60)).await;
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_takes_its_work_with_it_when_the_store_has_failed() {
    let store = Faulty::remote();
    let (handler, drops) = endless();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    store.set_all(&DOWN);
    let client = client(&operations, &handler);
    assert!(
        timeout(secs(20), client.send(preferring("wait=5")))
            .await
            .is_err()
    );
    settled().await;
    assert_eq!(drops.load(SeqCst), 1);
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_while_its_work_is_queued_gives_its_place_back() {
    let operations = limited(|limits| limits.running = 1).build().unwrap();
    let (endless, _) = endless();
    let first = client(&operations, &endless).submit().await;
    let handler = takes(secs(1));
    let queued = client(&operations, &handler);
    assert!(
        timeout(secs(2), queued.send(preferring("wait=5")))
            .await
            .is_err()
    );
    settled().await;
    assert_eq!((handler.calls(), operations.usage().accepted), (0, 0));
    operations.cancel(first.id()).await.unwrap();
    assert_eq!(queued.send(preferring("wait=5")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn work_whose_client_goes_away_after_the_202_goes_on() {
    let (handler, drops) = endless();
    let operations = operations();
    let client = client(&operations, &handler);
    let answer = client.send(preferring("wait=5")).await;
    drop(client);
    sleep(secs(60)).await;
    assert_eq!((drops.load(SeqCst), operations.usage().running), (0, 1));
    operations.cancel(answer.id()).await.unwrap();
    settled().await;
    assert_eq!(drops.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn with_a_key_the_work_goes_on_without_its_client() {
    let handler = takes(secs(3));
    let operations = Operations::builder().shared_keys().build().unwrap();
    let client = client(&operations, &handler);
    let keyed = || {
        let request = post("/reports").header("prefer", "wait=5");
        request
            .header("idempotency-key", "k")
            .body(empty())
            .unwrap()
    };
    assert!(timeout(secs(1), client.send(keyed())).await.is_err());
    settled().await;
    assert_eq!(operations.usage().running, 1);
    sleep(secs(10)).await;
    assert_eq!(client.send(keyed()).await.body, "done");
    assert_eq!((handler.calls(), operations.usage().running), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_else_knows_of_an_operation_that_is_held_back() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let operations = Operations::builder()
        .on_end(move |_| {
            count.fetch_add(1, SeqCst);
        })
        .build()
        .unwrap();
    let inside = operations.clone();
    let handler = with_handle(move |handle| {
        let operations = inside.clone();
        async move {
            sleep(secs(1)).await;
            assert!(operations.get(handle.id()).await.unwrap().is_none());
            assert_eq!(
                (operations.usage().running, operations.usage().stored),
                (1, 0)
            );
            sleep(secs(1)).await;
        }
    });
    let answer = client(&operations, &handler)
        .send(preferring("wait=5"))
        .await;
    assert_eq!(answer.body, "done", "{answer:?}");
    assert_eq!(ended.load(SeqCst), 0);
    is_idle(&operations);
}

#[tokio::test(start_paused = true)]
async fn progress_during_the_hold_is_in_the_202() {
    let handler = with_handle(|handle| async move {
        handle.progress(0.5, "half");
        sleep(secs(60)).await;
    });
    let answer = client(&operations(), &handler)
        .send(preferring("wait=5"))
        .await;
    assert_eq!(answer.json()["progress"]["message"], "half");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_waits_for_its_turn_is_held_back_too() {
    let operations = limited(|limits| limits.running = 1).build().unwrap();
    let (handler, gate) = gated();
    let client = client(&operations, &handler);
    client.submit().await;
    let answer = client.send(preferring("wait=5")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (202, secs(5)));
    assert_eq!(answer.json()["status"], "accepted");
    gate.add_permits(2);
    end_of(&operations, answer.id()).await;
}

fn keyed() -> Request<Body> {
    let request = post("/reports").header("prefer", "wait=20");
    request
        .header("idempotency-key", "k")
        .body(empty())
        .unwrap()
}

/// A client that waits for an operation which `end` ends from outside, and what it is answered: a 202, at once.
async fn ended_from_outside<F>(
    end: impl Fn(Operations, OperationId) -> F + Clone + Send + Sync + 'static,
) -> (Client<Wrapped<Handler>>, Answer)
where
    F: Future<Output = ()> + Send + 'static,
{
    let operations = Operations::builder().shared_keys().build().unwrap();
    let inside = operations.clone();
    let handler = with_handle(move |handle| {
        let ended = end(inside.clone(), handle.id());
        async move {
            tokio::spawn(ended);
            std::future::pending().await
        }
    });
    let client = client(&operations, &handler);
    let answer = client.send(keyed()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.after),
        (202, Duration::ZERO)
    );
    (client, answer)
}

#[tokio::test(start_paused = true)]
async fn a_held_operation_that_is_cancelled_is_answered_with_its_monitor() {
    let (client, answer) = ended_from_outside(|operations, id| async move {
        operations.cancel(id).await.unwrap();
    })
    .await;
    assert_eq!(answer.json()["status"], "cancelled");
    let monitor = client.get(&answer.location()).await;
    monitor.is_problem(410, "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_held_operation_that_is_completed_from_outside_is_answered_with_its_monitor() {
    let (client, answer) = ended_from_outside(|operations, id| async move {
        let response = Response::new(full("from outside"));
        operations.complete(id, response).await.unwrap();
    })
    .await;
    assert_eq!(answer.json()["status"], "succeeded");
    assert_eq!(client.get(&answer.location()).await.body, "from outside");
    assert_eq!(client.send(keyed()).await.location(), answer.location());
}

#[tokio::test(start_paused = true)]
async fn a_wait_alone_never_makes_a_202_of_what_would_pass() {
    let operations = operations();
    let layer = operations.layer().when(admit::asked()).wait(secs(2));
    let client = with(&layer, &takes(secs(60)));
    let answer = client.send(preferring("wait=5")).await;
    assert_eq!((answer.status.as_u16(), answer.after), (200, secs(60)));
    assert_eq!(answer.header("preference-applied"), None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_a_held_operation_end_in_time_and_interrupts_it_later() {
    for (time, status) in [(secs(3), 200), (secs(20), 500)] {
        let operations = operations();
        let client = client(&operations, &takes(time));
        let drained = async {
            sleep(secs(1)).await;
            operations.drain(secs(5)).await
        };
        let (answer, drained) = tokio::join!(client.send(preferring("wait=30")), drained);
        assert_eq!(answer.status, status);
        assert_eq!(drained.interrupted, u64::from(status == 500));
        if status == 500 {
            answer.is_problem(500, "interrupted");
        }
        is_idle(&operations);
    }
}
