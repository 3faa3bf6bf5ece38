use crate::record::Timestamp;
#[cfg(any(test, feature = "testing"))]
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Where the time comes from: a wall clock for showing, and one that never goes back for deciding.
///
/// A store in memory decides by the second alone, so that a wall clock that is set neither expires nor revives
/// anything.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// Tokio's clock, so that tests with paused time see theirs.
    System(tokio::time::Instant),
    #[cfg(any(test, feature = "testing"))]
    Manual(Arc<Mutex<Manual>>),
}

#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
struct Manual {
    elapsed: Duration,
    wall: SystemTime,
}

impl Clock {
    /// The clocks of the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(tokio::time::Instant::now()))
    }

    /// A clock that stands at `wall` until it is moved.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn manual(wall: SystemTime) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(Manual {
            elapsed: Duration::ZERO,
            wall,
        }))))
    }

    /// Lets time pass, on both clocks.
    ///
    /// # Panics
    ///
    /// If the clock is the system's.
    #[cfg(any(test, feature = "testing"))]
    #[track_caller]
    pub fn advance(&self, by: Duration) {
        let mut manual = self.manual_or_panic();
        manual.elapsed += by;
        manual.wall += by;
    }

    /// Sets the wall clock, forwards or backwards; no time passes.
    ///
    /// # Panics
    ///
    /// If the clock is the system's.
    #[cfg(any(test, feature = "testing"))]
    #[track_caller]
    pub fn set_wall(&self, to: SystemTime) {
        self.manual_or_panic().wall = to;
    }

    #[cfg(any(test, feature = "testing"))]
    #[track_caller]
    fn manual_or_panic(&self) -> std::sync::MutexGuard<'_, Manual> {
        match &self.0 {
            Source::System(_) => panic!("the system's clock can't be set"),
            Source::Manual(manual) => crate::sync::lock(manual),
        }
    }

    /// The time of day: for showing.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System(_) => SystemTime::now().into(),
            #[cfg(any(test, feature = "testing"))]
            Source::Manual(_) => self.manual_or_panic().wall.into(),
        }
    }

    /// Time since the clock was made, never going back: for deciding.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            #[cfg(any(test, feature = "testing"))]
            Source::Manual(_) => self.manual_or_panic().elapsed,
        }
    }
}
