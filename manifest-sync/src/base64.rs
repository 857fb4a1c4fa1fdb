//! Base64 (RFC 4648, section 4: the standard alphabet with padding). [`decode`] takes exactly one text for each
//! sequence of bytes; Kubernetes' Secrets are read as leniently as Go reads them.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 of `bytes`, with padding, in one line.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([0; 2].iter())
            .take(3)
            .fold(0, |group, byte| group << 8 | u32::from(*byte));
        for place in 0..4 {
            let index = group >> (18 - 6 * place) & 0x3f;
            let letter = usize::try_from(index)
                .ok()
                .and_then(|index| ALPHABET.get(index))
                .filter(|_| place <= chunk.len());
            text.push(char::from(*letter.unwrap_or(&b'=')));
        }
    }
    text
}

/// The bytes of `text`. Strict: no line break, no URL alphabet, padding as written by [`encode`], unused bits zero.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let body = unpadded(text.as_bytes())?;
    let (bytes, unused) = sextets(body)?;
    (unused == 0).then_some(bytes)
}

/// As Go's standard decoder: line breaks are skipped, unused bits may be anything.
pub(crate) fn decode_lenient(text: &str) -> Option<Vec<u8>> {
    let clean: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    sextets(unpadded(&clean)?).map(|(bytes, _)| bytes)
}

fn unpadded(text: &[u8]) -> Option<&[u8]> {
    let body = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    // With a whole number of groups, a body can miss one or two letters, and exactly as many as there is padding.
    (text.len().is_multiple_of(4) && body.len() % 4 != 1).then_some(body)
}

/// The bytes of letters, and the bits that are left over.
fn sextets(body: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (mut out, mut held, mut bits) = (Vec::with_capacity(body.len() / 4 * 3 + 2), 0u32, 0u32);
    for &byte in body {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(six)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
        }
    }
    Some((out, held & ((1 << bits) - 1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_of_the_standard() {
        // RFC 4648, section 10.
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn a_second_text_for_the_same_bytes_is_refused() {
        for bad in [
            "Zg",
            "Zg=",
            "Zh==",
            "Zm9=",
            "Zg==\n",
            "Z g=",
            "=",
            "==",
            "====",
            "Zg===",
            "A===",
            "Zg==Zg==",
            "-_-_",
            "Zm9v\r\n",
            "Zm9vYmF",
            "\u{e9}m9v",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert_eq!(decode_lenient("Zh==\n").as_deref(), Some(b"f".as_slice()));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn every_text_that_is_taken_is_the_one(text in "[A-Za-z0-9+/=]{0,12}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
