use std::{cell::RefCell, fmt, ops::Range, str::FromStr};
use uuid::Uuid;

/// Names one operation: a version 4 UUID, 122 random bits from the operating system.
///
/// Up to 256 that a thread draws in a row have eight of these bits in common, by which stores may keep side by side what
/// was begun one after the other. The other 114 are told by no id but the operation's own.
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

    /// The canonical text.
    pub(crate) fn text(&self) -> [u8; ID_LEN] {
        let mut digits = [0; 32];
        let (words, _) = self.0.as_bytes().as_chunks();
        for (eight, word) in digits.as_chunks_mut().0.iter_mut().zip(words) {
            *eight = hexadecimal(u32::from_be_bytes(*word));
        }
        let mut text = [b'-'; ID_LEN];
        for (from, to) in PARTS {
            text[to].copy_from_slice(&digits[from]);
        }
        text
    }

    /// Sixty-four of the random bits: a hash that costs nothing.
    ///
    /// Ids that are stored were drawn by this process or one like it, so nobody can choose them to collide.
    pub(crate) fn hash64(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = *self.0.as_bytes();
        // The top bits of byte 8 hold the fixed variant; fold in other random ones.
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ u64::from(self.0.as_bytes()[0]) << 56
    }

    /// The part of `parts`, 256 at most, into which an id with this hash falls when stores and registers are cut.
    ///
    /// What a thread draws in a row falls into the same one: it is in the thread's cache still, and other threads are
    /// elsewhere. Hash tables choose their buckets by the low bits, and tell items apart by the seven top ones.
    pub(crate) const fn part(hash: u64, parts: usize) -> usize {
        hash.to_be_bytes()[COMMON - 8] as usize % parts
    }
}

/// Where the digits stand, and where they stand in the text.
const PARTS: [(Range<usize>, Range<usize>); 5] = [
    (0..8, 0..8),
    (8..12, 9..13),
    (12..16, 14..18),
    (16..20, 19..23),
    (20..32, 24..36),
];

/// The eight digits of a number. All at once, and without a table, which would be in no cache by the time of the next
/// request.
fn hexadecimal(number: u32) -> [u8; 8] {
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let to_letter = u64::from(b'a' - b'9' - 1);
    (digits + 0x3030_3030_3030_3030 + letters * to_letter).to_be_bytes()
}

/// The number of which these are the digits; any number, if they are none.
fn number([a, b, c, d, e, f, g, h]: [u8; 8]) -> u32 {
    let text = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let letters = text >> 6 & 0x0101_0101_0101_0101;
    let mut digits = ((text & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9) & 0x0f0f_0f0f_0f0f_0f0f;
    digits = (digits | digits >> 4) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits >> 8) & 0x0000_ffff_0000_ffff;
    (digits | digits >> 16) as u32
}

thread_local! {
    /// A system call for each id would cost more than the rest of it.
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_LEN], used: POOL_LEN }) };
}

/// Ids that are drawn at once: as many as make the part of a store that they fall into worth having in the cache.
const IN_A_ROW: usize = 256;

const POOL_LEN: usize = 16 * IN_A_ROW;

/// The byte that ids of one pool have in common.
const COMMON: usize = 9;

struct Pool {
    bytes: [u8; POOL_LEN],
    used: usize,
}

fn random_bytes() -> [u8; 16] {
    POOL.with_borrow_mut(|pool| {
        if pool.used == POOL_LEN {
            getrandom::fill(&mut pool.bytes).expect("the operating system gives random bytes");
            let common = pool.bytes[COMMON];
            for id in pool.bytes.as_chunks_mut::<16>().0 {
                id[COMMON] = common;
            }
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
        write!(f, "OperationId({}..)", &self.to_string()[..8])
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
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
        let text: &[u8; ID_LEN] = text.as_bytes().try_into().map_err(|_| InvalidId)?;
        let mut digits = [0; 32];
        for (to, from) in PARTS {
            digits[to].copy_from_slice(&text[from]);
        }
        let mut id = [0; 16];
        let (eights, _) = digits.as_chunks();
        for (word, eight) in id.as_chunks_mut().0.iter_mut().zip(eights) {
            *word = number(*eight).to_be_bytes();
        }
        let id = Self(Uuid::from_bytes(id));
        // It is the text of an id if it is the text of this one.
        if id.text() == *text {
            Ok(id)
        } else {
            Err(InvalidId)
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
    fn of_all_texts_next_to_an_id_those_are_ids_that_a_uuid_has() {
        for _ in 0..20 {
            let id = OperationId::random();
            let text = id.text();
            assert_eq!(text, *id.to_string().as_bytes());
            for (at, byte) in (0..ID_LEN).flat_map(|at| (0..128).map(move |byte| (at, byte))) {
                let mut other = text;
                other[at] = byte;
                let other = str::from_utf8(&other).unwrap();
                let uuid = Uuid::try_parse(other).ok();
                let canonical = uuid.filter(|uuid| uuid.to_string() == other);
                assert_eq!(other.parse().ok(), canonical.map(OperationId), "{other}");
            }
        }
        assert_eq!(
            "ä".repeat(ID_LEN / 2).parse::<OperationId>(),
            Err(InvalidId)
        );
    }

    #[test]
    fn debug_never_shows_the_whole_id() {
        let id = OperationId::random();
        assert!(!format!("{id:?}").contains(&id.to_string()[9..]));
    }

    #[test]
    fn ids_drawn_in_a_row_fall_into_one_part_and_all_of_them_evenly_into_all() {
        const PARTS: usize = 64;
        let parts: Vec<_> = (0..IN_A_ROW * 100 * PARTS)
            .map(|_| OperationId::part(OperationId::random().hash64(), PARTS))
            .collect();
        let rows: Vec<_> = parts.chunk_by(|a, b| a == b).collect();
        // Where the first begins, and so where the last ends, other tests of the thread have a say.
        let whole = &rows[1..rows.len() - 1];
        assert!(whole.iter().all(|row| row.len() % IN_A_ROW == 0));
        for part in 0..PARTS {
            let in_it = parts.iter().filter(|other| **other == part).count() / IN_A_ROW;
            assert!((40..200).contains(&in_it), "{in_it} rows in one part");
        }
    }

    #[test]
    fn ids_drawn_in_a_row_have_one_byte_in_common() {
        let draw = || *OperationId::random().as_uuid().as_bytes();
        // A thread that has drawn none begins with the first in a row.
        let drawn = std::thread::spawn(move || [(); IN_A_ROW].map(|()| draw()));
        let ids = drawn.join().unwrap().map(u128::from_be_bytes);
        let (set, unset) = ids
            .iter()
            .fold((!0, !0), |(set, unset), id: &u128| (set & id, unset & !id));
        // Beside it version and variant. That another bit is the same in all of them happens once in 2^248 times.
        let (common, fixed) = (0xff << 48, 0xf << 76 | 0b11 << 62);
        assert_eq!(set | unset, common | fixed);
    }

    #[test]
    fn hashes_spread_over_their_top_bits() {
        let tops: HashSet<_> = (0..10_000)
            .map(|_| OperationId::random().hash64() >> 56)
            .collect();
        assert_eq!(tops.len(), 256);
    }
}
