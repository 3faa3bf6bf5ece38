use super::*;

fn answering(status: u16) -> Handler {
    handler(move |_| async move {
        let response = Response::builder().status(status).header("x-failed", "yes");
        response.body(full("said")).unwrap()
    })
}

async fn outcome(operations: &Operations, status: u16) -> Option<String> {
    let client = client(operations, &answering(status));
    let accepted = client.submit().await;
    let record = end_of(operations, accepted.id()).await;
    let answer = client.get(&accepted.location()).await;
    // Replayed either way.
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (status, &b"said"[..])
    );
    let told = answer.header("operation-outcome").map(str::to_owned);
    assert_eq!(told.as_deref(), Some(record.phase().as_str()));
    let document = client
        .get(&format!("{}/status", accepted.location()))
        .await
        .json();
    assert_eq!(
        (&document["status"], &document["result"]["status"]),
        (&told.clone().unwrap().into(), &status.into())
    );
    assert!(document.get("problem").is_none());
    told
}

#[tokio::test(start_paused = true)]
async fn by_default_4xx_and_5xx_are_failures() {
    let operations = operations();
    for (status, told) in [
        (200, "succeeded"),
        (202, "succeeded"),
        (303, "succeeded"),
        (399, "succeeded"),
        (400, "failed"),
        (404, "failed"),
        (503, "failed"),
        (599, "failed"),
        (600, "succeeded"),
    ] {
        assert_eq!(
            outcome(&operations, status).await.as_deref(),
            Some(told),
            "{status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_ones_own_sees_the_head() {
    let builder = Operations::builder().verdict(|head: &response::Parts| {
        head.status.as_u16() == 200 && head.headers["x-failed"] == "yes"
    });
    let operations = builder.build().unwrap();
    assert_eq!(outcome(&operations, 200).await.as_deref(), Some("failed"));
    assert_eq!(
        outcome(&operations, 500).await.as_deref(),
        Some("succeeded")
    );

    let running = Running::of(operations.clone()).await;
    let response = Response::builder()
        .header("x-failed", "yes")
        .body(empty())
        .unwrap();
    running
        .operations
        .complete(running.handle.id(), response)
        .await
        .unwrap();
    let record = running.record().await;
    assert_eq!(
        record.ending().unwrap().outcome,
        Outcome::Failed(Reason::Response)
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_panics_ends_that_operation_and_nothing_else() {
    let builder = Operations::builder().verdict(|head: &response::Parts| {
        assert_ne!(head.status.as_u16(), 299, "the secret");
        false
    });
    let operations = builder.build().unwrap();
    let client = client(&operations, &answering(299));
    let accepted = client.submit().await;
    end_of(&operations, accepted.id()).await;
    client
        .get(&accepted.location())
        .await
        .is_problem(500, "panicked");
    assert_eq!(
        outcome(&operations, 200).await.as_deref(),
        Some("succeeded")
    );
    assert_eq!(operations.usage().running, 0);
}
