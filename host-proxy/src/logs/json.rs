//! JSON strings of log text: what needs no escape is copied at once.

use manifest_sync::log_record;

/// Appends each line of `text` as the content of a JSON string, between `head` and `tail`. Bytes that are not UTF-8 become
/// U+FFFD.
pub(crate) fn lines(text: &[u8], head: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    let each = |text: &[u8], out: &mut Vec<u8>, append: fn(&[u8], &mut Vec<u8>)| {
        for line in log_record::lines(text) {
            out.extend_from_slice(head);
            append(line, out);
            out.extend_from_slice(tail);
        }
    };
    if is_plain(text) {
        each(text, out, |line, out| out.extend_from_slice(line));
    } else {
        each(String::from_utf8_lossy(text).as_bytes(), out, escape);
    }
}

/// Appends UTF-8 text as the content of a JSON string.
pub(crate) fn escape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(is_special) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, rest)) = rest.split_first() else {
            return;
        };
        text = rest;
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
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

/// Whether JSON wants a byte escaped: a quote, a backslash, or one below a space (RFC 8259, section 7).
fn is_special(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\') | (*byte < 0x20)
}

/// Whether lines can be copied as they are: ASCII, and nothing to be escaped. Most of a log is, so all of it is looked at at
/// once, without a branch for each byte.
fn is_plain(text: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'\n' | b' '..=b'~') & (*byte != b'"') & (*byte != b'\\');
    text.iter().fold(true, |all, byte| all & plain(byte))
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
