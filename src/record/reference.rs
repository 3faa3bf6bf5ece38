//! References of a stored response, made to mean the same when it is replayed at another URL.
//!
//! A handler asked for `/api/reports` may answer `Location: reports/7`. Whoever fetches that response at the monitor
//! would resolve the reference against the monitor's URL (RFC 9110, section 10.2.2) and go astray. So a relative
//! reference is resolved against the original request target before it is replayed (RFC 3986, section 5). Monitor
//! and target share an origin: an absolute path is enough, and no scheme or host has to be known or trusted.
//!
//! What stands on its own already is left as the handler wrote it, and so is what is not a reference at all: clients
//! differ in how they read it, and guessing here would only add one more reading.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use crate::header::is_token;
use http::header::{CONTENT_LOCATION, HeaderName, HeaderValue, LINK, LOCATION};

/// The value that a field of the response to `target` needs at another URL; `None` if it may stay as it is.
///
/// `Location`, `Content-Location` and `Link` may change. A changed value is as sensitive as the original.
pub(crate) fn rewrite(target: &str, name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
    let rewriter = if name == LOCATION || name == CONTENT_LOCATION {
        resolve
    } else if name == LINK {
        resolve_links
    } else {
        return None;
    };
    // Not `to_str`, which refuses a `Link` for an accent in its title.
    let bytes = value.as_bytes();
    let utf_8 = str::from_utf8(bytes).map(Cow::Borrowed);
    let is_utf_8 = utf_8.is_ok();
    // In whatever else it is written, bytes below 128 mean the same, and the others may stand for themselves.
    let text = utf_8.unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect());
    let Cow::Owned(rewritten) = rewriter(target, &text) else {
        return None;
    };
    let rewritten = match is_utf_8 {
        true => rewritten.into_bytes(),
        false => bytes_of(&rewritten)?,
    };
    let mut rewritten = HeaderValue::try_from(rewritten).ok()?;
    rewritten.set_sensitive(value.is_sensitive());
    Some(rewritten)
}

/// The bytes for which characters stand that have been made of bytes.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|one| u8::try_from(one).ok()).collect()
}

/// Resolves a relative `reference` against the absolute path and query in `target`.
///
/// The result is an absolute path without dot segments, followed by what query and fragment RFC 3986, section 5.2
/// gives it. Where that path begins with `//`, which would name a host, it is written as `/.//`. The text is borrowed
/// exactly if it is unchanged, that is, if
///
/// - the reference has a scheme, a host or an absolute path,
/// - it has characters in it that no reference can have, or
/// - the target is neither an absolute path nor a query alone (`*`, say).
pub(crate) fn resolve<'r>(target: &str, reference: &'r str) -> Cow<'r, str> {
    if !target.starts_with(['/', '?']) || !is_relative(reference) {
        return Cow::Borrowed(reference);
    }
    let mut base = Parts::of(target);
    if base.path.is_empty() {
        base.path = "/";
    }
    let Parts {
        path,
        query,
        fragment,
    } = Parts::of(reference);

    // Section 5.2.2, for a reference without scheme, authority and leading slash.
    let query = match path {
        "" => query.or(base.query),
        _ => query,
    };
    let path = match path {
        "" => Cow::Borrowed(base.path),
        _ => Cow::Owned(merge(base.path, path)),
    };

    let mut resolved = without_dot_segments(&path);
    for (mark, part) in [('?', query), ('#', fragment)] {
        if let Some(part) = part {
            resolved.push(mark);
            push_encoded(&mut resolved, part);
        }
    }
    Cow::Owned(resolved)
}

/// Resolves the references in a `Link` field value (RFC 8288, section 3): each link's target, and the `anchor`
/// that tells where the link starts. Nothing else changes, and nothing at all if the value is malformed.
pub(crate) fn resolve_links<'r>(target: &str, value: &'r str) -> Cow<'r, str> {
    let mut rewritten = String::new();
    let mut copied = 0;
    for Place { at, kind } in places(value).unwrap_or_default() {
        let text = &value[at.clone()];
        let reference = match kind {
            Kind::Target | Kind::Token => Cow::Borrowed(text),
            Kind::Quoted => unescaped(text),
        };
        let Cow::Owned(resolved) = resolve(target, &reference) else {
            continue;
        };
        rewritten.push_str(&value[copied..at.start]);
        match kind {
            Kind::Target | Kind::Quoted => rewritten.push_str(&resolved),
            // A slash is not for tokens.
            Kind::Token => rewritten.extend(["\"", &resolved, "\""]),
        }
        copied = at.end;
    }
    if copied == 0 {
        return Cow::Borrowed(value);
    }
    rewritten.push_str(&value[copied..]);
    Cow::Owned(rewritten)
}

