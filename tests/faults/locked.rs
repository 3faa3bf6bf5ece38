//! Another program keeps the file to itself for a while.

use crate::{house::House, raw::Ask};
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// Nobody else writes until it is dropped.
struct Lock(Connection);

impl Lock {
    fn take(house: &House) -> Self {
        let file = Connection::open(house.file()).unwrap();
        file.busy_timeout(Duration::from_secs(5)).unwrap();
        file.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[tokio::test]
async fn a_slow_writer_delays_accepts_and_no_polls() {
    let house = House::new(&[]);
    let node = house.node("alone").await;
    let running = node.submit("ms=500&echo=running").await;
    house.sees("begins", "running").await;
    let lock = Lock::take(&house);

    let begun = Instant::now();
    let accepting = tokio::spawn({
        let (ask, address) = (Ask::post("/plain/jobs?echo=late", ""), node.address);
        async move { (ask.send(address).await, Instant::now()) }
    });
    // The handler ends meanwhile: it is not ended before that can be written.
    house.sees("ends", "running").await;
    let pending = node.get(&running).await;
    assert_eq!(pending.status, 202, "{pending:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "polls are held up"
    );
    let held = Duration::from_secs(2);
    tokio::time::sleep(held.saturating_sub(begun.elapsed())).await;
    drop(lock);

    let (accepted, at) = accepting.await.unwrap();
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert!(
        at.duration_since(begun) >= held,
        "accepted without a record"
    );
    let monitor = crate::house::path(&accepted.monitor());
    assert_eq!(node.outcome(&monitor).await.status, 200);
    assert_eq!(node.outcome(&running).await.status, 200);
}

#[tokio::test]
async fn a_writer_that_never_ends_has_accepts_refused_until_it_does() {
    let house = House::new(&[]);
    let node = house.node("alone").await;
    let running = node.submit("ms=500&echo=running").await;
    house.sees("begins", "running").await;
    let ended = node.submit("echo=ended").await;
    assert_eq!(node.outcome(&ended).await.status, 200);
    let lock = Lock::take(&house);

    let refused = node.ask(Ask::post("/plain/jobs?echo=refused", "")).await;
    assert_eq!(
        (refused.status, &*refused.problem()),
        (503, "urn:tower-lro:problem:unavailable")
    );
    assert!(refused.field("retry-after").is_some());
    assert_eq!(node.get(&ended).await.status, 200);
    assert_eq!(node.get(&running).await.status, 202);
    drop(lock);

    // Its result was kept, and comes without anybody's help.
    let end = node.outcome(&running).await;
    assert_eq!((end.status, &end.json()["echo"]), (200, &"running".into()));
    let accepted = node.submit("echo=accepted").await;
    assert_eq!(node.outcome(&accepted).await.status, 200);
    let ran = house
        .witnessed()
        .into_iter()
        .any(|event| event.echo == "refused");
    assert!(!ran, "what was refused ran");
}
