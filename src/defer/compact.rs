//! Frees a request's head from the connection it came on.

use super::recent::slot;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request};
use std::cell::Cell;

/// Makes what the head of a request holds point into copies of just the right size.
///
/// Values and URI are slices of the connection's read buffer, which is of some kilobytes, up to a hundred after a large
/// upload, and would live as long as the operation. Most heads that are sent to one path are alike: they share the copies
/// that their thread made last, but for fields that are `secret`, which are to end with their operation.
pub(super) fn compact(head: &mut request::Parts, secret: &[HeaderName]) {
    let slot = slot(head.uri.path(), SLOTS);
    let mut last = LAST.with(|all| all[slot].take()).unwrap_or_default();
    last.uri.replace(&mut head.uri);
    #[cfg(feature = "axum")]
    if let Some(original) = head.extensions.get_mut::<axum::extract::OriginalUri>() {
        last.original.replace(&mut original.0);
    }
    last.values.replace_all(&mut head.headers, secret);
    LAST.with(|all| all[slot].set(Some(last)));
}

/// Copies the values of trailers, as [`compact`] does those of a head, for their operation alone.
pub(super) fn compact_trailers(trailers: &mut HeaderMap) {
    LastValues::default().copy_others(trailers);
}

thread_local! {
    /// Per thread, so that nobody waits, nor counts references together with all others.
    static LAST: [Cell<Option<Box<Last>>>; SLOTS] = const { [const { Cell::new(None) }; SLOTS] };
}

/// One thread may be sent requests to several paths.
const SLOTS: usize = 8;

/// Bytes that are shared at most: of a URI, and of the values of a head.
const SHARED_LEN: usize = 2 << 10;

/// Fields of a head that is shared, at most: each takes some bytes, be it empty.
const SHARED_FIELDS: usize = 64;

/// Heads that are like the last one in part only, until one of them is taken for it.
const OTHERS: usize = 64;

/// The copies that were made last.
#[derive(Default)]
struct Last {
    uri: LastUri,
    #[cfg(feature = "axum")]
    original: LastUri,
    values: LastValues,
}

#[derive(Default)]
struct LastUri(Uri);

impl LastUri {
    fn replace(&mut self, uri: &mut Uri) {
        if parts(uri) != parts(&self.0) {
            let Some(copy) = copied(uri) else { return };
            if length(&copy) > SHARED_LEN {
                *uri = copy;
                return;
            }
            self.0 = copy;
        }
        *uri = self.0.clone();
    }
}

/// A URI as it was written: letter case counts.
fn parts(uri: &Uri) -> [Option<&str>; 3] {
    let authority = uri.authority().map(|authority| authority.as_str());
    let path = uri.path_and_query().map(|path| path.as_str());
    [uri.scheme_str(), authority, path]
}

fn length(uri: &Uri) -> usize {
    parts(uri).into_iter().flatten().map(str::len).sum()
}

/// What was a URI is one still, but for forms that can't be written alone.
fn copied(uri: &Uri) -> Option<Uri> {
    let text = match parts(uri) {
        // What HTTP/1 has, but for proxies.
        [None, None, Some(path)] if path.starts_with('/') => {
            Bytes::copy_from_slice(path.as_bytes())
        }
        _ => uri.to_string().into(),
    };
    Uri::from_maybe_shared(text).ok()
}

/// The values of a head by their places in it, in one allocation. Those that are not shared are empty.
#[derive(Default)]
struct LastValues {
    values: Vec<HeaderValue>,
    len: usize,
    /// Heads since that were another in something.
    others: usize,
}

impl LastValues {
    fn replace_all(&mut self, fields: &mut HeaderMap, secret: &[HeaderName]) {
        let (shared, is_whole) = self.replace(fields);
        // It lives as long as any operation that shares it: not for a small part of it.
        let is_large_part = shared * 2 > self.len;
        if is_whole && is_large_part {
            return;
        }
        self.others += 1;
        let is_outdated = !is_whole && (!is_large_part || self.others > OTHERS);
        if is_outdated && self.learn(fields, secret) {
            self.replace(fields);
            self.copy_others(fields);
        } else if is_large_part {
            self.copy_others(fields);
        } else {
            Self::default().copy_others(fields);
        }
    }

    /// Replaces what reads as the last copy does. How many bytes those are, and whether there are no others.
    fn replace(&self, fields: &mut HeaderMap) -> (usize, bool) {
        let (mut shared, mut is_whole) = (0, true);
        let mut copies = self.values.iter();
        for value in fields.values_mut() {
            match copies.next().filter(|copy| *copy == value) {
                Some(copy) => {
                    let is_sensitive = value.is_sensitive();
                    *value = copy.clone();
                    value.set_sensitive(is_sensitive);
                    shared += value.len();
                }
                // Be it empty: it may hold the buffer all the same.
                None => is_whole = false,
            }
        }
        (shared, is_whole)
    }

