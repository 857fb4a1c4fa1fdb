//! JSON strings of log text: what needs no escape is copied at once.

/// Appends each line of `text` as the content of a JSON string, between `head` and `tail`. Bytes that are not UTF-8 become
/// U+FFFD.
pub(crate) fn lines(text: &[u8], head: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    let between = |out: &mut Vec<u8>| {
        out.extend_from_slice(tail);
        out.extend_from_slice(head);
    };
    match std::str::from_utf8(text) {
        Ok(_) => each(text, between, out),
        Err(_) => each(String::from_utf8_lossy(text).as_bytes(), between, out),
    }
    out.extend_from_slice(tail);
}

/// Appends UTF-8 text as the content of a JSON string.
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    each(text, |out| out.extend_from_slice(b"\\n"), out);
}

/// Appends `text` with what a JSON string wants escaped; `newline` stands for each line feed.
fn each(mut text: &[u8], mut newline: impl FnMut(&mut Vec<u8>), out: &mut Vec<u8>) {
    while let Some(at) = first_special(text) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, rest)) = rest.split_first() else {
            return;
        };
        text = rest;
        let short = match byte {
            b'\n' => {
                newline(out);
                continue;
            }
            b'"' => b'"',
            b'\\' => b'\\',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                const HEX: [u8; 16] = *b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(text);
}

/// The first byte that JSON wants escaped: a quote, a backslash, or one below a space (RFC 8259, section 7). Looked for in
/// pieces, each of which a processor compares at once.
fn first_special(text: &[u8]) -> Option<usize> {
    const PIECE: usize = 32;
    let special = |byte: &u8| matches!(byte, b'"' | b'\\') | (*byte < 0x20);
    let (pieces, rest) = text.as_chunks::<PIECE>();
    let has_special = |piece: &[u8; PIECE]| piece.iter().fold(false, |found, byte| found | special(byte));
    let from = match pieces.iter().position(has_special) {
        Some(index) => index * PIECE,
        None => text.len() - rest.len(),
    };
    let at = text.get(from..)?.iter().position(special)?;
    Some(from + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_serde_writes(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1eu8..0x24, Just(b'\\'), Just(b'a'), Just(b'\n')], 0..120)) {
            let mut out = Vec::new();
            lines(&bytes, b"\"", b"\"\n", &mut out);
            let quoted = |line: &[u8]| {
                let text = String::from_utf8_lossy(line).into_owned();
                serde_json::to_string(&text).expect("a string") + "\n"
            };
            let expected: String = bytes.split(|byte| *byte == b'\n').map(quoted).collect();
            prop_assert_eq!(String::from_utf8(out).expect("text"), expected);
            let text = String::from_utf8_lossy(&bytes);
            let mut one = vec![b'"'];
            escape(text.as_bytes(), &mut one);
            one.push(b'"');
            prop_assert_eq!(String::from_utf8(one).expect("text"), serde_json::to_string(&text).expect("a string"));
        }
    }
}
