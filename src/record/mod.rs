//! What is kept of an operation: plain data, with no server, store or clock in it.

mod content;
mod end_to_end;
mod format;
mod id;
mod owner;
mod reference;
mod request;
mod response;
mod state;
mod time;

#[cfg(feature = "sqlite")]
pub(crate) use self::format::VERSION;
pub use self::{
    content::{BlobId, Content},
    format::Malformed,
    id::{InvalidId, OperationId},
    owner::{Fingerprint, Owner, UniqueKey},
    request::StoredRequest,
    response::{Fields, StoredResponse},
    state::{Ending, Event, Outcome, Phase, Reason, State, Stop},
    time::Timestamp,
};
pub(crate) use self::{
    id::ID_LEN,
    response::{Capture, TooLarge},
};

use http::Method;
use serde_json::value::RawValue;
use std::{borrow::Cow, num::NonZeroU16, sync::Arc, time::Duration};

/// One operation: who asked for what, how it stands, and what it left behind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// Its name.
    pub id: OperationId,
    /// Grows with every visible change.
    pub revision: Revision,
    /// How it stands.
    pub state: State,
    /// Which attempt at running it this is, or will be once it gets its turn; the first is 1.
    pub attempt: u16,
    /// When it was accepted.
    pub created: Timestamp,
    /// When the inner service was called.
    pub started: Option<Timestamp>,
    /// When it last changed.
    pub updated: Timestamp,
    /// What the handler last said about it.
    pub report: Option<Arc<Report>>,
    /// What was asked for. Operations that were submitted alike may share it.
    pub submission: Arc<Submission>,
}

impl Record {
    /// A new operation, accepted at `created`.
    #[must_use]
    pub fn new(
        id: OperationId,
        submission: impl Into<Arc<Submission>>,
        created: Timestamp,
    ) -> Self {
        Self {
            id,
            revision: Revision(1),
            state: State::Accepted,
            attempt: 1,
            created,
            started: None,
            updated: created,
            report: None,
            submission: submission.into(),
        }
    }

    /// How it stands, without what it left behind.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// What it left behind, once it has ended.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Ended(ending) => Some(ending),
            State::Accepted | State::Running => None,
        }
    }

    /// The inner service's response, if it ended with one.
    #[must_use]
    pub fn response(&self) -> Option<&StoredResponse> {
        self.ending()?.response.as_ref()
    }

    /// When it will be forgotten; known once it has ended.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        Some(self.ending()?.at.after(self.submission.keep_for))
    }

    /// Takes in what the process that runs the operation knows: that it began, and what the handler said.
    ///
    /// Changes nothing and gives `false` when the operation has ended, or when there is nothing new.
    pub fn observe(&mut self, sighting: &Sighting) -> bool {
        if self.phase().is_ended() || sighting.revision <= self.revision {
            return false;
        }
        if let (Some(_), Some(Phase::Running)) =
            (sighting.started, self.phase().after(Event::Start))
        {
            self.state = State::Running;
            self.started = sighting.started;
        }
        if self.phase().after(Event::Report).is_some() {
            self.report.clone_from(&sighting.report);
        }
        self.revision = sighting.revision;
        self.updated = self.updated.max(sighting.at);
        true
    }

    /// Ends the operation.
    ///
    /// Changes nothing and gives `false` when the move is not lawful, above all because it has ended before.
    pub fn end(&mut self, ending: Ending) -> bool {
        if self.phase().after(Event::End(ending.outcome)).is_none() {
            return false;
        }
        self.revision = self.revision.next();
        self.updated = self.updated.max(ending.at);
        self.state = State::Ended(ending);
        true
    }

    /// Gives the right to run it back, so that it may be run anew: by the same attempt if the inner service was not
    /// called, by the next otherwise.
    ///
    /// Changes nothing and gives `false` when the operation has ended, when its attempts are used up, or when it is not for
    /// others to run.
    pub fn release(&mut self, at: Timestamp) -> bool {
        self.hand_back(at, self.phase() != Phase::Accepted)
    }

    /// The process that had the right to run it is gone: it may be run anew, by the next attempt, since nobody can tell
    /// whether the inner service was called; or it ends as [lost](Stop::Lost) where there are no attempts left.
    ///
    /// Changes nothing and gives `false` when the operation has ended.
    pub fn lapse(&mut self, at: Timestamp) -> bool {
        self.hand_back(at, true) || self.end(Ending::without_response(Stop::Lost, at))
    }

    fn hand_back(&mut self, at: Timestamp, uses_attempt: bool) -> bool {
        let Some(rerun) = &self.submission.rerun else {
            return false;
        };
        let used_up = uses_attempt && self.attempt >= rerun.attempts.get();
        if used_up || self.phase().after(Event::Release).is_none() {
            return false;
        }
        self.attempt += u16::from(uses_attempt);
        self.state = State::Accepted;
        self.started = None;
        if let Some(report) = &mut self.report {
            // How far it was. What else was said of it may still be of use.
            let report = Arc::make_mut(report);
            (report.fraction, report.message) = (None, None);
        }
        self.revision = self.revision.next_in(self.attempt);
        self.updated = self.updated.max(at);
        true
    }

    /// Bytes of bodies and fields that keeping the record takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.response().map_or(0, StoredResponse::size)
    }
}