    /// Copies these instead, if they are few enough.
    fn learn(&mut self, fields: &HeaderMap, secret: &[HeaderName]) -> bool {
        let is_secret = |name, value: &HeaderValue| value.is_sensitive() || secret.contains(name);
        let shared = || {
            let all = fields.iter();
            all.map(|(name, value)| match is_secret(name, value) {
                true => &[][..],
                false => value.as_bytes(),
            })
        };
        let len = shared().map(<[u8]>::len).sum();
        if len == 0 || len > SHARED_LEN || fields.len() > SHARED_FIELDS {
            return false;
        }
        let mut buffer = Vec::with_capacity(len);
        shared().for_each(|value| buffer.extend_from_slice(value));
        let mut buffer = Bytes::from(buffer);
        self.values.clear();
        self.values.reserve_exact(fields.len());
        self.values
            .extend(shared().map(|value| value_of(buffer.split_to(value.len()))));
        (self.len, self.others) = (len, 0);
        true
    }

    /// Copies what is none of the copies yet.
    fn copy_others(&self, fields: &mut HeaderMap) {
        let is_other = |at: usize, value: &HeaderValue| self.values.get(at) != Some(value);
        let others = || {
            let all = fields.values().enumerate();
            all.filter(|(at, value)| is_other(*at, value))
        };
        let mut buffer = Vec::with_capacity(others().map(|(_, value)| value.len()).sum());
        others().for_each(|(_, value)| buffer.extend_from_slice(value.as_bytes()));
        let mut buffer = Bytes::from(buffer);
        let all = fields.values_mut().enumerate();
        for (_, value) in all.filter(|(at, value)| is_other(*at, value)) {
            let mut copy = value_of(buffer.split_to(value.len()));
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
    }
}

/// What was a value is one still.
fn value_of(copy: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(copy).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, header};
    use std::iter;

