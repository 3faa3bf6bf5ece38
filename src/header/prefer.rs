//! `Prefer` and `Preference-Applied` (RFC 7240).

use super::{
    is_token, lines,
    list::{Quotes, members},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// The `Prefer` request field ([RFC 7240, section 2]).
///
/// Where it can change an answer, every answer needs `Vary: Prefer`, those to requests without it
/// included.
///
/// [RFC 7240, section 2]: https://www.rfc-editor.org/rfc/rfc7240#section-2
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The `Preference-Applied` response field ([RFC 7240, section 3]), written by [`applied`].
///
/// [RFC 7240, section 3]: https://www.rfc-editor.org/rfc/rfc7240#section-3
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a client prefers about waiting: `respond-async` and `wait` ([RFC 7240, section 4]).
///
/// A preference is a wish. It can always be left unheeded, and a broken one is simply not there.
///
/// # Example
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use std::time::Duration;
/// use tower_lro::header::{PREFER, Prefer};
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(Prefer::parse(&headers), Prefer::default());
///
/// headers.append(PREFER, HeaderValue::from_static("return=minimal; a=b, Wait = \"10\""));
/// headers.append(PREFER, HeaderValue::from_static("respond-async, wait=60"));
///
/// let prefer = Prefer::parse(&headers);
/// assert!(prefer.respond_async);
/// assert_eq!(prefer.wait, Some(Duration::from_secs(10))); // the first one counts
/// ```
///
/// [RFC 7240, section 4]: https://www.rfc-editor.org/rfc/rfc7240#section-4
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// The client would rather have `202 Accepted` than wait ([RFC 7240, section 4.1]).
    ///
    /// [RFC 7240, section 4.1]: https://www.rfc-editor.org/rfc/rfc7240#section-4.1
    pub respond_async: bool,
    /// How long the client expects to wait for an answer, at most ([RFC 7240, section 4.3]).
    ///
    /// As sent, so bound it before holding a request that long. Numbers too large for 32 bits come
    /// out as [`u32::MAX`] seconds, which can be added to the present time without overflow.
    ///
    /// [RFC 7240, section 4.3]: https://www.rfc-editor.org/rfc/rfc7240#section-4.3
    pub wait: Option<Duration>,
}

impl Prefer {
    /// Reads the `Prefer` fields of a request, by the letter of [RFC 7240, section 2]:
    ///
    /// - names are case-insensitive, values are tokens or quoted strings, and an empty value is
    ///   none;
    /// - of several preferences of one name the first counts, even if its value makes no sense
    ///   (`wait=soon, wait=5` is no wait, and neither `wait` nor `respond-async=no` means
    ///   anything);
    /// - parameters, unknown preferences and whatever does not follow the grammar are ignored.
    ///
    /// Never fails and never allocates.
    ///
    /// [RFC 7240, section 2]: https://www.rfc-editor.org/rfc/rfc7240#section-2
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut respond_async = None;
        let mut wait = None;

        for member in
            lines(headers, PREFER).flat_map(|line| members(line.as_bytes(), Quotes::Escaped))
        {
            let (name, rest) = split_token(member);
            if name.eq_ignore_ascii_case(b"respond-async") {
                respond_async.get_or_insert_with(|| value(rest).is_some_and(<[u8]>::is_empty));
            } else if name.eq_ignore_ascii_case(b"wait") {
                wait.get_or_insert_with(|| value(rest).and_then(delta_seconds));
            }
        }

        Self {
            respond_async: respond_async.unwrap_or(false),
            wait: wait.flatten(),
        }
    }
}

/// Whether a request has a preference without a value, such as `respond-async`. Read as [`Prefer::parse`] does: for what
/// protocols add to the preferences of the RFC.
///
/// # Example
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use tower_lro::header::{PREFER, prefers};
///
/// let mut headers = HeaderMap::new();
/// headers.append(PREFER, HeaderValue::from_static("respond-async, separate-export-status"));
///
/// assert!(prefers(&headers, "separate-export-status"));
/// assert!(!prefers(&headers, "track-changes"));
/// ```
#[must_use]
pub fn prefers(headers: &HeaderMap, wanted: &str) -> bool {
    let mut named = lines(headers, PREFER)
        .flat_map(|line| members(line.as_bytes(), Quotes::Escaped))
        .map(split_token)
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
    named
        .next()
        .is_some_and(|(_, rest)| value(rest).is_some_and(<[u8]>::is_empty))
}

