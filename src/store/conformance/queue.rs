//! Queues, claims, and giving them back.

use super::{Draft, MOMENT, Make, START_WITHIN, SUCCEEDED, Wanted, done, request, stands};
use crate::{
    record::{Content, OperationId, Outcome, Phase, Queue, Reason, Stop},
    store::{Change, Claimed, Created, Forget, Intent},
};
use http::Version;
use std::{collections::HashSet, num::NonZeroU16, sync::Arc, time::Duration};

fn ids(claimed: &[Claimed]) -> Vec<OperationId> {
    claimed.iter().map(|claimed| claimed.record.id).collect()
}

const NOT_STARTED: Phase = Phase::Ended(Outcome::Failed(Reason::NotStarted));

/// Whoever claims an operation gets its request whole.
pub async fn what_is_queued_is_claimed_with_its_request(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.enqueue(Draft::attempts(1)).await;
    assert_eq!(subject.phase(id).await, Some(Phase::Accepted));
    let Claimed {
        claim,
        record,
        request,
    } = subject.claim_one().await;
    assert_eq!((claim.id(), claim.attempt(), record.id), (id, 1, id));
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.uri(), "/reports/7");
    assert_eq!(request.original(), "https://example.com/api/reports/7");
    let [(name, value)] = &request.fields().collect::<Vec<_>>()[..] else {
        panic!("expected one field")
    };
    assert_eq!((name.as_str(), value.as_bytes()), ("x-custom", &b"1"[..]));
    assert_eq!(*request.body(), Content::Inline("some data".into()));
    assert_eq!(request.trailers().count(), 1);
    done(subject.finish(&claim, subject.success(1)).await);
    assert_eq!(subject.phase(id).await, Some(SUCCEEDED));
}

/// First come, first served, whatever number is asked for.
pub async fn the_oldest_is_claimed_first(make: Make) {
    let subject = make(Wanted::default());
    let mut created = Vec::new();
    for _ in 0..20 {
        created.push(subject.enqueue(Draft::attempts(2)).await);
    }
    let mut claimed = Vec::new();
    for _ in 0..2 {
        let some = subject
            .store
            .claim(&Queue::default(), NonZeroU16::new(10).unwrap())
            .await;
        claimed.extend(some.unwrap());
    }
    assert_eq!(ids(&claimed), created);
    // What is released is as old as before.
    for claimed in [&claimed[7], &claimed[3]] {
        done(
            subject
                .store
                .release(&claimed.claim, &subject.unseen())
                .await,
        );
    }
    let newer = subject.enqueue(Draft::attempts(2)).await;
    let again = subject.claim_all(&Queue::default()).await;
    assert_eq!(ids(&again), [created[3], created[7], newer]);
}

/// At most as many as there is use for.
pub async fn no_more_are_claimed_than_asked_for(make: Make) {
    let subject = make(Wanted::default());
    for _ in 0..3 {
        subject.enqueue(Draft::attempts(1)).await;
    }
    let claim = async |most| {
        let most = NonZeroU16::new(most).unwrap();
        subject
            .store
            .claim(&Queue::default(), most)
            .await
            .unwrap()
            .len()
    };
    assert_eq!([claim(2).await, claim(2).await, claim(2).await], [2, 1, 0]);
}

/// One worker's queue is not another's.
pub async fn queues_are_apart(make: Make) {
    let subject = make(Wanted::default());
    let large = subject.enqueue(Draft::queue("large")).await;
    let small = subject.enqueue(Draft::queue("small")).await;
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
    assert_eq!(ids(&subject.claim_all(&"small".into()).await), [small]);
    assert_eq!(ids(&subject.claim_all(&"large".into()).await), [large]);
}

/// A repeat, as after an uncertain answer, queues nothing twice.
pub async fn what_is_queued_is_kept_once(make: Make) {
    let subject = make(Wanted::default());
    let record = subject.draw(Draft::attempts(1));
    let create = async || {
        let request = request();
        let created = subject.store.create(&record, Intent::Queue(&request)).await;
        assert!(matches!(created, Ok(Created::Queued)), "{created:?}");
    };
    create().await;
    create().await;
    let claimed = subject.claim_one().await;
    create().await;
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
    done(subject.finish(&claimed.claim, subject.success(1)).await);
    create().await;
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
}

