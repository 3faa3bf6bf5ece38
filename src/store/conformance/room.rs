//! Limits, and making room.

use super::{
    Draft, KEEP_FOR, MOMENT, Make, SUCCEEDED, Subject, TOMBSTONE_FOR, Wanted, done, full, stands,
};
use crate::{
    record::{Phase, Stop, UniqueKey},
    store::{Created, Forget, Intent, Lookup},
};
use std::sync::Arc;

fn of_operations(make: Make, operations: u64) -> Subject {
    make(Wanted {
        operations,
        ..Wanted::default()
    })
}

fn of_bytes(make: Make, bytes: u64) -> Subject {
    make(Wanted {
        bytes,
        ..Wanted::default()
    })
}

/// What is pending is never let go.
pub async fn what_is_pending_is_never_let_go(make: Make) {
    let subject = of_operations(make, 2);
    let one = subject.accept(Draft::default()).await;
    let two = subject.accept(Draft::default()).await;
    subject.mark_read(one.id()).await;
    full(subject.create(Draft::default()).await);
    assert_eq!(subject.store.usage().operations, 2);
    for claim in [one, two] {
        assert_eq!(subject.phase(claim.id()).await, Some(Phase::Accepted));
    }
}

/// A result that nobody has read is never let go.
pub async fn an_unread_result_is_never_let_go(make: Make) {
    let subject = of_operations(make, 1);
    let id = subject.ended(Draft::default(), 1).await;
    full(subject.create(Draft::default()).await);
    assert_eq!(subject.phase(id).await, Some(SUCCEEDED));
    subject.mark_read(id).await;
    subject.accept(Draft::default()).await;
    assert!(subject.is_gone(id).await);
    assert_eq!(subject.store.usage().operations, 1);
}

/// Results that were read go in the order of their ends, not of their beginnings or readings.
pub async fn the_first_to_end_is_let_go_first(make: Make) {
    let subject = of_operations(make, 4);
    let mut claims = Vec::new();
    for _ in 0..4 {
        claims.push(subject.accept(Draft::default()).await);
    }
    let order = [2, 0, 3, 1];
    for index in order {
        subject.clock.advance(MOMENT);
        done(subject.finish(&claims[index], subject.success(1)).await);
    }
    for index in [3, 1, 0, 2] {
        subject.mark_read(claims[index].id()).await;
    }
    for (gone, index) in order.into_iter().enumerate() {
        for later in &order[gone..] {
            assert_eq!(subject.phase(claims[*later].id()).await, Some(SUCCEEDED));
        }
        subject.accept(Draft::default()).await;
        assert!(subject.is_gone(claims[index].id()).await);
    }
    full(subject.create(Draft::default()).await);
}

/// How long results are kept has no say in which is let go first.
pub async fn the_first_to_end_goes_though_it_expires_last(make: Make) {
    let subject = of_operations(make, 2);
    let first = subject.ended(Draft::keep_for(100 * KEEP_FOR), 1).await;
    subject.clock.advance(MOMENT);
    let second = subject.ended(Draft::default(), 1).await;
    subject.mark_read(second).await;
    subject.mark_read(first).await;
    subject.accept(Draft::default()).await;
    assert!(subject.is_gone(first).await);
    assert_eq!(subject.phase(second).await, Some(SUCCEEDED));
}

/// A failure without a response can be let go once it was shown.
pub async fn a_failure_that_was_shown_is_let_go(make: Make) {
    let subject = of_operations(make, 1);
    let claim = subject.accept(Draft::default()).await;
    done(
        subject
            .finish(&claim, subject.stopped(Stop::Panicked))
            .await,
    );
    full(subject.create(Draft::default()).await);
    subject.mark_read(claim.id()).await;
    subject.accept(Draft::default()).await;
    assert!(subject.is_gone(claim.id()).await);
}

/// What is let go leaves its tombstone and its key.
pub async fn what_is_let_go_leaves_a_tombstone(make: Make) {
    let subject = of_operations(make, 1);
    let id = subject.ended(Draft::key("k"), 1).await;
    subject.mark_read(id).await;
    subject.accept(Draft::default()).await;
    let gone = subject.store.find_key(&UniqueKey::shared("k")).await;
    assert!(matches!(gone, Ok(Lookup::Gone { .. })));
    assert_eq!(subject.store.usage().tombstones, 1);
}

/// A read result that was forgotten or has expired makes room only once.
pub async fn room_is_not_made_of_what_is_gone(make: Make) {
    let subject = of_operations(make, 2);
    let id = subject.ended(Draft::default(), 1).await;
    subject.mark_read(id).await;
    done(subject.store.forget(id, Forget::Ended).await);
    subject.accept(Draft::default()).await;
    let kept = subject.ended(Draft::default(), 1).await;
    full(subject.create(Draft::default()).await);
    assert_eq!(subject.phase(kept).await, Some(SUCCEEDED));
}

