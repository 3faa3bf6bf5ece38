use std::{num::NonZeroU64, time::Duration};

/// A moment of the clock that decides, to the nanosecond; `Option<Tick>` takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(NonZeroU64);

/// Keeping something for longer than 292 years is keeping it for 292 years, so that [`Tick::after`] can be undone.
const LONGEST: u64 = u64::MAX / 2;

impl Tick {
    pub(super) fn new(elapsed: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(elapsed)))
    }

    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }

    /// Undoes [`after`](Self::after).
    pub(super) fn before(self, time: Duration) -> Self {
        NonZeroU64::new(self.0.get().saturating_sub(nanos(time)))
            .map_or(Self(NonZeroU64::MIN), Self)
    }

    /// Time from `earlier` to this moment; none when it has passed.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    pub(super) fn encode(tick: Option<Self>) -> u64 {
        tick.map_or(0, |tick| tick.0.get())
    }

    pub(super) fn decode(tick: u64) -> Option<Self> {
        NonZeroU64::new(tick).map(Self)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos())
        .unwrap_or(LONGEST)
        .min(LONGEST)
}
