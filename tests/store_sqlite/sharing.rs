//! Several processes on one file.

use super::support::{
    ALL, PATIENCE, Place, Running, accept, body, child, claim, enqueue, file_of_child, find,
    finish, phase, record, renew, started, success,
};
use std::{
    collections::HashSet,
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tower_lro::{
    Store,
    record::{Fingerprint, KeyUse, Outcome, Phase, Reason, Record, UniqueKey},
    store::{
        Change, Clock, Created, Forget, Held, Intent, Settled, SqliteOptions, SqliteStore,
        StoreErrorKind,
    },
};

const LEASE: Duration = Duration::from_secs(15);
const MOMENT: Duration = Duration::from_millis(1);

/// A store as another process has it open, by a clock of its own.
fn process(place: &Place) -> (SqliteStore, Clock) {
    let clock = Clock::manual(SystemTime::now());
    let options = SqliteOptions::default()
        .lease(LEASE)
        .poll_every(MOMENT)
        .clock(clock.clone());
    (place.open_with(options), clock)
}

#[tokio::test]
async fn what_one_has_written_another_sees_and_ends() {
    let place = Place::new();
    let ((one, _), (two, _)) = (process(&place), process(&place));
    let claim = accept(&one, 1).await;
    assert_eq!(phase(&two, claim.id()).await, Some(Phase::Accepted));
    let completed = two.complete(claim.id(), success(b"from two"), None).await;
    assert!(matches!(completed, Ok(Settled::Done(_))), "{completed:?}");
    match finish(&one, &claim, b"from one").await {
        Settled::Stands(record) => assert_eq!(body(&record), "from two"),
        other => panic!("expected the other's, got {other:?}"),
    }
    assert_eq!(renew(&one, &[&claim]).await, [claim.id()]);
    two.forget(claim.id(), Forget::Ended).await.unwrap();
    assert_eq!(phase(&one, claim.id()).await, None);
    // What both have counted is one.
    accept(&one, 1).await;
    accept(&two, 1).await;
    assert_eq!((two.usage().operations, two.usage().tombstones), (2, 1));
}

#[tokio::test]
async fn a_key_belongs_to_the_first_of_all_processes() {
    let place = Place::new();
    let ((one, _), (two, _)) = (process(&place), process(&place));
    let named = || {
        let mut named = Record::clone(&record(1));
        Arc::make_mut(&mut named.submission).key = Some(Box::new(KeyUse {
            key: UniqueKey::shared("k"),
            fingerprint: Some(Fingerprint::from_hash([7; 32])),
        }));
        Arc::new(named)
    };
    let (first, second) = (named(), named());
    assert!(matches!(
        one.create(&first, Intent::Run(None)).await,
        Ok(Created::New(_))
    ));
    match two.create(&second, Intent::Run(None)).await {
        Ok(Created::Existing(found)) => assert_eq!(found.id, first.id),
        other => panic!("expected the first, got {other:?}"),
    }
}

#[tokio::test]
async fn one_hears_what_another_changes() {
    let place = Place::new();
    let ((one, _), (two, _)) = (process(&place), process(&place));
    let claim = accept(&one, 1).await;
    let mut changes = two.changes();
    let mut hears = async |wanted: Change| {
        let heard = async { while changes.next().await != wanted {} };
        tokio::time::timeout(PATIENCE, heard).await.expect("a hint");
    };
    finish(&one, &claim, b"").await;
    hears(Change::Operation(claim.id())).await;
    enqueue(&one, 1).await;
    hears(Change::Claimable).await;
    one.forget(claim.id(), Forget::Ended).await.unwrap();
    hears(Change::Operation(claim.id())).await;
}

#[tokio::test]
async fn who_has_missed_too_much_is_told() {
    let place = Place::new();
    let ((one, _), (two, _)) = (process(&place), process(&place));
    let mut held = place.sql();
    let mut changes = two.changes();
    let claim = accept(&one, 1).await;
    finish(&one, &claim, b"").await;
    let heard = async { while changes.next().await != Change::Operation(claim.id()) {} };
    tokio::time::timeout(PATIENCE, heard).await.expect("a hint");
    // As if ten thousand had come and gone between two looks.
    let gap = held.transaction().unwrap();
    gap.execute(
        "INSERT INTO changes (seq, id) SELECT max(seq) + 20000, NULL FROM changes",
        [],
    )
    .unwrap();
    gap.commit().unwrap();
    let heard = async { while changes.next().await != Change::Resync {} };
    tokio::time::timeout(PATIENCE, heard).await.expect("a hint");
}

#[tokio::test]
async fn what_a_dead_process_ran_is_taken_over() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    let again = accept(&one, 2).await;
    let once = accept(&one, 1).await;
    two.sweep(ALL).await.unwrap();
    clock.advance(LEASE + MOMENT);
    // Whoever looks for work judges nobody.
    assert!(claim(&two).await.is_empty());
    let swept = two.sweep(ALL).await.unwrap();
    assert_eq!(swept.ended.len(), 1, "{swept:?}");
    let [taken] = &claim(&two).await[..] else {
        panic!("expected one")
    };
    assert_eq!((taken.record.id, taken.claim.attempt()), (again.id(), 2));
    let lost = Phase::Ended(Outcome::Failed(Reason::Lost));
    assert_eq!(phase(&two, once.id()).await, Some(lost));
    // The first wakes up.
    let void: HashSet<_> = renew(&one, &[&again, &once]).await.into_iter().collect();
    assert_eq!(void, HashSet::from([again.id(), once.id()]));
    assert!(matches!(
        finish(&one, &again, b"late").await,
        Settled::Stands(_)
    ));
    assert!(matches!(
        finish(&two, &taken.claim, b"in time").await,
        Settled::Done(_)
    ));
    // And goes on under another name.
    let new = accept(&one, 2).await;
    assert!(renew(&one, &[&new]).await.is_empty());
    assert!(matches!(finish(&one, &new, b"").await, Settled::Done(_)));
}

