//! Creating and finding.

use super::{Draft, MOMENT, Make, Subject, TOMBSTONE_FOR, Wanted, done};
use crate::{
    record::{OperationId, Owner, Phase, Record, Report, UniqueKey},
    store::{Created, Forget, Intent, Lookup},
};
use std::sync::Arc;

/// What was created is found, as it was given.
pub async fn what_was_created_is_found(make: Make) {
    let subject = make(Wanted::default());
    let mut record = Record::clone(&subject.draw(Draft::owner("alice")));
    let report = Report {
        retry_after: Some(MOMENT),
        ..Report::default()
    };
    record.report = Some(Arc::new(report));
    Arc::make_mut(&mut record.submission).note = Some("brief".into());
    let record = Arc::new(record);
    let claim = Subject::new_claim(subject.store.create(&record, Intent::Run(None)).await);
    assert_eq!((claim.id(), claim.attempt()), (record.id, 1));
    let Lookup::Found(found) = subject.find(record.id).await else {
        panic!("not found")
    };
    assert_eq!(found.id, record.id);
    assert_eq!(found.revision, record.revision);
    assert_eq!(found.phase(), Phase::Accepted);
    assert_eq!(found.created, record.created);
    assert_eq!(found.expires(), None);
    assert_eq!(found.submission.owner, Some(Owner::new("alice")));
    assert_eq!(found.submission.target, record.submission.target);
    assert_eq!(found.submission.keep_for, record.submission.keep_for);
    assert_eq!(found.submission.note, record.submission.note);
    let report = found.report.as_ref().expect("what was said of it");
    assert_eq!(report.retry_after, Some(MOMENT));
    assert_eq!(subject.store.usage().operations, 1);
}

/// An id that never was is unknown.
pub async fn an_id_that_never_was_is_unknown(make: Make) {
    let subject = make(Wanted::default());
    subject.accept(Draft::default()).await;
    assert!(subject.is_unknown(OperationId::random()).await);
}

/// Creating again what is there gives the same claim and keeps nothing twice.
pub async fn create_is_idempotent_on_the_id(make: Make) {
    let subject = make(Wanted::default());
    let record = subject.draw(Draft::key("k"));
    let first = Subject::new_claim(subject.store.create(&record, Intent::Run(None)).await);
    let second = Subject::new_claim(subject.store.create(&record, Intent::Run(None)).await);
    assert_eq!(first, second);
    assert_eq!(subject.store.usage().operations, 1);
}

/// Creating again what has ended, or was detached, gives no claim.
pub async fn create_gives_no_claim_that_is_void(make: Make) {
    let subject = make(Wanted::default());
    for detach in [false, true] {
        let record = subject.draw(Draft::default());
        let claim = Subject::new_claim(subject.store.create(&record, Intent::Run(None)).await);
        if detach {
            done(
                subject
                    .store
                    .detach(&claim, &subject.started(), TOMBSTONE_FOR)
                    .await,
            );
        } else {
            done(subject.finish(&claim, subject.success(1)).await);
        }
        match subject.store.create(&record, Intent::Run(None)).await {
            Ok(Created::Existing(found)) => assert_eq!(found.id, record.id),
            other => panic!("expected the existing one, got {other:?}"),
        }
    }
}

/// An id that is gone is not kept again.
pub async fn create_does_not_revive_what_is_gone(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::default(), 1).await;
    done(subject.store.forget(id, Forget::Ended).await);
    assert!(matches!(
        subject.create(Draft::id(id)).await,
        Ok(Created::Gone)
    ));
    assert!(subject.is_gone(id).await);
}

/// Once its tombstone has fallen an id is a new one's, whom the sweep of what is left of the first does no harm.
pub async fn an_id_is_free_after_the_tombstone(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::default(), 1).await;
    done(subject.store.forget(id, Forget::Ended).await);
    subject.clock.advance(TOMBSTONE_FOR + MOMENT);
    let again = subject.accept(Draft::id(id)).await;
    subject.sweep().await;
    assert_eq!(subject.phase(id).await, Some(Phase::Accepted));
    done(subject.finish(&again, subject.success(1)).await);
}

