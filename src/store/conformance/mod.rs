//! The cases that a [`Store`] has to pass, each small and named for what it promises.
//!
//! Write a function that makes an empty store, with the limits it is asked for, and give it to
//! [`store_conformance!`](crate::store_conformance):
//!
//! ```
//! use std::{sync::Arc, time::SystemTime};
//! use tower_lro::{
//!     store::{
//!         Clock, MemoryLimits, MemoryStore,
//!         conformance::{Subject, Wanted},
//!     },
//!     store_conformance,
//! };
//!
//! fn memory(wanted: Wanted) -> Subject {
//!     let clock = Clock::manual(SystemTime::now());
//!     let limits = MemoryLimits::default()
//!         .operations(wanted.operations)
//!         .bytes(wanted.bytes)
//!         .tombstones(wanted.tombstones)
//!         .tombstone_for(wanted.tombstone_for);
//!     Subject::new(Arc::new(MemoryStore::new(limits, clock.clone())), clock)
//! }
//!
//! store_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! Every case becomes a test of its own. It needs `tokio` with the features `macros` and `rt-multi-thread` where it
//! stands. For a store that has no limits write `store_conformance!(make, unbounded)`: the cases about limits are then
//! left out; for one whose claims lapse, `store_conformance!(make, leases)`, or both in this order. Where claims
//! lapse they do so within a [lease](super::Store::lease) after a sweep has seen them.
//!
//! The cases are no part of the stable API: there will be more of them, and stricter ones.

pub mod accept;
pub mod blob;
pub mod end;
pub mod expire;
pub mod hints;
pub mod lease;
pub mod list;
pub mod model;
pub mod queue;
pub mod race;
pub mod room;

use super::{
    Claim, Claimed, Clock, Created, Forget, Held, Intent, Lookup, Settled, Store, StoreError,
    StoreErrorKind, Swept,
};
use crate::record::{
    Capture, Content, Ending, Fingerprint, KeyUse, OperationId, Outcome, Owner, Phase, Queue,
    Record, Rerun, Sighting, Stop, StoredRequest, StoredResponse, Submission, UniqueKey,
};
use http::{Method, Response};
use std::{
    any::Any,
    fmt,
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Duration,
};

/// Makes the store that a case asks for, empty.
pub type Make = fn(Wanted) -> Subject;

/// What a case wants of the store it is given. Stores without limits pass over the first three.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Wanted {
    /// At most as many operations.
    pub operations: u64,
    /// At most as many bytes of responses.
    pub bytes: u64,
    /// At most as many tombstones.
    pub tombstones: u64,
    /// How long a tombstone stands.
    pub tombstone_for: Duration,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            operations: 100_000,
            bytes: 1 << 28,
            tombstones: 100_000,
            tombstone_for: TOMBSTONE_FOR,
        }
    }
}

const TOMBSTONE_FOR: Duration = Duration::from_secs(600);
const KEEP_FOR: Duration = Duration::from_secs(60);
const START_WITHIN: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);
const ALL: NonZeroU32 = NonZeroU32::MAX;

/// A store to be tested.
pub struct Subject {
    store: Arc<dyn Store>,
    clock: Clock,
    holds: Option<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// An empty store that decides by `clock`, a [manual](Clock::manual) one.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            holds: None,
        }
    }

    /// Keeps something until the case is over: a directory, a database.
    #[must_use]
    pub fn holding(mut self, thing: impl Any + Send + Sync) -> Self {
        self.holds = Some(Box::new(thing));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store,
            clock,
            holds,
        } = self;
        f.debug_struct("Subject")
            .field("store", store)
            .field("clock", clock)
            .field("holds", &holds.is_some())
            .finish()
    }
}

// What the cases are written in.

/// A submission to be kept, with defaults.
#[derive(Clone, Default)]
struct Draft {
    id: Option<OperationId>,
    owner: Option<Owner>,
    key: Option<UniqueKey>,
    keep_for: Option<Duration>,
    rerun: Option<Rerun>,
    face: Option<&'static str>,
}

