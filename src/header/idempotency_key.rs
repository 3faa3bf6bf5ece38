//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use super::lines;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{borrow::Cow, error::Error, fmt};

/// The `Idempotency-Key` request field ([draft-ietf-httpapi-idempotency-key-header], section 2).
///
/// [draft-ietf-httpapi-idempotency-key-header]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const MAX_CHARS: usize = 255;

/// The key by which a client marks repeats of one request, or `None` when it sent none.
///
/// The [draft] makes the field a structured-field String ([RFC 8941, section 3.3.3], unchanged in
/// RFC 9651), whose parameters say nothing about the key and are skipped. Clients in wide use send the key bare:
/// then it is the whole value, and must be visible ASCII. Both spellings of a text are one key:
///
/// | field value | key |
/// | --- | --- |
/// | `"8e03978e-40d5"` | `8e03978e-40d5` |
/// | `8e03978e-40d5` | `8e03978e-40d5` |
/// | `"8e03978e-40d5";v=1` | `8e03978e-40d5` |
/// | `"say \"hi\""` | `say "hi"` |
///
/// Allocates only for a quoted key with escapes in it.
///
/// # Errors
///
/// [`InvalidKey`] says what is wrong with a field that is there. Refuse such a request, with `400`:
/// its sender counts on repeats being recognised. The draft leaves the length of a key to the
/// server; here it has 1 to 255 characters.
///
/// # Example
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use tower_lro::header::{IDEMPOTENCY_KEY, InvalidKey, idempotency_key};
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(idempotency_key(&headers), Ok(None));
///
/// headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static(r#""8e03978e-40d5""#));
/// assert_eq!(idempotency_key(&headers), Ok(Some("8e03978e-40d5".into())));
///
/// headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static(r#""8e03978e"#));
/// assert_eq!(idempotency_key(&headers), Err(InvalidKey::Unterminated));
/// ```
///
/// [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
/// [RFC 8941, section 3.3.3]: https://www.rfc-editor.org/rfc/rfc8941#section-3.3.3
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, InvalidKey> {
    let mut lines = lines(headers, IDEMPOTENCY_KEY);
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(InvalidKey::Repeated);
    }
    parse(line).map(Some)
}

fn parse(line: &HeaderValue) -> Result<Cow<'_, str>, InvalidKey> {
    // Lets the tab through, which is refused below.
    let text = line.to_str().map_err(|_| InvalidKey::Character)?;
    let text = text.trim_matches([' ', '\t']);

    let key = match text.strip_prefix('"') {
        Some(quoted) => {
            let (key, rest) = string(quoted)?;
            skip_parameters(rest)?;
            key
        }
        None if text.bytes().all(|byte| byte.is_ascii_graphic()) => Cow::Borrowed(text),
        None => return Err(InvalidKey::Character),
    };

    match key.len() {
        0 => Err(InvalidKey::Empty),
        1..=MAX_CHARS => Ok(key),
        _ => Err(InvalidKey::TooLong),
    }
}

/// A structured-field String from after its opening quote, and what follows its closing one
/// (RFC 8941, section 4.2.5).
fn string(text: &str) -> Result<(Cow<'_, str>, &str), InvalidKey> {
    let mut key = Cow::Borrowed("");
    let mut rest = text;
    loop {
        // A plain run, then the byte that ended it.
        let run = rest
            .find(['"', '\\', '\t'])
            .ok_or(InvalidKey::Unterminated)?;
        key += &rest[..run];
        let (end, after) = rest[run..].split_at(1);
        match end {
            "\"" => return Ok((key, after)),
            "\\" if after.starts_with(['"', '\\']) => {
                key += &after[..1];
                rest = &after[1..];
            }
            "\\" if after.is_empty() => return Err(InvalidKey::Unterminated),
            "\\" => return Err(InvalidKey::Escape),
            _ => return Err(InvalidKey::Character),
        }
    }
}

