//! What little JSON is written and looked through by hand: no tree, no intermediate strings.

use bytes::Bytes;
use serde_json::value::RawValue;
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

/// Takes out the white space between tokens: what is written elsewhere may have some.
pub(crate) fn without_space(json: Box<RawValue>) -> Box<RawValue> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    if !json.get().bytes().any(is_space) {
        return json;
    }
    let (mut in_string, mut is_escaped) = (false, false);
    let mut text = json.get().to_owned();
    text.retain(|character| {
        let was_in_string = in_string;
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        was_in_string || !u8::try_from(character).is_ok_and(is_space)
    });
    // It was JSON before, and is.
    RawValue::from_string(text).unwrap_or(json)
}

#[cfg(test)]
mod tests {
    proptest::proptest! {
        #[test]
        fn no_space_is_left_but_in_strings(key in ".*", value in ".*", numbers: Vec<i16>) {
            let value = serde_json::json!({key: value, " \t": [numbers, null]});
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let raw = serde_json::value::RawValue::from_string(pretty).unwrap();
            let compact = super::without_space(raw);
            proptest::prop_assert_eq!(compact.get(), value.to_string());
        }
    }

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
