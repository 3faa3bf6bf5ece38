//! The list syntax shared by fields (RFC 9110, section 5.6.1).

/// Whether a backslash inside quotes takes the next byte out of play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    /// A quoted-string (RFC 9110, section 5.6.4): it does.
    Escaped,
    /// An entity tag (RFC 9110, section 8.8.3): it is a byte like any other.
    Plain,
}

/// The members of one field line: split at commas outside quotes, trimmed, empty ones left out.
///
/// A quote that is never closed reaches to the end of the line.
pub(super) fn members(line: &[u8], quotes: Quotes) -> impl Iterator<Item = &[u8]> {
    // State of the scan: `split` shows its closure every byte once, in order.
    let mut quoted = false;
    let mut escaped = false;
    line.split(move |&byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => escaped = quoted && quotes == Quotes::Escaped,
            b',' => return !quoted,
            _ => {}
        }
        false
    })
    // Of what this trims, only SP and HTAB can stand in a field value: optional whitespace.
    .map(<[u8]>::trim_ascii)
    .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str, quotes: Quotes) -> Vec<&str> {
        members(line.as_bytes(), quotes)
            .map(|member| std::str::from_utf8(member).unwrap())
            .collect()
    }

    #[test]
    fn commas_separate_and_whitespace_around_them_is_dropped() {
        assert_eq!(split("a,b\t, c d ", Quotes::Escaped), ["a", "b", "c d"]);
    }

    #[test]
    fn empty_members_are_left_out() {
        assert!(split("", Quotes::Escaped).is_empty());
        assert!(split(" , ,\t,", Quotes::Escaped).is_empty());
        assert_eq!(split(",,a,,b,", Quotes::Escaped), ["a", "b"]);
    }

    #[test]
    fn commas_inside_quotes_do_not_separate() {
        assert_eq!(split(r#"a="1,2",b"#, Quotes::Escaped), [r#"a="1,2""#, "b"]);
    }

    #[test]
    fn an_escaped_quote_does_not_close_a_quoted_string() {
        assert_eq!(split(r#""\",",b"#, Quotes::Escaped), [r#""\",""#, "b"]);
        assert_eq!(split(r#""\\",b"#, Quotes::Escaped), [r#""\\""#, "b"]);
    }

    #[test]
    fn a_backslash_outside_quotes_escapes_nothing() {
        assert_eq!(split(r"a\,b", Quotes::Escaped), [r"a\", "b"]);
    }

    #[test]
    fn a_backslash_in_an_entity_tag_escapes_nothing() {
        assert_eq!(split(r#""a\","b""#, Quotes::Plain), [r#""a\""#, r#""b""#]);
    }

    #[test]
    fn an_open_quote_reaches_to_the_end_of_the_line() {
        assert_eq!(split(r#"a, "b, c"#, Quotes::Escaped), ["a", r#""b, c"#]);
    }
}
