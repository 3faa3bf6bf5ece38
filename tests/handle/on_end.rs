use super::*;

#[tokio::test(start_paused = true)]
async fn it_is_called_once_for_every_end_with_the_record_as_it_is_stored() {
    let ended: Arc<Mutex<Vec<Record>>> = Arc::default();
    let seen = ended.clone();
    let operations = limited(|limits| limits.run_time = secs(100))
        .on_end(move |record| seen.lock().unwrap().push(record.clone()))
        .build()
        .unwrap();
    let handler = try_handler(|request| async move {
        match request.headers()["x-end"].to_str().unwrap() {
            "succeeded" => Ok(Response::new(full("done"))),
            "failed" => Ok(Response::builder().status(500).body(empty()).unwrap()),
            "errored" => Err(Fault("inner detail")),
            "panicked" => panic!("inner detail"),
            _ => std::future::pending().await,
        }
    });
    let client = client(&operations, &handler);
    let ends = [
        "succeeded",
        "failed",
        "errored",
        "panicked",
        "timed out",
        "cancelled",
        "completed",
    ];
    for end in ends {
        let id = client.call(post("/").header("x-end", end)).await.id();
        settled().await;
        for _ in 0..2 {
            match end {
                "cancelled" => drop(operations.cancel(id).await.unwrap()),
                "completed" => drop(operations.complete(id, Response::new(empty())).await),
                _ => {}
            }
        }
        let stored = end_of(&operations, id).await;
        settled().await;
        let told = std::mem::take(&mut *ended.lock().unwrap());
        assert_eq!(told.len(), 1, "{end}");
        assert_eq!((told[0].id, told[0].revision), (id, stored.revision));
        assert_eq!(
            told[0].ending().unwrap().outcome,
            stored.ending().unwrap().outcome
        );
        operations.forget(id).await.unwrap();
    }
    let id = client.call(post("/").header("x-end", "drained")).await.id();
    settled().await;
    operations.drain(secs(1)).await;
    let told = ended.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].ending().unwrap().outcome,
        Outcome::Failed(Reason::Interrupted)
    );
    assert_eq!(told[0].id, id);
}

#[tokio::test(start_paused = true)]
async fn what_it_sees_others_see_as_well() {
    let slot: Arc<Mutex<Option<Operations>>> = Arc::default();
    let (inside, seen) = (slot.clone(), Arc::new(AtomicUsize::new(0)));
    let count = seen.clone();
    let operations = Operations::builder()
        .on_end(move |record| {
            let operations = inside.lock().unwrap().clone().unwrap();
            let id = record.id;
            let count = count.clone();
            tokio::spawn(async move {
                let found = operations.get(id).await.unwrap().unwrap();
                assert!(found.phase().is_ended());
                count.fetch_add(1, SeqCst);
            });
        })
        .build()
        .unwrap();
    *slot.lock().unwrap() = Some(operations.clone());
    let accepted = client(&operations, &takes(secs(1))).submit().await;
    end_of(&operations, accepted.id()).await;
    settled().await;
    assert_eq!(seen.load(SeqCst), 1);
    slot.lock().unwrap().take();
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_harms_nobody() {
    let operations = Operations::builder()
        .on_end(|_| panic!("in the hook"))
        .build()
        .unwrap();
    let client = client(&operations, &takes(secs(5)));
    let accepted = client.submit().await;
    let request = Request::get(accepted.location()).header("prefer", "wait=30");
    let answer = client.call(request).await;
    assert_eq!((&answer.body[..], answer.after), (&b"done"[..], secs(5)));
    settled().await;
    assert_eq!(operations.usage().running, 0);
    let cancelled = client.submit().await;
    assert!(matches!(
        operations.cancel(cancelled.id()).await,
        Ok(Settled::Done(_))
    ));
    assert_eq!(client.get(&accepted.location()).await.body, "done");
    // A reader that comes later is told as well, and a shutdown ends.
    let drained = operations.drain(secs(1)).await;
    assert_eq!(drained.interrupted, 0);
}
