//! The request and response fields that asynchronous request-reply is spoken in.
//!
//! Each file knows one field, and only its text: how to read it without failing on what strangers
//! send, and how to write it so that real clients can read it. What follows from a preference, a
//! key or a condition is decided elsewhere.
//!
//! | field | specification | here |
//! | --- | --- | --- |
//! | `Retry-After` | [RFC 9110, section 10.2.3] | [`retry_after`], [`retry_after_for`] |
//! | `Idempotency-Key` | [draft-ietf-httpapi-idempotency-key-header] | [`idempotency_key`] |
//!
//! [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
//! [draft-ietf-httpapi-idempotency-key-header]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/

mod idempotency_key;
mod retry_after;

pub use self::{
    idempotency_key::{IDEMPOTENCY_KEY, InvalidKey, idempotency_key},
    retry_after::{retry_after, retry_after_for},
};
