//! What is known of one operation, or of one that is gone.

use crate::{
    record::{OperationId, Owner, Queue, Record, StoredRequest, UniqueKey},
    store::{Claim, memory::time::Tick},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// An operation that has not ended and whose request is kept, until it is detached.
pub(crate) struct Rerun {
    pub(crate) queue: Queue,
    pub(super) request: Option<StoredRequest>,
    pub(super) start_within: Duration,
    pub(super) right: Right,
}

/// Who has the right to run it.
#[derive(Clone, Copy)]
pub(super) enum Right {
    /// Whoever takes it from its queue.
    Offered,
    /// Who holds the claim with this token.
    Held(u64),
    /// Nobody: the claim with this token was given up.
    GivenUp(u64),
}

impl Rerun {
    pub(crate) fn new(record: &Record, request: &StoredRequest, token: Option<u64>) -> Self {
        let rerun = record.submission.rerun.as_deref();
        Self {
            queue: rerun.map(|rerun| rerun.queue.clone()).unwrap_or_default(),
            request: Some(request.clone()),
            start_within: rerun.map_or(Duration::MAX, |rerun| rerun.start_within),
            right: token.map_or(Right::Offered, Right::Held),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        let request = self.request.as_ref();
        request.map_or(0, |request| request.size() as u64)
    }
}

/// A record, and what the store knows of it. Two of them fill a cache line.
pub(crate) struct Entry {
    pub(crate) record: Arc<Record>,
    /// That of its id, which is far away in the record.
    pub(super) hash: u64,
    /// Its place in the order of creation, above a bit that tells whether others can run it, and one whether its result
    /// was read.
    pub(super) place: u64,
    /// When it expires, once it has ended; is timed out, once its claim was given up; or has not been started in time,
    /// while it waits in its queue.
    pub(super) due: Option<Tick>,
}

pub(super) const READ: u64 = 1;
pub(super) const RERUN: u64 = 2;

impl Entry {
    pub(crate) fn new(record: Arc<Record>, sequence: u64) -> Self {
        Self {
            hash: record.id.hash64(),
            record,
            place: sequence << 2,
            due: None,
        }
    }

    /// Its place in the order of creation; also the token of its first claim.
    pub(crate) fn sequence(&self) -> u64 {
        self.place >> 2
    }

    pub(crate) fn is_read(&self) -> bool {
        self.place & READ != 0
    }

    pub(super) fn is_rerun(&self) -> bool {
        self.place & RERUN != 0
    }

    pub(crate) fn is_unread(&self) -> bool {
        !self.is_read() && self.record.phase().is_ended()
    }

    /// Who has the right to run it, until it has ended.
    pub(super) fn right(&self, reruns: &HashMap<u64, Rerun>) -> Option<Right> {
        let sequence = self.sequence();
        if self.is_rerun() {
            return Some(reruns.get(&sequence)?.right);
        }
        match self.due {
            None => Some(Right::Held(sequence)),
            Some(_) if self.record.phase().is_ended() => None,
            Some(_) => Some(Right::GivenUp(sequence)),
        }
    }

    /// The claim, while it holds.
    pub(super) fn claim(&self, reruns: &HashMap<u64, Rerun>) -> Option<Claim> {
        match self.right(reruns)? {
            Right::Held(token) => Some(Claim::new(self.record.id, self.record.attempt, token)),
            Right::Offered | Right::GivenUp(_) => None,
        }
    }

    /// Whether this claim was given up, for another to end the operation.
    pub(super) fn was_given_up(&self, claim: &Claim, reruns: &HashMap<u64, Rerun>) -> bool {
        matches!(self.right(reruns), Some(Right::GivenUp(token)) if token == claim.token())
    }

    pub(crate) fn has_expired(&self, now: Tick) -> bool {
        self.due.is_some_and(|due| due <= now) && self.record.phase().is_ended()
    }

    /// When it ended, by the clock that decides. Means something only once it has.
    fn ended(&self) -> Option<Tick> {
        self.due
            .map(|due| due.before(self.record.submission.keep_for))
    }

    /// Whether this is what an item of the agenda means.
    pub(super) fn is_due(&self, due: Tick) -> bool {
        self.due == Some(due)
    }

    /// What the queue of read results knows it by.
    pub(super) fn eviction(&self) -> Option<(Tick, u64)> {
        self.ended()
            .filter(|_| self.is_read())
            .map(|ended| (ended, self.hash))
    }
}

/// What is remembered of an operation that is gone.
pub(crate) struct Tombstone {
    pub(super) id: OperationId,
    pub(super) owner: Option<Owner>,
    pub(super) key: Option<UniqueKey>,
    pub(super) falls: Tick,
}

impl Tombstone {
    pub(super) fn hash(&self) -> u64 {
        self.id.hash64()
    }
}

/// The operation is no longer for others to run.
pub(super) fn drop_rerun(
    entry: &mut Entry,
    reruns: &mut HashMap<u64, Rerun>,
) -> Option<(u64, Rerun)> {
    if !entry.is_rerun() {
        return None;
    }
    entry.place &= !RERUN;
    let rerun = reruns.remove(&entry.sequence());
    if reruns.is_empty() {
        *reruns = HashMap::new();
    }
    Some((entry.sequence(), rerun?))
}
