//! What all handles, layers, tasks and readers of one set of operations share.

use super::{
    Face, Heartbeat, Limits, Sweeper,
    builder::{OnEnd, Verdict},
    drain::Drain,
    hub::Hub,
    places::Places,
    polls::PollCounts,
    registry::Registry,
};
use crate::{
    header::whole_seconds,
    record::{Phase, Record, Stop},
    store::{Clock, Store},
};
use http::response;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};
use tokio::sync::Semaphore;

pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    /// Whether it is to be given the requests of all operations.
    pub(crate) keeps_requests: bool,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(super) verdict: Option<Verdict>,
    pub(super) on_end: Option<OnEnd>,
    pub(super) faces: Mutex<Vec<Arc<Face>>>,
    pub(crate) live: Registry,
    pub(crate) hub: Hub,
    pub(crate) sweeper: Sweeper,
    pub(super) places: Places,
    pub(crate) polls: PollCounts,
    pub(super) turns: Semaphore,
    pub(super) drain: Drain,
}

impl Engine {
    pub(crate) fn is_failure(&self, head: &response::Parts) -> bool {
        match &self.verdict {
            Some(verdict) => verdict(head),
            None => head.status.is_client_error() || head.status.is_server_error(),
        }
    }

    /// An operation has ended, wherever it ran: wakes who waits for it, and calls the hook.
    pub(crate) fn ended(self: &Arc<Self>, record: &Record) {
        if record.phase() == Phase::Ended(Stop::Interrupted.outcome()) {
            self.interrupted();
        }
        self.hub.ended(record.id);
        Sweeper::due(self, record.submission.keep_for);
        if let Some(hook) = &self.on_end {
            // A hook that panics must not take the operation with it.
            drop(catch_unwind(AssertUnwindSafe(|| hook(record))));
        }
    }

    /// An operation was ended by another than the task that runs it: whatever goes on of it here is told.
    pub(crate) fn ended_from_outside(self: &Arc<Self>, record: &Record) {
        self.live.end(record.id);
        self.ended(record);
    }

    /// Seconds for `Retry-After` on refusals.
    pub(crate) fn retry_after(&self) -> u32 {
        whole_seconds(self.limits.retry_after)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
