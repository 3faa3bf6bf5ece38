use std::borrow::Cow;

/// Names and values of a query, decoded as forms are. What is no UTF-8 has the replacement character, which no name and
/// no value of a grammar has.
pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, beyond @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, beyond),
                _ => (b'%', after),
            },
            (other, _) => (*other, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_as_forms_are() {
        let pairs: Vec<_> = pairs(Some("a=b+c&&%64%3d=%C3%A9%&e&f=%ff%4=1")).collect();
        let wanted = [("a", "b c"), ("d=", "é%"), ("e", ""), ("f", "\u{fffd}%4=1")];
        assert_eq!(
            pairs,
            wanted.map(|(name, value)| (name.into(), value.into()))
        );
    }

    proptest::proptest! {
        #[test]
        fn what_a_form_reads_is_read(query in "[a-z%+&=0-9A-F]{0,40}") {
            let wanted: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
            let pairs: Vec<_> = pairs(Some(&query)).collect();
            proptest::prop_assert_eq!(pairs, wanted);
        }
    }
}
