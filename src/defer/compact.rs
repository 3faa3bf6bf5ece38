//! Frees a request's head from the connection it came on.

use crate::dialect::Head;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, request};

/// Copies what the head of a request holds into one allocation of just the right size.
///
/// Values and URI are slices of the connection's read buffer, which is of some kilobytes, up to a hundred after a large
/// upload, and would live as long as the operation.
pub(super) fn compact(head: &mut request::Parts) {
    let values: usize = head.headers.values().map(HeaderValue::len).sum();
    let (own, original) = (path(&head.uri), original(head));
    let (own_len, uris) = (own.len(), own.len() + original.len());
    let mut buffer = Vec::with_capacity(values + uris);
    for value in head.headers.values() {
        buffer.extend_from_slice(value.as_bytes());
    }
    buffer.extend_from_slice(own.as_bytes());
    buffer.extend_from_slice(original.as_bytes());
    let mut paths = point_into(buffer.into(), &mut head.headers);
    head.uri = copied(&head.uri, paths.split_to(own_len));
    #[cfg(feature = "axum")]
    if let Some(original) = head.extensions.get_mut::<axum::extract::OriginalUri>() {
        original.0 = copied(&original.0, paths);
    }
}

/// Path and query that were asked for, where others are in their place.
fn original(head: &request::Parts) -> &str {
    let original = Head::from(head).original();
    if std::ptr::eq(original, &head.uri) {
        ""
    } else {
        path(original)
    }
}

/// Copies the values of trailers, as [`compact`] does those of a head.
pub(super) fn compact_trailers(trailers: &mut HeaderMap) {
    let length = trailers.values().map(HeaderValue::len).sum();
    let mut buffer = Vec::with_capacity(length);
    for value in trailers.values() {
        buffer.extend_from_slice(value.as_bytes());
    }
    point_into(buffer.into(), trailers);
}

/// Replaces the values by their copies, which `buffer` begins with, and gives what comes after them.
fn point_into(mut buffer: Bytes, fields: &mut HeaderMap) -> Bytes {
    for value in fields.values_mut() {
        let copy = buffer.split_to(value.len());
        // What was a value is one still.
        if let Ok(mut copy) = HeaderValue::from_maybe_shared(copy) {
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
    }
    buffer
}

/// Path and query only: what servers are sent, but for proxies.
fn is_usual(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_none()
}

/// What a URI of the usual form is made of.
fn path(uri: &Uri) -> &str {
    let path = uri.path_and_query().filter(|_| is_usual(uri));
    path.map_or("", |path| path.as_str())
}

/// The URI, made of `path` if it is of the usual form.
fn copied(uri: &Uri, path: Bytes) -> Uri {
    let text = if is_usual(uri) {
        path
    } else {
        Bytes::from(uri.to_string())
    };
    // What was a URI is one still, but for forms that can't be written alone.
    Uri::from_maybe_shared(text).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn nothing_of_the_head_points_into_the_buffer_it_was_read_into() {
        let buffer = Bytes::from(b"/reports?x=1 secret other".to_vec());
        let mut secret = HeaderValue::from_maybe_shared(buffer.slice(13..19)).unwrap();
        secret.set_sensitive(true);
        let request = Request::builder()
            .uri(Uri::from_maybe_shared(buffer.slice(..12)).unwrap())
            .header("a", secret)
            .header(
                "b",
                HeaderValue::from_maybe_shared(buffer.slice(20..)).unwrap(),
            )
            .header("c", "")
            .body(())
            .unwrap();
        let (mut head, ()) = request.into_parts();
        assert!(!buffer.is_unique());
        compact(&mut head);
        assert!(buffer.is_unique());
        assert_eq!(head.uri, "/reports?x=1");
        assert_eq!(
            (&head.headers["a"], &head.headers["b"]),
            (&"secret".parse().unwrap(), &"other".parse().unwrap())
        );
        assert!(head.headers["a"].is_sensitive() && !head.headers["b"].is_sensitive());
        assert_eq!(head.headers["c"], "");
    }

    #[cfg(feature = "axum")]
    #[test]
    fn nor_does_the_uri_that_was_asked_for() {
        use axum::extract::OriginalUri;
        for asked in ["/api/reports?x=1", "http://h/api/reports"] {
            let buffer = Bytes::from(asked.to_owned().into_bytes());
            let mut request = Request::get("/reports?x=1").body(()).unwrap();
            let original = Uri::from_maybe_shared(buffer.clone()).unwrap();
            request.extensions_mut().insert(OriginalUri(original));
            let (mut head, ()) = request.into_parts();
            compact(&mut head);
            assert!(buffer.is_unique());
            assert_eq!(head.uri, "/reports?x=1");
            assert_eq!(head.extensions.get::<OriginalUri>().unwrap().0, asked);
        }
    }

    #[test]
    fn every_form_of_uri_survives() {
        for uri in ["/", "/a?b", "http://h:80/a?b=c", "http://h", "h:443", "*"] {
            let uri: Uri = uri.parse().unwrap();
            let path = uri.path_and_query().map_or("", |path| path.as_str());
            assert_eq!(copied(&uri, Bytes::copy_from_slice(path.as_bytes())), uri);
        }
    }
}
