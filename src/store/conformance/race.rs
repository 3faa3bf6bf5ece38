//! Races: run by the macro on several threads.

use super::{Draft, KEEP_FOR, Make, SUCCEEDED, Wanted, done};
use crate::{
    record::{Phase, Record, Stop},
    store::{Created, Forget, Intent, Lookup, Settled, StoreError},
};
use std::{future::Future, sync::Arc};
use tokio::sync::Barrier;

const ROUNDS: usize = 200;

/// Does something `count` times at once.
pub(super) async fn at_once<F>(count: usize, act: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let gate = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|index| {
            let (gate, act) = (gate.clone(), act(index));
            tokio::spawn(async move {
                gate.wait().await;
                act.await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

/// Of many creates with one key one is new, and all others are told of it.
pub async fn racing_creates_of_one_key_make_one(make: Make) {
    for round in 0..ROUNDS / 10 {
        let subject = Arc::new(make(Wanted::default()));
        let created = at_once(100, {
            let subject = subject.clone();
            move |_| {
                let subject = subject.clone();
                async move {
                    subject
                        .create(Draft::key(&round.to_string()))
                        .await
                        .unwrap()
                }
            }
        })
        .await;
        let mut new = Vec::new();
        let mut told = Vec::new();
        for created in created {
            match created {
                Created::Queued => panic!("it was not to be queued"),
                Created::New(claim) => new.push(claim.id()),
                Created::Existing(record) => told.push(record.id),
                Created::Gone => panic!("nothing is gone"),
            }
        }
        assert_eq!((new.len(), told.len()), (1, 99));
        assert!(told.iter().all(|id| *id == new[0]));
        assert_eq!(subject.store.usage().operations, 1);
    }
}

/// Of many creates of one id all get the same claim.
pub async fn racing_creates_of_one_id_make_one(make: Make) {
    for _ in 0..ROUNDS / 10 {
        let subject = Arc::new(make(Wanted::default()));
        let record = subject.draw(Draft::owner("alice"));
        let created = at_once(20, {
            let subject = subject.clone();
            move |_| {
                let (subject, record) = (subject.clone(), record.clone());
                async move {
                    super::Subject::new_claim(
                        subject.store.create(&record, Intent::Run(None)).await,
                    )
                }
            }
        })
        .await;
        assert!(created.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(subject.store.usage().operations, 1);
    }
}

/// Whatever races, an operation ends once: one verb did it, and all others are told of the same end.
pub async fn an_operation_ends_once_whatever_races(make: Make) {
    let subject = Arc::new(make(Wanted::default()));
    for _ in 0..ROUNDS {
        let claim = Arc::new(subject.accept(Draft::default()).await);
        let id = claim.id();
        let settled = at_once(8, |index| {
            let (subject, claim) = (subject.clone(), claim.clone());
            async move {
                match index {
                    0 | 1 => subject.finish(&claim, subject.success(10)).await,
                    2 | 3 => subject.complete(id, subject.success(20)).await,
                    4 | 5 => subject.complete(id, subject.stopped(Stop::Cancelled)).await,
                    6 => {
                        subject.sweep().await;
                        subject
                            .complete(id, subject.stopped(Stop::Interrupted))
                            .await
                    }
                    _ => {
                        subject
                            .finish(&claim, subject.stopped(Stop::Panicked))
                            .await
                    }
                }
            }
        })
        .await;
        let ends = one_did_it(settled);
        let Lookup::Found(record) = subject.find(id).await else {
            panic!("lost")
        };
        assert!(ends.iter().all(|end| is_same(end, &record)));
        done(subject.store.forget(id, Forget::Ended).await);
    }
    let usage = subject.store.usage();
    assert_eq!((usage.operations, usage.bytes, usage.unread), (0, 0, 0));
}

fn is_same(one: &Record, other: &Record) -> bool {
    (one.phase(), one.revision, one.size()) == (other.phase(), other.revision, other.size())
}

/// What all were told, when one of them did it.
fn one_did_it(settled: Vec<Result<Settled, StoreError>>) -> Vec<Arc<Record>> {
    let mut winners = 0;
    let ends = settled
        .into_iter()
        .map(|settled| match settled.unwrap() {
            Settled::Done(record) => {
                winners += 1;
                record
            }
            Settled::Stands(record) => record,
            Settled::Unknown => panic!("lost"),
        })
        .collect();
    assert_eq!(winners, 1);
    ends
}

/// An operation is forgotten once, and never before its end.
pub async fn an_operation_is_forgotten_once_and_after_its_end(make: Make) {
    let subject = Arc::new(make(Wanted::default()));
    for _ in 0..ROUNDS {
        let claim = Arc::new(subject.accept(Draft::key("k")).await);
        let id = claim.id();
        let settled = at_once(6, |index| {
            let (subject, claim) = (subject.clone(), claim.clone());
            async move {
                if index == 0 {
                    subject.finish(&claim, subject.success(10)).await
                } else {
                    subject.store.mark_read(id);
                    subject.store.forget(id, Forget::Ended).await
                }
            }
        })
        .await;
        let mut forgotten = 0;
        for (index, settled) in settled.into_iter().enumerate() {
            match settled.unwrap() {
                Settled::Done(record) => {
                    assert_eq!(record.phase(), SUCCEEDED);
                    forgotten += usize::from(index != 0);
                }
                Settled::Stands(record) => assert_eq!(record.phase(), Phase::Accepted),
                Settled::Unknown => assert_ne!(index, 0, "forgotten before its end"),
            }
        }
        assert!(forgotten <= 1);
        assert_eq!(subject.is_gone(id).await, forgotten == 1);
        if forgotten == 0 {
            done(subject.store.forget(id, Forget::Ended).await);
        }
        subject.clock.advance(super::TOMBSTONE_FOR);
        subject.sweep().await;
    }
    let usage = subject.store.usage();
    assert_eq!(
        (
            usage.operations,
            usage.bytes,
            usage.unread,
            usage.tombstones
        ),
        (0, 0, 0, 0)
    );
}

/// A completion that races with the deadline of a detached operation ends it once.
pub async fn a_completion_races_with_the_deadline(make: Make) {
    let subject = Arc::new(make(Wanted::default()));
    for _ in 0..ROUNDS {
        let claim = subject.accept(Draft::default()).await;
        let id = claim.id();
        done(
            subject
                .store
                .detach(&claim, &subject.started(), KEEP_FOR)
                .await,
        );
        subject.clock.advance(KEEP_FOR);
        let ended = at_once(4, |index| {
            let subject = subject.clone();
            async move {
                if index % 2 == 0 {
                    subject.sweep().await.ended.len()
                } else {
                    let settled = subject.complete(id, subject.success(1)).await;
                    usize::from(matches!(settled, Ok(Settled::Done(_))))
                }
            }
        })
        .await;
        assert_eq!(ended.iter().sum::<usize>(), 1, "{ended:?}");
        done(subject.store.forget(id, Forget::Ended).await);
    }
}

/// Expiry, forgetting, reading and room-making at once leave nothing behind.
pub async fn nothing_is_left_behind(make: Make) {
    let subject = Arc::new(make(Wanted {
        operations: 50,
        bytes: 1_000,
        ..Wanted::default()
    }));
    at_once(8, |index| {
        let subject = subject.clone();
        async move {
            for step in 0..ROUNDS {
                let draft = match step % 3 {
                    0 => Draft::owner("alice"),
                    1 => Draft::key(&format!("{index} {step}")),
                    _ => Draft::default(),
                };
                if let Ok(Created::New(claim)) = subject.create(draft).await {
                    let finished = subject.finish(&claim, subject.success(step % 40)).await;
                    if finished.is_err() {
                        let stop = subject.stopped(Stop::TooLarge);
                        done(subject.finish(&claim, stop).await);
                    }
                    subject.store.mark_read(claim.id());
                    if step % 5 == 0 {
                        let _ = subject.store.forget(claim.id(), Forget::Ended).await;
                    }
                }
                if step % 50 == 0 {
                    subject.clock.advance(KEEP_FOR);
                    subject.sweep().await;
                }
            }
        }
    })
    .await;
    subject.clock.advance(KEEP_FOR);
    subject.sweep().await;
    subject.clock.advance(super::TOMBSTONE_FOR);
    let swept = subject.sweep().await;
    assert_eq!(swept.next, None);
    let usage = subject.store.usage();
    assert_eq!(
        (
            usage.operations,
            usage.bytes,
            usage.unread,
            usage.tombstones
        ),
        (0, 0, 0, 0)
    );
}
