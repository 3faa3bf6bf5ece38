//! Two processes on one file: what one has accepted, the other sees, ends and waits for.

use crate::{
    house::{House, until},
    raw::Ask,
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_operation_of_one_process_is_polled_and_replayed_by_another() {
    let house = House::new(&[]);
    let (one, other) = (house.node("one").await, house.node("other").await);
    let monitor = one.submit("ms=2500&steps=5&echo=x&size=300000").await;

    let pending = other.get(&monitor).await;
    assert_eq!(pending.status, 202);
    until("it is seen to run", async || {
        (other.status(&monitor).await == "running").then_some(())
    })
    .await;
    let end = other.outcome(&monitor).await;

    assert_eq!((end.status, end.field("job-node")), (200, Some("one")));
    assert_eq!(end.body.len(), 300_000);
    assert_eq!(one.get(&monitor).await.body, end.body);
}

#[tokio::test]
async fn a_wait_at_another_process_is_answered_within_a_second_of_the_end() {
    let house = House::new(&[]);
    let (one, other) = (house.node("one").await, house.node("other").await);
    let mut slowest = Duration::ZERO;
    for pause in [100, 600, 1500] {
        let monitor = one.submit(&format!("ms={pause}&echo=x")).await;
        let at = async |node: &crate::house::Node| {
            let end = node.outcome(&monitor).await;
            (end, Instant::now())
        };
        let ((here, ended), (there, heard)) = tokio::join!(at(&one), at(&other));
        assert_eq!((here.status, there.status), (200, 200));
        let late = heard.saturating_duration_since(ended);
        assert!(late < Duration::from_secs(1), "{late:?} late");
        slowest = slowest.max(late);
    }
    println!("heard elsewhere {slowest:?} after the end at most");
}

#[tokio::test]
async fn an_operation_is_cancelled_through_another_process_and_stops() {
    let house = House::new(&["--lease", "1"]);
    let (one, other) = (house.node("one").await, house.node("other").await);
    let monitor = one.submit("ms=60000&echo=long").await;
    house.sees("begins", "long").await;

    let cancelled = other.ask(Ask::new("DELETE", &monitor)).await;

    assert_eq!(cancelled.json()["status"], "cancelled");
    let gone = one.get(&monitor).await;
    assert_eq!(
        (gone.status, &*gone.problem()),
        (410, "urn:tower-lro:problem:cancelled")
    );
    until("its handler is dropped", async || {
        let running = &one.get("/usage").await.json()["plain"]["running"];
        (*running == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_operation_is_completed_through_another_process() {
    let house = House::new(&["--lease", "1"]);
    let (one, other) = (house.node("one").await, house.node("other").await);
    let monitor = one.submit("ms=60000&echo=long").await;
    house.sees("begins", "long").await;
    let waiting = tokio::spawn({
        let (ask, address) = (Ask::get(&monitor).field("Prefer", "wait=20"), one.address);
        async move { ask.send(address).await }
    });

    let id = monitor.rsplit('/').next().unwrap();
    let complete = Ask::post(&format!("/plain/complete/{id}"), r#"{"by":"hand"}"#);
    let complete = complete.field("Content-Type", "application/json");
    assert_eq!(other.ask(complete.clone()).await.status, 204);

    let end = waiting.await.unwrap();
    assert_eq!((end.status, &*end.body), (200, &br#"{"by":"hand"}"#[..]));
    let again = other.get(&monitor).await;
    assert_eq!((again.status, again.body), (200, end.body));
    // Once only.
    assert_eq!(one.ask(complete).await.status, 409);
    until("its handler is dropped", async || {
        let running = &one.get("/usage").await.json()["plain"]["running"];
        (*running == 0).then_some(())
    })
    .await;
}

/// Nothing runs in it, so nothing but this poll has it look.
#[tokio::test]
async fn a_process_that_only_answers_notices_that_another_is_dead() {
    let house = House::new(&["--lease", "1"]);
    let web = house.node_with("web", &["--accept-only"]).await;
    let one = house.node("one").await;
    let monitor = one.submit("ms=60000&echo=long").await;
    house.sees("begins", "long").await;

    one.kill().await;
    let end = web.outcome(&monitor).await;

    assert_eq!(
        (end.status, &*end.problem()),
        (500, "urn:tower-lro:problem:lost")
    );
}

#[tokio::test]
async fn an_ended_process_hands_its_work_to_another() {
    let house = House::new(&["--attempts", "2", "--drain", "0s"]);
    let one = house.node("one").await;
    let monitor = one.submit("ms=1500&echo=handed").await;
    house.sees("begins", "handed").await;
    let other = house.node("other").await;

    let begun = Instant::now();
    one.signal("-TERM");
    let end = other.outcome(&monitor).await;

    assert_eq!((end.status, end.field("job-node")), (200, Some("other")));
    // The lease of 15 s was not waited for.
    assert!(begun.elapsed() < Duration::from_secs(10));
}
