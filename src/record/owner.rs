use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// The principal an operation belongs to, hashed: nobody else may see that the operation exists.
///
/// ```
/// use tower_lro::Owner;
///
/// assert_eq!(Owner::new("alice"), Owner::new("alice"));
/// assert_ne!(Owner::new("alice"), Owner::new("bob"));
/// assert_eq!(format!("{:?}", Owner::new("alice")), "Owner(..)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Owner(Arc<[u8; 32]>);

impl Owner {
    /// Makes an owner of whatever names the principal: a subject, an account, a tenant and a user.
    ///
    /// Only the SHA-256 of it is kept.
    #[must_use]
    pub fn new(principal: impl AsRef<[u8]>) -> Self {
        Self(Arc::new(Sha256::digest(principal.as_ref()).into()))
    }

    /// Takes a hash that a store reads back.
    #[must_use]
    pub fn from_hash(hash: [u8; 32]) -> Self {
        Self(Arc::new(hash))
    }

    /// The SHA-256 of the principal.
    #[must_use]
    pub fn as_hash(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner(..)")
    }
}

/// An idempotency key with the owner it counts for, hashed together.
///
/// The owner is not optional: a key without one would be everybody's. [`UniqueKey::shared`] is for those who want
/// just that.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UniqueKey(Box<[u8; 32]>);

impl UniqueKey {
    /// The key `key` of `owner`.
    #[must_use]
    pub fn of(owner: &Owner, key: &str) -> Self {
        Self::hash(owner.as_hash(), key)
    }

    /// The key `key`, shared by everybody who has no owner.
    #[must_use]
    pub fn shared(key: &str) -> Self {
        // Longer than any owner's hash could make it, so it is nobody's.
        Self::hash(b"shared by all who send no principal, on purpose", key)
    }

    /// Takes a hash that a store reads back.
    #[must_use]
    pub fn from_hash(hash: [u8; 32]) -> Self {
        Self(Box::new(hash))
    }

    /// The SHA-256 of owner and key.
    #[must_use]
    pub fn as_hash(&self) -> &[u8; 32] {
        &self.0
    }

    fn hash(owner: &[u8], key: &str) -> Self {
        let length = u64::try_from(owner.len()).unwrap_or(u64::MAX).to_be_bytes();
        let digest = Sha256::new()
            .chain_update(length)
            .chain_update(owner)
            .chain_update(key);
        Self(Box::new(digest.finalize().into()))
    }
}

impl fmt::Debug for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UniqueKey(..)")
    }
}

/// What a request was, so that a key used again for another request is noticed: SHA-256 of method, target, content
/// type and body.
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint(Box<[u8; 32]>);

impl Fingerprint {
    pub(crate) fn of(
        method: &http::Method,
        target: &str,
        content_type: &[u8],
        body: &[u8],
    ) -> Self {
        let mut digest = Sha256::new();
        for part in [
            method.as_str().as_bytes(),
            target.as_bytes(),
            content_type,
            body,
        ] {
            // Lengths first, or the end of one part could pass for the beginning of the next.
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        Self(Box::new(digest.finalize().into()))
    }

    /// Takes a hash that a store reads back.
    #[must_use]
    pub fn from_hash(hash: [u8; 32]) -> Self {
        Self(Box::new(hash))
    }

    /// The SHA-256 of the request.
    #[must_use]
    pub fn as_hash(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_two_owners_and_shared_ones_differ() {
        let keys = [
            UniqueKey::of(&Owner::new("a"), "k"),
            UniqueKey::of(&Owner::new("b"), "k"),
            UniqueKey::shared("k"),
        ];
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        assert_eq!(keys[2], UniqueKey::shared("k"));
    }

    #[test]
    fn a_fingerprint_tells_where_parts_end() {
        let of = |target, kind: &[u8], body: &[u8]| {
            Fingerprint::of(&http::Method::POST, target, kind, body)
        };
        assert_ne!(of("/ab", b"", b""), of("/a", b"b", b""));
        assert_ne!(of("/a", b"b", b""), of("/a", b"", b"b"));
        assert_eq!(of("/a", b"b", b"c"), of("/a", b"b", b"c"));
    }
}
