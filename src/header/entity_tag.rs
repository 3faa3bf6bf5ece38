//! Conditions on entity tags: `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).

use super::list::{Quotes, members};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{IF_MATCH, IF_NONE_MATCH},
};

/// Whether the condition in `If-None-Match` holds for a resource whose `ETag` is `current`
/// ([RFC 9110, section 13.1.2]).
///
/// It holds when the field is absent, or when none of its tags equals `current` by *weak*
/// comparison, which looks past a `W/` on either side ([section 8.8.3.2]). `*` stands for any tag:
/// it never holds here, since having a `current` tag to pass means that there is a representation.
///
/// Where it does not hold, answer `GET` and `HEAD` with `304 Not Modified` and any other method
/// with `412 Precondition Failed`. [`if_match_holds`] comes first where both fields are evaluated.
///
/// Members that are not entity tags match nothing, and neither does a `current` that is none.
/// `*` counts only when it is the whole list. Does not allocate.
///
/// # Example
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};
/// use tower_lro::header::if_none_match_holds;
///
/// let current = HeaderValue::from_static(r#""v2""#);
/// let mut headers = HeaderMap::new();
/// assert!(if_none_match_holds(&headers, &current));
///
/// headers.insert(IF_NONE_MATCH, HeaderValue::from_static(r#""v1""#));
/// assert!(if_none_match_holds(&headers, &current));
///
/// headers.insert(IF_NONE_MATCH, HeaderValue::from_static(r#""v1", W/"v2""#));
/// assert!(!if_none_match_holds(&headers, &current)); // 304
/// ```
///
/// [RFC 9110, section 13.1.2]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
/// [section 8.8.3.2]: https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3.2
#[must_use]
pub fn if_none_match_holds(headers: &HeaderMap, current: &HeaderValue) -> bool {
    !lists(headers, IF_NONE_MATCH, current, equal_weakly).unwrap_or(false)
}

/// Whether the condition in `If-Match` holds for a resource whose `ETag` is `current`
/// ([RFC 9110, section 13.1.1]).
///
/// It holds when the field is absent or `*`, or when one of its tags equals `current` by *strong*
/// comparison: the same text, and no `W/` on either side ([section 8.8.3.2]).
///
/// Where it does not hold, answer `412 Precondition Failed`.
///
/// Members that are not entity tags match nothing, and neither does a `current` that is none.
/// `*` counts only when it is the whole list. Does not allocate.
///
/// # Example
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::IF_MATCH};
/// use tower_lro::header::if_match_holds;
///
/// let current = HeaderValue::from_static(r#""v2""#);
/// let mut headers = HeaderMap::new();
/// assert!(if_match_holds(&headers, &current));
///
/// headers.insert(IF_MATCH, HeaderValue::from_static(r#""v1", "v2""#));
/// assert!(if_match_holds(&headers, &current));
///
/// headers.insert(IF_MATCH, HeaderValue::from_static(r#"W/"v2""#));
/// assert!(!if_match_holds(&headers, &current)); // 412
/// ```
///
/// [RFC 9110, section 13.1.1]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
/// [section 8.8.3.2]: https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3.2
#[must_use]
pub fn if_match_holds(headers: &HeaderMap, current: &HeaderValue) -> bool {
    lists(headers, IF_MATCH, current, equal_strongly).unwrap_or(true)
}

/// Whether the field lists the current tag; `None` when there is no such field.
fn lists(
    headers: &HeaderMap,
    field: HeaderName,
    current: &HeaderValue,
    equal: fn(&Tag<'_>, &Tag<'_>) -> bool,
) -> Option<bool> {
    let mut lines = headers.get_all(field).iter().peekable();
    lines.peek()?;

    let mut members = lines.flat_map(|line| members(line.as_bytes(), Quotes::Plain));
    let first = members.next();
    let mut rest = members.peekable();
    if first == Some(b"*") && rest.peek().is_none() {
        return Some(true);
    }

    let Some(current) = Tag::parse(current.as_bytes()) else {
        return Some(false);
    };
    let listed = first
        .into_iter()
        .chain(rest)
        .filter_map(Tag::parse)
        .any(|tag| equal(&tag, &current));
    Some(listed)
}

