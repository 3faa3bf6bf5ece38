use http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL};

/// Has no cache keep a message: `Cache-Control: no-store` ([RFC 9111, section 5.2.2.5]).
///
/// Takes the fields away by which some caches go instead of that one: those of [RFC 9213], whose names end in
/// `-Cache-Control`, and `Surrogate-Control`.
///
/// ```
/// use http::HeaderMap;
/// use tower_lro::header::no_store;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("cache-control", "max-age=60".parse()?);
/// headers.insert("cdn-cache-control", "max-age=600".parse()?);
/// no_store(&mut headers);
/// assert_eq!(headers.len(), 1);
/// assert_eq!(headers["cache-control"], "no-store");
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
///
/// [RFC 9111, section 5.2.2.5]: https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.5
/// [RFC 9213]: https://www.rfc-editor.org/rfc/rfc9213
pub fn no_store(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_targeted(name)).cloned() {
        headers.remove(name);
    }
    headers.insert(
        CACHE_CONTROL,
        const { HeaderValue::from_static("no-store") },
    );
}

/// Whether it tells some caches what others are told by `Cache-Control`.
fn is_targeted(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.ends_with("-cache-control") || name == "surrogate-control"
}
