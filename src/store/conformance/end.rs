//! Ending: finish, complete, detach, forget.

use super::{
    CANCELLED, Draft, KEEP_FOR, MOMENT, Make, SUCCEEDED, Subject, Wanted, done, response, stands,
    unknown,
};
use crate::{
    record::{OperationId, Outcome, Owner, Phase, Reason, Report, Revision, Sighting, Stop},
    store::{Claim, Created, Forget, Intent, Lookup},
};
use std::{sync::Arc, time::Duration};

/// What was finished is found with what was seen of it and what it left behind.
pub async fn finish_ends_and_keeps_what_was_seen(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    subject.clock.advance(MOMENT);
    let started = subject.clock.wall();
    let message: Arc<str> = "halfway".into();
    let report = Report {
        message: Some(message.clone()),
        ..Report::default()
    };
    let sighting = Sighting {
        revision: Revision(5),
        at: started,
        started: Some(started),
        report: Some(Arc::new(report)),
    };
    let ending = subject.success(10);
    let at = ending.at;
    let told = done(
        subject
            .store
            .finish(&claim, &sighting, &mut Some(ending))
            .await,
    );
    let Lookup::Found(found) = subject.find(claim.id()).await else {
        panic!("not found")
    };
    for record in [told, found] {
        assert_eq!(record.phase(), SUCCEEDED);
        assert!(record.revision > Revision(5));
        assert_eq!(record.started, Some(started));
        assert_eq!(
            record
                .report
                .as_ref()
                .and_then(|report| report.message.clone()),
            Some(message.clone())
        );
        assert_eq!(record.expires(), Some(at.after(KEEP_FOR)));
        let left = record.response().unwrap();
        assert_eq!(
            (left.status(), left.body()),
            (http::StatusCode::OK, response(10).body())
        );
    }
}

/// The second end changes nothing, whoever comes with it.
pub async fn an_operation_ends_once(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    let first = done(subject.finish(&claim, subject.success(10)).await);
    let again = stands(subject.finish(&claim, subject.success(20)).await);
    let complete = stands(subject.complete(claim.id(), subject.success(20)).await);
    let cancel = stands(
        subject
            .complete(claim.id(), subject.stopped(Stop::Cancelled))
            .await,
    );
    let detach = stands(
        subject
            .store
            .detach(&claim, &subject.seen(9), KEEP_FOR)
            .await,
    );
    for record in [again, complete, cancel, detach] {
        assert_eq!(
            (record.phase(), record.revision, record.size()),
            (SUCCEEDED, first.revision, 10)
        );
    }
    assert_eq!(subject.store.usage().bytes, 10);
}

/// Moves that the state machine forbids change nothing, what was seen included.
pub async fn an_unlawful_end_changes_nothing(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    let sighting = Sighting {
        revision: Revision(9),
        ..subject.unseen()
    };
    for stop in [
        Stop::Panicked,
        Stop::Errored,
        Stop::TimedOut,
        Stop::TooLarge,
    ] {
        let ending = subject.stopped(stop);
        let record = stands(
            subject
                .store
                .finish(&claim, &sighting, &mut Some(ending))
                .await,
        );
        assert_eq!(
            (record.phase(), record.revision),
            (Phase::Accepted, Revision(1)),
            "{stop:?}"
        );
        stands(subject.complete(claim.id(), subject.stopped(stop)).await);
    }
    // The claim still holds, and once the operation has started it may have panicked.
    let record = done(
        subject
            .finish(&claim, subject.stopped(Stop::Panicked))
            .await,
    );
    assert_eq!(
        record.phase(),
        Phase::Ended(Outcome::Failed(Reason::Panicked))
    );
}

/// A claim that was never given for the operation ends nothing.
pub async fn another_claim_is_refused(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    let other = Claim::new(claim.id(), claim.attempt(), claim.token().wrapping_add(1));
    let record = stands(subject.finish(&other, subject.success(1)).await);
    assert_eq!(
        (record.phase(), record.revision),
        (Phase::Accepted, Revision(1))
    );
    stands(
        subject
            .store
            .detach(&other, &subject.started(), KEEP_FOR)
            .await,
    );
    done(subject.finish(&claim, subject.success(1)).await);
}