impl Draft {
    /// To be started within a minute, at most so often.
    fn attempts(attempts: u16) -> Self {
        Self {
            rerun: Some(Rerun {
                queue: Queue::default(),
                attempts: NonZeroU16::new(attempts).unwrap(),
                start_within: START_WITHIN,
                run_time: KEEP_FOR,
                response_body: 1 << 20,
            }),
            ..Self::default()
        }
    }

    fn queue(queue: &'static str) -> Self {
        let mut draft = Self::attempts(1);
        draft.rerun.as_mut().unwrap().queue = queue.into();
        draft
    }

    fn id(id: OperationId) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    fn owner(owner: &str) -> Self {
        Self {
            owner: Some(Owner::new(owner)),
            ..Self::default()
        }
    }

    fn key(key: &str) -> Self {
        Self {
            key: Some(UniqueKey::shared(key)),
            ..Self::default()
        }
    }

    fn keep_for(keep_for: Duration) -> Self {
        Self {
            keep_for: Some(keep_for),
            ..Self::default()
        }
    }
}

impl Subject {
    fn draw(&self, draft: Draft) -> Arc<Record> {
        let keep_for = draft.keep_for.unwrap_or(KEEP_FOR);
        let mut submission = Submission::new(
            Method::POST,
            "/reports".into(),
            draft.face.unwrap_or("/operations").into(),
            keep_for,
        );
        submission.rerun = draft.rerun.map(Box::new);
        submission.owner = draft.owner;
        submission.key = draft.key.map(|key| {
            Box::new(KeyUse {
                key,
                fingerprint: Some(Fingerprint::from_hash([7; 32])),
            })
        });
        let id = draft.id.unwrap_or_else(OperationId::random);
        Arc::new(Record::new(id, submission, self.clock.wall()))
    }

    async fn create(&self, draft: Draft) -> Result<Created, StoreError> {
        let record = self.draw(draft);
        self.store.create(&record, Intent::Run(None)).await
    }

    #[track_caller]
    fn new_claim(created: Result<Created, StoreError>) -> Claim {
        match created {
            Ok(Created::New(claim)) => claim,
            other => panic!("expected a new operation, got {other:?}"),
        }
    }

    /// Keeps an operation for its queue.
    async fn enqueue(&self, draft: Draft) -> OperationId {
        let record = self.draw(draft);
        let created = self.store.create(&record, Intent::Queue(&request())).await;
        assert!(matches!(created, Ok(Created::Queued)), "{created:?}");
        record.id
    }

    /// Keeps an operation with its request, to be run by the caller.
    async fn accept_whole(&self, draft: Draft) -> Claim {
        let record = self.draw(draft);
        let intent = Intent::Run(Some(&request()));
        Self::new_claim(self.store.create(&record, intent).await)
    }