/// What is gone is not counted on: nothing else is let go in the hope of it.
pub async fn what_is_gone_is_not_counted_on(make: Make) {
    let subject = of_bytes(make, 100);
    let forgotten = subject.ended(Draft::default(), 30).await;
    subject.mark_read(forgotten).await;
    done(subject.store.forget(forgotten, Forget::Ended).await);
    subject.ended(Draft::default(), 60).await;
    let read = subject.ended(Draft::default(), 30).await;
    subject.mark_read(read).await;
    assert!(!subject.set_aside(50).await);
    assert_eq!(subject.phase(read).await, Some(SUCCEEDED));
}

/// What has expired makes room, swept or not, read or not.
pub async fn what_has_expired_makes_room(make: Make) {
    let subject = of_operations(make, 2);
    subject.ended(Draft::default(), 1).await;
    subject.accept(Draft::default()).await;
    full(subject.create(Draft::default()).await);
    subject.clock.advance(KEEP_FOR);
    subject.accept(Draft::default()).await;
    full(subject.create(Draft::default()).await);
}

/// Repeats of what is kept need no room.
pub async fn a_repeat_needs_no_room(make: Make) {
    let subject = of_operations(make, 2);
    let record = subject.draw(Draft::key("k"));
    let claim = Subject::new_claim(subject.store.create(&record, Intent::Run(None)).await);
    let read = subject.ended(Draft::default(), 1).await;
    subject.mark_read(read).await;
    assert_eq!(
        Subject::new_claim(subject.store.create(&record, Intent::Run(None)).await),
        claim
    );
    assert!(matches!(
        subject.create(Draft::key("k")).await,
        Ok(Created::Existing(_))
    ));
    assert_eq!(
        subject.phase(read).await,
        Some(SUCCEEDED),
        "let go for nothing"
    );
}

/// A response that finds no room changes nothing, and may come again.
pub async fn a_response_without_room_changes_nothing(make: Make) {
    let subject = of_bytes(make, 100);
    let unread = subject.ended(Draft::default(), 60).await;
    let claim = subject.accept(Draft::default()).await;
    full(subject.finish(&claim, subject.success(41)).await);
    full(subject.complete(claim.id(), subject.success(41)).await);
    assert_eq!(subject.phase(claim.id()).await, Some(Phase::Accepted));
    assert_eq!(subject.store.usage().bytes, 60);
    subject.mark_read(unread).await;
    done(subject.finish(&claim, subject.success(41)).await);
    assert!(subject.is_gone(unread).await);
    assert_eq!(subject.store.usage().bytes, 41);
}

/// An ending that finds no room is given back, to be tried again as it is.
pub async fn an_ending_without_room_is_given_back(make: Make) {
    let subject = of_bytes(make, 100);
    let unread = subject.ended(Draft::default(), 60).await;
    let claim = subject.accept(Draft::default()).await;
    let seen = subject.started();
    let mut ending = Some(subject.success(41));
    full(subject.store.finish(&claim, &seen, &mut ending).await);
    assert!(ending.is_some());
    done(subject.store.forget(unread, Forget::Ended).await);
    done(subject.store.finish(&claim, &seen, &mut ending).await);
    assert!(ending.is_none());
}

/// Nothing is let go for a response that would not fit even so.
pub async fn nothing_is_let_go_in_vain(make: Make) {
    let subject = of_bytes(make, 100);
    let unread = subject.ended(Draft::default(), 30).await;
    let read = subject.ended(Draft::default(), 30).await;
    subject.mark_read(read).await;
    let claim = subject.accept(Draft::default()).await;
    full(subject.finish(&claim, subject.success(71)).await);
    full(subject.finish(&claim, subject.success(1_000)).await);
    assert!(!subject.set_aside(71).await);
    for id in [unread, read] {
        assert_eq!(subject.phase(id).await, Some(SUCCEEDED));
    }
    done(subject.finish(&claim, subject.success(70)).await);
    assert!(subject.is_gone(read).await);
}

/// As many results are let go as a response needs, and no more.
pub async fn as_many_are_let_go_as_are_needed(make: Make) {
    let subject = of_bytes(make, 100);
    let mut read = Vec::new();
    for _ in 0..5 {
        subject.clock.advance(MOMENT);
        read.push(subject.ended(Draft::default(), 20).await);
    }
    let claim_room = subject.create(Draft::default()).await;
    full(claim_room);
    for id in &read {
        subject.mark_read(*id).await;
    }
    // The first makes room for the operation itself, the second and third for what it needs above that.
    let claim = subject.accept(Draft::default()).await;
    done(subject.finish(&claim, subject.success(45)).await);
    for (index, id) in read.into_iter().enumerate() {
        assert_eq!(subject.is_gone(id).await, index < 3, "{index}");
    }
}

