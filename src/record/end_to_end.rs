//! The header fields that may outlive the connection they came on.
//!
//! A request is kept until its handler runs, and a response until somebody fetches it, mostly on another
//! connection. Some fields speak of the first connection only (RFC 9110, section 7.6.1), and some are only true of
//! the first message: those must not be kept.
//!
//! A sender may declare any field to be about the connection, by naming it in `Connection`. Of a request nothing is dropped
//! for that: its connection has ended here, and layers outside have read and set fields since. Otherwise a client could
//! send `Connection: content-type`, or name the field in which a layer tells who it is, and have the handler see another
//! request than these layers have let pass.
//!
//! Of a response what is named is dropped, but for what a sender must not name: fields "intended for all recipients of
//! the content". These are
//!
//! - `Content-*` (except `Content-Length`, which is never kept), without which stored bytes are misread,
//! - `If-*`, without which a guarded write turns into a blind one,
//! - `Host`, `Authorization`, `Cookie`, `Forwarded` and `X-Forwarded-*`: who asks, and for what,
//! - `Cache-Control`, `Location`, `Set-Cookie`, `Vary` and `WWW-Authenticate`: what the client is to do next.

use std::collections::HashSet;

use crate::header::lines;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

/// The fields to keep of a request that is run later, or of its trailers; repeats in their order.
pub(crate) fn keep_of_request(
    headers: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers.iter().filter(|(name, _)| !is_hop_by_hop(name))
}

/// The fields of a response, or its trailers, that are not about one connection; repeats in their order.
///
/// Allocates only if `Connection` names a field that is present.
fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let named = named_by_connection(headers);
    headers
        .iter()
        .filter(move |(name, _)| !is_hop_by_hop(name) && !named.contains(*name))
}

/// The fields to keep of a response that will be replayed later, from another URL.
///
/// `Content-Length` is told anew by the stored body. `Age` and `Retry-After` count from a moment that has passed by
/// then, and `Accept-Ranges` is a promise of the original URL which the replay does not keep.
pub(crate) fn keep_of_response(
    headers: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    end_to_end(headers).filter(|(name, _)| {
        !matches!(
            name.as_str(),
            "accept-ranges" | "age" | "content-length" | "retry-after"
        )
    })
}

/// Fields that are about one connection whether or not `Connection` names them.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    ) || name.starts_with("proxy-")
}

/// Fields that naming them in `Connection` does not remove; the module documentation tells why.
fn is_for_all_recipients(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "authorization"
            | "cache-control"
            | "cookie"
            | "forwarded"
            | "host"
            | "location"
            | "set-cookie"
            | "vary"
            | "www-authenticate"
    ) || name.starts_with("content-")
        || name.starts_with("if-")
        || name.starts_with("x-forwarded-")
}

