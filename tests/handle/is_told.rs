use super::*;

#[tokio::test(start_paused = true)]
async fn it_hears_of_a_cancel_an_end_from_outside_a_time_limit_and_a_shutdown() {
    for end in ["cancel", "complete", "time", "drain"] {
        let operations = limited(|limits| limits.run_time = secs(100))
            .build()
            .unwrap();
        let running = Running::of(operations).await;
        let handle = running.handle.clone();
        assert!(!handle.is_cancelled());
        let hears = tokio::spawn(async move { handle.cancelled().await });
        settled().await;
        assert!(!hears.is_finished());
        let id = running.handle.id();
        match end {
            "cancel" => drop(running.operations.cancel(id).await.unwrap()),
            "complete" => {
                let response = Response::new(empty());
                drop(running.operations.complete(id, response).await.unwrap());
            }
            "drain" => drop(running.operations.drain(secs(1)).await),
            _ => drop(end_of(&running.operations, id).await),
        }
        timeout(secs(1), hears).await.expect(end).unwrap();
        assert!(running.handle.is_cancelled());
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_wait_for_a_cancel_changes_nothing() {
    let running = Running::new().await;
    assert!(timeout(secs(1), running.handle.cancelled()).await.is_err());
    assert!(!running.handle.is_cancelled());
    assert_eq!(
        running.end().await.ending().unwrap().outcome,
        Outcome::Succeeded
    );
}
