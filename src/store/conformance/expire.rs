//! Expiry and sweeping.

use super::{ALL, Draft, KEEP_FOR, MOMENT, Make, SUCCEEDED, TOMBSTONE_FOR, Wanted, done, unknown};
use crate::{
    record::{Owner, Phase},
    store::{Created, Forget, ListQuery, Lookup},
};
use std::{
    num::NonZeroU32,
    time::{Duration, UNIX_EPOCH},
};

/// A result is there until its time is up, and gone from then on, swept or not.
pub async fn a_result_is_gone_when_its_time_is_up(make: Make) {
    let subject = make(Wanted::default());
    let draft = Draft {
        owner: Some(Owner::new("alice")),
        ..Draft::key("k")
    };
    let claim = subject.accept(draft.clone()).await;
    subject.clock.advance(10 * KEEP_FOR);
    done(subject.finish(&claim, subject.success(1)).await);
    let id = claim.id();
    subject.clock.advance(KEEP_FOR - MOMENT);
    assert_eq!(subject.phase(id).await, Some(SUCCEEDED));
    assert_eq!(subject.sweep().await.done, 0);
    subject.clock.advance(MOMENT);
    for swept in [0, 1] {
        match subject.find(id).await {
            Lookup::Gone { owner } => assert_eq!(owner, Some(Owner::new("alice"))),
            other => panic!("expected it gone, got {other:?}"),
        }
        assert!(matches!(
            subject.create(draft.clone()).await,
            Ok(Created::Gone)
        ));
        assert!(
            subject
                .store
                .list(&ListQuery::all())
                .await
                .unwrap()
                .records
                .is_empty()
        );
        let of_alice = ListQuery::of(Owner::new("alice"));
        assert!(
            subject
                .store
                .list(&of_alice)
                .await
                .unwrap()
                .records
                .is_empty()
        );
        unknown(subject.store.forget(id, Forget::Ended).await);
        unknown(subject.complete(id, subject.success(1)).await);
        assert_eq!(subject.sweep().await.done, 1 - swept);
    }
    let usage = subject.store.usage();
    assert_eq!(
        (
            usage.operations,
            usage.bytes,
            usage.unread,
            usage.tombstones
        ),
        (0, 0, 0, 1)
    );
}

/// After the tombstone an operation never was, swept or not.
pub async fn a_tombstone_falls(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::default(), 1).await;
    done(subject.store.forget(id, Forget::Ended).await);
    subject.clock.advance(TOMBSTONE_FOR - MOMENT);
    assert!(subject.is_gone(id).await);
    assert_eq!(subject.sweep().await.next, Some(MOMENT));
    subject.clock.advance(MOMENT);
    assert!(subject.is_unknown(id).await);
    let swept = subject.sweep().await;
    assert_eq!((swept.done, swept.next), (1, None));
    assert!(subject.is_unknown(id).await);
    assert_eq!(subject.store.usage().tombstones, 0);
}

/// A result that expired while nobody swept is remembered as long as any, from when it is swept.
pub async fn a_tombstone_that_is_set_late_stands_as_long(make: Make) {
    let subject = make(Wanted::default());
    let late = subject.ended(Draft::default(), 1).await;
    subject.clock.advance(KEEP_FOR + 2 * TOMBSTONE_FOR);
    assert!(subject.is_gone(late).await);
    subject.sweep().await;
    subject.clock.advance(TOMBSTONE_FOR - MOMENT);
    assert!(subject.is_gone(late).await);
    subject.clock.advance(MOMENT);
    assert!(subject.is_unknown(late).await);
}

/// A result that is kept for no time at all is gone at once.
pub async fn a_result_may_be_kept_for_no_time(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::keep_for(Duration::ZERO), 1).await;
    assert!(subject.is_gone(id).await);
    assert_eq!(subject.sweep().await.done, 1);
}