/// Which of the fields present `Connection` removes.
///
/// Options such as `close` name no field and cost one lookup each. A set keeps the work linear in the size of the
/// message, however many options a hostile client lists.
fn named_by_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    lines(headers, CONNECTION)
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|option| str::from_utf8(option.trim_ascii()).ok())
        .filter(|option| headers.contains_key(*option))
        .filter_map(|option| option.parse().ok())
        .filter(|name| !is_for_all_recipients(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn names<'a>(kept: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Vec<&'a str> {
        kept.map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn drops_what_is_known_to_be_hop_by_hop() {
        let headers = headers(&[
            ("Connection", "keep-alive"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Proxy-Authorization", "Basic eDp5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Trailer", "digest"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
        ]);
        assert!(names(end_to_end(&headers)).is_empty());
    }

    #[test]
    fn drops_known_fields_though_connection_is_absent() {
        let headers = headers(&[("te", "trailers"), ("proxy-foo", "1"), ("x-kept", "1")]);
        assert_eq!(names(end_to_end(&headers)), ["x-kept"]);
    }

    #[test]
    fn drops_what_connection_names() {
        let long = "X-".to_owned() + &"long-".repeat(20) + "name";
        for connection in [
            "x-hop",
            "X-HOP",
            "close, x-hop",
            " \tx-Hop\t ,close",
            ",,x-hop,,",
            "x-hop,x-hop",
            "close,not a name,x-hop",
            "caf\u{e9}, x-hop",
        ] {
            let headers = headers(&[
                ("connection", connection),
                ("x-hop", "1"),
                ("x-hop", "2"),
                ("x-hop-by-hop", "3"),
            ]);
            assert_eq!(
                names(end_to_end(&headers)),
                ["x-hop-by-hop"],
                "{connection}"
            );
        }
        let headers = headers(&[("connection", &long), (&long, "1")]);
        assert!(names(end_to_end(&headers)).is_empty(), "{long}");
    }

    #[test]
    fn reads_every_connection_line() {
        let headers = headers(&[
            ("connection", "x-one"),
            ("x-one", "1"),
            ("connection", "close, x-two"),
            ("x-two", "2"),
            ("x-three", "3"),
        ]);
        assert_eq!(names(end_to_end(&headers)), ["x-three"]);
    }

    #[test]
    fn passes_over_options_that_are_not_text() {
        let mut headers = headers(&[("x-hop", "1"), ("x-kept", "1")]);
        let options = HeaderValue::from_bytes(b"\xff, x-hop").unwrap();
        headers.insert(CONNECTION, options);
        assert_eq!(names(end_to_end(&headers)), ["x-kept"]);
    }

    #[test]
    fn keeps_what_is_for_all_recipients_though_connection_names_it() {
        for name in [
            "authorization",
            "cache-control",
            "content-encoding",
            "content-type",
            "cookie",
            "forwarded",
            "host",
            "if-match",
            "location",
            "set-cookie",
            "vary",
            "www-authenticate",
            "x-forwarded-for",
        ] {
            let headers = headers(&[("connection", name), (name, "1")]);
            assert_eq!(names(end_to_end(&headers)), [name]);
        }
    }

    #[test]
    fn response_loses_what_is_true_of_its_first_sending_only() {
        let headers = headers(&[
            ("accept-ranges", "bytes"),
            ("age", "10"),
            ("content-length", "3"),
            ("content-type", "text/plain"),
            ("etag", "\"1\""),
            ("retry-after", "120"),
        ]);
        assert_eq!(names(keep_of_response(&headers)), ["content-type", "etag"]);
    }

    #[test]
    fn repeats_keep_their_order() {
        let headers = headers(&[
            ("set-cookie", "b=1"),
            ("te", "trailers"),
            ("set-cookie", "a=2"),
            ("set-cookie", "b=3"),
        ]);
        let values: Vec<_> = end_to_end(&headers).map(|(_, value)| value).collect();
        assert_eq!(values, ["b=1", "a=2", "b=3"]);
    }

    proptest! {
        #[test]
        fn keeps_exactly_what_is_neither_known_nor_named(
            options in vec("[ \t]{0,2}(X-[A-C]|x-[a-c]|close|host|[^,\\pC]{0,4})[ \t]{0,2}", 0..6),
            fields in vec(select(&["x-a", "x-b", "x-c", "host", "te", "proxy-x", "upgrade"]), 0..12),
        ) {
            let connection = options.join(",");
            let mut fields: Vec<_> = fields.into_iter().map(|name| (name, "1")).collect();
            fields.push(("connection", &connection));
            let headers = headers(&fields);

            let named = |name: &str| options.iter().any(|o| o.trim().eq_ignore_ascii_case(name));
            let expected = headers.iter().map(|(name, _)| name.as_str()).filter(|name| match *name {
                "host" => true,
                "x-a" | "x-b" | "x-c" => !named(name),
                _ => false,
            });
            prop_assert_eq!(names(end_to_end(&headers)), expected.collect::<Vec<_>>());
        }
    }
}
