//! The request and response fields that asynchronous request-reply is spoken in.
//!
//! Each file knows one field, and only its text: how to read it without failing on what strangers
//! send, and how to write it so that real clients can read it. What follows from a preference, a
//! key or a condition is decided elsewhere.
//!
//! | field | specification | here |
//! | --- | --- | --- |
//! | `Retry-After` | [RFC 9110, section 10.2.3] | [`retry_after`], [`retry_after_for`] |
//!
//! [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3

mod retry_after;

pub use self::retry_after::{retry_after, retry_after_for};
