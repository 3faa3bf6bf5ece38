//! Frees a request's head from the connection it came on.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, request};

/// Copies what the head of a request holds into one allocation of just the right size.
///
/// Values and URI are slices of the connection's read buffer, which is of some kilobytes, up to a hundred after a large
/// upload, and would live as long as the operation.
pub(super) fn compact(head: &mut request::Parts) {
    let values: usize = head.headers.values().map(HeaderValue::len).sum();
    let mut buffer = Vec::with_capacity(values + length(&head.uri));
    for value in head.headers.values() {
        buffer.extend_from_slice(value.as_bytes());
    }
    let path = head.uri.path_and_query().filter(|_| is_usual(&head.uri));
    buffer.extend_from_slice(path.map_or("", |path| path.as_str()).as_bytes());
    let buffer = Bytes::from(buffer);
    point_into(&buffer, &mut head.headers);
    head.uri = copied(&head.uri, buffer.slice(values..));
    #[cfg(feature = "axum")]
    if let Some(original) = head.extensions.get_mut::<axum::extract::OriginalUri>() {
        let path = original.0.path_and_query().map_or("", |path| path.as_str());
        original.0 = copied(&original.0, Bytes::copy_from_slice(path.as_bytes()));
    }
}

/// Copies the values of trailers, as [`compact`] does those of a head.
pub(super) fn compact_trailers(trailers: &mut HeaderMap) {
    let length = trailers.values().map(HeaderValue::len).sum();
    let mut buffer = Vec::with_capacity(length);
    for value in trailers.values() {
        buffer.extend_from_slice(value.as_bytes());
    }
    point_into(&buffer.into(), trailers);
}

/// Replaces the values by their copies, which `buffer` begins with.
fn point_into(buffer: &Bytes, fields: &mut HeaderMap) {
    let mut at = 0;
    for value in fields.values_mut() {
        let end = at + value.len();
        // What was a value is one still.
        if let Ok(mut copy) = HeaderValue::from_maybe_shared(buffer.slice(at..end)) {
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
        at = end;
    }
}

/// Path and query only: what servers are sent, but for proxies.
fn is_usual(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_none()
}

/// Room that a URI of the usual form needs.
fn length(uri: &Uri) -> usize {
    let path = uri.path_and_query().filter(|_| is_usual(uri));
    path.map_or(0, |path| path.as_str().len())
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

    #[test]
    fn every_form_of_uri_survives() {
        for uri in ["/", "/a?b", "http://h:80/a?b=c", "http://h", "h:443", "*"] {
            let uri: Uri = uri.parse().unwrap();
            let path = uri.path_and_query().map_or("", |path| path.as_str());
            assert_eq!(copied(&uri, Bytes::copy_from_slice(path.as_bytes())), uri);
        }
    }
}
