//! What a client cancels: at once, with grace, and before its turn.
use super::*;

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_the_handler_at_once() {
    for by_program in [false, true] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = dropped.clone();
        let inner = house(move |_| {
            let count = count.clone();
            let guard = OnDrop(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            Box::pin(async move {
                let _guard = guard;
                pending().await
            })
        });
        let monitor = inner.accepted(post("/work")).await;
        until("it runs", || inner.operations.usage().running == 1).await;
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        let before = tokio::time::Instant::now();
        if by_program {
            let settled = inner.operations.cancel(id_of(&monitor)).await.unwrap();
            assert!(matches!(settled, Settled::Done(_)));
        } else {
            let document = inner.send(request("DELETE", &monitor)).await.unwrap();
            assert_eq!(
                (document.status.as_u16(), &document.json()["status"]),
                (200, &"cancelled".into())
            );
        }
        ended_as(&inner, &monitor, 410, "cancelled").await;
        quiet(&inner.operations).await;
        assert!(before.elapsed() < seconds(1));
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        // Once more changes nothing.
        let document = inner.send(request("DELETE", &monitor)).await.unwrap();
        assert_eq!(
            (document.status.as_u16(), &document.json()["status"]),
            (200, &"cancelled".into())
        );
        all_is_given_back(&inner).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_with_grace_may_wind_up_and_cannot_change_the_end() {
    let wound_up = Arc::new(AtomicUsize::new(0));
    let count = wound_up.clone();
    let inner = house_with(
        |limits| limits.cancel_grace = seconds(10),
        |layer| layer,
        move |request| {
            let (operation, count) = (handle(&request), count.clone());
            Box::pin(async move {
                operation.cancelled().await;
                assert!(operation.is_cancelled());
                operation.progress(0.9, SECRET);
                tokio::time::sleep(seconds(4)).await;
                count.fetch_add(1, Ordering::SeqCst);
                Ok(ok(SECRET))
            })
        },
    );
    let monitor = inner.accepted(post("/work")).await;
    until("it runs", || inner.operations.usage().running == 1).await;
    let before = tokio::time::Instant::now();
    inner.send(request("DELETE", &monitor)).await.unwrap();
    ended_as(&inner, &monitor, 410, "cancelled").await;
    assert_eq!(
        inner.operations.usage().running,
        1,
        "it has its permit still"
    );
    quiet(&inner.operations).await;
    assert_eq!(
        (before.elapsed().as_secs(), wound_up.load(Ordering::SeqCst)),
        (4, 1)
    );
    ended_as(&inner, &monitor, 410, "cancelled").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_when_its_grace_is_over() {
    let inner = house_with(
        |limits| limits.cancel_grace = seconds(10),
        |layer| layer,
        |_| Box::pin(pending()),
    );
    let monitor = inner.accepted(post("/work")).await;
    until("it runs", || inner.operations.usage().running == 1).await;
    let before = tokio::time::Instant::now();
    inner.send(request("DELETE", &monitor)).await.unwrap();
    quiet(&inner.operations).await;
    assert_eq!(before.elapsed().as_secs(), 10);
    ended_as(&inner, &monitor, 410, "cancelled").await;
    all_is_given_back(&inner).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_while_it_waits_for_its_turn_is_never_called() {
    for grace in [0, 3600] {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let inner = house_with(
            |limits| limits.cancel_grace = seconds(grace),
            |layer| layer,
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async {
                    tokio::time::sleep(seconds(60)).await;
                    Ok(ok("done"))
                })
            },
        );
        let first = inner.accepted(post("/work")).await;
        until("it runs", || inner.operations.usage().running == 1).await;
        let second = inner.accepted(post("/work")).await;
        until("it waits", || inner.operations.usage().accepted == 1).await;
        inner.send(request("DELETE", &second)).await.unwrap();
        until("its place is free", || {
            inner.operations.usage().accepted == 0
        })
        .await;
        ended_as(&inner, &second, 410, "cancelled").await;
        assert_eq!(inner.outcome(&first).await.text(), "done");
        all_is_given_back(&inner).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
