//! JSON strings of log text: what needs no escape is copied at once.

/// Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    match std::str::from_utf8(text) {
        Ok(_) => escape(text, out),
        Err(_) => escape(String::from_utf8_lossy(text).as_bytes(), out),
    }
    out.push(b'"');
}

fn escape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = first_special(text) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, rest)) = rest.split_first() else {
            return;
        };
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => 0,
        };
        if short == 0 {
            const HEX: [u8; 16] = *b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        text = rest;
    }
    out.extend_from_slice(text);
}

/// The first byte that JSON wants escaped: a quote, a backslash, or one below a space (RFC 8259, section 7). Eight at a
/// time: with the highest bit of each byte as its flag.
fn first_special(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = zeros(word ^ (ONES * u64::from(b'"')));
        let backslash = zeros(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = quote | backslash | control;
        if found != 0 {
            // A borrow can only flag bytes behind a real one, so the lowest flag is right.
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\') || *byte < 0x20;
    rest.iter().position(special).map(|at| words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_serde_writes(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1eu8..0x24, Just(b'\\'), Just(b'a')], 0..60)) {
            let mut out = Vec::new();
            string(&bytes, &mut out);
            let expected = serde_json::to_string(&String::from_utf8_lossy(&bytes)).expect("a string");
            prop_assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