#[tokio::test]
async fn while_nothing_can_be_written_nobody_is_silent() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    let held = accept(&one, 1).await;
    let own = accept(&two, 1).await;
    two.sweep(ALL).await.unwrap();
    let mut other = place.sql();
    let lock = other
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    clock.advance(LEASE + MOMENT);
    let failed = two.sweep(ALL).await.unwrap_err();
    assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
    lock.rollback().unwrap();
    // Nobody could renew anything, and all are given time to.
    assert!(two.sweep(ALL).await.unwrap().ended.is_empty());
    assert!(renew(&one, &[&held]).await.is_empty());
    assert!(renew(&two, &[&own]).await.is_empty());
    // They have not become immortal by it.
    two.sweep(ALL).await.unwrap();
    clock.advance(LEASE + MOMENT);
    assert_eq!(two.sweep(ALL).await.unwrap().ended.len(), 2);
}

/// As on a full disk: everything can be read, and a sweep that finds nothing due has nothing to write.
#[tokio::test]
async fn while_nothing_fits_on_the_disk_nobody_is_silent() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    let held = accept(&one, 1).await;
    let beat = [Held {
        id: held.id(),
        token: held.token(),
        sighting: None,
    }];
    two.sweep(ALL).await.unwrap();
    let sql = place.sql();
    sql.execute_batch(
        "CREATE TRIGGER full_nodes BEFORE UPDATE ON nodes BEGIN SELECT zeroblob(1 << 40); END;
        CREATE TRIGGER full_meta BEFORE UPDATE ON meta BEGIN SELECT zeroblob(1 << 40); END;",
    )
    .unwrap();
    for _ in 0..10 {
        clock.advance(LEASE / 4);
        assert!(one.renew(&beat).await.is_err());
        match two.sweep(ALL).await {
            Ok(swept) => assert!(swept.ended.is_empty()),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
        }
    }
    sql.execute_batch("DROP TRIGGER full_nodes; DROP TRIGGER full_meta;")
        .unwrap();
    clock.advance(LEASE / 4);
    assert!(two.sweep(ALL).await.unwrap().ended.is_empty());
    assert!(renew(&one, &[&held]).await.is_empty());
    assert!(matches!(finish(&one, &held, b"").await, Settled::Done(_)));
    // Nor does it make immortal.
    let held = accept(&one, 1).await;
    two.sweep(ALL).await.unwrap();
    for _ in 0..4 {
        assert_eq!(phase(&two, held.id()).await, Some(Phase::Accepted));
        clock.advance(LEASE / 4 + MOMENT);
        two.sweep(ALL).await.unwrap();
    }
    let lost = Phase::Ended(Outcome::Failed(Reason::Lost));
    assert_eq!(phase(&two, held.id()).await, Some(lost));
}

