//! `Accept` (RFC 9110, section 12.5.1), where it asks for one kind of answer.

/// Whether a line of `Accept` names a media type, with a weight other than 0 (RFC 9110, section 12.4.2). Ranges such as `*/*`
/// do not name it.
pub(crate) fn names(line: &[u8], media_type: &str) -> bool {
    line.split(|byte| *byte == b',').any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let named = parts.next().unwrap_or_default();
        named.eq_ignore_ascii_case(media_type.as_bytes()) && !parts.any(is_weight_of_none)
    })
}

/// Whether a parameter says that this is not wanted.
fn is_weight_of_none(parameter: &[u8]) -> bool {
    matches!(parameter, [b'q' | b'Q', b'=', b'0', digits @ ..]
        if digits.iter().all(|digit| matches!(digit, b'.' | b'0')))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_type_is_named_by_itself_and_not_by_a_weight_of_none() {
        for (line, is_named) in [
            ("a/b", true),
            ("text/html, A/B;q=0.5", true),
            ("a/b; version=0", true),
            ("a/b;q=0.001", true),
            ("a/b;q=1", true),
            ("a/b;q=", true),
            ("a/b;q=0", false),
            ("a/b ; Q=0.000", false),
            ("a/b; version=1; q=0.0 , text/html", false),
            ("a/bc", false),
            ("a/*", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(names(line.as_bytes(), "a/b"), is_named, "{line}");
        }
    }
}
