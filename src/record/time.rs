use std::{
    cell::Cell,
    fmt,
    io::Write,
    num::NonZeroU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A moment of the wall clock, to the microsecond: for showing, never for deciding.
///
/// [`Display`](fmt::Display) gives RFC 3339 in UTC with milliseconds: `2026-11-21T02:56:00.125Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

/// The last moment of the year 9999, the last that RFC 3339 can write.
const LATEST: u64 = 253_402_300_799_999_999;

impl Timestamp {
    /// Takes microseconds since 1970, clamped to what RFC 3339 can write.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        let clamped = if micros == 0 {
            1
        } else if micros > LATEST {
            LATEST
        } else {
            micros
        };
        match NonZeroU64::new(clamped) {
            Some(micros) => Self(micros),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0.get()
    }

    /// This moment and `later`, clamped to what RFC 3339 can write.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        let later = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        Self::from_micros(self.as_micros().saturating_add(later))
    }
}

thread_local! {
    /// The second last written, and its text: most times that are written together are of one second.
    static SECOND: Cell<(u64, [u8; SECOND_LEN])> = const { Cell::new((u64::MAX, [0; SECOND_LEN])) };
}

/// Length of `2026-11-21T02:56:00`.
const SECOND_LEN: usize = 19;

impl Timestamp {
    /// Appends what [`Display`](fmt::Display) shows.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let second = self.as_micros() / 1_000_000;
        let (last, mut text) = SECOND.get();
        if last != second {
            let whole = UNIX_EPOCH + Duration::from_secs(second);
            let mut cursor = &mut text[..];
            // The year has four digits: exactly the room there is.
            let _ = write!(cursor, "{}", humantime::format_rfc3339_seconds(whole));
            SECOND.set((second, text));
        }
        out.extend_from_slice(&text);
        let millis = self.as_micros() / 1_000 % 1_000;
        let digit = |unit: u64| b'0' + (millis / unit % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.as_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis((*self).into()).fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_rfc_3339_in_utc() {
        let time = Timestamp::from_micros(1_795_229_760_125_000);
        assert_eq!(time.to_string(), "2026-11-21T02:56:00.125Z");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_what_is_displayed(micros in 0..=LATEST) {
            let time = Timestamp::from_micros(micros);
            for time in [time, time.after(Duration::from_millis(1))] {
                let mut out = Vec::new();
                time.write(&mut out);
                proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), time.to_string());
            }
        }
    }

    #[test]
    fn the_ends_of_time_are_clamped() {
        let text = Timestamp::from_micros(u64::MAX)
            .after(Duration::MAX)
            .to_string();
        assert_eq!(text, "9999-12-31T23:59:59.999Z");
        assert_eq!(
            Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)).as_micros(),
            1
        );
    }
}