/// Whether `reference` depends on the path it is resolved against.
fn is_relative(reference: &str) -> bool {
    // A colon in the first segment ends a scheme. Where it cannot, the text is no reference (section 4.2).
    let first_segment = reference.split(['/', '?', '#']).next().unwrap_or_default();
    !reference.starts_with('/')
        && !first_segment.contains(':')
        && !reference.bytes().any(is_foreign)
}

/// Whether a byte must not stand in a reference as it is.
///
/// This is laxer than RFC 3986: `{`, `|`, `}`, `^` and backticks are written by handlers and understood by clients.
/// It does stop all that ends a reference early (spaces, quotes, angle brackets), and the backslash, which browsers
/// take for a slash.
fn is_foreign(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\')
}

/// Appends `text`, a part of a target or of a reference.
///
/// A server may accept more in a target than belongs there. That is encoded, so that the result can be put into a
/// header field, between angle brackets and between quotes.
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_foreign(byte) {
            write!(out, "%{byte:02X}").expect("a string takes all that is written to it");
        } else {
            out.push(char::from(byte));
        }
    }
}

/// A reference that has neither scheme nor authority.
struct Parts<'a> {
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (text, fragment) = split_at_mark(text, '#');
        let (path, query) = split_at_mark(text, '?');
        Self {
            path,
            query,
            fragment,
        }
    }
}

fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Section 5.2.3: `path` in the place of all that follows the last slash of `base`.
fn merge(base: &str, path: &str) -> String {
    // Without a slash `base` is empty, and stands for the root.
    let directory = base.rfind('/').map_or("/", |slash| &base[..=slash]);
    [directory, path].concat()
}

/// Section 5.2.4, for a path that begins with a slash.
fn without_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or_default()),
            _ => {
                out.push('/');
                push_encoded(&mut out, segment);
                continue;
            }
        }
        if is_last {
            out.push('/');
        }
    }
    // The request `GET //example.com/a` has a path that would name a host if it stood alone.
    if out.starts_with("//") {
        out.insert_str(0, "/.");
    }
    out
}

/// Where a reference stands in a `Link` value.
struct Place {
    at: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Between angle brackets.
    Target,
    /// The value of an `anchor`, without quotes.
    Token,
    /// The value of an `anchor`, between quotes.
    Quoted,
}

/// The references in a `Link` value, in order; `None` if it is malformed.
fn places(value: &str) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    let mut scan = Scan { text: value, at: 0 };
    loop {
        // Empty elements of a list mean nothing (RFC 9110, section 5.6.1.2).
        scan.span(|byte| is_space(byte) || byte == b',');
        if scan.is_done() {
            return Some(places);
        }
        scan.expect(b'<')?;
        places.push(Place {
            at: scan.span(|byte| byte != b'>'),
            kind: Kind::Target,
        });
        scan.expect(b'>')?;
        while scan.eat_spaced(b';') {
            parameter(&mut scan, &mut places)?;
        }
        if !scan.is_done() {
            scan.expect(b',')?;
        }
    }
}

/// Reads one parameter, which may be empty, and notes its value if it is an `anchor`; `None` if it is malformed.
fn parameter(scan: &mut Scan<'_>, places: &mut Vec<Place>) -> Option<()> {
    scan.span(is_space);
    let name = scan.span(is_token);
    if !scan.eat_spaced(b'=') {
        return Some(());
    }
    scan.span(is_space);
    let (at, kind) = if scan.eat(b'"') {
        (scan.quoted()?, Kind::Quoted)
    } else {
        // More than a token: `type=text/html` is often seen.
        let at = scan.span(|byte| !is_space(byte) && !matches!(byte, b';' | b',' | b'"' | b'<'));
        (at, Kind::Token)
    };
    if scan.text[name].eq_ignore_ascii_case("anchor") {
        places.push(Place { at, kind });
    }
    Some(())
}

/// The text that a quoted string stands for.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        out.extend(if char == '\\' {
            chars.next()
        } else {
            Some(char)
        });
    }
    Cow::Owned(out)
}