/// Claims of two operations differ.
pub async fn a_claim_is_for_one_operation(make: Make) {
    let subject = make(Wanted::default());
    let one = subject.accept(Draft::default()).await;
    let two = subject.accept(Draft::default()).await;
    let mixed = Claim::new(one.id(), two.attempt(), two.token());
    stands(subject.finish(&mixed, subject.success(1)).await);
}

/// Verbs on what never was, or is gone, find nothing.
pub async fn what_is_not_here_cannot_end(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    done(subject.finish(&claim, subject.success(1)).await);
    done(subject.store.forget(claim.id(), Forget::Ended).await);
    for claim in [claim, Claim::new(OperationId::random(), 1, 1)] {
        unknown(subject.finish(&claim, subject.success(1)).await);
        unknown(subject.complete(claim.id(), subject.success(1)).await);
        unknown(
            subject
                .store
                .detach(&claim, &subject.started(), KEEP_FOR)
                .await,
        );
        unknown(subject.store.forget(claim.id(), Forget::Ended).await);
        subject.mark_read(claim.id()).await;
    }
    assert_eq!(subject.store.usage().bytes, 0);
}

/// Completing needs no claim, and voids it.
pub async fn complete_voids_the_claim(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    let cancel = subject.stopped(Stop::Cancelled);
    let record = done(subject.complete(claim.id(), cancel).await);
    assert_eq!(record.phase(), CANCELLED);
    let record = stands(subject.finish(&claim, subject.success(1)).await);
    assert_eq!(record.phase(), CANCELLED);
    assert_eq!(subject.phase(claim.id()).await, Some(CANCELLED));
    assert_eq!(subject.store.usage().bytes, 0);
}

/// Whoever completes an operation that it happens to run may tell what it saw.
pub async fn complete_takes_in_what_was_seen(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    // Without what was seen it has not started, and what has not started can't have panicked.
    stands(
        subject
            .complete(claim.id(), subject.stopped(Stop::Panicked))
            .await,
    );
    let panicked = subject.stopped(Stop::Panicked);
    let seen = Some(subject.seen(5));
    let record = done(subject.store.complete(claim.id(), panicked, seen).await);
    assert_eq!(record.started, Some(subject.clock.wall()));
    assert!(record.revision > Revision(5));
}

/// Detaching voids the claim; the operation goes on until it is completed.
pub async fn detach_voids_the_claim(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    let record = done(
        subject
            .store
            .detach(&claim, &subject.started(), KEEP_FOR)
            .await,
    );
    assert_eq!(record.phase(), Phase::Running);
    assert_eq!(subject.phase(claim.id()).await, Some(Phase::Running));
    stands(subject.finish(&claim, subject.success(1)).await);
    stands(subject.store.release(&claim, &subject.seen(3)).await);
    stands(subject.store.forget(claim.id(), Forget::Ended).await);
    let record = done(subject.complete(claim.id(), subject.success(1)).await);
    assert_eq!(record.phase(), SUCCEEDED);
}