    /// Lets time pass while claims are renewed, where they have to be.
    async fn pass(&self, time: Duration, claims: impl Iterator<Item = &Claim> + Clone) {
        let Some(lease) = self.store.lease() else {
            return self.clock.advance(time);
        };
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(lease / 3);
            self.clock.advance(step);
            left -= step;
            let held = claims.clone().map(|claim| Held {
                id: claim.id(),
                token: claim.token(),
                sighting: None,
            });
            let held: Vec<_> = held.collect();
            self.store.renew(&held).await.unwrap();
        }
    }

    /// What the queue has to give.
    async fn claim_all(&self, queue: &Queue) -> Vec<Claimed> {
        self.store.claim(queue, NonZeroU16::MAX).await.unwrap()
    }

    /// What the default queue has to give, which is one.
    async fn claim_one(&self) -> Claimed {
        let mut claimed = self.claim_all(&Queue::default()).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0)
    }

    async fn accept(&self, draft: Draft) -> Claim {
        Self::new_claim(self.create(draft).await)
    }

    fn started(&self) -> Sighting {
        self.seen(2)
    }

    fn seen(&self, revision: u64) -> Sighting {
        Sighting {
            revision: crate::record::Revision(revision),
            at: self.clock.wall(),
            started: Some(self.clock.wall()),
            report: None,
        }
    }

    fn unseen(&self) -> Sighting {
        Sighting {
            started: None,
            ..self.seen(1)
        }
    }

    fn success(&self, len: usize) -> Ending {
        Ending::with_response(response(len), false, self.clock.wall())
    }

    fn stopped(&self, stop: Stop) -> Ending {
        Ending::without_response(stop, self.clock.wall())
    }

    async fn finish(&self, claim: &Claim, ending: Ending) -> Result<Settled, StoreError> {
        self.store
            .finish(claim, &self.started(), &mut Some(ending))
            .await
    }

    /// Ends an operation without a claim.
    async fn complete(&self, id: OperationId, ending: Ending) -> Result<Settled, StoreError> {
        self.store.complete(id, ending, None).await
    }

    /// An operation that has ended with a response of `len` bytes.
    async fn ended(&self, draft: Draft, len: usize) -> OperationId {
        let claim = self.accept(draft).await;
        done(self.finish(&claim, self.success(len)).await);
        claim.id()
    }

    /// Hints may wait for the next verb that writes: one that finds nothing to do.
    async fn settle(&self) {
        let nothing = self.store.forget(OperationId::random(), Forget::Ended);
        unknown(nothing.await);
    }

    async fn mark_read(&self, id: OperationId) {
        self.store.mark_read(id);
        self.settle().await;
    }

    async fn set_aside(&self, bytes: u64) -> bool {
        let is_set_aside = self.store.set_aside(bytes);
        self.settle().await;
        is_set_aside
    }

    async fn find(&self, id: OperationId) -> Lookup {
        self.store.find(id).await.unwrap()
    }

    async fn phase(&self, id: OperationId) -> Option<Phase> {
        match self.find(id).await {
            Lookup::Found(record) => Some(record.phase()),
            Lookup::Gone { .. } | Lookup::Unknown => None,
        }
    }

    async fn is_gone(&self, id: OperationId) -> bool {
        matches!(self.find(id).await, Lookup::Gone { .. })
    }

    async fn is_unknown(&self, id: OperationId) -> bool {
        matches!(self.find(id).await, Lookup::Unknown)
    }

    async fn sweep(&self) -> Swept {
        self.store.sweep(ALL).await.unwrap()
    }
}

/// A request with a field, a body and a trailer.
fn request() -> StoredRequest {
    let request = http::Request::put("/reports/7")
        .version(http::Version::HTTP_2)
        .header("x-custom", "1")
        .body(())
        .unwrap();
    let original = "https://example.com/api/reports/7".parse().unwrap();
    let body = Content::Inline("some data".into());
    let trailer = (
        http::HeaderName::from_static("x-sum"),
        http::HeaderValue::from_static("9"),
    );
    let trailers = http::HeaderMap::from_iter([trailer]);
    StoredRequest::capture(
        &request.into_parts().0,
        &original,
        body,
        Some(&trailers),
        &[],
    )
}

/// A response with a body of `len` bytes and nothing else, so that this is its size.
fn response(len: usize) -> StoredResponse {
    let head = Response::new(()).into_parts().0;
    let mut capture = Capture::begin(&head, "/reports", len as u64, u64::MAX).unwrap();
    capture.data(&vec![b'x'; len]).unwrap();
    capture.end()
}

#[track_caller]
fn done(settled: Result<Settled, StoreError>) -> Arc<Record> {
    match settled {
        Ok(Settled::Done(record)) => record,
        other => panic!("expected it to be done, got {other:?}"),
    }
}

#[track_caller]
fn stands(settled: Result<Settled, StoreError>) -> Arc<Record> {
    match settled {
        Ok(Settled::Stands(record)) => record,
        other => panic!("expected something else to stand, got {other:?}"),
    }
}