/// The `Preference-Applied` that tells a client which of its preferences were honoured
/// ([RFC 7240, section 3]), or `None` when none was.
///
/// Give it what was done, which may be less than what was asked. A part of a second in `wait`
/// counts as a whole one, as the bound that it is.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_lro::header::{Prefer, applied};
///
/// let asked = Prefer { respond_async: true, wait: Some(Duration::from_secs(600)) };
/// assert_eq!(applied(asked).unwrap(), "respond-async, wait=600");
///
/// let done = Prefer { wait: Some(Duration::from_secs(30)), ..asked };
/// assert_eq!(applied(done).unwrap(), "respond-async, wait=30");
///
/// assert_eq!(applied(Prefer::default()), None);
/// ```
///
/// [RFC 7240, section 3]: https://www.rfc-editor.org/rfc/rfc7240#section-3
#[must_use]
pub fn applied(prefer: Prefer) -> Option<HeaderValue> {
    let seconds = prefer.wait.map(|wait| {
        wait.as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0))
    });
    let text = match (prefer.respond_async, seconds) {
        (false, None) => return None,
        (true, None) => return Some(HeaderValue::from_static("respond-async")),
        (false, Some(seconds)) => format!("wait={seconds}"),
        (true, Some(seconds)) => format!("respond-async, wait={seconds}"),
    };
    Some(HeaderValue::try_from(text).expect("names and digits are legal in a field value"))
}

/// Takes the named preferences out of `Prefer`, for passing a request on after having honoured
/// them: the next one to read it must not honour them again.
///
/// All of that name go, in any case, with their parameters, also those that [`Prefer::parse`]
/// ignores as repeated or malformed. The others keep their text and order, and the field goes when
/// none is left. Without any of that name nothing is touched, and without a `Prefer` nothing is
/// allocated.
///
/// # Example
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use tower_lro::header::{PREFER, remove_preferences};
///
/// let mut headers = HeaderMap::new();
/// headers.append(PREFER, HeaderValue::from_static("respond-async, return=minimal; a=\"b, c\""));
/// headers.append(PREFER, HeaderValue::from_static("wait=5"));
///
/// remove_preferences(&mut headers, &["respond-async", "wait"]);
/// assert_eq!(headers[PREFER], "return=minimal; a=\"b, c\"");
///
/// remove_preferences(&mut headers, &["return"]);
/// assert!(!headers.contains_key(PREFER));
/// ```
pub fn remove_preferences(headers: &mut HeaderMap, names: &[&str]) {
    let named = |member: &[u8]| {
        let (name, _) = split_token(member);
        !name.is_empty()
            && names
                .iter()
                .any(|unwanted| name.eq_ignore_ascii_case(unwanted.as_bytes()))
    };
    let affected = |line: &HeaderValue| members(line.as_bytes(), Quotes::Escaped).any(named);

    if !lines(headers, PREFER).any(affected) {
        return;
    }
    let kept: Vec<_> = lines(headers, PREFER)
        .filter_map(|line| {
            if affected(line) {
                without(line, named)
            } else {
                Some(line.clone())
            }
        })
        .collect();

    let mut kept = kept.into_iter();
    match kept.next() {
        Some(first) => {
            headers.insert(PREFER, first);
            for line in kept {
                headers.append(PREFER, line);
            }
        }
        None => {
            headers.remove(PREFER);
        }
    }
}

/// The line without the unwanted members, or `None` when there are no others.
fn without(line: &HeaderValue, unwanted: impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(line.len());
    for member in members(line.as_bytes(), Quotes::Escaped).filter(|member| !unwanted(member)) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(member);
    }
    if text.is_empty() {
        return None;
    }
    let mut kept = HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .expect("parts of a field value are legal in a field value");
    kept.set_sensitive(line.is_sensitive());
    Some(kept)
}

