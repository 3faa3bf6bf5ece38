//! The layer's own check.
use super::*;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

#[tokio::test(start_paused = true)]
async fn what_it_refuses_is_answered_so_and_nothing_is_kept_or_run() {
    let handler = takes(secs(1));
    let operations = Operations::builder().shared_keys().build().unwrap();
    let layer = operations
        .layer()
        .check(|request: Request<Bytes>| async move {
            tokio::time::sleep(secs(1)).await;
            assert_eq!(
                (request.uri().path(), request.method()),
                ("/reports", &Method::POST)
            );
            if request.body() == "good" {
                return Ok(());
            }
            let refusal = Response::builder().status(418).header("x-why", "bad");
            Err(refusal.body("no".into()).unwrap())
        });
    let client = Client(layer.wrap(handler.clone()));
    let send = |body: &'static str| {
        let request = post("/reports").header("idempotency-key", "k");
        client.send(request.body(full(body)).unwrap())
    };
    for _ in 0..2 {
        let refused = send("bad").await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("x-why")),
            (418, Some("bad"))
        );
        assert_eq!((&refused.body[..], refused.after), (&b"no"[..], secs(1)));
    }
    assert_eq!((handler.calls(), operations.usage()), (0, Usage::default()));
    // A refused request has not used its key up.
    let accepted = send("good").await;
    assert_eq!(accepted.status, 202);
    end_of(&operations, accepted.id()).await;
    assert_eq!(client.get(&accepted.location()).await.body, "done");
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_once_for_what_is_deferred_and_not_for_repeats() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let operations = Operations::builder().shared_keys().build().unwrap();
    let layer = operations.layer().check(move |_| {
        count.fetch_add(1, SeqCst);
        async { Ok(()) }
    });
    let client = Client(layer.wrap(takes(secs(1))));
    let fields = [("idempotency-key", "k")];
    let first = client.send(request("POST", "/reports", &fields)).await;
    let repeat = client.send(request("POST", "/reports", &fields)).await;
    assert_eq!(repeat.location(), first.location());
    client.send(request("OPTIONS", "/reports", &[])).await;
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_while_it_is_asked_leaves_nothing() {
    let operations = operations();
    let layer = operations.layer().check(|_| std::future::pending());
    let client = Client(layer.wrap(takes(secs(1))));
    let gone = tokio::time::timeout(secs(9), client.send(request("POST", "/reports", &[])));
    assert!(gone.await.is_err());
    assert_eq!(operations.usage(), Usage::default());
}

/// A cache that has kept it must not answer those with it who are not deferred, and so not checked.
#[tokio::test(start_paused = true)]
async fn what_it_refuses_varies_where_admission_does() {
    let operations = operations();
    let asked = operations.layer().when(admit::asked());
    for (layer, vary) in [(asked, Some("prefer")), (operations.layer(), None)] {
        let layer = layer.check(async |_| {
            let refusal = Response::builder().status(404);
            let refusal = refusal.header("cache-control", "max-age=60");
            Err(refusal.body(Bytes::new()).unwrap())
        });
        let client = Client(layer.wrap(takes(secs(1))));
        let fields = [("prefer", "respond-async")];
        let refused = client.send(request("GET", "/reports", &fields)).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("vary")),
            (404, vary)
        );
    }
}
