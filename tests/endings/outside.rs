//! Ends that are brought from outside.
use super::*;

#[tokio::test(start_paused = true)]
async fn a_response_from_outside_stops_the_handler_and_stands() {
    let house = house_with(
        |limits| limits.cancel_grace = seconds(10),
        |layer| layer,
        |request| {
            let operation = handle(&request);
            Box::pin(async move {
                operation.cancelled().await;
                Ok(ok(SECRET))
            })
        },
    );
    let monitor = house.accepted(post("/work")).await;
    until("it runs", || house.operations.usage().running == 1).await;
    house
        .operations
        .complete(id_of(&monitor), ok("from outside"))
        .await
        .unwrap();
    assert_eq!(house.outcome(&monitor).await.text(), "from outside");
    all_is_given_back(&house).await;
    assert_eq!(house.outcome(&monitor).await.text(), "from outside");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_is_told_what_ended_the_operation_from_outside() {
    let house = house(|_| Box::pin(pending()));
    for (key, cancel) in [("\"a\"", false), ("\"b\"", true)] {
        let held = with(
            with(post("/work"), "prefer", "wait=30"),
            "idempotency-key",
            key,
        );
        let waiting = house.send(held);
        let ending = async {
            until("it runs", || house.operations.usage().running == 1).await;
            let page = house
                .operations
                .list(&tower_lro::store::ListQuery::all())
                .await
                .unwrap();
            let id = page.records[0].id;
            if cancel {
                house.operations.cancel(id).await.unwrap();
            } else {
                house
                    .operations
                    .complete(id, ok("from outside"))
                    .await
                    .unwrap();
            }
        };
        let (answer, ()) = tokio::join!(waiting, ending);
        let answer = answer.unwrap();
        // What ended it elsewhere, the monitor tells.
        assert_eq!(answer.status, 202);
        let word = if cancel { "cancelled" } else { "succeeded" };
        assert_eq!(answer.json()["status"], word);
        let ended = house.get(&answer.location()).await;
        assert_eq!(ended.field("operation-outcome"), Some(word));
        all_is_given_back(&house).await;
    }
}