#[tokio::test]
async fn what_a_process_renews_is_its_own() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    let mine = accept(&one, 2).await;
    for _ in 0..6 {
        two.sweep(ALL).await.unwrap();
        assert!(claim(&two).await.is_empty());
        clock.advance(LEASE / 2);
        assert!(renew(&one, &[&mine]).await.is_empty());
    }
    assert!(matches!(finish(&one, &mine, b"").await, Settled::Done(_)));
}

/// A process that holds nothing has no heartbeat; what it accepts then must not lapse for that.
#[tokio::test]
async fn what_an_idle_process_accepts_does_not_lapse_at_once() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    let first = accept(&one, 1).await;
    two.sweep(ALL).await.unwrap();
    finish(&one, &first, b"").await;
    clock.advance(LEASE + MOMENT);
    let second = accept(&one, 1).await;
    assert!(two.sweep(ALL).await.unwrap().ended.is_empty());
    assert_eq!(phase(&two, second.id()).await, Some(Phase::Accepted));
    // Nor when it was taken for dead before, while it had nothing to lose.
    finish(&one, &second, b"").await;
    two.sweep(ALL).await.unwrap();
    clock.advance(LEASE + MOMENT);
    two.sweep(ALL).await.unwrap();
    let third = accept(&one, 1).await;
    two.sweep(ALL).await.unwrap();
    assert!(renew(&one, &[&third]).await.is_empty());
}

/// All processes may have stood still together.
#[tokio::test]
async fn while_a_sweep_is_on_its_way_nobody_is_silent() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    let (mine, own) = (accept(&one, 1).await, accept(&two, 1).await);
    two.sweep(ALL).await.unwrap();
    for renewed in [false, true] {
        if renewed {
            assert!(renew(&one, &[&mine]).await.is_empty());
            assert!(renew(&two, &[&own]).await.is_empty());
        }
        let sweep = two.sweep(ALL);
        clock.advance(LEASE * 2);
        let ended = sweep.await.unwrap().ended;
        assert!(ended.is_empty(), "{ended:?}");
    }
    assert!(two.sweep(ALL).await.unwrap().ended.is_empty());
    clock.advance(LEASE + MOMENT);
    assert_eq!(two.sweep(ALL).await.unwrap().ended.len(), 2);
}

#[tokio::test]
async fn a_sweep_tells_when_a_claim_may_lapse() {
    let place = Place::new();
    let ((one, _), (two, clock)) = (process(&place), process(&place));
    accept(&one, 1).await;
    let next = two.sweep(ALL).await.unwrap().next;
    assert!(next.is_some_and(|next| next <= LEASE + MOMENT), "{next:?}");
    clock.advance(next.unwrap());
    assert_eq!(two.sweep(ALL).await.unwrap().ended.len(), 1);
}

#[tokio::test]
async fn a_file_clock_that_runs_ahead_kills_nobody() {
    let place = Place::new();
    let ((one, _), (two, _)) = (process(&place), process(&place));
    let mine = accept(&one, 1).await;
    two.sweep(ALL).await.unwrap();
    // A third thinks that it is a year later.
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let third =
        place.open_with(SqliteOptions::default().clock(Clock::manual(SystemTime::now() + year)));
    accept(&third, 1).await;
    assert!(two.sweep(ALL).await.unwrap().ended.is_empty());
    assert_eq!(phase(&two, mine.id()).await, Some(Phase::Accepted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_races_for_a_claim_one_gets_it() {
    let place = Place::new();
    let stores: Vec<_> = (0..3).map(|_| Arc::new(place.open())).collect();
    let mut created = HashSet::new();
    for _ in 0..100 {
        created.insert(enqueue(&stores[0], 1).await);
    }
    let workers = stores.iter().map(|store| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let some = store
                    .claim(&"default".into(), std::num::NonZeroU16::MIN)
                    .await
                    .unwrap();
                let Some(claimed) = some.first() else {
                    return mine;
                };
                mine.push(claimed.record.id);
            }
        })
    });
    let mut claimed = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        claimed.extend(worker.await.unwrap());
    }
    assert_eq!(claimed.len(), 100);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), created);
}

