use super::Engine;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::SemaphorePermit;

/// Counts what has been taken on and has not ended. Each number includes those below it.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: AtomicU64,
    /// Taken on for good: read, and neither refused nor ended. With [`CLOSED`], nothing more is.
    pending: AtomicU64,
    running: AtomicU64,
    uploading_bytes: AtomicU64,
    discards: AtomicU64,
    /// Workers that are just being given something to run.
    claiming: AtomicU64,
}

const CLOSED: u64 = 1 << 63;

impl Places {
    /// Takes no request on any more, and tells how many have been.
    pub(super) fn close(&self) -> u64 {
        self.pending.fetch_or(CLOSED, Ordering::SeqCst) & !CLOSED
    }

    /// Uploading, accepted, running: never more in all than there are places.
    pub(crate) fn stages(&self) -> [u64; 3] {
        // The smallest number first, so that what moves on in between is still counted where it was.
        let running = self.running.load(Ordering::SeqCst);
        let pending = self.pending();
        let taken = self.taken.load(Ordering::SeqCst);
        [
            taken.saturating_sub(pending),
            pending.saturating_sub(running),
            running,
        ]
    }
    pub(crate) fn uploading_bytes(&self) -> u64 {
        self.uploading_bytes.load(Ordering::Relaxed)
    }
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::SeqCst) & !CLOSED
    }
    /// Whether nothing runs, waits to run, or is about to be claimed.
    pub(crate) fn are_empty(&self) -> bool {
        // What is claimed is pending before its claiming is over.
        self.claiming.load(Ordering::SeqCst) == 0 && self.pending() == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        Some(Self {
            engine: engine.clone(),
            stage: Stage::Uploading,
        })
    }

    /// A place for what a worker claims, with the turn to run that the worker has waited for: the bound on what runs is
    /// the bound on what it takes.
    pub(crate) fn with_turn(engine: &Arc<Engine>, turn: SemaphorePermit<'_>) -> Self {
        turn.forget();
        engine.places.taken.fetch_add(1, Ordering::SeqCst);
        engine.places.pending.fetch_add(1, Ordering::SeqCst);
        engine.places.running.fetch_add(1, Ordering::SeqCst);
        Self {
            engine: engine.clone(),
            stage: Stage::Running,
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes the request on for good. `false`, if the server is draining: then nothing may come of it.
    pub(crate) fn accept(&mut self) -> bool {
        if self.stage == Stage::Uploading {
            let more = |pending: u64| (pending & CLOSED == 0).then_some(pending + 1);
            let pending = &self.engine.places.pending;
            if pending
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
                .is_err()
            {
                return false;
            }
            self.stage = Stage::Accepted;
        }
        true
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
        self.stage = Stage::Running;
        self.engine.places.running.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let engine = &self.engine;
        if self.stage == Stage::Running {
            engine.places.running.fetch_sub(1, Ordering::SeqCst);
            engine.turns.add_permits(1);
        }
        let was_pending = self.stage > Stage::Uploading;
        let was_last =
            was_pending && engine.places.pending.fetch_sub(1, Ordering::SeqCst) & !CLOSED == 1;
        engine.places.taken.fetch_sub(1, Ordering::SeqCst);
        if was_last {
            engine.tell_drains();
        }
    }
}

/// A worker asks the store for something to run: a drain waits until it has it, lest it be claimed by nobody.
#[derive(Debug)]
pub(crate) struct Claiming(Arc<Engine>);

impl Claiming {
    /// `None`, if the server is draining.
    pub(crate) fn begin(engine: &Arc<Engine>) -> Option<Self> {
        engine.places.claiming.fetch_add(1, Ordering::SeqCst);
        let claiming = Self(engine.clone());
        // A drain says so before it looks, so that one sees the other.
        (!engine.is_draining()).then_some(claiming)
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        if self.0.places.claiming.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.tell_drains();
        }
    }
}

/// Bytes of a request that is being read; given back when dropped.
#[derive(Debug)]
pub(crate) struct UploadBytes<'a> {
    engine: &'a Engine,
    bytes: u64,
}

impl<'a> UploadBytes<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine, bytes: 0 }
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

impl Drop for UploadBytes<'_> {
    fn drop(&mut self) {
        self.engine
            .places
            .uploading_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The right to read on what is refused; given back when dropped.
#[derive(Debug)]
pub(crate) struct Discard(Arc<Engine>);

impl Discard {
    /// `None`, if too many do.
    pub(crate) fn begin(engine: &Arc<Engine>) -> Option<Self> {
        let limit = engine.limits.discards as u64;
        let more = |now: u64| (now < limit).then_some(now + 1);
        let counter = &engine.places.discards;
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
            .then(|| Self(engine.clone()))
    }
}

impl Drop for Discard {
    fn drop(&mut self) {
        self.0.places.discards.fetch_sub(1, Ordering::Relaxed);
    }
}
