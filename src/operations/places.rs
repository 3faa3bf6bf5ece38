use super::{
    Engine, Limits,
    tally::{AtomicTally, PENDING, TAKEN, Tally},
};
use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Counts what has been taken on and has not ended.
#[derive(Debug, Default)]
pub(crate) struct Places {
    tally: AtomicTally,
    uploading_bytes: AtomicU64,
    discards: AtomicU64,
    /// Turns that are taken and not begun: of workers, for what they are just being given to run, and of operations whose
    /// tasks were not polled yet.
    reserved: AtomicU64,
}

/// What is pending takes a terabyte by then; and a [`Tally`] has room for it.
const MOST: u64 = 1 << 30;

impl Places {
    /// Takes no request on any more, and tells how many have been.
    pub(super) fn close(&self) -> u64 {
        self.tally.close().pending()
    }

    pub(crate) fn uploading_bytes(&self) -> u64 {
        self.uploading_bytes.load(Ordering::Relaxed)
    }
    pub(crate) fn pending(&self) -> u64 {
        self.tally.load().pending()
    }
    /// Whether nothing runs, waits to run, or is about to be claimed.
    pub(crate) fn are_empty(&self) -> bool {
        // What is claimed is pending before its turn is no longer reserved.
        self.reserved.load(Ordering::SeqCst) == 0 && self.pending() == 0
    }
}

impl Engine {
    /// Uploading, accepted, running.
    pub(super) fn stages(&self) -> [u64; 3] {
        let reserved = self.places.reserved.load(Ordering::SeqCst);
        let turns = turns(&self.limits) - self.turns.available_permits();
        let tally = self.places.tally.load();
        // Some may have been reserved since those were counted.
        let running = (turns as u64).saturating_sub(reserved).min(tally.pending());
        [
            tally.taken() - tally.pending(),
            tally.pending() - running,
            running,
        ]
    }

    fn reserve(&self, turn: SemaphorePermit<'_>) {
        self.places.reserved.fetch_add(1, Ordering::SeqCst);
        turn.forget();
    }

    fn begin_reserved(&self) {
        self.places.reserved.fetch_sub(1, Ordering::SeqCst);
    }

    fn give_back_reserved(&self, turns: u16) {
        self.turns.add_permits(turns.into());
        self.places
            .reserved
            .fetch_sub(turns.into(), Ordering::SeqCst);
    }
}

/// How many may run at the same time.
pub(super) fn turns(limits: &Limits) -> usize {
    limits.running.min(Semaphore::MAX_PERMITS)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Uploading,
    Accepted,
    /// Has its turn reserved.
    Next,
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
        let has_room = |tally: Tally| tally.taken() < all.min(MOST);
        let tally = &engine.places.tally;
        tally.add_if(TAKEN, has_room).then(|| Self {
            engine: engine.clone(),
            stage: Stage::Uploading,
        })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes the request on for good. `false`, if the server is draining: then nothing may come of it.
    pub(crate) fn accept(&mut self) -> bool {
        if self.stage == Stage::Uploading {
            if !self.engine.places.tally.add_if(PENDING, Tally::is_open) {
                return false;
            }
            self.stage = Stage::Accepted;
        }
        true
    }

    /// Reserves the turn to run if one is free, so that operations which are begun one after the other have theirs in that
    /// order, whichever task is polled first.
    pub(crate) fn reserve_turn(&mut self) {
        if self.stage == Stage::Accepted
            && let Ok(turn) = self.engine.turns.try_acquire()
        {
            self.engine.reserve(turn);
            self.stage = Stage::Next;
        }
    }

    /// The turn to run, to be waited for, and beside it what runs.
    pub(crate) fn turn(&mut self) -> (&Arc<Engine>, Turn<'_>) {
        let Self { engine, stage } = self;
        (engine, Turn { engine, stage })
    }
}

/// A [`Place`]'s turn to run.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    engine: &'a Engine,
    stage: &'a mut Stage,
}

impl Turn<'_> {
    /// Waits for it; it is given back with the place.
    ///
    /// # Cancel safety
    ///
    /// A turn that is not taken goes to the next in line.
    pub(crate) async fn taken(self) {
        match self.stage {
            Stage::Running => return,
            Stage::Next => self.engine.begin_reserved(),
            Stage::Uploading | Stage::Accepted => {
                // Never closed.
                if let Ok(turn) = self.engine.turns.acquire().await {
                    turn.forget();
                }
            }
        }
        *self.stage = Stage::Running;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let engine = &self.engine;
        match self.stage {
            Stage::Uploading | Stage::Accepted => {}
            Stage::Next => engine.give_back_reserved(1),
            Stage::Running => engine.turns.add_permits(1),
        }
        let tally = &engine.places.tally;
        if self.stage == Stage::Uploading {
            tally.sub(TAKEN);
        } else if tally.sub(TAKEN + PENDING).pending() == 0 {
            engine.tell_drains();
        }
    }
}

/// A worker asks the store for something to run: a drain waits until it has it, lest it be claimed by nobody. The bound on
/// what runs is the bound on what it takes: it has the turns for that before it asks.
#[derive(Debug)]
pub(crate) struct Claiming {
    engine: Arc<Engine>,
    turns: u16,
}

impl Claiming {
    /// Waits for a turn, and takes those that are free besides, `at_most` in all. `None`, if the server is draining.
    ///
    /// # Cancel safety
    ///
    /// A turn that is not taken goes to the next in line.
    pub(crate) async fn begin(engine: &Arc<Engine>, at_most: u16) -> Option<Self> {
        // Never closed.
        let first = engine.turns.acquire().await.ok()?;
        let mut claiming = Self {
            engine: engine.clone(),
            turns: 0,
        };
        claiming.take(first);
        // A drain says so before it looks, so that one sees the other.
        if engine.is_draining() {
            return None;
        }
        while claiming.turns < at_most
            && let Ok(turn) = engine.turns.try_acquire()
        {
            claiming.take(turn);
        }
        Some(claiming)
    }

    fn take(&mut self, turn: SemaphorePermit<'_>) {
        self.engine.reserve(turn);
        self.turns += 1;
    }

    /// How much it may ask for.
    pub(crate) fn turns(&self) -> NonZeroU16 {
        NonZeroU16::new(self.turns).unwrap_or(NonZeroU16::MIN)
    }

    /// A place for what it was given, with one of its turns; `None` when these are used up.
    pub(crate) fn place(&mut self) -> Option<Place> {
        self.turns = self.turns.checked_sub(1)?;
        self.engine.places.tally.add(TAKEN + PENDING);
        self.engine.begin_reserved();
        Some(Place {
            engine: self.engine.clone(),
            stage: Stage::Running,
        })
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        self.engine.give_back_reserved(self.turns);
        self.engine.tell_drains();
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
