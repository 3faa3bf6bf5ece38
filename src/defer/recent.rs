use crate::record::Submission;
use std::sync::{Arc, Mutex};

/// What was submitted last without a key. Most operations of a service are submitted alike, and share what is kept of that.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Option<Arc<Submission>>>);

impl Recent {
    /// The last one if it `is_alike`, or else a new one. Who would have to wait for another to look gets one of its own.
    pub(crate) fn like(
        &self,
        is_alike: impl FnOnce(&Submission) -> bool,
        make: impl FnOnce() -> Arc<Submission>,
    ) -> Arc<Submission> {
        let Ok(mut last) = self.0.try_lock() else {
            return make();
        };
        match &*last {
            Some(last) if is_alike(last) => last.clone(),
            _ => last.insert(make()).clone(),
        }
    }
}
