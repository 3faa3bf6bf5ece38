//! A process is stopped for longer than its lease, and goes on as if nothing had happened.

use crate::{
    house::{House, until},
    raw::Answer,
    seed::{Chance, is_long},
};

fn result(answer: &Answer) -> (u16, Option<&str>, Option<&str>, &[u8]) {
    (
        answer.status,
        answer.field("operation-outcome"),
        answer.field("job-node"),
        &answer.body,
    )
}

fn rounds() -> usize {
    if is_long() { 20 } else { 2 }
}

#[tokio::test]
async fn a_stopped_process_overwrites_nothing_that_its_successor_wrote() {
    let mut chance = Chance::new("stopped, with two attempts");
    for round in 0..rounds() {
        let house = House::new(&["--lease", "1", "--attempts", "2"]);
        let (one, other) = (house.node("one").await, house.node("other").await);
        let pause = chance.millis(300..900).as_millis();
        let monitor = one.submit(&format!("ms={pause}&echo=x")).await;
        house.sees("begins", "x").await;

        one.signal("-STOP");
        let end = other.outcome(&monitor).await;
        assert_eq!((end.status, end.field("job-node")), (200, Some("other")));
        one.signal("-CONT");

        // It has either been told that its claim is void, or finished to no avail.
        until("it has nothing to do any more", async || {
            let running = &one.get("/usage").await.json()["plain"]["running"];
            (*running == 0).then_some(())
        })
        .await;
        for node in [&one, &other] {
            let again = node.get(&monitor).await;
            assert_eq!(result(&again), result(&end));
        }
        let events = house.witnessed();
        let attempts: Vec<_> = events
            .iter()
            .filter(|event| event.event == "begins")
            .map(|event| (&*event.node, event.attempt))
            .collect();
        assert_eq!(attempts, [("one", 1), ("other", 2)]);
        let too_late = events
            .iter()
            .any(|event| event.event == "ends" && event.node == "one");
        println!(
            "round {round}: the stopped one {}",
            match too_late {
                true => "finished, too late",
                false => "was told",
            }
        );
    }
}

#[tokio::test]
async fn a_stopped_process_that_finishes_first_does_not_end_what_its_successor_runs() {
    for _ in 0..rounds() {
        let house = House::new(&["--lease", "1", "--attempts", "2"]);
        let (one, other) = (house.node("one").await, house.node("other").await);
        let monitor = one.submit("ms=900&echo=x").await;
        house.sees("begins", "x").await;

        one.signal("-STOP");
        until("its successor begins", async || {
            let all = house.witnessed();
            all.iter().any(|event| event.attempt == 2).then_some(())
        })
        .await;
        // Its handler's time is up as soon as it wakes.
        one.signal("-CONT");

        let end = other.outcome(&monitor).await;
        assert_eq!((end.status, end.field("job-node")), (200, Some("other")));
        assert_eq!(result(&one.outcome(&monitor).await), result(&end));
        let ends: Vec<_> = house
            .witnessed()
            .into_iter()
            .filter(|event| event.event == "ends")
            .map(|event| event.node)
            .collect();
        println!("ended, in this order: {ends:?}");
        assert_eq!(ends.last().map(String::as_str), Some("other"));
    }
}

#[tokio::test]
async fn a_stopped_process_does_not_find_what_was_lost() {
    let mut chance = Chance::new("stopped, with one attempt");
    for _ in 0..rounds() {
        let house = House::new(&["--lease", "1"]);
        let (one, other) = (house.node("one").await, house.node("other").await);
        let pause = chance.millis(300..900).as_millis();
        let monitor = one.submit(&format!("ms={pause}&echo=x")).await;
        house.sees("begins", "x").await;

        one.signal("-STOP");
        let end = other.outcome(&monitor).await;
        assert_eq!(
            (end.status, &*end.problem()),
            (500, "urn:tower-lro:problem:lost")
        );
        one.signal("-CONT");

        until("it has nothing to do any more", async || {
            let running = &one.get("/usage").await.json()["plain"]["running"];
            (*running == 0).then_some(())
        })
        .await;
        for node in [&one, &other] {
            let again = node.get(&monitor).await;
            assert_eq!(result(&again), result(&end));
        }
        let begun = house
            .witnessed()
            .into_iter()
            .filter(|event| event.event == "begins");
        assert_eq!(begun.count(), 1);
    }
}
