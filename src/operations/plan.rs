use crate::sync::atomic::{AtomicU64, Ordering::SeqCst, fence};

/// When the next of many rounds begins: many tell when something will be due, and one sees to it.
///
/// Who tells writes down first what will be due, and a round takes its plan back before it looks for that: one sees the
/// other.
#[derive(Debug)]
pub(super) struct Plan(AtomicU64);

const NEVER: u64 = u64::MAX;

impl Default for Plan {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Plan {
    /// Something will be due at `at`. Whether that is sooner than all else: then who sleeps is to be told.
    pub(super) fn due(&self, at: u64) -> bool {
        fence(SeqCst);
        at < self.0.load(SeqCst) && at < self.0.fetch_min(at, SeqCst)
    }

    /// A round begins, or none will: whatever is told from here on is for the next.
    pub(super) fn take_back(&self) {
        self.0.store(NEVER, SeqCst);
        fence(SeqCst);
    }

    /// A round has found that the next is to begin then, if nobody wants it sooner.
    pub(super) fn next(&self, at: u64) {
        self.0.fetch_min(at, SeqCst);
    }

    pub(super) fn at(&self) -> u64 {
        self.0.load(SeqCst)
    }
}
