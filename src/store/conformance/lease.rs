//! Claims that lapse.

use super::{Draft, MOMENT, Make, START_WITHIN, SUCCEEDED, Subject, Wanted, done, stands};
use crate::{
    record::{OperationId, Outcome, Phase, Queue, Reason, Record, Revision, Sighting, Stop},
    store::{Change, Claim, Claimed, Forget, Held},
};
use std::{sync::Arc, time::Duration};

const LOST: Phase = Phase::Ended(Outcome::Failed(Reason::Lost));

impl Subject {
    fn lease(&self) -> Duration {
        self.store.lease().expect("claims lapse")
    }

    /// Has all claims lapse that are not renewed. What ended by it.
    async fn lapse(&self) -> Vec<Arc<Record>> {
        let mut ended = self.sweep().await.ended;
        self.clock.advance(self.lease() + MOMENT);
        ended.extend(self.sweep().await.ended);
        ended
    }

    async fn renew(&self, claims: &[&Claim], sighting: Option<Sighting>) -> Vec<OperationId> {
        let held: Vec<_> = claims
            .iter()
            .map(|claim| Held {
                id: claim.id(),
                token: claim.token(),
                sighting: sighting.clone(),
            })
            .collect();
        self.store.renew(&held).await.unwrap()
    }
}

/// Nobody knows whether the first attempt called the inner service: it is used up.
pub async fn a_lapsed_claim_is_taken_over_by_the_next_attempt(make: Make) {
    let subject = make(Wanted::default());
    let first = subject.accept_whole(Draft::attempts(2)).await;
    assert!(subject.lapse().await.is_empty());
    let second = subject.claim_one().await;
    assert_eq!((second.claim.id(), second.claim.attempt()), (first.id(), 2));
    assert_eq!(
        (second.record.attempt, second.record.phase()),
        (2, Phase::Accepted)
    );
    // Above all that the first may have shown, and the store was not told.
    assert!(second.record.revision >= Revision(0).next_in(2));
    assert_eq!(second.request.uri(), "/reports/7");
    assert_ne!(second.claim.token(), first.token());
}

/// What may be run once is not run twice.
pub async fn what_lapses_without_attempts_left_is_lost(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(1)).await;
    let ended = subject.lapse().await;
    let ended: Vec<_> = ended
        .iter()
        .map(|record| (record.id, record.phase()))
        .collect();
    assert_eq!(ended, [(claim.id(), LOST)]);
    assert_eq!(subject.phase(claim.id()).await, Some(LOST));
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
}

/// Whoever looks for work takes from nobody that it is lost.
pub async fn what_is_lost_is_told_once(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(1)).await;
    let mut ended = subject.sweep().await.ended;
    subject.clock.advance(subject.lease() + MOMENT);
    for _ in 0..3 {
        assert!(subject.claim_all(&Queue::default()).await.is_empty());
        ended.extend(subject.sweep().await.ended);
    }
    let ended: Vec<_> = ended
        .iter()
        .map(|record| (record.id, record.phase()))
        .collect();
    assert_eq!(ended, [(claim.id(), LOST)]);
}

/// What nobody else can run is lost.
pub async fn what_lapses_without_its_request_is_lost(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    subject.lapse().await;
    assert_eq!(subject.phase(claim.id()).await, Some(LOST));
}

/// A claim holds as long as it is renewed.
pub async fn what_is_renewed_does_not_lapse(make: Make) {
    let subject = make(Wanted::default());
    // However long a lease is, what was lost is still there to be looked at.
    let draft = Draft {
        keep_for: Some(subject.lease() * 10),
        ..Draft::attempts(1)
    };
    let kept = subject.accept_whole(draft.clone()).await;
    let lapsed = subject.accept_whole(draft).await;
    for _ in 0..6 {
        subject.sweep().await;
        subject.clock.advance(subject.lease() / 2);
        assert!(subject.renew(&[&kept], None).await.is_empty());
    }
    subject.sweep().await;
    assert_eq!(subject.phase(lapsed.id()).await, Some(LOST));
    done(subject.finish(&kept, subject.success(1)).await);
}

/// Who is late, and nobody has noticed, is in time.
pub async fn what_has_lapsed_holds_until_it_is_swept(make: Make) {
    let subject = make(Wanted::default());
    let [renewed, finished] = [
        subject.accept_whole(Draft::attempts(2)).await,
        subject.accept_whole(Draft::attempts(2)).await,
    ];
    subject.sweep().await;
    subject.clock.advance(subject.lease() * 2);
    assert!(subject.renew(&[&renewed], None).await.is_empty());
    done(subject.finish(&finished, subject.success(1)).await);
    subject.sweep().await;
    done(subject.finish(&renewed, subject.success(1)).await);
}

