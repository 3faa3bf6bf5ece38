//! `Retry-After` (RFC 9110, section 10.2.3).

use http::HeaderValue;
use std::time::Duration;

const MAX_SECONDS: u32 = 86_400;

/// The values of nearly every answer, so that writing one costs no allocation.
#[rustfmt::skip]
const UP_TO_A_MINUTE: [&str; 60] = [
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "10",
    "11", "12", "13", "14", "15", "16", "17", "18", "19", "20",
    "21", "22", "23", "24", "25", "26", "27", "28", "29", "30",
    "31", "32", "33", "34", "35", "36", "37", "38", "39", "40",
    "41", "42", "43", "44", "45", "46", "47", "48", "49", "50",
    "51", "52", "53", "54", "55", "56", "57", "58", "59", "60",
];

/// A `Retry-After` of whole seconds, clamped to `1..=86_400` ([RFC 9110, section 10.2.3]).
///
/// The field also allows dates, and any non-negative number. Clients in use are less generous:
///
/// - several fail on a date, so this writes `delay-seconds` only;
/// - some take `0` for an absent field and fall back to their own delay, typically 30 seconds, so
///   the least is 1;
/// - JavaScript timers hold milliseconds in 31 bits and fire *at once* above 2,147,483 seconds, so
///   the most is a day, far below that and long enough to wait before asking again.
///
/// Values up to a minute do not allocate.
///
/// # Example
///
/// ```
/// use tower_lro::header::retry_after;
///
/// assert_eq!(retry_after(5), "5");
/// assert_eq!(retry_after(0), "1");
/// assert_eq!(retry_after(u32::MAX), "86400");
/// ```
///
/// [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
#[must_use]
pub fn retry_after(seconds: u32) -> HeaderValue {
    let seconds = seconds.clamp(1, MAX_SECONDS);
    match UP_TO_A_MINUTE.get(seconds as usize - 1) {
        Some(text) => HeaderValue::from_static(text),
        None => HeaderValue::from(seconds),
    }
}

/// A [`retry_after`] of at least `delay`: a part of a second counts as a whole one.
///
/// Rounding down would call clients back just before the time that was meant.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_lro::header::retry_after_for;
///
/// assert_eq!(retry_after_for(Duration::from_millis(1_500)), "2");
/// assert_eq!(retry_after_for(Duration::ZERO), "1");
/// ```
#[must_use]
pub fn retry_after_for(delay: Duration) -> HeaderValue {
    retry_after(whole_seconds(delay))
}

/// The seconds that a delay is told as.
pub(crate) fn whole_seconds(delay: Duration) -> u32 {
    let begun = u64::from(delay.subsec_nanos() > 0);
    let seconds = u32::try_from(delay.as_secs().saturating_add(begun));
    seconds.unwrap_or(u32::MAX).clamp(1, MAX_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_small_value_is_written_as_itself() {
        for seconds in 1..=100 {
            assert_eq!(retry_after(seconds), seconds.to_string());
        }
    }

    #[test]
    fn zero_becomes_one() {
        assert_eq!(retry_after(0), "1");
        assert_eq!(retry_after_for(Duration::ZERO), "1");
    }

    #[test]
    fn more_than_a_day_becomes_a_day() {
        assert_eq!(retry_after(86_399), "86399");
        assert_eq!(retry_after(86_400), "86400");
        assert_eq!(retry_after(86_401), "86400");
        assert_eq!(retry_after(u32::MAX), "86400");
        assert_eq!(retry_after_for(Duration::MAX), "86400");
    }

    #[test]
    fn parts_of_a_second_round_up() {
        let cases = [
            (Duration::from_nanos(1), "1"),
            (Duration::from_secs(1), "1"),
            (Duration::new(1, 1), "2"),
            (Duration::from_millis(2_999), "3"),
            (Duration::from_secs(60), "60"),
            (Duration::new(60, 1), "61"),
        ];
        for (delay, expected) in cases {
            assert_eq!(retry_after_for(delay), expected, "{delay:?}");
        }
    }

    proptest! {
        #[test]
        fn any_delay_gives_an_integer_within_the_bounds(secs: u64, nanos in 0..1_000_000_000_u32) {
            let delay = Duration::new(secs, nanos);
            let written: u32 = retry_after_for(delay).to_str().unwrap().parse().unwrap();
            prop_assert!((1..=MAX_SECONDS).contains(&written));
            prop_assert!(Duration::from_secs(written.into()) >= delay.min(Duration::from_secs(86_400)));
        }
    }
}
