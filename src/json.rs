//! What little JSON is written on the accept path, by hand: no tree, no intermediate strings.

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
    }
}
