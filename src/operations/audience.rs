use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst, fence};

/// How many wait for news, so that who has some need not look for them while there are none.
///
/// Who waits joins before it looks at how things stand, and who has news asks after it has changed them: one sees the other.
#[derive(Debug, Default)]
pub(super) struct Audience(AtomicUsize);

impl Audience {
    pub(super) fn join(&self) {
        self.0.fetch_add(1, SeqCst);
        fence(SeqCst);
    }

    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, SeqCst);
    }

    /// Whether anybody may have looked before the change.
    pub(super) fn is_there(&self) -> bool {
        fence(SeqCst);
        self.count() > 0
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}
