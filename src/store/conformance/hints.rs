//! Hints of changes.

use super::{Draft, KEEP_FOR, Make, TOMBSTONE_FOR, Wanted, done};
use crate::{
    record::{OperationId, Stop},
    store::{Change, Changes, Forget},
};
use std::{collections::HashSet, future::poll_fn, task::Poll, time::Duration};

/// A store elsewhere may take its time; one that never hints fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until every one of `ids` was hinted at, or everything was.
async fn hears_of(changes: &mut dyn Changes, ids: &[OperationId]) {
    let mut missing: HashSet<_> = ids.iter().copied().collect();
    let heard = async {
        while !missing.is_empty() {
            match changes.next().await {
                Change::Operation(id) => drop(missing.remove(&id)),
                Change::Claimable => {}
                Change::Resync => missing.clear(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("a hint");
}

/// Whatever changes an operation, its readers hear of it.
pub async fn every_change_is_hinted_at(make: Make) {
    let subject = make(Wanted::default());
    let mut changes = subject.store.changes();

    let finished = subject.ended(Draft::default(), 1).await;
    hears_of(&mut *changes, &[finished]).await;

    let claim = subject.accept(Draft::default()).await;
    done(
        subject
            .complete(claim.id(), subject.stopped(Stop::Cancelled))
            .await,
    );
    hears_of(&mut *changes, &[claim.id()]).await;

    done(subject.store.forget(finished, Forget::Ended).await);
    hears_of(&mut *changes, &[finished]).await;

    let detached = subject.accept(Draft::default()).await;
    done(
        subject
            .store
            .detach(&detached, &subject.started(), TOMBSTONE_FOR)
            .await,
    );
    hears_of(&mut *changes, &[detached.id()]).await;

    let released = subject.accept_whole(Draft::attempts(2)).await;
    done(subject.store.release(&released, &subject.started()).await);
    hears_of(&mut *changes, &[released.id()]).await;

    subject.clock.advance(KEEP_FOR);
    subject.sweep().await;
    hears_of(&mut *changes, &[claim.id()]).await;

    subject.clock.advance(TOMBSTONE_FOR);
    subject.sweep().await;
    hears_of(&mut *changes, &[detached.id()]).await;
}

/// Every subscriber hears of a change; one that is gone does no harm.
pub async fn every_subscriber_hears(make: Make) {
    let subject = make(Wanted::default());
    let mut changes = [
        subject.store.changes(),
        subject.store.changes(),
        subject.store.changes(),
    ];
    let id = subject.ended(Draft::default(), 1).await;
    for changes in &mut changes {
        hears_of(&mut **changes, &[id]).await;
    }
    let [mut one, ..] = changes;
    let id = subject.ended(Draft::default(), 1).await;
    hears_of(&mut *one, &[id]).await;
}

/// A subscriber that falls behind is told so rather than left in the dark.
pub async fn whoever_falls_behind_is_told(make: Make) {
    let subject = make(Wanted::default());
    let mut changes = subject.store.changes();
    let mut ids = Vec::new();
    for _ in 0..5_000 {
        ids.push(subject.ended(Draft::default(), 1).await);
    }
    hears_of(&mut *changes, &ids).await;
    let last = subject.ended(Draft::default(), 1).await;
    hears_of(&mut *changes, &[last]).await;
}

/// Dropping the wait for a hint loses none.
pub async fn a_dropped_wait_loses_no_hint(make: Make) {
    let subject = make(Wanted::default());
    let mut changes = subject.store.changes();
    for _ in 0..10 {
        let mut wait = changes.next();
        poll_fn(|cx| {
            let _ = wait.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
        drop(wait);
        let id = subject.ended(Draft::default(), 1).await;
        hears_of(&mut *changes, &[id]).await;
    }
}

/// A task that waits is woken.
pub async fn a_hint_wakes(make: Make) {
    let subject = make(Wanted::default());
    let mut changes = subject.store.changes();
    let claim = subject.accept(Draft::default()).await;
    let id = claim.id();
    let reader = tokio::spawn(async move { hears_of(&mut *changes, &[id]).await });
    tokio::task::yield_now().await;
    done(subject.finish(&claim, subject.success(1)).await);
    reader.await.unwrap();
}
