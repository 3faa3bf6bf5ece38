//! One record, one task, one end.
use super::*;

#[tokio::test(start_paused = true)]
async fn no_202_without_a_record() {
    let store = Faulty::remote();
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let inner = move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        handler(request)
    };
    let app = app(operations.layer(), inner);

    let monitor = accepted(&app, post("/never")).await;
    let found = store.find(id_of(&monitor)).await.unwrap();
    assert!(matches!(found, Lookup::Found(record) if !record.phase().is_ended()));
    delete(&app, &monitor).await;
    assert_eq!(calls.swap(0, Ordering::SeqCst), 1);

    // What can't be stored is not begun;
    store.set(Verb::Create, How::Fail(StoreErrorKind::Unavailable));
    let answer = send(&app, post("/work")).await.unwrap();
    assert_eq!(answer.refusal(), (503, "unavailable".into()));
    tokio::time::sleep(seconds(10)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);

    // what has begun is held to its end, however short the wait.
    let slow = {
        let count = calls.clone();
        move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(seconds(50)).await;
                Ok(ok("done"))
            }
        }
    };
    let app = drive::app(operations.layer(), slow);
    let before = Instant::now();
    let answer = send(&app, with(post("/work"), "prefer", "wait=1"))
        .await
        .unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
    assert_eq!(before.elapsed().as_secs(), 50);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn an_operation_ends_exactly_once() {
    let ends = Arc::new(Mutex::new(HashMap::<OperationId, Vec<Phase>>::new()));
    let told = ends.clone();
    let operations = Operations::builder()
        .on_end(move |record| {
            let mut ends = told.lock().unwrap();
            ends.entry(record.id).or_default().push(record.phase());
            drop(ends);
            panic!("a hook that panics takes nothing with it");
        })
        .build()
        .unwrap();
    let app = app(operations.layer(), handler);
    type Deed = fn(Operations, OperationId) -> std::pin::Pin<Box<dyn Future<Output = Settled>>>;
    let deeds: [Deed; 3] = [
        |operations, id| Box::pin(async move { operations.cancel(id).await.unwrap() }),
        |operations, id| Box::pin(async move { operations.complete(id, ok("x")).await.unwrap() }),
        |operations, id| {
            Box::pin(async move {
                tokio::time::sleep(seconds(2)).await;
                let record = operations.get(id).await.unwrap().unwrap();
                Settled::Done(Arc::new(record))
            })
        },
    ];
    for first in deeds {
        let monitor = accepted(&app, post("/work")).await;
        let id = id_of(&monitor);
        let Settled::Done(done) = first(operations.clone(), id).await else {
            panic!("nobody was there before")
        };
        let end = get(&app, &monitor).await.to_string();
        for again in deeds.iter().take(2) {
            let Settled::Stands(stands) = again(operations.clone(), id).await else {
                panic!("it had ended")
            };
            assert_eq!(stands.phase(), done.phase());
            assert_eq!(stands.revision, done.revision);
        }
        delete(&app, &monitor).await;
        tokio::time::sleep(seconds(10)).await;
        assert_eq!(get(&app, &monitor).await.to_string(), end);
        assert_eq!(ends.lock().unwrap()[&id], [done.phase()]);
    }
    quiet(&operations).await;
}

#[tokio::test]
async fn a_write_by_who_has_lost_the_claim_is_refused() {
    let store = MemoryStore::new(MemoryLimits::default(), Clock::system());
    let submission = Submission::new(Method::POST, "/".into(), "/operations".into(), seconds(60));
    let at = Timestamp::from_micros(1);
    let record = Arc::new(Record::new(OperationId::random(), submission, at));
    let Created::New(claim) = store.create(&record, Intent::Run(None)).await.unwrap() else {
        panic!("it is new")
    };
    let sighting = Sighting {
        revision: record.revision.next(),
        at,
        started: Some(at),
        report: None,
    };
    let done = store.detach(&claim, &sighting, seconds(60)).await.unwrap();
    assert!(matches!(done, Settled::Done(_)));
    let mut ending = Some(Ending::without_response(Stop::Panicked, at));
    let late = store.finish(&claim, &sighting, &mut ending).await.unwrap();
    assert!(matches!(late, Settled::Stands(record) if record.phase() == Phase::Running));
    let again = store.release(&claim, &sighting).await.unwrap();
    assert!(matches!(again, Settled::Stands(_)));
}

#[tokio::test(start_paused = true)]
async fn one_task_owns_an_operation_from_create_to_finish() {
    let house = house(|_| {});
    // Before it is created, a client that goes away leaves nothing;
    let body = trickle(b"piece", seconds(1), 10);
    let slow = house.send(Request::post("/work").body(body).unwrap());
    assert!(tokio::time::timeout(seconds(3), slow).await.is_err());
    assert_eq!(held(house.operations.usage()), [0; 5]);
    assert_eq!(house.operations.usage().stored, 0);

    // from then on it runs to its end though nobody got the 202,
    let mut service = house.app.clone();
    let mut future = Box::pin(service.ready().await.unwrap().call(post("/work")));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_ready());
    drop(future);
    quiet(&house.operations).await;
    let page = house.operations.list(&ListQuery::all()).await.unwrap();
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.records[0].phase().as_str(), "succeeded");

    // and its panic is its own.
    let other = house.accepted(post("/work")).await;
    let panics = house.accepted(post("/panic")).await;
    assert_eq!(
        house.outcome(&panics).await.refusal(),
        (500, "panicked".into())
    );
    assert_eq!(house.outcome(&other).await.text(), "done");
    quiet(&house.operations).await;
}