/// Parameters (RFC 8941, section 4.2.3.2) by their outline: enough to find that nothing else
/// follows, such as the key of a second line that was joined to this one.
fn skip_parameters(mut rest: &str) -> Result<(), InvalidKey> {
    while !rest.is_empty() {
        let parameter = rest.strip_prefix(';').ok_or(InvalidKey::Trailing)?;
        let parameter = parameter.trim_start_matches(' ');

        let name = parameter
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_-.*".contains(c)))
            .unwrap_or(parameter.len());
        if name == 0 {
            return Err(InvalidKey::Trailing);
        }
        rest = &parameter[name..];

        let Some(value) = rest.strip_prefix('=') else {
            continue;
        };
        rest = match value.strip_prefix('"') {
            Some(quoted) => string(quoted)?.1,
            None => value.trim_start_matches(|c: char| c.is_ascii_graphic() && !"\",;".contains(c)),
        };
        if rest.len() == value.len() {
            return Err(InvalidKey::Trailing);
        }
    }
    Ok(())
}

/// Why an `Idempotency-Key` field gives no key.
///
/// The text is made for the sender of the request, so it can stand in the `detail` of a problem
/// document, and it repeats nothing of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The field has several lines.
    Repeated,
    /// The key is empty.
    Empty,
    /// The key has more than 255 characters.
    TooLong,
    /// The key holds a character that it must not: one that is not ASCII or a control character,
    /// or, in a key without quotes, a space.
    Character,
    /// A quoted string is not closed.
    Unterminated,
    /// A backslash stands before something other than a quote or a backslash.
    Escape,
    /// The quoted key is followed by something other than parameters.
    Trailing,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeated => "Idempotency-Key was sent more than once",
            Self::Empty => "Idempotency-Key is empty",
            Self::TooLong => "Idempotency-Key is longer than 255 characters",
            Self::Character => "Idempotency-Key holds a character that is not allowed",
            Self::Unterminated => "Idempotency-Key has no closing quote",
            Self::Escape => "Idempotency-Key has a backslash that escapes nothing",
            Self::Trailing => "Idempotency-Key is not a single string",
        })
    }
}