/// By the claim that was given up it is done again, and changes nothing; by another it is not.
pub async fn detach_is_idempotent_on_the_claim(make: Make) {
    let subject = make(Wanted::default());
    let within = Duration::from_secs(5);
    for queued in [false, true] {
        let claim = if queued {
            subject.enqueue(Draft::attempts(2)).await;
            subject.claim_one().await.claim
        } else {
            subject.accept_whole(Draft::attempts(2)).await
        };
        let detach = async |claim: &Claim, seen: Sighting| {
            let detached = subject.store.detach(claim, &seen, within);
            detached.await
        };
        let first = done(detach(&claim, subject.started()).await);
        subject.clock.advance(within - MOMENT);
        let again = done(detach(&claim, subject.seen(9)).await);
        assert_eq!(again.phase(), Phase::Running);
        assert_eq!(again.revision, first.revision);
        let other = Claim::new(claim.id(), claim.attempt(), claim.token() + 1_000);
        stands(detach(&other, subject.seen(9)).await);
        // Its time runs from the first.
        subject.clock.advance(MOMENT);
        subject.sweep().await;
        let ended = stands(detach(&claim, subject.seen(9)).await);
        let timed_out = Phase::Ended(Outcome::Failed(Reason::TimedOut));
        assert_eq!(ended.phase(), timed_out);
    }
    assert_eq!(subject.store.usage().bytes, 0);
}

/// What has not started has nobody who could have handed its end over.
pub async fn only_what_runs_can_be_detached(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    let record = stands(
        subject
            .store
            .detach(&claim, &subject.unseen(), KEEP_FOR)
            .await,
    );
    assert_eq!(record.phase(), Phase::Accepted);
    done(subject.finish(&claim, subject.success(1)).await);
}

/// The sweep ends what was detached and not completed in time, as timed out, and tells of it.
pub async fn what_was_detached_times_out(make: Make) {
    let subject = make(Wanted::default());
    let within = Duration::from_secs(5);
    let late = subject.accept(Draft::default()).await;
    let in_time = subject.accept(Draft::default()).await;
    for claim in [&late, &in_time] {
        done(
            subject
                .store
                .detach(claim, &subject.started(), within)
                .await,
        );
    }
    done(subject.complete(in_time.id(), subject.success(1)).await);
    subject.clock.advance(within - MOMENT);
    let swept = subject.sweep().await;
    assert_eq!((swept.done, swept.next), (0, Some(MOMENT)));
    subject.clock.advance(MOMENT);
    let swept = subject.sweep().await;
    let [record] = &swept.ended[..] else {
        panic!("expected one, got {swept:?}")
    };
    assert_eq!((swept.done, record.id), (1, late.id()));
    let timed_out = Phase::Ended(Outcome::Failed(Reason::TimedOut));
    assert_eq!(record.phase(), timed_out);
    assert_eq!(record.ending().unwrap().at, subject.clock.wall());
    assert_eq!(subject.phase(late.id()).await, Some(timed_out));
    assert_eq!(subject.phase(in_time.id()).await, Some(SUCCEEDED));
    // It is kept for as long as any other after its end.
    subject.clock.advance(KEEP_FOR - MOMENT);
    assert_eq!(subject.phase(late.id()).await, Some(timed_out));
    subject.clock.advance(MOMENT);
    assert!(subject.is_gone(late.id()).await);
}

/// A time without end is one, and no mistake.
pub async fn what_was_detached_may_have_for_ever(make: Make) {
    let subject = make(Wanted::default());
    subject.clock.advance(MOMENT);
    let claim = subject.accept(Draft::default()).await;
    let seen = subject.started();
    done(subject.store.detach(&claim, &seen, Duration::MAX).await);
    subject.clock.advance(100_000 * KEEP_FOR);
    assert!(subject.sweep().await.ended.is_empty());
    done(subject.complete(claim.id(), subject.success(1)).await);
}

/// What has ended can be forgotten, once; its owner is remembered.
pub async fn forget_leaves_a_tombstone(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::owner("alice"), 10).await;
    let record = done(subject.store.forget(id, Forget::Ended).await);
    assert_eq!((record.id, record.phase()), (id, SUCCEEDED));
    match subject.find(id).await {
        Lookup::Gone { owner } => assert_eq!(owner, Some(Owner::new("alice"))),
        other => panic!("expected it gone, got {other:?}"),
    }
    unknown(subject.store.forget(id, Forget::Ended).await);
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

/// What has not ended is not forgotten.
pub async fn what_is_pending_is_not_forgotten(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    assert_eq!(
        stands(subject.store.forget(claim.id(), Forget::Ended).await).phase(),
        Phase::Accepted
    );
    done(subject.finish(&claim, subject.success(1)).await);
}