/// Counts the visible changes of one operation. Those of each attempt begin at a number of their own, above all of the
/// one before: what its process showed of itself, and died before it was stored, is not counted twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one after it, if that is of this attempt, or else the first of the attempt.
    #[must_use]
    pub const fn next_in(self, attempt: u16) -> Self {
        /// Changes in one attempt: two weeks of one each microsecond.
        const BITS: u32 = 40;
        let first = Self((attempt.saturating_sub(1) as u64) << BITS);
        let next = self.next();
        if next.0 < first.0 { first } else { next }
    }
}

/// What was asked for. Never changes after accept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Submission {
    /// Method of the initiating request.
    pub method: Method,
    /// Its target as the client sent it, before any router took a prefix away: path and query.
    pub target: Arc<str>,
    /// The mount under which the operation was accepted, and so where its monitor is.
    pub face: Arc<str>,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// The idempotency key it was sent with.
    pub key: Option<Box<KeyUse>>,
    /// What the dialect that accepted it noted of the initiating request: see [`OptIn::note`](crate::dialect::OptIn::note).
    pub note: Option<Arc<str>>,
    /// How long it is kept after its end.
    pub keep_for: Duration,
    /// How it may be run by another than the one that accepted it; none where that can't be, since its request is not
    /// kept.
    pub rerun: Option<Box<Rerun>>,
}

impl Submission {
    /// A submission with no owner and no key.
    #[must_use]
    pub fn new(method: Method, target: Arc<str>, face: Arc<str>, keep_for: Duration) -> Self {
        Self {
            method,
            target,
            face,
            owner: None,
            key: None,
            note: None,
            keep_for,
            rerun: None,
        }
    }
}

/// How an operation may be run by another process than the one that accepted it, or again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// Where workers find it.
    pub queue: Queue,
    /// How often the inner service may be called for it. Above one: at least once instead of at most once.
    pub attempts: NonZeroU16,
    /// Time within which somebody must have claimed it after it was accepted, or given back: over it the operation
    /// fails as [`Reason::NotStarted`].
    pub start_within: Duration,
    /// Time that each attempt may run.
    pub run_time: Duration,
    /// Bytes of its response's body, and of its trailers.
    pub response_body: u64,
}

/// Names what a worker takes its operations from. Operations and workers that name none meet in `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue(Cow<'static, str>);

impl Queue {
    /// The queue of this name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self(Cow::Borrowed("default"))
    }
}

impl<N: Into<Cow<'static, str>>> From<N> for Queue {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

/// An idempotency key, and the request that used it first.
#[derive(Clone, Debug)]
pub struct KeyUse {
    /// Unique among the operations of a store, tombstones included.
    pub key: UniqueKey,
    /// The request that it was first used for. None: the key names the request itself, and no tombstone keeps it.
    pub fingerprint: Option<Fingerprint>,
}

/// What the handler says about an operation while it runs, through its [`OperationHandle`](crate::OperationHandle).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How much is done, from 0 to 1.
    pub fraction: Option<f32>,
    /// What is being done, for people.
    pub message: Option<Arc<str>>,
    /// Anything, as JSON of at most 4 KiB.
    pub metadata: Option<Arc<RawValue>>,
    /// The resource that the operation makes or changes, known before its end.
    pub resource: Option<Arc<str>>,
    /// How long clients should wait before they ask again.
    pub retry_after: Option<Duration>,
}

/// What the process that runs an operation has seen of it and the store may not know yet.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Greater than every revision that was shown before.
    pub revision: Revision,
    /// When it last changed.
    pub at: Timestamp,
    /// When the inner service was called.
    pub started: Option<Timestamp>,
    /// What the handler last said.
    pub report: Option<Arc<Report>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// Accepted at 10, and may be run twice.
    fn record() -> Record {
        let day = Duration::from_secs(86_400);
        let mut submission = Submission::new(Method::POST, "/".into(), "/operations".into(), day);
        submission.rerun = Some(Box::new(Rerun {
            queue: Queue::default(),
            attempts: NonZeroU16::new(2).unwrap(),
            start_within: day,
            run_time: day,
            response_body: 0,
        }));
        Record::new(OperationId::random(), submission, at(10))
    }

    fn begun(at: Timestamp, report: Report) -> Sighting {
        Sighting {
            revision: Revision(2),
            at,
            started: Some(at),
            report: Some(Arc::new(report)),
        }
    }

    #[test]
    fn a_clock_that_is_set_back_sets_no_record_back() {
        let mut record = record();
        assert!(record.observe(&begun(at(9), Report::default())));
        assert_eq!(record.updated, at(10));
        assert!(record.release(at(8)));
        assert_eq!(record.updated, at(10));
        assert!(record.end(Ending::without_response(Stop::Cancelled, at(7))));
        assert_eq!(record.updated, at(10));
    }

    #[test]
    fn what_is_given_back_is_as_far_as_at_its_beginning_and_keeps_what_else_was_said() {
        let mut record = record();
        let said = Report {
            fraction: Some(0.5),
            message: Some("half of it".into()),
            resource: Some("/reports/7".into()),
            ..Report::default()
        };
        assert!(record.observe(&begun(at(11), said)) && record.release(at(12)));
        let kept = record.report.as_deref().unwrap();
        assert_eq!((kept.fraction, kept.message.as_deref()), (None, None));
        assert_eq!(kept.resource.as_deref(), Some("/reports/7"));
    }
}