/// A result may be kept for ever.
pub async fn a_result_may_be_kept_for_ever(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::keep_for(Duration::MAX), 1).await;
    subject
        .clock
        .advance(Duration::from_secs(100 * 365 * 86_400));
    subject.sweep().await;
    assert_eq!(subject.phase(id).await, Some(SUCCEEDED));
    done(subject.store.forget(id, Forget::Ended).await);
}

/// What is pending does not expire.
pub async fn what_is_pending_does_not_expire(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::keep_for(Duration::ZERO)).await;
    subject.pass(100 * KEEP_FOR, [&claim].into_iter()).await;
    let swept = subject.sweep().await;
    assert_eq!(swept.done, 0);
    // A claim that lapses is due as well.
    assert!(swept.next.is_none() || subject.store.lease().is_some());
    assert_eq!(subject.phase(claim.id()).await, Some(Phase::Accepted));
}

/// Setting the wall clock neither expires nor revives anything.
pub async fn the_wall_clock_decides_nothing(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::default(), 1).await;
    subject
        .clock
        .set_wall(UNIX_EPOCH + Duration::from_secs(8_000_000_000));
    assert_eq!(subject.sweep().await.done, 0);
    assert_eq!(subject.phase(id).await, Some(SUCCEEDED));
    subject.clock.advance(KEEP_FOR);
    subject.clock.set_wall(UNIX_EPOCH);
    assert!(subject.is_gone(id).await);
    assert_eq!(subject.sweep().await.done, 1);
}

/// An end at a time before the beginning, as after the wall clock was set back, is kept as long as any.
pub async fn an_end_before_its_beginning_is_kept_as_long(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    subject.clock.set_wall(UNIX_EPOCH);
    done(subject.finish(&claim, subject.success(1)).await);
    subject.clock.advance(KEEP_FOR - MOMENT);
    assert_eq!(subject.phase(claim.id()).await, Some(SUCCEEDED));
    subject.clock.advance(MOMENT);
    assert!(subject.is_gone(claim.id()).await);
}

/// A sweep does no more than it may, and the next goes on.
pub async fn a_sweep_is_bounded(make: Make) {
    let subject = make(Wanted::default());
    for _ in 0..100 {
        subject.ended(Draft::default(), 1).await;
    }
    subject.clock.advance(KEEP_FOR);
    let few = NonZeroU32::new(30).unwrap();
    let mut done = Vec::new();
    for _ in 0..5 {
        let swept = subject.store.sweep(few).await.unwrap();
        done.push(swept.done);
        assert_eq!(
            swept.next == Some(Duration::ZERO),
            done.len() < 4,
            "{swept:?}"
        );
    }
    assert_eq!(done, [30, 30, 30, 10, 0]);
    assert_eq!(subject.store.usage().operations, 0);
}

/// A sweep tells when the next thing is due, whatever it is.
pub async fn a_sweep_tells_when_the_next_is_due(make: Make) {
    let subject = make(Wanted::default());
    assert_eq!(subject.store.sweep(ALL).await.unwrap().next, None);
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let forgotten = subject.ended(Draft::keep_for(minutes(1)), 1).await;
    assert_eq!(subject.sweep().await.next, Some(minutes(1)));
    done(subject.store.forget(forgotten, Forget::Ended).await);
    assert_eq!(subject.sweep().await.next, Some(TOMBSTONE_FOR));
    subject.ended(Draft::keep_for(minutes(3)), 1).await;
    assert_eq!(subject.sweep().await.next, Some(minutes(3)));
    let claim = subject.accept(Draft::default()).await;
    done(
        subject
            .store
            .detach(&claim, &subject.started(), minutes(2))
            .await,
    );
    assert_eq!(subject.sweep().await.next, Some(minutes(2)));
    done(subject.complete(claim.id(), subject.success(1)).await);
    subject.clock.advance(minutes(1));
    assert_eq!(subject.sweep().await.next, Some(minutes(2)));
}