    /// A head as a server reads it, all in one buffer, and that.
    fn read(path: &str, fields: &[(&'static str, &str)]) -> (request::Parts, Bytes) {
        let values = fields.iter().map(|(_, value)| *value);
        let text: String = iter::once(path).chain(values).collect();
        let buffer = Bytes::from(text.into_bytes());
        let mut rest = buffer.clone();
        let uri = Uri::from_maybe_shared(rest.split_to(path.len())).unwrap();
        let (mut head, ()) = Request::get(uri).body(()).unwrap().into_parts();
        for (name, value) in fields {
            let value = HeaderValue::from_maybe_shared(rest.split_to(value.len())).unwrap();
            head.headers.append(*name, value);
        }
        (head, buffer)
    }

    fn compacted(path: &str, fields: &[(&'static str, &str)]) -> request::Parts {
        let (mut head, buffer) = read(path, fields);
        let (uri, headers) = (head.uri.clone(), head.headers.clone());
        compact(&mut head, &[header::COOKIE]);
        assert_eq!((&head.uri, &head.headers), (&uri, &headers));
        drop((uri, headers));
        assert!(buffer.is_unique(), "{path} {fields:?}");
        head
    }

    fn is_same(one: &HeaderValue, other: &HeaderValue) -> bool {
        one.as_bytes().as_ptr() == other.as_bytes().as_ptr()
    }

    #[test]
    fn nothing_of_a_head_points_into_the_buffer_it_was_read_into() {
        let long = "x".repeat(SHARED_LEN);
        let heads: [&[(&str, &str)]; 7] = [
            &[],
            &[("a", "alpha"), ("b", ""), ("c", "gamma")],
            &[
                ("a", "alpha"),
                ("b", "beta"),
                ("c", "gamma"),
                ("c", "delta"),
            ],
            &[("a", "alpha"), ("b", "bet"), ("cookie", "secret")],
            &[("cookie", "secret")],
            &[("a", &long), ("b", "beta")],
            &[("c", "gamma"), ("a", "alpha")],
        ];
        // After each of the others, and after itself.
        for first in heads {
            for second in heads {
                for fields in [first, second, second] {
                    compacted("/reports?x=1", fields);
                    compacted(&format!("/{long}"), fields);
                }
            }
        }
    }

    #[test]
    fn heads_that_are_alike_share_their_copies() {
        let fields = [
            ("host", "example.com"),
            ("accept", "text/plain"),
            ("n", "1"),
        ];
        let one = compacted("/alike", &fields);
        let two = compacted("/alike", &[fields[0], fields[1], ("n", "2")]);
        let path = |head: &request::Parts| head.uri.path().as_ptr();
        assert_eq!(path(&one), path(&two));
        for name in ["host", "accept"] {
            assert!(is_same(&one.headers[name], &two.headers[name]));
        }
        // What few can share is not kept for them.
        let three = compacted("/alike", &[fields[0], ("accept", "x".repeat(50).as_str())]);
        assert!(!is_same(&one.headers["host"], &three.headers["host"]));
        let four = compacted("/alike", &[fields[0], ("accept", "x".repeat(50).as_str())]);
        assert!(is_same(&three.headers["accept"], &four.headers["accept"]));
    }

    #[test]
    fn secrets_end_with_their_operation() {
        let fields = [("host", "example.com"), ("cookie", "secret")];
        let one = compacted("/secrets", &fields);
        let two = compacted("/secrets", &fields);
        assert!(is_same(&one.headers["host"], &two.headers["host"]));
        assert!(!is_same(&one.headers["cookie"], &two.headers["cookie"]));
        // As those that somebody outside has marked.
        let marked = || {
            let (mut head, _) = read("/marked", &[("host", "example.com"), ("token", "secret")]);
            let token = head.headers.get_mut("token").unwrap();
            token.set_sensitive(true);
            compact(&mut head, &[]);
            head
        };
        let (one, two) = (marked(), marked());
        assert!(!is_same(&one.headers["token"], &two.headers["token"]));
        assert!(one.headers["token"].is_sensitive() && !one.headers["host"].is_sensitive());
    }

    #[test]
    fn nor_does_a_value_that_is_empty() {
        for fields in [&[][..], &[("a", "alpha")]] {
            compacted("/empty", fields);
            let (mut head, buffer) = read("/empty", fields);
            let mut empty = buffer.clone();
            empty.truncate(0);
            let empty = HeaderValue::from_maybe_shared(empty).unwrap();
            head.headers.append("b", empty);
            compact(&mut head, &[]);
            assert!(buffer.is_unique());
            assert_eq!(head.headers["b"], "");
        }
    }

    #[test]
    fn a_head_keeps_no_copies_of_which_it_would_share_a_small_part() {
        let (host, long) = (("host", "h"), "x".repeat(1000));
        let longer = long.repeat(3);
        let large = compacted("/small", &[host, ("accept", &long)]);
        for fields in [&[host][..], &[host, ("accept", &longer)]] {
            let other = compacted("/small", fields);
            assert!(!is_same(&large.headers["host"], &other.headers["host"]));
        }
        // They are there still for those that share more of them.
        let alike = compacted("/small", &[host, ("accept", &long)]);
        assert!(is_same(&large.headers["host"], &alike.headers["host"]));
    }

    #[test]
    fn what_one_head_was_like_is_forgotten_for_what_many_are() {
        let (host, long) = (("host", "example.com"), "x".repeat(1000));
        compacted("/changed", &[host]);
        let like_many = || compacted("/changed", &[host, ("accept", &long)]);
        let many: Vec<_> = (0..=OTHERS).map(|_| like_many()).collect();
        assert!(is_same(
            &many[OTHERS].headers["accept"],
            &like_many().headers["accept"]
        ));
    }

    #[test]
    fn uris_are_shared_as_they_are_written_on_every_version_of_http() {
        let compacted = |uri: &str| {
            let buffer = Bytes::from(uri.to_owned().into_bytes());
            let uri = Uri::from_maybe_shared(buffer.clone()).unwrap();
            let (mut head, ()) = Request::get(uri.clone()).body(()).unwrap().into_parts();
            compact(&mut head, &[]);
            assert_eq!(parts(&head.uri), parts(&uri));
            drop(uri);
            assert!(buffer.is_unique());
            head.uri
        };
        for uri in ["/a?b", "http://h/a?b", "http://H/a?b", "https://h/a?b"] {
            let (one, two) = (compacted(uri), compacted(uri));
            assert_eq!(one.path().as_ptr(), two.path().as_ptr(), "{uri}");
        }
    }

    #[test]
    fn copies_of_many_fields_are_not_kept() {
        for (count, value) in [(SHARED_FIELDS - 7, "a"), (SHARED_FIELDS, "b"), (1000, "c")] {
            compacted("/many", &vec![("n", value); count]);
            let last = LAST.with(|all| all[slot("/many", SLOTS)].take()).unwrap();
            assert!(last.values.values.capacity() <= count.min(SHARED_FIELDS));
            LAST.with(|all| all[slot("/many", SLOTS)].set(Some(last)));
        }
    }

    #[cfg(feature = "axum")]
    #[test]
    fn nor_does_the_uri_that_was_asked_for() {
        use axum::extract::OriginalUri;
        for asked in ["/api/reports?x=1", "http://h/api/reports"] {
            for _ in 0..2 {
                let buffer = Bytes::from(asked.to_owned().into_bytes());
                let mut request = Request::get("/reports?x=1").body(()).unwrap();
                let original = Uri::from_maybe_shared(buffer.clone()).unwrap();
                request.extensions_mut().insert(OriginalUri(original));
                let (mut head, ()) = request.into_parts();
                compact(&mut head, &[]);
                assert!(buffer.is_unique());
                assert_eq!(head.uri, "/reports?x=1");
                assert_eq!(head.extensions.get::<OriginalUri>().unwrap().0, asked);
            }
        }
    }

    #[test]
    fn every_form_of_uri_survives() {
        for uri in ["/", "/a?b", "http://h:80/a?b=c", "http://h", "h:443", "*"] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(copied(&uri), Some(uri));
        }
    }
}