/// Readers elsewhere hear of what a renewal has told, and of what becomes of a claim that lapses.
pub async fn what_others_learn_is_hinted_at(make: Make) {
    let subject = make(Wanted::default());
    let mut changes = subject.store.changes();
    let mut heard = async |id| {
        let hint = async {
            let is_it = |change| change == Change::Operation(id) || change == Change::Resync;
            while !is_it(changes.next().await) {}
        };
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, hint).await.expect("a hint");
    };
    let claim = subject.accept_whole(Draft::attempts(2)).await;
    let seen = subject.started();
    assert!(subject.renew(&[&claim], Some(seen)).await.is_empty());
    heard(claim.id()).await;
    subject.lapse().await;
    heard(claim.id()).await;
    let Claimed { claim, .. } = subject.claim_one().await;
    subject.lapse().await;
    heard(claim.id()).await;
}

/// A process that slept through its lease can't undo what its successor does.
pub async fn who_was_taken_over_writes_nothing(make: Make) {
    let subject = make(Wanted::default());
    let first = subject.accept_whole(Draft::attempts(2)).await;
    subject.lapse().await;
    let second = subject.claim_one().await;
    let seen = subject.seen(100);
    assert_eq!(
        subject.renew(&[&first], Some(seen.clone())).await,
        [first.id()]
    );
    stands(
        subject
            .store
            .finish(&first, &seen, &mut Some(subject.success(3)))
            .await,
    );
    stands(
        subject
            .store
            .detach(&first, &seen, Duration::from_secs(9))
            .await,
    );
    stands(subject.store.release(&first, &seen).await);
    assert_eq!(subject.phase(first.id()).await, Some(Phase::Accepted));
    let seen = subject.seen(second.record.revision.0 + 1);
    let ended = subject
        .store
        .finish(&second.claim, &seen, &mut Some(subject.success(5)))
        .await;
    let ended = done(ended);
    assert_eq!(
        ended
            .ending()
            .unwrap()
            .response
            .as_ref()
            .unwrap()
            .body_len(),
        5
    );
    stands(subject.finish(&first, subject.success(3)).await);
}

/// Others see what the process that runs it has seen.
pub async fn a_renewal_takes_in_what_was_seen(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(1)).await;
    assert!(
        subject
            .renew(&[&claim], Some(subject.started()))
            .await
            .is_empty()
    );
    assert_eq!(subject.phase(claim.id()).await, Some(Phase::Running));
    // What was seen before is not seen again.
    assert!(
        subject
            .renew(&[&claim], Some(subject.unseen()))
            .await
            .is_empty()
    );
    assert_eq!(subject.phase(claim.id()).await, Some(Phase::Running));
}

/// Whoever runs what has been ended, or forgotten, is told so.
pub async fn a_renewal_tells_which_claims_are_void(make: Make) {
    let subject = make(Wanted::default());
    let mut claims = Vec::new();
    for _ in 0..4 {
        claims.push(subject.accept_whole(Draft::attempts(1)).await);
    }
    let [cancelled, completed, forgotten, holds] = &claims[..] else {
        unreachable!()
    };
    done(
        subject
            .complete(cancelled.id(), subject.stopped(Stop::Cancelled))
            .await,
    );
    done(subject.complete(completed.id(), subject.success(1)).await);
    done(subject.store.forget(forgotten.id(), Forget::Any).await);
    let mut void = subject
        .renew(&[cancelled, holds, completed, forgotten], None)
        .await;
    let mut expected = [cancelled.id(), completed.id(), forgotten.id()];
    void.sort();
    expected.sort();
    assert_eq!(void, expected);
    assert_eq!(subject.phase(completed.id()).await, Some(SUCCEEDED));
}

/// Nobody holds a claim that could lapse.
pub async fn what_was_detached_does_not_lapse(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(1)).await;
    let within = subject.lease() * 10;
    done(
        subject
            .store
            .detach(&claim, &subject.started(), within)
            .await,
    );
    assert!(subject.lapse().await.is_empty());
    assert_eq!(subject.phase(claim.id()).await, Some(Phase::Running));
}

/// Time in a queue is another matter than time without a heartbeat.
pub async fn what_waits_does_not_lapse(make: Make) {
    let subject = make(Wanted::default());
    let mut draft = Draft::attempts(1);
    draft.rerun.as_mut().unwrap().start_within = START_WITHIN + subject.lease() * 10;
    let id = subject.enqueue(draft).await;
    assert!(subject.lapse().await.is_empty());
    assert_eq!(subject.claim_one().await.record.id, id);
}

/// What kills whoever runs it, does so as often as it has attempts.
pub async fn what_has_lapsed_ends_after_its_attempts(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.enqueue(Draft::attempts(3)).await;
    for attempt in 1..=3 {
        assert_eq!(subject.claim_one().await.claim.attempt(), attempt);
        subject.lapse().await;
    }
    assert_eq!(subject.phase(id).await, Some(LOST));
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
}
