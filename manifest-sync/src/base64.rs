//! Base64 (RFC 4648, section 4: the standard alphabet with padding). [`decode`] takes exactly one text for each
//! sequence of bytes; Kubernetes' Secrets are read as leniently as Go reads them.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const STRICT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
    .with_decode_allow_trailing_bits(false);
const ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, STRICT);
const LENIENT: GeneralPurpose = GeneralPurpose::new(&STANDARD, STRICT.with_decode_allow_trailing_bits(true));

/// Base64 of `bytes`, with padding, in one line.
pub fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// The bytes of `text`. Strict: no line break, no URL alphabet, padding as written by [`encode`], unused bits zero.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

/// As Go's standard decoder: line breaks are skipped, unused bits may be anything.
pub(crate) fn decode_lenient(text: &str) -> Option<Vec<u8>> {
    let clean: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    LENIENT.decode(clean).ok()
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
    }

    #[test]
    fn secrets_are_read_as_go_reads_them() {
        for good in ["Zg==", "Zh==\n", "\nZ\r\ng=\n="] {
            assert_eq!(decode_lenient(good).as_deref(), Some(b"f".as_slice()), "{good:?}");
        }
        assert_eq!(decode_lenient(""), Some(Vec::new()));
        for bad in ["Zg", "Zg=", "Z g=", "Zg== ", "-_-_", "A===", "Zg==Zg=="] {
            assert_eq!(decode_lenient(bad), None, "{bad:?}");
        }
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