/// The token that a preference begins with, empty if there is none, and what follows it.
fn split_token(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !is_token(byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// The value in what follows a preference's name, escapes left in: empty if there is none, `None`
/// if what stands there is not one.
fn value(after_name: &[u8]) -> Option<&[u8]> {
    let after_name = after_name.trim_ascii_start();
    let (value, rest) = match after_name.strip_prefix(b"=").map(<[u8]>::trim_ascii_start) {
        Some([b'"', quoted @ ..]) => split_quoted(quoted)?,
        Some(word) => split_token(word),
        None => (&[][..], after_name),
    };
    matches!(rest.trim_ascii_start(), [] | [b';', ..]).then_some(value)
}

/// Splits at the closing quote, or not at all if there is none.
fn split_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let close = text.iter().position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    Some((&text[..close], &text[close + 1..]))
}

/// RFC 9111, section 1.2.2, saturating as it says.
fn delta_seconds(value: &[u8]) -> Option<Duration> {
    if value.is_empty() {
        return None;
    }
    let mut seconds = 0_u32;
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        let digit = match byte {
            b'\\' => *bytes.next()?,
            _ => byte,
        };
        let digit = char::from(digit).to_digit(10)?;
        seconds = seconds.saturating_mul(10).saturating_add(digit);
    }
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[impl AsRef<[u8]>]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::from_bytes(line.as_ref()).unwrap());
        }
        headers
    }

    fn parse(line: impl AsRef<[u8]>) -> Prefer {
        Prefer::parse(&headers(&[line]))
    }

    fn prefer(respond_async: bool, wait: Option<u64>) -> Prefer {
        Prefer {
            respond_async,
            wait: wait.map(Duration::from_secs),
        }
    }

    const NOTHING: Prefer = Prefer {
        respond_async: false,
        wait: None,
    };

    #[test]
    fn no_field_prefers_nothing() {
        assert_eq!(Prefer::parse(&HeaderMap::new()), NOTHING);
    }

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(parse("respond-async, wait=10"), prefer(true, Some(10)));
        assert_eq!(
            parse("handling=lenient, wait=10, respond-async"),
            prefer(true, Some(10))
        );
        assert_eq!(parse("Foo; Bar"), NOTHING);
        assert_eq!(parse(r#"foo; some-parameter="""#), NOTHING);
        assert_eq!(parse("priority=5"), NOTHING);
        let lines = ["respond-async, wait=100", "handling=lenient"];
        assert_eq!(Prefer::parse(&headers(&lines)), prefer(true, Some(100)));
    }

    #[test]
    fn a_preference_of_another_kind_is_read_alike() {
        for (line, there) in [
            ("Separate-Status, respond-async", true),
            ("separate-status; a=b", true),
            ("separate-status=yes, separate-status", false),
            ("separate-status-x", false),
            ("", false),
        ] {
            assert_eq!(
                prefers(&headers(&[line]), "separate-status"),
                there,
                "{line}"
            );
        }
    }

    #[test]
    fn lines_concatenate() {
        let lines = ["wait=1", "", "respond-async", "wait=2"];
        assert_eq!(Prefer::parse(&headers(&lines)), prefer(true, Some(1)));
    }

    #[test]
    fn names_are_case_insensitive() {
        assert_eq!(parse("Respond-ASYNC, WAIT=3"), prefer(true, Some(3)));
    }

    #[test]
    fn names_are_compared_whole() {
        assert_eq!(
            parse("respond-asynchronously, respond, waiting=1, wait.=2"),
            NOTHING
        );
    }

    #[test]
    fn whitespace_is_allowed_around_every_separator() {
        assert_eq!(
            parse("\t wait \t= 5 \t; a = b ; , respond-async \t"),
            prefer(true, Some(5))
        );
    }

    #[test]
    fn empty_elements_are_skipped() {
        assert_eq!(
            parse(",, respond-async ,\t, wait=1,"),
            prefer(true, Some(1))
        );
        assert_eq!(parse(", ,"), NOTHING);
    }

    #[test]
    fn parameters_are_ignored() {
        assert_eq!(parse("respond-async; wait=9; x"), prefer(true, None));
        assert_eq!(parse("foo; respond-async; wait=9"), NOTHING);
        assert_eq!(
            parse(r#"foo="wait=1, respond-async"; a=", wait=2", wait=3"#),
            prefer(false, Some(3))
        );
        assert_eq!(parse("respond-async;;; =, wait=1;;"), prefer(true, Some(1)));
    }

    #[test]
    fn quoted_values_equal_tokens() {
        assert_eq!(parse(r#"wait="5""#), prefer(false, Some(5)));
        assert_eq!(parse(r#"wait = "\1\0" ; a"#), prefer(false, Some(10)));
        assert_eq!(parse(r#"foo="\", wait=1", wait=2"#), prefer(false, Some(2)));
        assert_eq!(parse(r#"foo="\\", wait=2"#), prefer(false, Some(2)));
    }

    #[test]
    fn an_empty_value_is_no_value() {
        assert_eq!(parse(r#"respond-async="""#), prefer(true, None));
        assert_eq!(parse("respond-async=, wait=1"), prefer(true, Some(1)));
        assert_eq!(parse(r#"wait="""#), NOTHING);
    }

    #[test]
    fn respond_async_takes_no_value() {
        assert_eq!(parse("respond-async=false"), NOTHING);
        assert_eq!(parse("respond-async=true"), NOTHING);
    }

    #[test]
    fn wait_takes_digits_only() {
        for value in [
            "", "=", "=soon", "=-1", "=+1", "=1.5", "=1s", "=0x1", "=\" 5\"", "=1 2", "=\"5", "=@",
        ] {
            assert_eq!(parse(format!("wait{value}")), NOTHING, "wait{value}");
        }
        assert_eq!(parse("wait=0"), prefer(false, Some(0)));
        assert_eq!(parse("wait=007"), prefer(false, Some(7)));
    }

    #[test]
    fn overlong_waits_saturate() {
        let most = Some(u64::from(u32::MAX));
        assert_eq!(parse("wait=4294967295"), prefer(false, most));
        assert_eq!(parse("wait=4294967296"), prefer(false, most));
        assert_eq!(
            parse(format!("wait={}", "9".repeat(500))),
            prefer(false, most)
        );
        let _ = std::time::Instant::now() + parse("wait=99999999999").wait.unwrap();
    }

    #[test]
    fn the_first_of_a_name_counts_even_if_unusable() {
        assert_eq!(parse("wait=1, wait=2"), prefer(false, Some(1)));
        assert_eq!(parse("wait=soon, WAIT=2"), NOTHING);
        assert_eq!(parse("wait, wait=2"), NOTHING);
        assert_eq!(parse("respond-async=no, respond-async"), NOTHING);
        assert_eq!(parse("respond-async, respond-async=no"), prefer(true, None));
        assert_eq!(Prefer::parse(&headers(&["wait=@", "wait=2"])), NOTHING);
    }

    #[test]
    fn malformed_members_spoil_no_others() {
        for junk in [
            "=",
            "==;",
            "@",
            "\"x\"",
            "foo bar",
            "foo=bar baz",
            "foo=\"a\"b",
            "\\",
            "foo=\\",
        ] {
            let line = format!("{junk}, wait=1");
            assert_eq!(parse(&line), prefer(false, Some(1)), "{line}");
        }
        assert_eq!(parse("respond-async please"), NOTHING);
    }

    #[test]
    fn an_open_quote_ends_with_its_line() {
        assert_eq!(
            parse("wait=1, foo=\"bar, respond-async"),
            prefer(false, Some(1))
        );
        let lines = ["foo=\"bar", "respond-async"];
        assert_eq!(Prefer::parse(&headers(&lines)), prefer(true, None));
    }

    #[test]
    fn bytes_beyond_ascii_are_tolerated() {
        assert_eq!(parse(b"foo=\"\xff\xfe\", wait=1"), prefer(false, Some(1)));
        assert_eq!(
            parse(b"\xff, wait=1, respond-async\x80"),
            prefer(false, Some(1))
        );
    }

    #[test]
    fn applied_names_what_was_honoured() {
        let text = |prefer| applied(prefer).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text(NOTHING), None);
        assert_eq!(text(prefer(true, None)).unwrap(), "respond-async");
        assert_eq!(text(prefer(false, Some(10))).unwrap(), "wait=10");
        assert_eq!(
            text(prefer(true, Some(10))).unwrap(),
            "respond-async, wait=10"
        );
        assert_eq!(text(prefer(false, Some(0))).unwrap(), "wait=0");
        let wait = Some(Duration::from_millis(1_200));
        assert_eq!(text(Prefer { wait, ..NOTHING }).unwrap(), "wait=2");
        let wait = Some(Duration::MAX);
        assert_eq!(
            text(Prefer { wait, ..NOTHING }).unwrap(),
            format!("wait={}", u64::MAX)
        );
    }

    fn removed(lines: &[&str], names: &[&str]) -> Vec<String> {
        let mut headers = headers(lines);
        remove_preferences(&mut headers, names);
        let lines = headers.get_all(PREFER).iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
    }

    const BOTH: &[&str] = &["respond-async", "wait"];

    #[test]
    fn removal_takes_all_of_a_name_with_its_parameters() {
        assert_eq!(
            removed(&["a, wait=1; x=\"y, z\", b, Wait=2", "WAIT", "c"], BOTH),
            ["a, b", "c"]
        );
        assert_eq!(removed(&["a, wait junk, respond-async=no"], BOTH), ["a"]);
    }

    #[test]
    fn removal_keeps_the_text_of_the_others() {
        let others = r#"a = "x, \"wait=1\"" ;; p"#;
        assert_eq!(removed(&[&format!("wait=1 ,\t{others}")], BOTH), [others]);
        assert_eq!(
            removed(&["waiting=1, wait, a; wait=2"], BOTH),
            ["waiting=1, a; wait=2"]
        );
    }

    #[test]
    fn removal_of_everything_removes_the_field() {
        assert!(removed(&["respond-async, , wait=1", "wait"], BOTH).is_empty());
    }

    #[test]
    fn removal_leaves_lines_without_the_names_untouched() {
        assert_eq!(removed(&["a ,b,,", ""], BOTH), ["a ,b,,", ""]);
        assert_eq!(removed(&["a ,b,,", "wait=1"], BOTH), ["a ,b,,"]);
        assert_eq!(removed(&["@, wait=1"], &[""]), ["@, wait=1"]);
        assert!(removed(&[], BOTH).is_empty());
    }

    #[test]
    fn removal_touches_no_other_field_and_keeps_the_sensitive_mark() {
        let mut headers = headers(&["wait=1, a"]);
        headers.get_mut(PREFER).unwrap().set_sensitive(true);
        headers.insert("x", HeaderValue::from_static("wait=1"));
        remove_preferences(&mut headers, BOTH);
        assert_eq!(headers["x"], "wait=1");
        assert_eq!(headers[PREFER], "a");
        assert!(headers[PREFER].is_sensitive());
    }

    /// A preference as its sender means it, beside one of its many spellings.
    #[derive(Clone, Debug)]
    struct Written {
        name: String,
        value: Vec<u8>,
        text: Vec<u8>,
    }

    fn space() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b" \t".as_slice()), 0..3)
    }

    /// A value and its spelling: a token or a quoted string with escapes at will.
    fn word() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let text = prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xff_u8];
        let quoted = prop::collection::vec((text, any::<bool>()), 0..8).prop_map(|content| {
            let mut spelling = vec![b'"'];
            for &(byte, escape) in &content {
                if escape || matches!(byte, b'"' | b'\\') {
                    spelling.push(b'\\');
                }
                spelling.push(byte);
            }
            spelling.push(b'"');
            (
                content.into_iter().map(|(byte, _)| byte).collect(),
                spelling,
            )
        });
        let token =
            "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,8}".prop_map(|text| (text.clone().into(), text.into()));
        let number = "[0-9]{1,12}".prop_map(|text| (text.clone().into(), text.into()));
        let quoted_number =
            "[0-9]{1,3}".prop_map(|text| (text.clone().into(), format!("\"{text}\"").into()));
        prop_oneof![quoted, token, number, quoted_number]
    }

    /// `[ BWS "=" BWS word ]`
    fn assignment() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        prop::option::of((space(), space(), word())).prop_map(|assignment| match assignment {
            Some((before, after, (value, spelling))) => {
                (value, [before, b"=".to_vec(), after, spelling].concat())
            }
            None => (Vec::new(), Vec::new()),
        })
    }

    /// `OWS ";" [ OWS parameter ]`
    fn parameter() -> impl Strategy<Value = Vec<u8>> {
        let parameter = (space(), "wait|respond-async|[a-z]{1,4}", assignment());
        (space(), prop::option::of(parameter)).prop_map(|(before, parameter)| {
            let mut text = [before, b";".to_vec()].concat();
            if let Some((space, name, (_, assignment))) = parameter {
                text.extend([space, name.into(), assignment].concat());
            }
            text
        })
    }

    fn written() -> impl Strategy<Value = Written> {
        let names = vec!["respond-async", "wait", "wait", "return", "handling", "x.y"];
        (
            prop::sample::select(names),
            any::<u32>(),
            assignment(),
            prop::collection::vec(parameter(), 0..3),
        )
            .prop_map(|(name, upper, (value, assignment), parameters)| {
                let mixed = name
                    .bytes()
                    .zip(0..32)
                    .map(|(byte, bit)| match upper >> bit & 1 {
                        1 => byte.to_ascii_uppercase(),
                        _ => byte,
                    });
                let text = [mixed.collect(), assignment, parameters.concat()].concat();
                Written {
                    name: name.to_owned(),
                    value,
                    text,
                }
            })
    }

    fn separator() -> impl Strategy<Value = Vec<u8>> {
        (space(), "[, \t]{0,3}")
            .prop_map(|(space, more)| [space, b",".to_vec(), more.into()].concat())
    }

    /// Lines of preferences, each line beside its text.
    fn lines() -> impl Strategy<Value = Vec<(Vec<Written>, Vec<u8>)>> {
        let line = prop::collection::vec((written(), separator()), 0..5).prop_map(|members| {
            let text = members
                .iter()
                .flat_map(|(written, separator)| [written.text.clone(), separator.clone()])
                .collect::<Vec<_>>()
                .concat();
            (
                members.into_iter().map(|(written, _)| written).collect(),
                text,
            )
        });
        prop::collection::vec(line, 0..4)
    }

    fn meaning(written: &[Written]) -> Prefer {
        let first = |name| written.iter().find(|written| written.name == name);
        let seconds = |value: &[u8]| {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            digits.then(|| {
                let number: u128 = std::str::from_utf8(value).unwrap().parse().unwrap();
                Duration::from_secs(u64::try_from(number.min(u32::MAX.into())).unwrap())
            })
        };
        Prefer {
            respond_async: first("respond-async").is_some_and(|written| written.value.is_empty()),
            wait: first("wait").and_then(|written| seconds(&written.value)),
        }
    }

    fn junk() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            "[\"\\\\,;= \t@]".prop_map(String::into_bytes),
            prop::sample::select(vec!["wait", "wait=", "respond-async", "5"])
                .prop_map(|part| part.as_bytes().to_vec()),
            (0x80..=0xff_u8).prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, lines in prop::collection::vec(junk(), 0..4)) {
            if HeaderValue::from_bytes(&bytes).is_ok() {
                let _ = parse(&bytes);
            }
            let mut headers = headers(&lines);
            let _ = Prefer::parse(&headers);
            remove_preferences(&mut headers, BOTH);
            prop_assert_eq!(Prefer::parse(&headers), NOTHING);
        }

        #[test]
        fn every_spelling_reads_back(lines in lines()) {
            let (written, texts): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
            prop_assert_eq!(Prefer::parse(&headers(&texts)), meaning(&written.concat()));
        }

        #[test]
        fn removal_takes_the_named_and_keeps_the_others(
            lines in lines(),
            names in prop::sample::subsequence(vec!["respond-async", "Wait", "return", "x.y"], 0..=4),
        ) {
            let (written, texts): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
            let others: Vec<_> = written
                .concat()
                .into_iter()
                .filter(|written| !names.iter().any(|name| name.eq_ignore_ascii_case(&written.name)))
                .collect();

            let mut headers = headers(&texts);
            let before = headers.clone();
            remove_preferences(&mut headers, &names);

            let kept: Vec<_> = headers
                .get_all(PREFER)
                .iter()
                .flat_map(|line| members(line.as_bytes(), Quotes::Escaped))
                .collect();
            let expected: Vec<_> = others.iter().map(|written| written.text.trim_ascii()).collect();
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(Prefer::parse(&headers), meaning(&others));
            if others.len() == written.concat().len() {
                prop_assert_eq!(headers, before);
            }
        }

        #[test]
        fn what_is_applied_reads_back(respond_async: bool, wait: Option<u32>) {
            let prefer = prefer(respond_async, wait.map(u64::from));
            match applied(prefer) {
                Some(value) => prop_assert_eq!(parse(value), prefer),
                None => prop_assert_eq!(prefer, NOTHING),
            }
        }
    }
}