/// What stands between the quotes of the tags in `If-None-Match`, weak ones included.
pub(crate) fn tags_of_if_none_match(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(IF_NONE_MATCH).iter();
    let members = lines.flat_map(|line| members(line.as_bytes(), Quotes::Plain));
    members.filter_map(Tag::parse).map(|tag| tag.opaque)
}

/// An entity tag (RFC 9110, section 8.8.3), without its quotes.
struct Tag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        // Case-sensitive by the grammar.
        let (weak, quoted) = match text.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, text),
        };
        let opaque = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let valid = |&byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        opaque.iter().all(valid).then_some(Self { weak, opaque })
    }
}

fn equal_weakly(one: &Tag<'_>, other: &Tag<'_>) -> bool {
    one.opaque == other.opaque
}

fn equal_strongly(one: &Tag<'_>, other: &Tag<'_>) -> bool {
    !one.weak && !other.weak && one.opaque == other.opaque
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(bytes: impl AsRef<[u8]>) -> HeaderValue {
        HeaderValue::from_bytes(bytes.as_ref()).unwrap()
    }

    /// Whether (`If-Match`, `If-None-Match`) hold when both have these lines.
    fn holds(lines: &[impl AsRef<[u8]>], current: impl AsRef<[u8]>) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, value(line));
            headers.append(IF_NONE_MATCH, value(line));
        }
        let current = value(current);
        (
            if_match_holds(&headers, &current),
            if_none_match_holds(&headers, &current),
        )
    }

    const MATCHES: (bool, bool) = (true, false);
    const MATCHES_WEAKLY: (bool, bool) = (false, false);
    const DIFFERS: (bool, bool) = (false, true);

    #[test]
    fn absent_fields_always_hold() {
        assert_eq!(holds(&[""; 0], r#""a""#), (true, true));
        assert_eq!(holds(&[""; 0], "junk"), (true, true));
    }

    #[test]
    fn comparison_follows_the_table_in_the_rfc() {
        // RFC 9110, section 8.8.3.2
        assert_eq!(holds(&[r#"W/"1""#], r#"W/"1""#), MATCHES_WEAKLY);
        assert_eq!(holds(&[r#"W/"1""#], r#"W/"2""#), DIFFERS);
        assert_eq!(holds(&[r#"W/"1""#], r#""1""#), MATCHES_WEAKLY);
        assert_eq!(holds(&[r#""1""#], r#"W/"1""#), MATCHES_WEAKLY);
        assert_eq!(holds(&[r#""1""#], r#""1""#), MATCHES);
    }

    #[test]
    fn any_member_of_a_list_may_match() {
        assert_eq!(holds(&[r#""a", "b","c""#], r#""b""#), MATCHES);
        assert_eq!(holds(&[r#""a" ,, ,"b""#], r#""b""#), MATCHES);
        assert_eq!(holds(&[r#""a", "b""#], r#""c""#), DIFFERS);
    }

    #[test]
    fn lists_go_over_several_lines() {
        assert_eq!(holds(&[r#""a""#, r#""b", "c""#], r#""c""#), MATCHES);
        assert_eq!(holds(&[r#""a""#, "", r#"W/"c""#], r#""c""#), MATCHES_WEAKLY);
    }

    #[test]
    fn a_star_alone_matches_any_tag() {
        assert_eq!(holds(&["*"], r#""a""#), MATCHES);
        assert_eq!(holds(&[" * ,"], r#"W/"a""#), MATCHES);
        assert_eq!(holds(&["", "*"], r#""a""#), MATCHES);
    }

    #[test]
    fn a_star_among_tags_is_malformed() {
        assert_eq!(holds(&[r#"*, "a""#], r#""b""#), DIFFERS);
        assert_eq!(holds(&[r#""a""#, "*"], r#""b""#), DIFFERS);
        assert_eq!(holds(&["*", "*"], r#""b""#), DIFFERS);
        assert_eq!(holds(&[r#"*, "a""#], r#""a""#), MATCHES);
        assert_eq!(holds(&[r#""*""#], r#""a""#), DIFFERS);
    }

    #[test]
    fn an_empty_list_matches_nothing() {
        assert_eq!(holds(&[""], r#""a""#), DIFFERS);
        assert_eq!(holds(&[" , "], r#""a""#), DIFFERS);
    }

    #[test]
    fn commas_and_backslashes_inside_quotes_are_text() {
        assert_eq!(holds(&[r#""x", "a,b", "y""#], r#""a,b""#), MATCHES);
        assert_eq!(holds(&[r#""a,b""#], r#""a""#), DIFFERS);
        assert_eq!(holds(&[r#""a\", "b""#], r#""b""#), MATCHES);
        assert_eq!(holds(&[r#""a\", "b""#], r#""a\""#), MATCHES);
    }

    #[test]
    fn empty_and_non_ascii_tags_are_tags() {
        assert_eq!(holds(&[r#""""#], r#""""#), MATCHES);
        assert_eq!(holds(&[b"\"\xff\""], b"\"\xff\""), MATCHES);
        assert_eq!(holds(&[b"\"\xfe\""], b"\"\xff\""), DIFFERS);
    }

    #[test]
    fn comparison_is_case_sensitive() {
        assert_eq!(holds(&[r#""A""#], r#""a""#), DIFFERS);
        assert_eq!(holds(&[r#"w/"a""#], r#""a""#), DIFFERS);
    }

    #[test]
    fn malformed_members_match_nothing_and_spoil_no_others() {
        for member in [
            "a",
            "W/a",
            r#"W/ "a""#,
            r#""a"x"#,
            "\"a b\"",
            r#"x"a""#,
            "W/",
        ] {
            assert_eq!(holds(&[member], r#""a""#), DIFFERS, "{member}");
            let list = format!(r#"{member}, "z""#);
            assert_eq!(holds(&[list.as_str()], r#""z""#), MATCHES, "{member}");
        }
        assert_eq!(holds(&[r#""a"#], r#""a""#), DIFFERS);
        assert_eq!(holds(&[r#"""#], r#""a""#), DIFFERS);
    }

    #[test]
    fn an_open_quote_ends_with_its_line() {
        assert_eq!(holds(&[r#""a"#, r#""b""#], r#""b""#), MATCHES);
    }

    #[test]
    fn a_current_value_that_is_no_tag_matches_nothing_but_a_star() {
        assert_eq!(holds(&["a"], "a"), DIFFERS);
        assert_eq!(holds(&["*"], "a"), MATCHES);
    }

    fn tag() -> impl Strategy<Value = Vec<u8>> {
        let etagc = prop_oneof![Just(b'!'), 0x23..=0x7e_u8, 0x80..=0xff_u8, Just(b',')];
        (any::<bool>(), prop::collection::vec(etagc, 0..6)).prop_map(|(weak, opaque)| {
            let prefix: &[u8] = if weak { b"W/\"" } else { b"\"" };
            [prefix, &opaque, b"\""].concat()
        })
    }

    fn junk() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            prop::sample::select(b"\"\\,*W/a \t".as_slice()),
            any::<u8>().prop_filter("not allowed in fields", |byte| value_byte(*byte)),
        ];
        prop::collection::vec(byte, 0..32)
    }

    fn value_byte(byte: u8) -> bool {
        byte == b'\t' || (byte >= b' ' && byte != 0x7f)
    }

    proptest! {
        #[test]
        fn no_bytes_panic(lines in prop::collection::vec(junk(), 0..4), current in junk()) {
            let (matches, none_match) = holds(&lines, current);
            // A strong match is a weak one.
            prop_assert!(lines.is_empty() || !(matches && none_match));
        }

        #[test]
        fn a_list_matches_just_the_tags_in_it(
            lines in prop::collection::vec(prop::collection::vec(tag(), 0..4), 1..4),
            separator in prop::sample::select(vec![",", ", ", " \t,,"]),
            other in tag(),
        ) {
            let tags: Vec<_> = lines.iter().flatten().collect();
            let joined: Vec<_> = lines.iter().map(|line| line.join(separator.as_bytes())).collect();
            for current in tags.iter().copied().chain([&other]) {
                let strong = !current.starts_with(b"W/");
                let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
                let matches = strong && tags.contains(&current);
                let none_match = !tags.iter().any(|tag| opaque(tag) == opaque(current));
                prop_assert_eq!(holds(&joined, current), (matches, none_match));
            }
        }
    }
}
