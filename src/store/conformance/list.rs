//! Listing.

use super::{Draft, KEEP_FOR, MOMENT, Make, Subject, Wanted, done};
use crate::{
    record::{OperationId, Owner, Stop},
    store::{Forget, ListQuery, Page, StateSet},
};
use std::num::NonZeroU16;

fn ids(page: &Page) -> Vec<OperationId> {
    page.records.iter().map(|record| record.id).collect()
}

/// All pages, one after the other; `between` is done after each.
async fn read_on(
    subject: &Subject,
    mut query: ListQuery,
    mut between: impl AsyncFnMut(),
) -> Vec<OperationId> {
    let mut all = Vec::new();
    for _ in 0..10_000 {
        let page = subject.store.list(&query).await.unwrap();
        assert!(page.records.len() <= usize::from(query.limit.get()));
        all.extend(ids(&page));
        let Some(next) = page.next else { return all };
        query.after = Some(next);
        between().await;
    }
    panic!("the list does not end");
}

fn by(limit: u16, query: ListQuery) -> ListQuery {
    ListQuery {
        limit: NonZeroU16::new(limit).unwrap(),
        ..query
    }
}

async fn create_many(subject: &Subject, count: usize, draft: &Draft) -> Vec<OperationId> {
    let mut created = Vec::new();
    for _ in 0..count {
        created.push(subject.accept(draft.clone()).await.id());
    }
    created.reverse();
    created
}

/// The newest comes first.
pub async fn a_list_shows_the_newest_first(make: Make) {
    let subject = make(Wanted::default());
    let created = create_many(&subject, 100, &Draft::default()).await;
    let page = subject.store.list(&ListQuery::all()).await.unwrap();
    assert_eq!(ids(&page), created[..20]);
    assert!(page.next.is_some());
    let page = subject
        .store
        .list(&by(100, ListQuery::all()))
        .await
        .unwrap();
    assert_eq!(ids(&page), created);
    assert_eq!(page.next, None);
}

/// An empty store has an empty list, with no more to come.
pub async fn a_list_may_be_empty(make: Make) {
    let subject = make(Wanted::default());
    for query in [ListQuery::all(), ListQuery::of(Owner::new("alice"))] {
        let page = subject.store.list(&query).await.unwrap();
        assert!(page.records.is_empty() && page.next.is_none());
    }
}

/// Pages follow one another with nothing lost or shown twice.
pub async fn pages_follow_one_another(make: Make) {
    let subject = make(Wanted::default());
    let created = create_many(&subject, 101, &Draft::owner("alice")).await;
    for limit in [1, 7, 50, 100, 101, 1_000] {
        for query in [ListQuery::all(), ListQuery::of(Owner::new("alice"))] {
            assert_eq!(
                read_on(&subject, by(limit, query), async || {}).await,
                created,
                "{limit}"
            );
        }
    }
}

/// An owner sees his own, and no one else's.
pub async fn an_owner_sees_only_his_own(make: Make) {
    let subject = make(Wanted::default());
    let mut of_alice = Vec::new();
    for _ in 0..50 {
        create_many(&subject, 1, &Draft::owner("bob")).await;
        of_alice.extend(create_many(&subject, 1, &Draft::owner("alice")).await);
        create_many(&subject, 1, &Draft::default()).await;
    }
    of_alice.reverse();
    let query = by(3, ListQuery::of(Owner::new("alice")));
    assert_eq!(read_on(&subject, query, async || {}).await, of_alice);
    let nobody = subject
        .store
        .list(&ListQuery::of(Owner::new("carol")))
        .await
        .unwrap();
    assert!(nobody.records.is_empty());
}

/// A filter on states lets through those and no others.
pub async fn a_list_is_filtered_by_state(make: Make) {
    let subject = make(Wanted::default());
    let owner = || Draft::owner("alice");
    let accepted = subject.accept(owner()).await.id();
    let running = subject.accept(owner()).await;
    done(
        subject
            .store
            .detach(&running, &subject.started(), KEEP_FOR)
            .await,
    );
    let succeeded = subject.ended(owner(), 1).await;
    let mut stopped = Vec::new();
    for stop in [Stop::Panicked, Stop::Cancelled] {
        let claim = subject.accept(owner()).await;
        done(subject.finish(&claim, subject.stopped(stop)).await);
        stopped.push(claim.id());
    }
    let cases = [
        (vec!["accepted"], vec![accepted]),
        (vec!["running"], vec![running.id()]),
        (vec!["succeeded"], vec![succeeded]),
        (vec!["failed"], vec![stopped[0]]),
        (vec!["cancelled"], vec![stopped[1]]),
        (vec!["accepted", "cancelled"], vec![stopped[1], accepted]),
        (vec![], vec![]),
    ];
    for (names, expected) in cases {
        let mut states = StateSet::default();
        for name in &names {
            states = states.with_name(name).unwrap();
        }
        for query in [ListQuery::all(), ListQuery::of(Owner::new("alice"))] {
            let query = ListQuery {
                states: Some(states),
                ..by(1, query)
            };
            assert_eq!(
                read_on(&subject, query, async || {}).await,
                expected,
                "{names:?}"
            );
        }
    }
}

