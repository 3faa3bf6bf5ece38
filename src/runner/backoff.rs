use std::time::Duration;

/// Pauses between tries of a store that can't answer: from 50 ms, each twice as long as the one before, to 5 s.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(Duration::from_millis(50))
    }

    /// `at_most`: not longer than this, however long the trouble lasts.
    pub(super) async fn pause(&mut self, at_most: Duration) {
        tokio::time::sleep(self.0.min(at_most)).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
    }
}
