//! What tells some caches more than `Cache-Control` tells all.

use http::HeaderMap;

/// Removes the fields that some caches go by instead of `Cache-Control`.
pub(crate) fn remove_targeted(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .keys()
        .filter(|name| is_targeted(name.as_ref()))
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Content delivery networks have fields of their own, all named alike (RFC 9213, section 2); Varnish goes by
/// `Surrogate-Control`, nginx by `X-Accel-Expires`.
pub(crate) fn is_targeted(name: &[u8]) -> bool {
    matches!(name, b"surrogate-control" | b"x-accel-expires") || name.ends_with(b"-cache-control")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn what_is_for_some_caches_goes_and_what_is_for_all_stays() {
        let names = [
            "cache-control",
            "cdn-cache-control",
            "expires",
            "surrogate-control",
            "x-accel-expires",
            "x-accel-redirect",
        ];
        let mut headers: HeaderMap = names
            .map(|name| {
                let value = HeaderValue::from_static("1");
                (HeaderName::from_static(name), value)
            })
            .into_iter()
            .collect();
        headers.append("cdn-cache-control", HeaderValue::from_static("2"));
        remove_targeted(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cache-control", "expires", "x-accel-redirect"]);
    }
}
