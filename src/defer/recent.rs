use crate::record::Submission;
use std::sync::{Arc, Mutex};

/// What was submitted last without a key. Most operations of a service are submitted alike, and share what is kept of that.
#[derive(Default)]
pub(crate) struct Recent([Slot; SLOTS]);

type Slot = Mutex<Option<Arc<Submission>>>;

/// One layer may stand before several routes.
const SLOTS: usize = 16;

impl Recent {
    /// The last one to this target if it `is_alike`, or else a new one. Who would have to wait for another to look gets one
    /// of its own.
    pub(crate) fn like(
        &self,
        target: &str,
        is_alike: impl FnOnce(&Submission) -> bool,
        make: impl FnOnce() -> Arc<Submission>,
    ) -> Arc<Submission> {
        let Ok(mut last) = self.slot(target).try_lock() else {
            return make();
        };
        match &*last {
            Some(last) if is_alike(last) => last.clone(),
            _ => last.insert(make()).clone(),
        }
    }

    fn slot(&self, target: &str) -> &Slot {
        &self.0[slot(target, SLOTS)]
    }
}

/// Which of so many slots is for what is sent there.
pub(super) fn slot(target: &str, slots: usize) -> usize {
    let mix = |sum: usize, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
    target.bytes().fold(0, mix) % slots
}

/// What was submitted by some options is not like what is by others.
impl Clone for Recent {
    fn clone(&self) -> Self {
        Self::default()
    }
}