/// A response that is refused because something else stands lets nothing go.
pub async fn a_refused_response_lets_nothing_go(make: Make) {
    let subject = of_bytes(make, 100);
    let claim = subject.accept(Draft::default()).await;
    done(subject.finish(&claim, subject.success(90)).await);
    subject.mark_read(claim.id()).await;
    stands(subject.finish(&claim, subject.success(50)).await);
    assert_eq!(subject.phase(claim.id()).await, Some(SUCCEEDED));
}

/// What is set aside counts, and makes room for itself.
pub async fn what_is_set_aside_counts(make: Make) {
    let subject = of_bytes(make, 100);
    let claim = subject.accept(Draft::default()).await;
    let read = subject.ended(Draft::default(), 50).await;
    subject.mark_read(read).await;
    assert!(subject.set_aside(50).await);
    assert_eq!(subject.phase(read).await, Some(SUCCEEDED));
    assert!(subject.set_aside(50).await);
    assert!(subject.is_gone(read).await);
    assert!(!subject.set_aside(1).await);
    full(subject.finish(&claim, subject.success(1)).await);
    full(subject.create(Draft::default()).await);
    subject.store.give_back(100);
    assert_eq!(subject.store.usage().bytes, 0);
    done(subject.finish(&claim, subject.success(100)).await);
}

/// The oldest tombstones fall when there are too many, and their keys are free.
pub async fn the_oldest_tombstone_falls_first(make: Make) {
    let subject = make(Wanted {
        tombstones: 3,
        ..Wanted::default()
    });
    let mut gone = Vec::new();
    for number in 0..5 {
        subject.clock.advance(MOMENT);
        let id = subject.ended(Draft::key(&number.to_string()), 1).await;
        done(subject.store.forget(id, Forget::Ended).await);
        gone.push(id);
    }
    assert_eq!(subject.store.usage().tombstones, 3);
    for (index, id) in gone.into_iter().enumerate() {
        assert_eq!(subject.is_unknown(id).await, index < 2, "{index}");
        let again = subject.create(Draft::key(&index.to_string())).await;
        assert_eq!(matches!(again, Ok(Created::New(_))), index < 2, "{index}");
    }
    // Claims may have lapsed as well.
    subject.clock.advance(TOMBSTONE_FOR);
    assert!(subject.sweep().await.done >= 3);
    assert_eq!(subject.store.usage().tombstones, 0);
}

/// With no tombstones what is gone never was.
pub async fn there_may_be_no_tombstones(make: Make) {
    let subject = make(Wanted {
        tombstones: 0,
        ..Wanted::default()
    });
    let id = subject.ended(Draft::key("k"), 1).await;
    done(subject.store.forget(id, Forget::Ended).await);
    assert!(subject.is_unknown(id).await);
    subject.accept(Draft::key("k")).await;
}

/// Creates that race never exceed the limit, and use it up.
pub async fn racing_creates_keep_to_the_limit(make: Make) {
    for _ in 0..20 {
        let subject = Arc::new(of_operations(make, 10));
        for _ in 0..5 {
            let id = subject.ended(Draft::default(), 1).await;
            subject.mark_read(id).await;
        }
        let created = super::race::at_once(40, {
            let subject = subject.clone();
            move |_| {
                let subject = subject.clone();
                async move { subject.create(Draft::default()).await.is_ok() }
            }
        })
        .await;
        assert_eq!(created.into_iter().filter(|created| *created).count(), 10);
        let usage = subject.store.usage();
        assert_eq!((usage.operations, usage.bytes), (10, 0));
    }
}

/// Responses that race never exceed the limit.
pub async fn racing_responses_keep_to_the_limit(make: Make) {
    for _ in 0..20 {
        let subject = Arc::new(of_bytes(make, 100));
        let mut claims = Vec::new();
        for _ in 0..30 {
            claims.push(subject.accept(Draft::default()).await);
        }
        let claims = Arc::new(claims);
        let finished = super::race::at_once(30, {
            let subject = subject.clone();
            move |index| {
                let (subject, claims) = (subject.clone(), claims.clone());
                async move {
                    let is_done = subject
                        .finish(&claims[index], subject.success(30))
                        .await
                        .is_ok();
                    assert!(subject.store.usage().bytes <= 100);
                    is_done
                }
            }
        })
        .await;
        assert_eq!(finished.into_iter().filter(|finished| *finished).count(), 3);
        assert_eq!(subject.store.usage().bytes, 90);
    }
}

/// A store that is nearly always full gives the answers of the [model](super::model).
pub async fn a_full_store_follows_the_model(make: Make) {
    super::model::follows_many(make, true).await;
}
