use crate::store::Cursor;
use http::{Uri, uri::PathAndQuery};
use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Names and values of a query, decoded as forms are. What is no UTF-8 has the replacement character, which no name and
/// no value of a grammar has.
pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// Takes what has one of these names out of a query. The rest stays as it was written.
pub(super) fn take_out(uri: &mut Uri, names: &[&str]) {
    let Some(query) = uri.query() else {
        return;
    };
    let stays = |pair: &&str| pairs(Some(pair)).all(|(name, _)| !names.contains(&&*name));
    if query.split('&').all(|pair| stays(&pair)) {
        return;
    }
    let kept = query.split('&').filter(stays).collect::<Vec<_>>().join("&");
    let path = match kept.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{kept}", uri.path()),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    if let Ok(without) = Uri::from_parts(parts) {
        *uri = without;
    }
}

/// A whole number, written in digits alone: no sign. What is too large to be counted is as much as can be.
pub(super) fn number(text: &str) -> Option<u64> {
    is_digits(text).then(|| text.parse().unwrap_or(u64::MAX))
}

/// A place in a list, as the page before has told it.
pub(super) fn cursor(text: &str) -> Option<Cursor> {
    text.parse().ok().filter(|_| is_digits(text)).map(Cursor)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, beyond @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, beyond),
                _ => (b'%', after),
            },
            (other, _) => (*other, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// A segment of a path, in which a plus stands for itself.
pub(super) fn segment(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => decoded(&text.replace('+', "%2B")).into_owned().into(),
        false => decoded(text),
    }
}

/// A date-time of RFC 3339, section 5.6, cut down to milliseconds. What was before 1970 is its beginning: there were no
/// operations.
pub(super) fn date_time(text: &str) -> Option<SystemTime> {
    // A plus that was not encoded was read as a space.
    let text = text.to_ascii_uppercase().replace(' ', "+");
    let (local, offset) = match text.strip_suffix('Z') {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (local, offset_seconds(offset)?)
        }
    };
    let (year, rest) = local.split_at_checked(4)?;
    let is_year = year.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = rest.as_bytes().get(6) == Some(&b'T') && is_year;
    let read = |year| humantime::parse_rfc3339(&format!("{year}{rest}Z")).ok();
    let moment = match is_time.then(|| year < "1970")? {
        // 29 February, if it was one, is in a leap year as well.
        true => read("2000").map(|_| UNIX_EPOCH),
        false => read(year),
    }?;
    let micros = moment.duration_since(UNIX_EPOCH).ok()?.as_micros();
    let millis = i64::try_from(micros / 1_000).ok()? - offset * 1_000;
    Some(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// `+01:30`, in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let number = |digits: &str, most: i64| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<i64>().ok().filter(|_| is_number)?;
        (number <= most).then_some(number)
    };
    let seconds = number(hours, 23)? * 3_600 + number(minutes, 59)? * 60;
    match text.as_bytes().first()? {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_digits_alone() {
        for (text, read) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("", None),
            ("+5", None),
            ("-5", None),
            (" 5", None),
            ("5.0", None),
            ("\u{665}", None),
        ] {
            assert_eq!(number(text), read, "{text:?}");
        }
        assert_eq!(cursor("18446744073709551615"), Some(Cursor(u64::MAX)));
        assert_eq!(cursor("18446744073709551616"), None);
        assert_eq!(cursor("+5"), None);
    }

    #[test]
    fn pairs_are_decoded_as_forms_are() {
        let pairs: Vec<_> = pairs(Some("a=b+c&&%64%3d=%C3%A9%&e&f=%ff%4=1")).collect();
        let wanted = [("a", "b c"), ("d=", "é%"), ("e", ""), ("f", "\u{fffd}%4=1")];
        assert_eq!(
            pairs,
            wanted.map(|(name, value)| (name.into(), value.into()))
        );
    }

    proptest::proptest! {
        #[test]
        fn what_a_form_reads_is_read(query in "[a-z%+&=0-9A-F]{0,40}") {
            let wanted: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
            let pairs: Vec<_> = pairs(Some(&query)).collect();
            proptest::prop_assert_eq!(pairs, wanted);
        }
    }
}