/// A position in a text. All that is matched is ASCII, so every range given out lies between characters.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    /// Passes over all bytes up to the first that is not `wanted`.
    fn span(&mut self, wanted: impl Fn(u8) -> bool) -> Range<usize> {
        let start = self.at;
        self.at += self.rest().iter().take_while(|&&byte| wanted(byte)).count();
        start..self.at
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest().first() == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn eat_spaced(&mut self, byte: u8) -> bool {
        self.span(is_space);
        self.eat(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    /// Passes over the rest of a quoted string and gives what is between its quotes.
    fn quoted(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        loop {
            self.span(|byte| !matches!(byte, b'"' | b'\\'));
            if self.eat(b'"') {
                return Some(start..self.at - 1);
            }
            self.expect(b'\\')?;
            self.at += usize::from(!self.is_done());
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks `expected` against `resolve`, and that borrowed means unchanged.
    #[track_caller]
    fn assert_resolves(target: &str, reference: &str, expected: &str) {
        let resolved = resolve(target, reference);
        assert_eq!(resolved, expected, "{reference:?} against {target:?}");
        assert_eq!(
            matches!(resolved, Cow::Borrowed(_)),
            reference == expected,
            "{reference:?} against {target:?}"
        );
    }

    /// The base of section 5.4, as a request target.
    const BASE: &str = "/b/c/d;p?q";

    #[test]
    fn normal_examples_of_section_5_4_1() {
        for (reference, expected) in [
            ("g:h", "g:h"),
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("//g", "//g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("#s", "/b/c/d;p?q#s"),
            ("g#s", "/b/c/g#s"),
            ("g?y#s", "/b/c/g?y#s"),
            (";x", "/b/c/;x"),
            ("g;x", "/b/c/g;x"),
            ("g;x?y#s", "/b/c/g;x?y#s"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../", "/"),
            ("../../g", "/g"),
        ] {
            assert_resolves(BASE, reference, expected);
        }
    }

    /// `GET http://example.com?x=1` has an empty path, which is the same as `/` (RFC 9110, section 4.2.3).
    #[test]
    fn a_target_without_a_path_is_the_root() {
        for (reference, expected) in [("7", "/7"), ("?y", "/?y"), ("", "/?x=1"), ("#s", "/?x=1#s")]
        {
            assert_resolves("?x=1", reference, expected);
        }
    }

    #[test]
    fn abnormal_examples_of_section_5_4_2() {
        for (reference, expected) in [
            ("../../../g", "/g"),
            ("../../../../g", "/g"),
            // Absolute paths are the client's to tidy up.
            ("/./g", "/./g"),
            ("/../g", "/../g"),
            ("g.", "/b/c/g."),
            (".g", "/b/c/.g"),
            ("g..", "/b/c/g.."),
            ("..g", "/b/c/..g"),
            ("./../g", "/b/g"),
            ("./g/.", "/b/c/g/"),
            ("g/./h", "/b/c/g/h"),
            ("g/../h", "/b/c/h"),
            ("g;x=1/./y", "/b/c/g;x=1/y"),
            ("g;x=1/../y", "/b/c/y"),
            ("g?y/./x", "/b/c/g?y/./x"),
            ("g?y/../x", "/b/c/g?y/../x"),
            ("g#s/./x", "/b/c/g#s/./x"),
            ("g#s/../x", "/b/c/g#s/../x"),
            ("http:g", "http:g"),
        ] {
            assert_resolves(BASE, reference, expected);
        }
    }

    #[test]
    fn replaces_the_last_segment_of_the_target() {
        for (target, expected) in [
            ("/", "/7?full"),
            ("/reports", "/7?full"),
            ("/reports/", "/reports/7?full"),
            ("/api/reports?x=1", "/api/7?full"),
            ("/api/reports?next=/a/b", "/api/7?full"),
            ("/api/./v1/../reports", "/api/7?full"),
            ("/?x=1", "/7?full"),
        ] {
            assert_resolves(target, "7?full", expected);
        }
    }

    #[test]
    fn an_empty_query_or_fragment_is_not_an_absent_one() {
        assert_resolves("/a?x=1", "?", "/a?");
        assert_resolves("/a?x=1", "#", "/a?x=1#");
        assert_resolves("/a?x=1", "b?#", "/b?#");
        assert_resolves("/a?", "", "/a?");
        assert_resolves("/a?b?c", "#d?e#f", "/a?b?c#d?e#f");
    }

    #[test]
    fn what_stands_on_its_own_is_untouched() {
        for reference in [
            "/reports/7",
            "//example.com/reports/7",
            "https://example.com/reports/7?x#y",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "mailto:a@example.com",
            "data:,x",
        ] {
            assert_resolves("/a/b", reference, reference);
        }
    }

    #[test]
    fn what_is_no_reference_is_untouched() {
        for reference in [
            "my report",
            " reports/7",
            "reports/7\t",
            "reports\\7",
            "\\\\example.com",
            "<reports/7>",
            "\"reports/7\"",
            "reports/\u{e9}",
            "10:30/report",
            ":reports",
            "a\u{7f}",
        ] {
            assert_resolves("/a/b", reference, reference);
        }
    }

    #[test]
    fn a_colon_after_the_first_segment_is_no_scheme() {
        assert_resolves("/a/b", "./10:30", "/a/10:30");
        assert_resolves("/a/b", "c/d:e", "/a/c/d:e");
        assert_resolves("/a/b", "?at=10:30", "/a/b?at=10:30");
        assert_resolves("/a/b", "#10:30", "/a/b#10:30");
    }

    #[test]
    fn other_targets_than_paths_resolve_nothing() {
        for target in ["", "*", "example.com:443", "https://example.com/a/b", "a/b"] {
            assert_resolves(target, "reports/7", "reports/7");
        }
    }

    #[test]
    fn a_path_is_never_taken_for_a_host() {
        assert_resolves("//example.com/a", "b", "/.//example.com/b");
        assert_resolves("//example.com/a", "?x", "/.//example.com/a?x");
        assert_resolves("/a", ".//example.com", "/.//example.com");
        assert_resolves("/a/b", "..//example.com", "/.//example.com");
        assert_resolves("/\\example.com/a", "b", "/%5Cexample.com/b");
    }

    #[test]
    fn what_does_not_belong_in_a_target_is_encoded() {
        assert_resolves("/caf\u{e9}/a?\"<", "b", "/caf%C3%A9/b");
        assert_resolves("/a?\"<", "#b", "/a?%22%3C#b");
    }

    #[test]
    fn encoded_text_stays_encoded() {
        assert_resolves("/a%2Fb/c%20d", "%2e%2e/e%2Ff", "/a%2Fb/%2e%2e/e%2Ff");
    }

    #[track_caller]
    fn assert_links(value: &str, expected: &str) {
        let resolved = resolve_links("/api/reports?x=1", value);
        assert_eq!(resolved, expected, "{value:?}");
        assert_eq!(
            matches!(resolved, Cow::Borrowed(_)),
            value == expected,
            "{value:?}"
        );
    }

    #[test]
    fn every_link_target_is_resolved() {
        for (value, expected) in [
            ("<7>", "</api/7>"),
            ("<7>; rel=next", "</api/7>; rel=next"),
            ("<>;rel=self", "</api/reports?x=1>;rel=self"),
            ("<7>,<8>", "</api/7>,</api/8>"),
            (
                "<?page=2>; rel=\"next\" , </a>; rel=up,\t<../b>; rel=\"x y\"",
                "</api/reports?page=2>; rel=\"next\" , </a>; rel=up,\t</b>; rel=\"x y\"",
            ),
            ("<a,b;c>; rel=next, <d>", "</api/a,b;c>; rel=next, </api/d>"),
            (
                "<https://example.com/>, <d>",
                "<https://example.com/>, </api/d>",
            ),
            ("<not a reference>, <d>", "<not a reference>, </api/d>"),
        ] {
            assert_links(value, expected);
        }
    }

    #[test]
    fn parameters_of_links_are_left_alone() {
        for (value, expected) in [
            (
                r#"<7>; title="a, <b>; \"c\", <d>""#,
                r#"</api/7>; title="a, <b>; \"c\", <d>""#,
            ),
            (
                r#"<7>; title="\\", <8>"#,
                r#"</api/7>; title="\\", </api/8>"#,
            ),
            ("<7>; title=\"caf\u{e9}\"", "</api/7>; title=\"caf\u{e9}\""),
            (
                "<7>; title*=UTF-8''caf%C3%A9",
                "</api/7>; title*=UTF-8''caf%C3%A9",
            ),
            ("<7>; type=text/html", "</api/7>; type=text/html"),
            ("<7> ;rel = next; flag;", "</api/7> ;rel = next; flag;"),
            ("<7>; rel=", "</api/7>; rel="),
            ("<7>; x=\"anchor=8\"", "</api/7>; x=\"anchor=8\""),
        ] {
            assert_links(value, expected);
        }
    }

    #[test]
    fn anchors_are_resolved() {
        for (value, expected) in [
            (
                r##"</>; anchor="#a""##,
                r##"</>; anchor="/api/reports?x=1#a""##,
            ),
            (r#"<7>; ANCHOR = "8""#, r#"</api/7>; ANCHOR = "/api/8""#),
            (r#"</>; anchor="\8""#, r#"</>; anchor="/api/8""#),
            ("</>; anchor=8; rel=a", "</>; anchor=\"/api/8\"; rel=a"),
            (r#"</>; anchor="""#, r#"</>; anchor="/api/reports?x=1""#),
            (r#"</>; anchor="/a""#, r#"</>; anchor="/a""#),
            ("</>; anchor=urn:a", "</>; anchor=urn:a"),
            ("</>; anchor", "</>; anchor"),
        ] {
            assert_links(value, expected);
        }
    }

    #[test]
    fn empty_elements_between_links_are_passed_over() {
        assert_links("", "");
        assert_links(" , ,", " , ,");
        assert_links(",<7>,, <8>,", ",</api/7>,, </api/8>,");
    }

    #[test]
    fn malformed_links_are_untouched() {
        for value in [
            "7",
            "<7",
            "<7>, 8",
            "<7> rel=next",
            "<7><8>",
            "<7>; rel=\"next",
            "<7>; rel=\"next\\",
            "<7>; rel=\"next\\\"",
            "<7>; rel=\"next\"x, <8>",
            "<7>; rel=next prev",
            "<7>; \"a, <8>\"",
            "<7>; title=a\"b, <8>\"",
            "<7>; rel=<8>",
            "<7>; caf\u{e9}=x",
        ] {
            assert_links(value, value);
        }
    }

    fn rewritten(name: &HeaderName, value: &[u8]) -> Option<HeaderValue> {
        let value = HeaderValue::from_bytes(value).unwrap();
        rewrite("/api/reports", name, &value)
    }

    #[test]
    fn three_fields_are_rewritten() {
        assert_eq!(rewritten(&LOCATION, b"7").unwrap(), "/api/7");
        assert_eq!(rewritten(&CONTENT_LOCATION, b"7").unwrap(), "/api/7");
        assert_eq!(rewritten(&LINK, b"<7>").unwrap(), "</api/7>");
        assert_eq!(rewritten(&http::header::REFERER, b"7"), None);
    }

    #[test]
    fn a_value_that_may_stay_is_not_made_anew() {
        assert_eq!(rewritten(&LOCATION, b"/api/7"), None);
        assert_eq!(rewritten(&LOCATION, b"<7>"), None);
        assert_eq!(rewritten(&LOCATION, b"\xff"), None);
        assert_eq!(rewritten(&LINK, b"7"), None);
        assert_eq!(rewritten(&LINK, b"</7>; title=\"\xff\""), None);
    }

    #[test]
    fn an_accent_in_a_title_does_not_stop_the_link() {
        let link = rewritten(&LINK, "<7>; title=\"caf\u{e9}\"".as_bytes()).unwrap();
        assert_eq!(link.as_bytes(), "</api/7>; title=\"caf\u{e9}\"".as_bytes());
        // Nor does one in Latin-1, which obs-text may be (RFC 9110, section 5.5).
        let link = rewritten(&LINK, b"<7>; title=\"caf\xe9\"").unwrap();
        assert_eq!(link.as_bytes(), b"</api/7>; title=\"caf\xe9\"");
    }

    #[test]
    fn a_secret_stays_marked_as_one() {
        let mut value = HeaderValue::from_static("7?token=x");
        assert!(!rewrite("/", &LOCATION, &value).unwrap().is_sensitive());
        value.set_sensitive(true);
        assert!(rewrite("/", &LOCATION, &value).unwrap().is_sensitive());
    }

    /// Sections 5.2.2 to 5.2.4 to the letter, for references without scheme and authority.
    mod specification {
        pub(super) fn transform(base: &str, reference: &str) -> String {
            let base = super::Parts::of(base);
            let reference = super::Parts::of(reference);
            let (path, query) = if reference.path.is_empty() {
                (base.path.to_owned(), reference.query.or(base.query))
            } else if reference.path.starts_with('/') {
                (remove_dot_segments(reference.path), reference.query)
            } else {
                let end = base.path.rfind('/').unwrap() + 1;
                let merged = format!("{}{}", &base.path[..end], reference.path);
                (remove_dot_segments(&merged), reference.query)
            };
            // Not in the specification: a client that asks for the base asks without its dot segments.
            let mut result = remove_dot_segments(&path);
            if let Some(query) = query {
                result = result + "?" + query;
            }
            if let Some(fragment) = reference.fragment {
                result = result + "#" + fragment;
            }
            result
        }

        pub(super) fn remove_dot_segments(path: &str) -> String {
            let mut input = path.to_owned();
            let mut output = String::new();
            while !input.is_empty() {
                if input.starts_with("../") {
                    input.drain(..3);
                } else if input.starts_with("./") || input.starts_with("/./") {
                    input.drain(..2);
                } else if input == "/." {
                    input = "/".to_owned();
                } else if input.starts_with("/../") || input == "/.." {
                    input.replace_range(..3, if input.len() == 3 { "/" } else { "" });
                    output.truncate(output.rfind('/').unwrap_or(0));
                } else if input == "." || input == ".." {
                    input.clear();
                } else {
                    let end = input[1..].find('/').map_or(input.len(), |slash| slash + 1);
                    output.extend(input.drain(..end));
                }
            }
            output
        }
    }

    const TARGET: &str = "/([a-c.]{0,3}/){0,4}[a-c.]{0,3}([?][a-c./?]{0,4})?";
    const RELATIVE: &str =
        "(([a-c.]{1,3}(/[a-c.:]{0,3}){0,5})?)([?][a-c./:?]{0,4})?(#[a-c./:?#]{0,4})?";

    proptest! {
        #[test]
        fn means_at_the_monitor_what_it_meant_at_the_target(
            target in TARGET,
            reference in RELATIVE,
            monitor in TARGET,
        ) {
            let resolved = resolve(&target, &reference);
            prop_assert_eq!(
                specification::transform(&monitor, &resolved),
                specification::transform(&target, &reference)
            );
        }

        #[test]
        fn relative_becomes_an_absolute_path_without_dot_segments(
            target in TARGET,
            reference in RELATIVE,
        ) {
            let resolved = resolve(&target, &reference);
            prop_assert!(resolved.starts_with('/') && !resolved.starts_with("//"));
            let path = Parts::of(&resolved).path;
            let path = path.strip_prefix("/.").filter(|path| path.starts_with("//")).unwrap_or(path);
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        }

        #[test]
        fn arbitrary_text_resolves_once_and_to_a_header_value(
            target in "/?\\PC*",
            reference in "\\PC*",
        ) {
            if let Cow::Owned(resolved) = resolve(&target, &reference) {
                prop_assert!(resolved.starts_with('/') && !resolved.starts_with("//"));
                prop_assert!(!resolved.bytes().any(is_foreign));
                prop_assert!(matches!(resolve(&target, &resolved), Cow::Borrowed(_)));
            }
        }

        #[test]
        fn arbitrary_links_resolve_once(
            target in "/?\\PC*",
            value in "\\PC*|([<>;,=\"\\\\ a/#é]|<|>|anchor=){0,24}",
        ) {
            if let Cow::Owned(resolved) = resolve_links(&target, &value) {
                prop_assert!(matches!(resolve_links(&target, &resolved), Cow::Borrowed(_)));
            }
        }

        #[test]
        fn well_formed_links_differ_in_their_references_only(
            links in proptest::collection::vec(
                (RELATIVE, "(; ?(rel=\"[a,;<> ]{0,5}\"|title=\"(\\\\\\PC|é|,|<){0,4}\"|flag)){0,3}"),
                1..4,
            ),
            target in TARGET,
        ) {
            let join = |resolved: &dyn Fn(&str) -> String| {
                let links = links.iter().map(|(link, rest)| format!("<{}>{rest}", resolved(link)));
                links.collect::<Vec<_>>().join(", ")
            };
            let value = join(&|link| link.to_owned());
            let expected = join(&|link| resolve(&target, link).into_owned());
            prop_assert_eq!(resolve_links(&target, &value), expected);
        }

        #[test]
        fn any_field_value_can_be_rewritten(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in [LOCATION, CONTENT_LOCATION, LINK] {
                    let changed = rewrite("/a/b", &name, &value);
                    prop_assert_ne!(changed.as_ref(), Some(&value));
                }
            }
        }
    }
}
