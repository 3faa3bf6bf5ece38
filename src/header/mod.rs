//! The request and response fields that asynchronous request-reply is spoken in.
//!
//! Each file knows one field, and only its text: how to read it without failing on what strangers
//! send, and how to write it so that real clients can read it. What follows from a preference, a
//! key or a condition is decided elsewhere.
//!
//! | field | specification | here |
//! | --- | --- | --- |
//! | `Prefer`, `Preference-Applied` | [RFC 7240] | [`Prefer`], [`remove_preferences`], [`applied`] |
//! | `Retry-After` | [RFC 9110, section 10.2.3] | [`retry_after`], [`retry_after_for`] |
//! | `Idempotency-Key` | [draft-ietf-httpapi-idempotency-key-header] | [`idempotency_key`] |
//! | `If-Match`, `If-None-Match` | [RFC 9110, section 13.1] | [`if_match_holds`], [`if_none_match_holds`] |
//!
//! # Example
//!
//! A request that asks for an asynchronous answer, and the fields of that answer:
//!
//! ```
//! use http::{HeaderMap, Response, StatusCode, header::RETRY_AFTER};
//! use std::time::Duration;
//! use tower_lro::header::{self, PREFER, PREFERENCE_APPLIED, Prefer};
//!
//! let mut request = HeaderMap::new();
//! request.insert(PREFER, "respond-async, wait=10".parse()?);
//!
//! let prefer = Prefer::parse(&request);
//! assert!(prefer.respond_async);
//! assert_eq!(prefer.wait, Some(Duration::from_secs(10)));
//!
//! let mut response = Response::new("");
//! *response.status_mut() = StatusCode::ACCEPTED;
//! response.headers_mut().insert(RETRY_AFTER, header::retry_after(1));
//! if let Some(applied) = header::applied(prefer) {
//!     response.headers_mut().insert(PREFERENCE_APPLIED, applied);
//! }
//!
//! assert_eq!(response.headers()["retry-after"], "1");
//! assert_eq!(response.headers()["preference-applied"], "respond-async, wait=10");
//! # Ok::<(), http::header::InvalidHeaderValue>(())
//! ```
//!
//! # Tolerance
//!
//! What may be ignored is ignored: a broken `Prefer` prefers nothing, a broken entity tag matches
//! nothing. Only [`idempotency_key`] reports an error, because a client that sent a key relies on
//! it, and running its request twice is worse than refusing it.
//!
//! In `Prefer`, `If-Match` and `If-None-Match` several lines read as one list ([RFC 9110, section
//! 5.3]). A line is always a whole number of members: a quote left open ends with its line and
//! does not swallow the next one.
//!
//! [RFC 7240]: https://www.rfc-editor.org/rfc/rfc7240
//! [RFC 9110, section 5.3]: https://www.rfc-editor.org/rfc/rfc9110#section-5.3
//! [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
//! [RFC 9110, section 13.1]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1
//! [draft-ietf-httpapi-idempotency-key-header]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/

pub(crate) mod accept;
mod cache_control;
mod entity_tag;
mod idempotency_key;
mod list;
mod prefer;
mod retry_after;

pub(crate) use self::{
    cache_control::{is_targeted, remove_targeted},
    entity_tag::tags_of_if_none_match,
    retry_after::whole_seconds,
};
pub use self::{
    entity_tag::{if_match_holds, if_none_match_holds},
    idempotency_key::{IDEMPOTENCY_KEY, InvalidKey, idempotency_key},
    prefer::{PREFER, PREFERENCE_APPLIED, Prefer, applied, prefers, remove_preferences},
    retry_after::{retry_after, retry_after_for},
};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The lines of a field that is seldom there, in order. Among the few fields of most messages, looking through the names
/// costs less than hashing one.
pub(crate) fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &HeaderValue> {
    let named = headers.iter().filter(move |(other, _)| **other == name);
    named.map(|(_, line)| line)
}

/// Whether a byte may stand in a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