/// Where a protocol forgets what still runs, it goes, with its owner and key remembered, and its claim is void.
pub async fn what_is_pending_is_forgotten_where_it_is_asked_for(make: Make) {
    let subject = make(Wanted::default());
    let draft = Draft {
        owner: Some(Owner::new("alice")),
        ..Draft::key("k")
    };
    let claim = subject.accept(draft.clone()).await;
    let forgotten = done(subject.store.forget(claim.id(), Forget::Any).await);
    assert_eq!(
        (forgotten.id, forgotten.phase()),
        (claim.id(), Phase::Accepted)
    );
    match subject.find(claim.id()).await {
        Lookup::Gone { owner } => assert_eq!(owner, Some(Owner::new("alice"))),
        other => panic!("expected it gone, got {other:?}"),
    }
    assert!(matches!(subject.create(draft).await, Ok(Created::Gone)));
    unknown(subject.finish(&claim, subject.success(1)).await);
    let ended = subject.ended(Draft::default(), 7).await;
    let forgotten = done(subject.store.forget(ended, Forget::Any).await);
    // Whoever reads and removes in one step has read it here.
    assert_eq!(
        forgotten
            .ending()
            .unwrap()
            .response
            .as_ref()
            .unwrap()
            .body_len(),
        7
    );
    let usage = subject.store.usage();
    assert_eq!((usage.operations, usage.bytes, usage.unread), (0, 0, 0));
}

/// Whoever finds that an answer is not there at once may ask again from elsewhere: so far nothing has been done.
pub async fn what_is_not_polled_does_nothing(make: Make) {
    let subject = make(Wanted::default());
    let (store, seen) = (&subject.store, subject.started());
    let record = subject.draw(Draft::default());
    if store.create(&record, Intent::Run(None)).now().is_err() {
        assert!(subject.is_unknown(record.id).await);
    }
    for verb in 0..6 {
        let claim = subject.accept_whole(Draft::attempts(2)).await;
        let (id, mut ending) = (claim.id(), Some(subject.success(1)));
        let is_done = match verb {
            0 => store.finish(&claim, &seen, &mut ending).now(),
            1 => store.complete(id, subject.success(1), None).now(),
            2 => store.detach(&claim, &seen, KEEP_FOR).now(),
            3 => store.release(&claim, &seen).now(),
            4 => store.forget(id, Forget::Any).now(),
            _ => store.forget(id, Forget::Ended).now(),
        }
        .is_ok();
        if !is_done {
            assert_eq!(subject.phase(id).await, Some(Phase::Accepted), "{verb}");
            let ended = subject.finish(&claim, subject.success(1)).await;
            assert_eq!(done(ended).phase(), SUCCEEDED, "{verb}");
        }
    }
}

/// Usage counts operations, bytes, and what nobody has read.
pub async fn usage_counts(make: Make) {
    let subject = make(Wanted::default());
    let usage = |subject: &Subject| {
        let usage = subject.store.usage();
        (usage.operations, usage.bytes, usage.unread)
    };
    let pending = subject.accept(Draft::default()).await;
    let ended = subject.ended(Draft::default(), 100).await;
    assert_eq!(usage(&subject), (2, 100, 1));
    subject.mark_read(pending.id()).await;
    subject.mark_read(ended).await;
    subject.mark_read(ended).await;
    assert_eq!(usage(&subject), (2, 100, 0));
    assert!(subject.set_aside(50).await);
    done(
        subject
            .finish(&pending, subject.stopped(Stop::Panicked))
            .await,
    );
    assert_eq!(usage(&subject), (2, 150, 1));
    subject.store.give_back(50);
    done(subject.store.forget(ended, Forget::Ended).await);
    done(subject.store.forget(pending.id(), Forget::Ended).await);
    assert_eq!(usage(&subject), (0, 0, 0));
}
