//! Rows that can't be understood, among others that can.

use super::support::{ALL, Place, accept, claim, enqueue, find, finish, renew, started};
use rusqlite::{Connection, params};
use std::{
    num::NonZeroU16,
    time::{Duration, SystemTime},
};
use tower_lro::{
    OperationId, Store,
    record::{Outcome, Phase, Reason},
    store::{Clock, Held, ListQuery, Settled, SqliteOptions, SqliteStore, StoreErrorKind},
};

const LEASE: Duration = Duration::from_secs(15);
const START_WITHIN: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

fn process(place: &Place) -> (SqliteStore, Clock) {
    let clock = Clock::manual(SystemTime::now());
    let options = SqliteOptions::default().lease(LEASE).clock(clock.clone());
    (place.open_with(options), clock)
}

/// Has a later version have written it: what it was.
fn damage(sql: &Connection, id: OperationId) -> Vec<u8> {
    let id = id.as_uuid().as_bytes();
    let whole = sql
        .query_row(
            "SELECT submission FROM operations WHERE id = ?1",
            [id],
            |row| row.get(0),
        )
        .unwrap();
    let damaged = "UPDATE operations SET submission = x'ff' WHERE id = ?1";
    assert_eq!(sql.execute(damaged, [id]).unwrap(), 1);
    whole
}

fn repair(sql: &Connection, id: OperationId, whole: &[u8]) {
    let repaired = "UPDATE operations SET submission = ?2 WHERE id = ?1";
    sql.execute(repaired, params![id.as_uuid().as_bytes(), whole])
        .unwrap();
}

async fn is_corrupt(store: &SqliteStore, id: OperationId) -> bool {
    let found = store.find(id).await;
    found.is_err_and(|error| error.kind() == StoreErrorKind::Corrupt)
}

async fn listed(store: &SqliteStore) -> Vec<OperationId> {
    let page = store.list(&ListQuery::all()).await.unwrap();
    page.records.iter().map(|record| record.id).collect()
}

async fn claim_one(store: &SqliteStore) -> OperationId {
    let claimed = store
        .claim(&"default".into(), NonZeroU16::MIN)
        .await
        .unwrap();
    let [claimed] = &claimed[..] else {
        panic!("expected one, got {claimed:?}")
    };
    claimed.record.id
}

const NOT_STARTED: Phase = Phase::Ended(Outcome::Failed(Reason::NotStarted));
const LOST: Phase = Phase::Ended(Outcome::Failed(Reason::Lost));

#[tokio::test]
async fn what_cannot_be_understood_is_passed_over_and_others_are_served() {
    let place = Place::new();
    let (store, clock) = process(&place);
    let bad = enqueue(&store, 1).await;
    let no_request = enqueue(&store, 1).await;
    let [good, late] = [enqueue(&store, 1).await, enqueue(&store, 1).await];
    let sql = place.sql();
    let whole = damage(&sql, bad);
    let requests = "UPDATE requests SET request = x'ff' \
        WHERE place = (SELECT place FROM operations WHERE id = ?1)";
    sql.execute(requests, [no_request.as_uuid().as_bytes()])
        .unwrap();

    // Though only one is asked for, and others are older.
    assert_eq!(claim_one(&store).await, good);
    assert_eq!(listed(&store).await, [late, good, no_request]);
    clock.advance(START_WITHIN);
    // What waits too long has an end; what can't be understood has none here.
    let ended = store.sweep(ALL).await.unwrap().ended;
    let ended: Vec<_> = ended
        .iter()
        .map(|record| (record.id, record.phase()))
        .collect();
    assert!(ended.contains(&(late, NOT_STARTED)), "{ended:?}");
    assert!(ended.contains(&(no_request, NOT_STARTED)), "{ended:?}");
    assert!(is_corrupt(&store, bad).await);
    // It is not looked at again for a while.
    let before = store.work().commits;
    assert_eq!(store.sweep(ALL).await.unwrap().done, 0);
    assert_eq!(store.work().commits, before);

    repair(&sql, bad, &whole);
    clock.advance(HOUR);
    store.sweep(ALL).await.unwrap();
    assert_eq!(find(&store, bad).await.unwrap().phase(), LOST);
}

#[tokio::test]
async fn what_cannot_be_understood_keeps_no_claim_from_lapsing() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    let mut claims = Vec::new();
    for _ in 0..3 {
        claims.push(accept(&one, 2).await);
    }
    let (sql, bad) = (place.sql(), claims[1].id());
    let whole = damage(&sql, bad);
    two.sweep(ALL).await.unwrap();
    clock.advance(LEASE + MOMENT);
    assert_eq!(two.sweep(ALL).await.unwrap().done, 3);
    let taken: Vec<_> = claim(&two)
        .await
        .iter()
        .map(|taken| taken.record.id)
        .collect();
    assert_eq!(taken, [claims[0].id(), claims[2].id()]);
    assert!(is_corrupt(&two, bad).await);
    assert_eq!(two.sweep(ALL).await.unwrap().done, 0);
    // Whoever had it is told.
    assert!(renew(&one, &[&claims[1]]).await.contains(&bad));

    repair(&sql, bad, &whole);
    clock.advance(HOUR);
    let ended = two.sweep(ALL).await.unwrap().ended;
    assert!(
        ended
            .iter()
            .any(|record| (record.id, record.phase()) == (bad, LOST))
    );
}

#[tokio::test]
async fn what_cannot_be_understood_does_not_hold_renewals_up() {
    let place = Place::new();
    let (store, _) = process(&place);
    let (good, bad) = (accept(&store, 1).await, accept(&store, 1).await);
    damage(&place.sql(), bad.id());
    let held = [&bad, &good].map(|claim| Held {
        id: claim.id(),
        token: claim.token(),
        sighting: Some(started(2)),
    });
    assert!(store.renew(&held).await.unwrap().is_empty());
    assert_eq!(
        find(&store, good.id()).await.unwrap().phase(),
        Phase::Running
    );
    assert!(matches!(finish(&store, &good, b"").await, Settled::Done(_)));
}