/// What is claimed is nobody else's.
pub async fn what_is_claimed_is_claimed_once(make: Make) {
    let subject = make(Wanted::default());
    subject.enqueue(Draft::attempts(3)).await;
    subject.claim_one().await;
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
}

/// What was cancelled, completed or forgotten while it waited runs nowhere.
pub async fn what_has_ended_is_not_claimed(make: Make) {
    let subject = make(Wanted::default());
    let cancelled = subject.enqueue(Draft::attempts(1)).await;
    let completed = subject.enqueue(Draft::attempts(1)).await;
    let forgotten = subject.enqueue(Draft::attempts(1)).await;
    done(
        subject
            .complete(cancelled, subject.stopped(Stop::Cancelled))
            .await,
    );
    done(subject.complete(completed, subject.success(1)).await);
    done(subject.store.forget(forgotten, Forget::Any).await);
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
}

/// Who accepted it runs it.
pub async fn what_is_run_by_its_maker_is_not_claimed(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(3)).await;
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
    done(subject.finish(&claim, subject.success(1)).await);
}

/// Its end comes from elsewhere: nobody runs it again.
pub async fn what_was_detached_is_not_claimed(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(3)).await;
    let within = Duration::from_secs(1_000);
    done(
        subject
            .store
            .detach(&claim, &subject.started(), within)
            .await,
    );
    stands(subject.store.release(&claim, &subject.started()).await);
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
    subject.clock.advance(within);
    let [ended] = &subject.sweep().await.ended[..] else {
        panic!("expected one end")
    };
    assert_eq!(
        ended.phase(),
        Phase::Ended(Outcome::Failed(Reason::TimedOut))
    );
}

/// What did not begin is run by the same attempt, under another claim.
pub async fn what_is_released_is_claimed_anew(make: Make) {
    let subject = make(Wanted::default());
    let first = subject.accept_whole(Draft::attempts(1)).await;
    let before = first.attempt();
    let released = done(subject.store.release(&first, &subject.unseen()).await);
    assert_eq!(
        (released.phase(), released.attempt),
        (Phase::Accepted, before)
    );
    let Claimed { claim, request, .. } = subject.claim_one().await;
    assert_eq!((claim.id(), claim.attempt()), (first.id(), before));
    assert_ne!(claim.token(), first.token());
    assert_eq!(request.uri(), "/reports/7");
    // The first is void.
    stands(subject.finish(&first, subject.success(1)).await);
    stands(subject.store.release(&first, &subject.unseen()).await);
    done(subject.finish(&claim, subject.success(1)).await);
}

/// What has begun is run by the next attempt, and is no longer shown as running.
pub async fn what_has_begun_uses_an_attempt(make: Make) {
    let subject = make(Wanted::default());
    let first = subject.accept_whole(Draft::attempts(2)).await;
    let seen = subject.started();
    let released = done(subject.store.release(&first, &seen).await);
    assert_eq!((released.phase(), released.attempt), (Phase::Accepted, 2));
    assert_eq!(released.started, None);
    assert!(released.revision > seen.revision);
    let second = subject.claim_one().await;
    assert_eq!(second.claim.attempt(), 2);
    assert_eq!(second.record.attempt, 2);
    let seen = subject.seen(second.record.revision.0 + 1);
    let ending = subject.success(1);
    let ended = subject
        .store
        .finish(&second.claim, &seen, &mut Some(ending))
        .await;
    assert_eq!(done(ended).attempt, 2);
}

/// What may be run once is not run twice.
pub async fn what_has_no_attempts_left_is_not_released(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(1)).await;
    let stood = stands(subject.store.release(&claim, &subject.started()).await);
    assert_eq!(stood.phase(), Phase::Accepted);
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
    done(subject.finish(&claim, subject.success(1)).await);
}

/// What nobody else can run stays with who runs it.
pub async fn what_has_no_request_is_not_released(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept(Draft::default()).await;
    stands(subject.store.release(&claim, &subject.unseen()).await);
    done(subject.finish(&claim, subject.success(1)).await);
}

