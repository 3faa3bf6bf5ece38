use std::{cell::RefCell, fmt, str::FromStr};
use uuid::Uuid;

/// Names one operation: a version 4 UUID, 122 random bits from the operating system.
///
/// Whoever knows it may follow the operation (unless an owner rule says otherwise), so it is a secret: [`Debug`]
/// shows its first eight digits only, [`Display`](fmt::Display) the whole of it for those who build URLs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(Uuid);

/// Length of the canonical text of an [`OperationId`].
pub(crate) const ID_LEN: usize = uuid::fmt::Hyphenated::LENGTH;

impl OperationId {
    /// Draws a new id.
    ///
    /// # Panics
    ///
    /// If the operating system has no random bytes to give.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Builder::from_random_bytes(random_bytes()).into_uuid())
    }

    /// Takes an id that was made elsewhere, as a store does that reads it back.
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// Writes the canonical text into `buffer`.
    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8; ID_LEN]) -> &'a str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// Sixty-four of the random bits: a hash that costs nothing.
    ///
    /// Ids that are stored were drawn by this process or one like it, so nobody can choose them to collide.
    pub(crate) fn hash64(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = *self.0.as_bytes();
        // The top bits of byte 8 hold the fixed variant; fold in other random ones.
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ u64::from(self.0.as_bytes()[0]) << 56
    }
}

thread_local! {
    /// A system call for each id would cost more than the rest of it.
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_LEN], used: POOL_LEN }) };
}

const POOL_LEN: usize = 1024;

struct Pool {
    bytes: [u8; POOL_LEN],
    used: usize,
}

fn random_bytes() -> [u8; 16] {
    POOL.with_borrow_mut(|pool| {
        if pool.used == POOL_LEN {
            getrandom::fill(&mut pool.bytes).expect("the operating system gives random bytes");
            pool.used = 0;
        }
        let taken = &mut pool.bytes[pool.used..pool.used + 16];
        pool.used += 16;
        let mut id = [0; 16];
        id.copy_from_slice(taken);
        // What was handed out is a secret of its operation, not of this thread.
        taken.fill(0);
        id
    })
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ID_LEN];
        write!(f, "OperationId({}..)", &self.encode(&mut text)[..8])
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; ID_LEN]))
    }
}

/// The text is not the canonical one of a UUID: 36 characters, lower case, with hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the canonical text of an operation id")
    }
}

impl std::error::Error for InvalidId {}

impl FromStr for OperationId {
    type Err = InvalidId;

    /// One text per id: other spellings of the same UUID are no ids, so that one operation has one URL.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let canonical = text.len() == ID_LEN && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match Uuid::try_parse(text) {
            Ok(id) if canonical => Ok(Self(id)),
            _ => Err(InvalidId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_version_4_and_differ() {
        let ids: HashSet<_> = (0..10_000).map(|_| OperationId::random()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.as_uuid().get_version_num() == 4));
    }

    #[test]
    fn only_the_canonical_text_is_an_id() {
        let id = OperationId::random();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for other in [
            text.to_uppercase()
                .replace(|c: char| c.is_ascii_digit(), "A"),
            id.as_uuid().simple().to_string(),
            id.as_uuid().urn().to_string(),
            format!("{{{text}}}"),
            format!("{text} "),
            String::new(),
            "../../../../../../../../../etc/passwd".into(),
        ] {
            assert_eq!(other.parse::<OperationId>(), Err(InvalidId), "{other}");
        }
    }

    #[test]
    fn debug_never_shows_the_whole_id() {
        let id = OperationId::random();
        assert!(!format!("{id:?}").contains(&id.to_string()[9..]));
    }

    #[test]
    fn hashes_spread_over_their_top_bits() {
        let tops: HashSet<_> = (0..10_000)
            .map(|_| OperationId::random().hash64() >> 56)
            .collect();
        assert_eq!(tops.len(), 256);
    }
}