#[tokio::test]
async fn a_process_that_was_stopped_undoes_nothing() {
    if let Some(path) = file_of_child() {
        return holds_on(&path).await;
    }
    let place = Place::new();
    let store = place.open_with(short_lease());
    let mut other = Running::start(child(
        "sharing::a_process_that_was_stopped_undoes_nothing",
        &place.path(),
    ));
    let id = other.hear("holds").parse().unwrap();
    // It lives, and its claim holds for longer than the lease.
    let began = Instant::now();
    while began.elapsed() < SHORT * 3 {
        store.sweep(ALL).await.unwrap();
        assert!(claim(&store).await.is_empty());
        tokio::time::sleep(SHORT / 10).await;
    }
    other.signal("-STOP");
    let taken = tokio::time::timeout(PATIENCE, async {
        loop {
            store.sweep(ALL).await.unwrap();
            if let Some(taken) = claim(&store).await.pop() {
                return taken;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let taken = taken.await.expect("it lapses");
    assert_eq!((taken.record.id, taken.claim.attempt()), (id, 2));
    other.signal("-CONT");
    assert_eq!(other.hear("finished"), "Stands");
    assert!(matches!(
        finish(&store, &taken.claim, b"the successor's").await,
        Settled::Done(_)
    ));
    assert_eq!(body(&find(&store, id).await.unwrap()), "the successor's");
}

const SHORT: Duration = Duration::from_millis(300);

fn short_lease() -> SqliteOptions {
    SqliteOptions::default().lease(SHORT)
}

async fn holds_on(path: &Path) {
    let store = short_lease().open(path).unwrap();
    let claim = accept(&store, 2).await;
    println!("holds {}", claim.id());
    while renew(&store, &[&claim]).await.is_empty() {
        tokio::time::sleep(SHORT / 5).await;
    }
    let late = finish(&store, &claim, b"late").await;
    println!(
        "finished {}",
        if let Settled::Stands(_) = late {
            "Stands"
        } else {
            "otherwise"
        }
    );
}

#[tokio::test]
async fn more_than_may_wait_are_refused_at_once_and_the_rest_goes_on() {
    let place = Place::new();
    let store =
        Arc::new(place.open_with(SqliteOptions::default().waiting(NonZeroUsize::new(2).unwrap())));
    let mut other = place.sql();
    let lock = other
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { super::support::try_accept(&store, 1).await })
        })
        .collect();
    // Of what is refused nothing waits: once so many have been, the others hold all places.
    let refused = || waiting.iter().filter(|task| task.is_finished()).count();
    while refused() < 17 {
        tokio::task::yield_now().await;
    }
    lock.rollback().unwrap();
    let mut done = 0;
    for task in waiting {
        match task.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
        }
    }
    assert!((2..=3).contains(&done), "{done}");
    accept(&store, 1).await;
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_told_and_got_over() {
    let place = Place::new();
    let store = place.open();
    let id = accept(&store, 1).await.id();
    let mut other = place.sql();
    let lock = other
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    let refused = super::support::try_accept(&store, 1).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
    // Whoever reads does not wait.
    assert_eq!(phase(&store, id).await, Some(Phase::Accepted));
    lock.rollback().unwrap();
    accept(&store, 1).await;
}

#[tokio::test]
async fn a_finish_that_was_refused_by_a_lock_keeps_its_ending() {
    let place = Place::new();
    let store = place.open();
    let claim = accept(&store, 1).await;
    let mut other = place.sql();
    let lock = other
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    let mut ending = Some(success(b"some text"));
    let seen = started(5);
    let refused = store.finish(&claim, &seen, &mut ending).await.unwrap_err();
    assert_eq!(
        (refused.kind(), ending.is_some()),
        (StoreErrorKind::Unavailable, true)
    );
    lock.rollback().unwrap();
    let done = store.finish(&claim, &seen, &mut ending).await;
    assert!(matches!(done, Ok(Settled::Done(_))) && ending.is_none());
}
