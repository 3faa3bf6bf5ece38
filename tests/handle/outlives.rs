use super::*;
use std::sync::Weak;

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_kept_keeps_nothing_alive() {
    let store = Arc::new(MemoryStore::default());
    let kept: Weak<MemoryStore> = Arc::downgrade(&store);
    let hook = Arc::new(());
    let hooked = Arc::downgrade(&hook);
    let operations = Operations::builder()
        .store(store)
        .on_end(move |_| drop(hook.clone()))
        .build()
        .unwrap();
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let handle = {
        let running = Running::of(operations).await;
        // Readers have come and gone.
        let request = Request::get(&running.monitor).header("prefer", "wait=1");
        running.client.call(request).await;
        running.handle.progress(0.5, "half");
        running.end().await;
        running.handle.clone()
    };
    settled().await;
    assert!(kept.upgrade().is_none() && hooked.upgrade().is_none());
    let now = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(now, tasks, "a task goes on");

    handle.progress(0.9, "hello?");
    handle.metadata(&1).unwrap();
    handle.resource(&Uri::from_static("/r"));
    handle.retry_after(secs(1));
    assert!(handle.is_cancelled() && handle.detach().await.is_err());
    assert_eq!(handle.attempt(), 1);
}

#[tokio::test(start_paused = true)]
async fn running_work_goes_on_after_the_last_handle_and_then_all_goes() {
    let store = Arc::new(MemoryStore::default());
    let kept = Arc::downgrade(&store);
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let builder = Operations::builder().store(store).on_end(move |_| {
        count.fetch_add(1, SeqCst);
    });
    let operations = builder.build().unwrap();
    client(&operations, &takes(secs(10))).submit().await;
    drop(operations);
    sleep(secs(9)).await;
    assert!(kept.upgrade().is_some());
    sleep(secs(2)).await;
    assert!(kept.upgrade().is_none());
    assert_eq!(ended.load(SeqCst), 1);
}