impl Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(line: impl AsRef<[u8]>) -> Result<String, InvalidKey> {
        let mut headers = HeaderMap::new();
        headers.insert(
            IDEMPOTENCY_KEY,
            HeaderValue::from_bytes(line.as_ref()).unwrap(),
        );
        idempotency_key(&headers).map(|key| key.expect("the field is there").into_owned())
    }

    fn accepts(line: &str, key: &str) {
        assert_eq!(of(line).as_deref(), Ok(key), "{line}");
    }

    fn refuses(line: impl AsRef<[u8]>, why: InvalidKey) {
        let line = line.as_ref();
        assert_eq!(of(line), Err(why), "{}", line.escape_ascii());
    }

    #[test]
    fn no_field_is_no_key() {
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn quoted_and_bare_spellings_are_one_key() {
        accepts(r#""8e03978e-40d5-43e8""#, "8e03978e-40d5-43e8");
        accepts("8e03978e-40d5-43e8", "8e03978e-40d5-43e8");
        accepts(r#""a\\b\"c""#, r#"a\b"c"#);
        accepts(r#"a\b"c"#, r#"a\b"c"#);
    }

    #[test]
    fn a_bare_key_is_the_whole_value() {
        accepts("a;v=1", "a;v=1");
        accepts("a,b", "a,b");
        accepts("stripe-node-retry-{1}", "stripe-node-retry-{1}");
    }

    #[test]
    fn spaces_are_text_within_quotes_only() {
        accepts(r#"" a b ""#, " a b ");
        refuses("a b", InvalidKey::Character);
        refuses("a, b", InvalidKey::Character);
    }

    #[test]
    fn whitespace_around_the_value_is_not_part_of_it() {
        accepts(" \ta ", "a");
        accepts("\t\"a\" ", "a");
    }

    #[test]
    fn parameters_are_skipped() {
        for parameters in [
            ";a",
            "; a=1",
            ";a;b;  c=?1",
            r#";a="x, y;\"z""#,
            ";a=:aGk=:;*b.c-d_e=tok/en",
        ] {
            accepts(&format!("\"k\"{parameters}"), "k");
        }
    }

    #[test]
    fn whatever_else_follows_the_quote_is_refused() {
        for rest in [
            "x",
            " x",
            ",",
            ", \"b\"",
            " ;a",
            ";",
            ";;a",
            ";a, \"b\"",
            ";a=, \"b\"",
            ";a=",
            ";a=1 ;b",
            ";a=1\"b\"",
            "\"\"",
        ] {
            refuses(format!("\"k\"{rest}"), InvalidKey::Trailing);
        }
        refuses(r#""k";a="x"#, InvalidKey::Unterminated);
    }

    #[test]
    fn several_lines_are_refused_even_when_equal() {
        let mut headers = HeaderMap::new();
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert_eq!(idempotency_key(&headers), Err(InvalidKey::Repeated));
    }

    #[test]
    fn an_empty_key_is_refused() {
        refuses("", InvalidKey::Empty);
        refuses(" \t", InvalidKey::Empty);
        refuses(r#""""#, InvalidKey::Empty);
        refuses(r#""";a=1"#, InvalidKey::Empty);
    }

    #[test]
    fn a_key_has_at_most_255_characters_however_spelled() {
        let longest = "k".repeat(255);
        accepts(&longest, &longest);
        accepts(&format!("\"{longest}\""), &longest);
        accepts(&format!("\"{}\"", "\\\"".repeat(255)), &"\"".repeat(255));
        refuses(format!("{longest}k"), InvalidKey::TooLong);
        refuses(format!("\"{longest}k\""), InvalidKey::TooLong);
    }

    #[test]
    fn control_and_non_ascii_characters_are_refused() {
        refuses("a\tb", InvalidKey::Character);
        refuses("\"a\tb\"", InvalidKey::Character);
        refuses("schlüssel", InvalidKey::Character);
        refuses("\"schlüssel\"", InvalidKey::Character);
        refuses(b"\"\xff\"", InvalidKey::Character);
    }

    #[test]
    fn an_open_quote_is_refused() {
        refuses(r#"""#, InvalidKey::Unterminated);
        refuses(r#""a"#, InvalidKey::Unterminated);
        refuses(r#""a\""#, InvalidKey::Unterminated);
        refuses(r#""a\"#, InvalidKey::Unterminated);
    }

    #[test]
    fn only_quotes_and_backslashes_can_be_escaped() {
        refuses(r#""a\b""#, InvalidKey::Escape);
    }

    #[test]
    fn only_escapes_cost_an_allocation() {
        let mut headers = HeaderMap::new();
        for line in ["a", r#""a b""#, r#""a";v=1"#] {
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static(line));
            let key = idempotency_key(&headers).unwrap();
            assert!(matches!(key, Some(Cow::Borrowed(_))), "{line}");
        }
    }

    #[test]
    fn errors_name_the_field_and_no_value() {
        let error: Box<dyn Error + Send + Sync> = of(r#""secret"#).unwrap_err().into();
        assert_eq!(error.to_string(), "Idempotency-Key has no closing quote");
    }

    fn quoted(key: &str) -> String {
        format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_every_key_is_within_bounds(line: Vec<u8>) {
            if HeaderValue::from_bytes(&line).is_ok()
                && let Ok(key) = of(&line)
            {
                prop_assert!((1..=MAX_CHARS).contains(&key.len()));
                prop_assert!(key.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }

        #[test]
        fn no_punctuation_panics(line in r#"["\\;=,a *%\t]{0,24}"#) {
            let _ = of(line);
        }

        #[test]
        fn a_quoted_key_reads_back(key in "[ -~]{1,255}", parameters in "(;[a-z]=[0-9]{1,3}){0,2}") {
            prop_assert_eq!(of(quoted(&key) + &parameters), Ok(key));
        }

        #[test]
        fn a_bare_key_equals_its_quoted_spelling(key in "[!#-~][!-~]{0,254}") {
            prop_assert_eq!(of(&key), of(quoted(&key)));
            prop_assert_eq!(of(&key), Ok(key));
        }

        #[test]
        fn a_cut_string_is_never_a_key(key in "[ -~]{1,40}", keep in 0.0..1.0_f64) {
            let full = quoted(&key);
            let cut = 1 + ((full.len() - 1) as f64 * keep) as usize;
            prop_assert!(of(&full[..cut]).is_err());
        }
    }
}