/// A filter that few pass does not end the list early.
pub async fn a_sparse_list_is_read_to_its_end(make: Make) {
    let subject = make(Wanted::default());
    let first = subject.ended(Draft::owner("alice"), 1).await;
    create_many(&subject, 3_000, &Draft::owner("alice")).await;
    let last = subject.ended(Draft::owner("alice"), 1).await;
    let states = StateSet::default().with_name("succeeded");
    for query in [ListQuery::all(), ListQuery::of(Owner::new("alice"))] {
        let query = ListQuery { states, ..query };
        assert_eq!(read_on(&subject, query, async || {}).await, [last, first]);
    }
}

/// A cursor holds though what it points at, and much around it, is gone.
pub async fn a_cursor_outlives_what_it_points_at(make: Make) {
    let subject = make(Wanted::default());
    for query in [ListQuery::all(), ListQuery::of(Owner::new("alice"))] {
        let mut created = Vec::new();
        for _ in 0..60 {
            created.push(subject.ended(Draft::owner("alice"), 1).await);
        }
        created.reverse();
        let page = subject.store.list(&by(10, query.clone())).await.unwrap();
        assert_eq!(ids(&page), created[..10]);
        for id in created[5..15].iter().chain(&created[20..]) {
            done(subject.store.forget(*id, Forget::Ended).await);
        }
        let rest = ListQuery {
            after: page.next,
            ..query
        };
        assert_eq!(read_on(&subject, rest, async || {}).await, created[15..20]);
        for id in created[..5].iter().chain(&created[15..20]) {
            done(subject.store.forget(*id, Forget::Ended).await);
        }
    }
}

/// What is created while somebody reads on does not come into the pages that follow.
pub async fn what_is_new_does_not_come_into_later_pages(make: Make) {
    let subject = make(Wanted::default());
    let created = create_many(&subject, 50, &Draft::owner("alice")).await;
    for query in [ListQuery::all(), ListQuery::of(Owner::new("alice"))] {
        let before = subject.store.list(&by(1_000, query.clone())).await.unwrap();
        let add = async || {
            subject.clock.advance(MOMENT);
            create_many(&subject, 3, &Draft::owner("alice")).await;
        };
        let read = read_on(&subject, by(7, query), add).await;
        assert_eq!(read, ids(&before));
        assert!(read.ends_with(&created));
    }
}

/// What another face has accepted is not in the list of one.
pub async fn a_list_is_filtered_by_face(make: Make) {
    let subject = make(Wanted::default());
    let draft = |face| Draft {
        face: Some(face),
        ..Draft::owner("alice")
    };
    let jobs = subject.accept(draft("/jobs")).await.id();
    let others = subject.accept(draft("/operations")).await.id();
    for (face, expected) in [
        ("/jobs", vec![jobs]),
        ("/operations", vec![others]),
        ("/", vec![]),
    ] {
        for query in [ListQuery::all(), ListQuery::of(Owner::new("alice"))] {
            let query = ListQuery {
                face: Some(face.into()),
                ..query
            };
            let listed = read_on(&subject, by(1, query), async || {}).await;
            assert_eq!(listed, expected, "{face}");
        }
    }
}

/// From a time on, and until another, which is not in it.
pub async fn a_list_is_filtered_by_time(make: Make) {
    let subject = make(Wanted::default());
    let mut created = Vec::new();
    for _ in 0..4 {
        let at = subject.clock.wall();
        created.push((at, subject.accept(Draft::default()).await.id()));
        subject.clock.advance(MOMENT);
    }
    let [_, (second, b), (_, c), (fourth, d)] = created[..] else {
        unreachable!()
    };
    let list = async |since, until| {
        let query = ListQuery {
            since,
            until,
            ..ListQuery::all()
        };
        read_on(&subject, by(1, query), async || {}).await
    };
    assert_eq!(list(Some(second), Some(fourth)).await, [c, b]);
    assert_eq!(list(Some(fourth), None).await, [d]);
    assert_eq!(list(None, Some(second)).await.len(), 1);
}
