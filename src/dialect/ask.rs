//! What requests ask for: of the initiating one, and of those to operations.

use super::ListAsk;
use crate::{
    header::{PREFERENCE_APPLIED, Prefer, applied},
    problem::Problem,
    record::OperationId,
};
use http::{HeaderMap, Method};
use std::{sync::Arc, time::Duration};

/// What is asked, and of what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Address {
    /// Something of one operation.
    Operation(OperationId, Ask),
    /// A list of operations; `Err` if the query is malformed. Callers who may have no list at all are not told of that, but get
    /// [`ProblemKind::Unknown`](crate::problem::ProblemKind::Unknown).
    List(Result<ListAsk, Problem>),
    /// Which methods the resource knows (`OPTIONS`): these.
    Options(&'static [Method]),
    /// Something that gets this problem, whatever is stored.
    Problem(Problem),
}

/// What is asked of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// How it stands; its result once it has one.
    Monitor,
    /// How it stands, always.
    Status,
    /// Its result.
    Result,
    /// As [`Monitor`](Self::Monitor), but the result is given only once: it is forgotten as it is read. HEAD takes nothing.
    Take,
    /// To cancel it.
    Cancel,
    /// To let go of it if it has ended. A pending one stays as it is.
    Forget,
    /// To cancel it, if it is pending, and to let go of it.
    CancelAndForget,
    /// To cancel it if it is pending, or to let go of it if it has ended: asked twice of a pending one, it is gone.
    Dismiss,
    /// To let go of it, even if it is pending. Its handler runs on in this process, and the response is dropped.
    Abandon,
}

impl Ask {
    /// Whether it only reads, and leaves the operation as it is.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Monitor | Self::Status | Self::Result)
    }

    /// Whether its answer may be held back in the hope that the operation ends, or changes.
    #[must_use]
    pub const fn may_wait(self) -> bool {
        matches!(
            self,
            Self::Monitor | Self::Status | Self::Result | Self::Take
        )
    }
}

/// What the client asks for beyond the work itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptIn {
    /// To be answered before the work is done.
    pub asked: bool,
    /// To hold the answer back for this long, in the hope that the operation ends.
    pub wait: Option<Duration>,
    /// Never to hear of the operation again: it is let go of as soon as it has ended, whatever the layer's settings.
    pub one_way: bool,
    /// Whatever else of the head the dialect needs when it answers: a version, a name. The note on the initiating request is
    /// [kept](crate::record::Submission::note) with the operation.
    pub note: Option<Arc<str>>,
}

impl OptIn {
    /// What `Prefer` asks for: `respond-async` and `wait` (RFC 7240, sections 4.1 and 4.3).
    #[must_use]
    pub fn by_prefer(headers: &HeaderMap) -> Self {
        let Prefer {
            respond_async,
            wait,
        } = Prefer::parse(headers);
        Self {
            asked: respond_async,
            wait,
            ..Self::default()
        }
    }

    /// Tells in `Preference-Applied` (RFC 7240, section 3) which of these was heeded, beside what an inner service has
    /// told there.
    pub fn tell_applied(&self, headers: &mut HeaderMap) {
        let heeded = Prefer {
            respond_async: self.asked,
            wait: self.wait,
        };
        if let Some(value) = applied(heeded) {
            headers.append(PREFERENCE_APPLIED, value);
        }
    }
}