#[track_caller]
fn unknown(settled: Result<Settled, StoreError>) {
    match settled {
        Ok(Settled::Unknown) => {}
        other => panic!("expected nothing, got {other:?}"),
    }
}

#[track_caller]
fn full<T: fmt::Debug>(answer: Result<T, StoreError>) {
    match answer {
        Err(error) if error.kind() == StoreErrorKind::Full => {}
        other => panic!("expected the store to be full, got {other:?}"),
    }
}

const SUCCEEDED: Phase = Phase::Ended(Outcome::Succeeded);
const CANCELLED: Phase = Phase::Ended(Outcome::Cancelled);

/// Expands to one test for each case of the [suite](crate::store::conformance), in modules named like the suite's: of
/// those that need limits not for a store that is `unbounded`, and of those that need leases only for one with `leases`.
#[macro_export]
macro_rules! store_conformance {
    ($make:path) => {
        $crate::__store_cases!($make; []; [#[cfg(any())]]);
    };
    ($make:path, unbounded) => {
        $crate::__store_cases!($make; [#[cfg(any())]]; [#[cfg(any())]]);
    };
    ($make:path, leases) => {
        $crate::__store_cases!($make; []; []);
    };
    ($make:path, unbounded, leases) => {
        $crate::__store_cases!($make; [#[cfg(any())]]; []);
    };
}

/// Names the cases; those of `room` need limits, those of `lease` leases.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_cases {
    ($make:path; $unbounded:tt; $leaseless:tt) => {
        $crate::__store_cases!(@ $make, accept, [],
            what_was_created_is_found,
            an_id_that_never_was_is_unknown,
            create_is_idempotent_on_the_id,
            create_gives_no_claim_that_is_void,
            create_does_not_revive_what_is_gone,
            an_id_is_free_after_the_tombstone,
            a_key_belongs_to_the_first,
            a_key_lives_as_long_as_the_tombstone,
            a_key_is_free_after_the_sweep,
            a_tombstone_keeps_no_key_of_a_request_itself,
        );
        $crate::__store_cases!(@ $make, end, [],
            finish_ends_and_keeps_what_was_seen,
            an_operation_ends_once,
            an_unlawful_end_changes_nothing,
            another_claim_is_refused,
            a_claim_is_for_one_operation,
            what_is_not_here_cannot_end,
            complete_voids_the_claim,
            complete_takes_in_what_was_seen,
            detach_voids_the_claim,
            detach_is_idempotent_on_the_claim,
            only_what_runs_can_be_detached,
            what_was_detached_times_out,
            what_was_detached_may_have_for_ever,
            forget_leaves_a_tombstone,
            what_is_pending_is_not_forgotten,
            what_is_pending_is_forgotten_where_it_is_asked_for,
            what_is_not_polled_does_nothing,
            usage_counts,
        );
        $crate::__store_cases!(@ $make, queue, [],
            what_is_queued_is_claimed_with_its_request,
            the_oldest_is_claimed_first,
            no_more_are_claimed_than_asked_for,
            queues_are_apart,
            what_is_queued_is_kept_once,
            what_is_claimed_is_claimed_once,
            what_has_ended_is_not_claimed,
            what_is_run_by_its_maker_is_not_claimed,
            what_was_detached_is_not_claimed,
            what_is_released_is_claimed_anew,
            what_has_begun_uses_an_attempt,
            what_has_no_attempts_left_is_not_released,
            what_has_no_request_is_not_released,
            a_claim_that_is_void_releases_nothing,
            what_nobody_claims_in_time_ends,
            what_was_not_claimed_in_time_is_told_once,
            what_is_claimed_in_time_goes_on,
            what_is_released_may_start_as_late_as_anew,
            what_can_be_claimed_is_hinted_at,
            racing_claims_share,
        );
        $crate::__store_cases!(@ $make, expire, [],
            a_result_is_gone_when_its_time_is_up,
            a_tombstone_falls,
            a_tombstone_that_is_set_late_stands_as_long,
            a_result_may_be_kept_for_no_time,
            a_result_may_be_kept_for_ever,
            what_is_pending_does_not_expire,
            the_wall_clock_decides_nothing,
            an_end_before_its_beginning_is_kept_as_long,
            a_sweep_is_bounded,
            a_sweep_tells_when_the_next_is_due,
        );
        $crate::__store_cases!(@ $make, list, [],
            a_list_shows_the_newest_first,
            a_list_may_be_empty,
            pages_follow_one_another,
            an_owner_sees_only_his_own,
            a_list_is_filtered_by_state,
            a_sparse_list_is_read_to_its_end,
            a_list_is_filtered_by_face,
            a_list_is_filtered_by_time,
            a_cursor_outlives_what_it_points_at,
            what_is_new_does_not_come_into_later_pages,
        );
        $crate::__store_cases!(@ $make, blob, [],
            a_blob_is_read_as_it_was_written,
            a_chunk_that_is_appended_again_is_there_once,
            a_blob_that_is_removed_is_gone,
            a_blob_that_nothing_names_goes_after_an_hour,
            the_body_of_a_response_is_kept_as_long_as_the_operation,
            the_body_of_a_request_is_kept_until_the_end,
        );
        $crate::__store_cases!(@ $make, hints, [],
            every_change_is_hinted_at,
            every_subscriber_hears,
            whoever_falls_behind_is_told,
            a_dropped_wait_loses_no_hint,
            a_hint_wakes,
        );
        $crate::__store_cases!(@ $make, race, [],
            racing_creates_of_one_key_make_one,
            racing_creates_of_one_id_make_one,
            an_operation_ends_once_whatever_races,
            an_operation_is_forgotten_once_and_after_its_end,
            a_completion_races_with_the_deadline,
            nothing_is_left_behind,
        );
        $crate::__store_cases!(@ $make, model, [],
            a_store_with_room_follows_the_model,
        );
        $crate::__store_cases!(@ $make, lease, $leaseless,
            a_lapsed_claim_is_taken_over_by_the_next_attempt,
            what_lapses_without_attempts_left_is_lost,
            what_is_lost_is_told_once,
            what_lapses_without_its_request_is_lost,
            what_is_renewed_does_not_lapse,
            what_has_lapsed_holds_until_it_is_swept,
            what_others_learn_is_hinted_at,
            who_was_taken_over_writes_nothing,
            a_renewal_takes_in_what_was_seen,
            a_renewal_tells_which_claims_are_void,
            what_was_detached_does_not_lapse,
            what_waits_does_not_lapse,
            what_has_lapsed_ends_after_its_attempts,
        );
        $crate::__store_cases!(@ $make, room, $unbounded,
            what_is_pending_is_never_let_go,
            an_unread_result_is_never_let_go,
            the_first_to_end_is_let_go_first,
            the_first_to_end_goes_though_it_expires_last,
            a_failure_that_was_shown_is_let_go,
            what_is_let_go_leaves_a_tombstone,
            room_is_not_made_of_what_is_gone,
            what_is_gone_is_not_counted_on,
            what_has_expired_makes_room,
            a_repeat_needs_no_room,
            a_response_without_room_changes_nothing,
            an_ending_without_room_is_given_back,
            nothing_is_let_go_in_vain,
            as_many_are_let_go_as_are_needed,
            a_refused_response_lets_nothing_go,
            what_is_set_aside_counts,
            the_oldest_tombstone_falls_first,
            there_may_be_no_tombstones,
            racing_creates_keep_to_the_limit,
            racing_responses_keep_to_the_limit,
            a_full_store_follows_the_model,
        );
    };
    (@ $make:path, $module:ident, $attributes:tt, $($case:ident,)*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            $($crate::__store_cases!(# $make, $module, $attributes, $case);)*
        }
    };
    (# $make:path, $module:ident, [$($attribute:tt)*], $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        $($attribute)*
        async fn $case() {
            $crate::store::conformance::$module::$case($make).await;
        }
    };
}
