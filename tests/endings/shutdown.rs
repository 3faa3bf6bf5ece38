//! Drains, and runtimes that end.
use super::*;

#[tokio::test(start_paused = true)]
async fn a_drain_interrupts_what_does_not_end() {
    let house = house(|_| Box::pin(pending()));
    let running = house.accepted(post("/work")).await;
    until("it runs", || house.operations.usage().running == 1).await;
    let queued = house.accepted(post("/work")).await;
    let held = {
        let app = house.app.clone();
        tokio::spawn(async move {
            send(&app, with(post("/work"), "prefer", "wait=30"))
                .await
                .unwrap()
        })
    };
    until("both wait", || house.operations.usage().accepted == 2).await;
    house.operations.drain(seconds(5)).await;
    ended_as(&house, &running, 500, "interrupted").await;
    ended_as(&house, &queued, 500, "interrupted").await;
    assert_eq!(held.await.unwrap().refusal(), (500, "interrupted".into()));
    quiet(&house.operations).await;
}

/// Counts every end that the engine tells of.
fn counting(set: impl FnOnce(&mut Limits)) -> (Operations, Arc<AtomicUsize>) {
    let ends = Arc::new(AtomicUsize::new(0));
    let count = ends.clone();
    let mut limits = Limits::default();
    set(&mut limits);
    let builder = Operations::builder().limits(limits);
    let builder = builder.on_end(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (builder.build().unwrap(), ends)
}

#[test]
fn a_runtime_that_shuts_down_interrupts_its_operations() {
    for threads in [0, 2] {
        let runtime = match threads {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        }
        .enable_all()
        .build()
        .unwrap();
        let (operations, ends) = counting(|limits| limits.running = 1);
        let inner = |request: Request<Body>| {
            let operation = handle(&request);
            async move {
                if request.uri().path() == "/detached" {
                    operation.detach().await.unwrap();
                }
                pending().await
            }
        };
        let house = House::new(&operations, app(operations.layer(), inner));
        let (running, queued, detached) = runtime.block_on(async {
            let detached = house.accepted(post("/detached")).await;
            until("it is detached", || operations.usage().running == 1).await;
            tokio::task::yield_now().await;
            let running = house.accepted(post("/work")).await;
            let queued = house.accepted(post("/work")).await;
            (running, queued, detached)
        });
        drop(runtime);
        assert_eq!(held(operations.usage()), [0; 5]);
        assert_eq!(ends.load(Ordering::SeqCst), 2);

        // The handle outlives the runtime, and goes on in another.
        let mut other = tokio::runtime::Builder::new_current_thread();
        let runtime = other.enable_all().build().unwrap();
        runtime.block_on(async {
            ended_as(&house, &running, 500, "interrupted").await;
            ended_as(&house, &queued, 500, "interrupted").await;
            assert_eq!(house.get(&detached).await.status, 202, "others will end it");
            operations
                .complete(id_of(&detached), ok("done"))
                .await
                .unwrap();
            assert_eq!(house.outcome(&detached).await.text(), "done");
            house.never_sent(SECRET);
        });
    }
}

#[test]
fn a_handle_that_outlives_the_runtime_of_its_operation_is_told_of_the_end() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let house = house(move |request| {
        tell.send(handle(&request)).unwrap();
        Box::pin(pending())
    });
    let running = runtime.block_on(async {
        house.accepted(post("/work")).await;
        until("it runs", || house.operations.usage().running == 1).await;
        told.recv().unwrap()
    });
    assert!(!running.is_cancelled());
    drop(runtime);
    assert!(running.is_cancelled());
}

#[test]
fn what_was_about_to_run_when_its_runtime_shut_down_leaves_its_turn_to_others() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    };
    let (operations, _) = counting(|limits| {
        limits.running = 1;
        limits.start_within = Duration::from_secs(10);
    });
    let inner = async |_: Request<Body>| Ok(ok("done"));
    let house = House::new(&operations, app(operations.layer(), inner));
    let first = runtime();
    // Its task has its turn, and has never been polled.
    let begun = first.block_on(house.accepted(post("/work")));
    drop(first);
    runtime().block_on(async {
        ended_as(&house, &begun, 500, "interrupted").await;
        let next = house.accepted(post("/work")).await;
        assert_eq!(house.outcome(&next).await.text(), "done");
    });
}

#[test]
fn a_client_that_waits_is_told_when_the_runtime_of_its_operation_shuts_down() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let house = house(|_| Box::pin(pending()));
    let (app, handle) = (house.app.clone(), runtime.handle().clone());
    let client = std::thread::spawn(move || {
        let held = with(post("/work"), "prefer", "wait=30");
        handle.block_on(send(&app, held)).unwrap()
    });
    while house.operations.usage().running == 0 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert_eq!(
        client.join().unwrap().refusal(),
        (500, "interrupted".into())
    );
    assert_eq!(held(house.operations.usage()), [0; 5]);
    assert_eq!(house.operations.usage().stored, 0);
}
