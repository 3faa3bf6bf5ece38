use std::time::Duration;

/// Every bound of the crate, in one place with its default.
///
/// ```
/// use std::time::Duration;
/// use tower_lro::{Limits, Operations};
///
/// let mut limits = Limits::default();
/// limits.running = 8;
/// limits.run_time = Duration::from_secs(6 * 60 * 60);
/// let operations = Operations::builder().limits(limits).build()?;
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the target of a deferred request, its path and query, which is kept as long as the operation. Default 8 KiB
    /// (RFC 9110, section 4.1, asks for 8,000 bytes at least); over it: 414 `target-too-long`.
    pub target: usize,
    /// Bytes of one request body, and of its trailers. Default 2 MiB; over it: 413 `too-large`.
    pub request_body: u64,
    /// Bytes of all request bodies that are being read. Default 64 MiB; over it: 503 `full`.
    pub uploading_bytes: u64,
    /// Time that reading one request body may take. Default 30 s; over it: 408 `upload-timeout`.
    pub upload_time: Duration,
    /// Refused requests whose bodies are read on for up to 5 s, so that clients that are busy sending hear of it.
    /// Default 1,024; over it they are cut off.
    pub discards: usize,
    /// Bytes of one response body, and of its trailers. A head has at most 24,000 different names. Default 16 MiB; over it
    /// the operation fails as `result-too-large`.
    pub response_body: u64,
    /// Operations that run at the same time. Default 256; further ones wait.
    pub running: usize,
    /// Operations that wait for their turn to run, those whose bodies are being read included. Default 1,024. When so many
    /// wait while [`running`](Self::running) many run: 503 `full`.
    pub accepted: usize,
    /// Time within which an operation must have begun to run. Default 10 min; over it the operation fails as
    /// `not-started`.
    pub start_within: Duration,
    /// Time that an operation may run. Default 1 h; over it the operation fails as `timed-out`. For one that is
    /// [detached](crate::OperationHandle::detach) it begins anew then; for its handler it does not.
    pub run_time: Duration,
    /// Time that a handler is given to wind up after a cancel before it is dropped. Default 0.
    pub cancel_grace: Duration,
    /// Time that an operation is kept after its end. Default 24 h; afterwards: 410 `expired`.
    pub keep_for: Duration,
    /// Time after that for which the id is remembered. Default 24 h; afterwards: 404 `unknown`. This bound and the next three
    /// are those of the default store; a store that is given to the builder has its own.
    pub tombstone_for: Duration,
    /// Ids that are remembered so. Default 100,000; over it the oldest are dropped first.
    pub tombstones: u64,
    /// Operations that are stored, pending and ended. Default 100,000. Over it, ended ones that have been read make
    /// room; if there are none: 503 `full`.
    pub stored: u64,
    /// Bytes of responses that are stored or being captured, and of requests that are stored until a worker has run them.
    /// Default 256 MiB; over it as with [`stored`](Self::stored), and an operation whose response finds no room fails as
    /// `result-too-large`.
    pub stored_bytes: u64,
    /// Longest time that an answer is held back, on submit and on poll. Default 30 s; a client that asks for more gets this.
    pub wait: Duration,
    /// Readers that wait at the same time. Default 10,000; further ones are answered at once.
    pub readers: usize,
    /// Readers that wait for the same operation. Default 100; further ones are answered at once.
    pub readers_per_operation: usize,
    /// Delay that `Retry-After` tells clients, in whole seconds, from one to a day. Default 1 s.
    pub retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            target: 8 << 10,
            request_body: 2 * MIB,
            uploading_bytes: 64 * MIB,
            upload_time: Duration::from_secs(30),
            discards: 1024,
            response_body: 16 * MIB,
            running: 256,
            accepted: 1024,
            start_within: Duration::from_secs(10 * 60),
            run_time: HOUR,
            cancel_grace: Duration::ZERO,
            keep_for: 24 * HOUR,
            tombstone_for: 24 * HOUR,
            tombstones: 100_000,
            stored: 100_000,
            stored_bytes: 256 * MIB,
            wait: Duration::from_secs(30),
            readers: 10_000,
            readers_per_operation: 100,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// The option that can't be, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let nonzero = [
            ("target", self.target == 0),
            ("running", self.running == 0),
            ("upload_time", self.upload_time.is_zero()),
            ("start_within", self.start_within.is_zero()),
            ("run_time", self.run_time.is_zero()),
            ("keep_for", self.keep_for.is_zero()),
            ("stored", self.stored == 0),
            ("stored_bytes", self.stored_bytes == 0),
        ];
        if let Some((option, _)) = nonzero.into_iter().find(|(_, zero)| *zero) {
            return Err((
                option,
                "is zero, so that no operation could ever succeed".into(),
            ));
        }
        let years = Duration::from_secs(10 * 365 * 24 * 60 * 60);
        let times = [
            ("upload_time", self.upload_time),
            ("start_within", self.start_within),
            ("run_time", self.run_time),
            ("cancel_grace", self.cancel_grace),
            ("keep_for", self.keep_for),
            ("tombstone_for", self.tombstone_for),
            ("wait", self.wait),
        ];
        if let Some((option, _)) = times.into_iter().find(|(_, time)| *time > years) {
            return Err((
                option,
                "is over ten years, more than the clock is good for".into(),
            ));
        }
        if self.retry_after > Duration::from_secs(86_400) {
            return Err(("retry_after", "is over a day".into()));
        }
        Ok(())
    }
}
