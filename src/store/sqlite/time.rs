use crate::{record::Timestamp, store::Clock};
use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

/// A moment by the file's clock, in microseconds.
pub(super) type Tick = i64;

/// Keeping something for longer than 146,000 years is keeping it for so long, so that no sum overflows.
const LONGEST: i64 = i64::MAX / 2;

/// The file's clock: decides when something is due, in all processes that share the file.
///
/// It began as the time of day when the file was made. While a process writes, it goes by that process's monotonic
/// clock, so that setting the wall clock does nothing; the time while nobody had it open is told by the wall clock. A
/// process that finds it further than it thought goes on from there.
#[derive(Debug)]
pub(super) struct Time {
    clock: Clock,
    base: AtomicI64,
}

impl Time {
    /// By a file whose clock was at `tick` when the time of day was `wall`.
    pub(super) fn new(clock: Clock, tick: Tick, wall: i64) -> Self {
        let away = micros_of(clock.wall()).saturating_sub(wall).max(0);
        let base = tick.saturating_add(away) - micros(clock.elapsed());
        Self {
            clock,
            base: AtomicI64::new(base),
        }
    }

    pub(super) fn now(&self) -> Tick {
        // It decides nothing about other memory.
        self.base.load(Relaxed) + micros(self.clock.elapsed())
    }

    /// By this process's monotonic clock alone: for leases.
    pub(super) fn elapsed(&self) -> Tick {
        micros(self.clock.elapsed())
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Goes on from `tick`, if another process was there already.
    pub(super) fn go_on_from(&self, tick: Tick) {
        let behind = tick - self.now();
        if behind > 0 {
            self.base.fetch_add(behind, Relaxed);
        }
    }
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).map_or(LONGEST, |micros| micros.min(LONGEST))
}

pub(super) fn micros_of(time: Timestamp) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(0))
}

pub(super) fn after(now: Tick, time: Duration) -> Tick {
    now.saturating_add(micros(time))
}

/// From `now` to `due`; none when it has passed.
pub(super) fn until(now: Tick, due: Tick) -> Duration {
    Duration::from_micros(u64::try_from(due.saturating_sub(now)).unwrap_or(0))
}
