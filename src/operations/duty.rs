use crate::sync::atomic::{AtomicBool, Ordering};

/// What one of many is to do: whoever finds that nobody does.
#[derive(Debug, Default)]
pub(super) struct Duty(AtomicBool);

impl Duty {
    /// `true` for the one who is to do it from now on.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Nobody does it any more. Who gives it up because nobody seems to want it has to look once more afterwards: others may
    /// have found it taken still.
    pub(super) fn give_up(&self) {
        self.0.store(false, Ordering::Release);
    }
}
