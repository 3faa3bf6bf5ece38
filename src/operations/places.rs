use super::Engine;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts what has been taken on and has not ended.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// All that follows.
    taken: AtomicU64,
    uploading: AtomicU64,
    uploading_bytes: AtomicU64,
    accepted: AtomicU64,
    running: AtomicU64,
}

impl Places {
    pub(crate) fn uploading(&self) -> u64 {
        self.uploading.load(Ordering::Relaxed)
    }
    pub(crate) fn uploading_bytes(&self) -> u64 {
        self.uploading_bytes.load(Ordering::Relaxed)
    }
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    fn count(&self, stage: Stage) -> &AtomicU64 {
        match stage {
            Stage::Uploading => &self.uploading,
            Stage::Accepted => &self.accepted,
            Stage::Running => &self.running,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Uploading,
    Accepted,
    Running,
}

/// The place of one operation, from the first byte of its request to its end; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    engine: Arc<Engine>,
    stage: Stage,
}

impl Place {
    /// Takes a place for a request that is about to be read; `None` when there is none.
    pub(crate) fn take(engine: &Arc<Engine>) -> Option<Self> {
        let limits = &engine.limits;
        let all = (limits.running as u64).saturating_add(limits.accepted as u64);
        let more = |taken: u64| (taken < all).then_some(taken + 1);
        engine
            .places
            .taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .ok()?;
        engine.places.uploading.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            engine: engine.clone(),
            stage: Stage::Uploading,
        })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn accept(&mut self) {
        self.enter(Stage::Accepted);
    }

    /// Waits for the turn to run; it is given back with the place.
    ///
    /// # Cancel safety
    ///
    /// A turn that is not taken goes to the next in line.
    pub(crate) async fn run(&mut self) {
        if self.stage == Stage::Running {
            return;
        }
        // Never closed.
        if let Ok(turn) = self.engine.turns.acquire().await {
            turn.forget();
        }
        self.enter(Stage::Running);
    }

    /// The turn has come, but the inner service is not called yet.
    fn enter(&mut self, stage: Stage) {
        self.engine
            .places
            .count(self.stage)
            .fetch_sub(1, Ordering::Relaxed);
        self.engine
            .places
            .count(stage)
            .fetch_add(1, Ordering::Relaxed);
        self.stage = stage;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.engine
            .places
            .count(self.stage)
            .fetch_sub(1, Ordering::Relaxed);
        if self.stage == Stage::Running {
            self.engine.turns.add_permits(1);
        }
        if self.engine.places.taken.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.engine.idle.notify_waiters();
        }
    }
}

/// Bytes of a request that is being read; given back when dropped.
#[derive(Debug)]
pub(crate) struct UploadBytes {
    engine: Arc<Engine>,
    bytes: u64,
}

impl UploadBytes {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: engine.clone(),
            bytes: 0,
        }
    }

    /// Sets aside enough for `bytes` in all; `false` when there is no room.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        let limit = self.engine.limits.uploading_bytes;
        let add = |now: u64| now.checked_add(more).filter(|then| *then <= limit);
        let counter = &self.engine.places.uploading_bytes;
        let reserved = counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok();
        if reserved {
            self.bytes = bytes;
        }
        reserved
    }
}

impl Drop for UploadBytes {
    fn drop(&mut self) {
        self.engine
            .places
            .uploading_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