/// Of an end, or of another's claim, nothing is taken back.
pub async fn a_claim_that_is_void_releases_nothing(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(3)).await;
    done(subject.finish(&claim, subject.success(1)).await);
    let stood = stands(subject.store.release(&claim, &subject.started()).await);
    assert_eq!(stood.phase(), SUCCEEDED);
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
}

/// Nothing waits for ever.
pub async fn what_nobody_claims_in_time_ends(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.enqueue(Draft::attempts(3)).await;
    subject.clock.advance(START_WITHIN - MOMENT);
    assert!(subject.sweep().await.ended.is_empty());
    subject.clock.advance(MOMENT);
    let swept = subject.sweep().await;
    let [ended] = &swept.ended[..] else {
        panic!("expected one end, got {swept:?}")
    };
    assert_eq!((ended.id, ended.phase()), (id, NOT_STARTED));
    assert_eq!(subject.phase(id).await, Some(NOT_STARTED));
    assert!(subject.claim_all(&Queue::default()).await.is_empty());
}

/// Whoever claims comes too late, and takes from nobody that it has ended.
pub async fn what_was_not_claimed_in_time_is_told_once(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.enqueue(Draft::attempts(3)).await;
    subject.clock.advance(START_WITHIN);
    let mut ended = Vec::new();
    for _ in 0..3 {
        assert!(subject.claim_all(&Queue::default()).await.is_empty());
        ended.extend(subject.sweep().await.ended);
    }
    let ended: Vec<_> = ended.iter().map(|record| record.id).collect();
    assert_eq!(ended, [id]);
}

/// What was claimed is for its holder to start.
pub async fn what_is_claimed_in_time_goes_on(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.enqueue(Draft::attempts(1)).await;
    subject.clock.advance(START_WITHIN - MOMENT);
    let Claimed { claim, .. } = subject.claim_one().await;
    subject.clock.advance(MOMENT);
    assert!(subject.sweep().await.ended.is_empty());
    assert_eq!(subject.phase(id).await, Some(Phase::Accepted));
    done(subject.finish(&claim, subject.success(1)).await);
}

/// What was given back waits as long as a new one.
pub async fn what_is_released_may_start_as_late_as_anew(make: Make) {
    let subject = make(Wanted::default());
    let claim = subject.accept_whole(Draft::attempts(1)).await;
    subject.clock.advance(MOMENT);
    done(subject.store.release(&claim, &subject.unseen()).await);
    subject.clock.advance(START_WITHIN - MOMENT);
    assert!(subject.sweep().await.ended.is_empty());
    subject.clock.advance(MOMENT);
    let swept = subject.sweep().await;
    let ended: Vec<_> = swept.ended.iter().map(|record| record.phase()).collect();
    assert_eq!(ended, [NOT_STARTED]);
}

/// Workers hear that there is something for them.
pub async fn what_can_be_claimed_is_hinted_at(make: Make) {
    let subject = make(Wanted::default());
    let mut changes = subject.store.changes();
    let mut heard = async || {
        let hint =
            async { while !matches!(changes.next().await, Change::Claimable | Change::Resync) {} };
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, hint).await.expect("a hint");
    };
    subject.enqueue(Draft::attempts(1)).await;
    heard().await;
    let Claimed { claim, .. } = subject.claim_one().await;
    done(subject.store.release(&claim, &subject.unseen()).await);
    heard().await;
}

/// However many workers there are, each operation is claimed by one.
pub async fn racing_claims_share(make: Make) {
    let subject = Arc::new(make(Wanted::default()));
    let mut created = HashSet::new();
    for _ in 0..100 {
        created.insert(subject.enqueue(Draft::attempts(1)).await);
    }
    let workers = (0..8).map(|_| {
        let subject = subject.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let some = subject
                    .store
                    .claim(&Queue::default(), NonZeroU16::new(3).unwrap())
                    .await;
                let some = some.unwrap();
                if some.is_empty() {
                    return mine;
                }
                mine.extend(ids(&some));
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
