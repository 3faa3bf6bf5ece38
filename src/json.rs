//! What little JSON is written on the accept path, by hand: no tree, no intermediate strings.

use bytes::Bytes;
use std::cell::Cell;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes that a thread keeps for the next document.
const SCRATCH_LEN: usize = 8 << 10;

/// Writes a document and gives it in an allocation of just its size: one, however it grows while it is written.
pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    write(&mut scratch);
    let bytes = Bytes::copy_from_slice(&scratch);
    if scratch.capacity() <= SCRATCH_LEN {
        SCRATCH.set(scratch);
    }
    bytes
}

/// Writes a number.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    if number >= 10 {
        self::number(out, number / 10);
    }
    out.push(b'0' + (number % 10) as u8);
}

/// Writes a string, quoted and escaped.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    let plain = !text
        .bytes()
        .any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a `Vec` and serialising a `str` can't fail.
        let _ = serde_json::to_writer(out, text);
    }
}

#[cfg(test)]
mod tests {
    proptest::proptest! {
        #[test]
        fn strings_come_back(text in ".*") {
            let mut out = Vec::new();
            super::string(&mut out, &text);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn numbers_come_back(number: u64) {
            let written = super::written(|out| super::number(out, number));
            proptest::prop_assert_eq!(written, number.to_string());
        }
    }
}