/// A key belongs to the operation that first had it, pending or ended.
pub async fn a_key_belongs_to_the_first(make: Make) {
    let subject = make(Wanted::default());
    let first = subject.accept(Draft::key("k")).await;
    for end in [false, true] {
        if end {
            done(subject.finish(&first, subject.success(1)).await);
        }
        match subject.create(Draft::key("k")).await {
            Ok(Created::Existing(found)) => assert_eq!(found.id, first.id()),
            other => panic!("expected the first, got {other:?}"),
        }
        match subject.store.find_key(&UniqueKey::shared("k")).await {
            Ok(Lookup::Found(found)) => assert_eq!(found.id, first.id()),
            other => panic!("expected the first, got {other:?}"),
        }
    }
    assert_eq!(subject.store.usage().operations, 1);
    subject.accept(Draft::key("other")).await;
    let nobody = subject.store.find_key(&UniqueKey::shared("nobody")).await;
    assert!(matches!(nobody, Ok(Lookup::Unknown)));
}

/// A key lives as long as the record and its tombstone, and is free from then on.
pub async fn a_key_lives_as_long_as_the_tombstone(make: Make) {
    let subject = make(Wanted::default());
    let key = UniqueKey::shared("k");
    let id = subject.ended(Draft::key("k"), 1).await;
    done(subject.store.forget(id, Forget::Ended).await);
    assert!(matches!(
        subject.create(Draft::key("k")).await,
        Ok(Created::Gone)
    ));
    let gone = subject.store.find_key(&key).await;
    assert!(matches!(gone, Ok(Lookup::Gone { owner: None })));
    subject.clock.advance(TOMBSTONE_FOR);
    assert!(matches!(
        subject.store.find_key(&key).await,
        Ok(Lookup::Unknown)
    ));
    let again = subject.accept(Draft::key("k")).await;
    // What is left of the first must not take the key from the second.
    subject.sweep().await;
    match subject.store.find_key(&key).await {
        Ok(Lookup::Found(found)) => assert_eq!(found.id, again.id()),
        other => panic!("expected the second, got {other:?}"),
    }
}

/// A key whose tombstone was swept is free.
pub async fn a_key_is_free_after_the_sweep(make: Make) {
    let subject = make(Wanted::default());
    let id = subject.ended(Draft::key("k"), 1).await;
    done(subject.store.forget(id, Forget::Ended).await);
    subject.clock.advance(TOMBSTONE_FOR);
    subject.sweep().await;
    assert_ne!(subject.accept(Draft::key("k")).await.id(), id);
}

/// A key that names the request itself ends with the record: it is taken over from a tombstone, for good.
pub async fn a_tombstone_keeps_no_key_of_a_request_itself(make: Make) {
    let subject = make(Wanted::default());
    let key = UniqueKey::shared("k");
    let draw = || {
        let mut record = Record::clone(&subject.draw(Draft::key("k")));
        if let Some(used) = &mut Arc::make_mut(&mut record.submission).key {
            used.fingerprint = None;
        }
        Arc::new(record)
    };
    let (first, second) = (draw(), draw());
    let claim = Subject::new_claim(subject.store.create(&first, Intent::Run(None)).await);
    match subject.store.create(&second, Intent::Run(None)).await {
        Ok(Created::Existing(found)) => assert_eq!(found.id, first.id),
        other => panic!("expected the first, got {other:?}"),
    }
    done(subject.finish(&claim, subject.success(1)).await);
    done(subject.store.forget(first.id, Forget::Ended).await);
    Subject::new_claim(subject.store.create(&second, Intent::Run(None)).await);
    assert!(subject.is_gone(first.id).await);
    subject.clock.advance(TOMBSTONE_FOR);
    subject.sweep().await;
    match subject.store.find_key(&key).await {
        Ok(Lookup::Found(found)) => assert_eq!(found.id, second.id),
        other => panic!("expected the second, got {other:?}"),
    }
}
