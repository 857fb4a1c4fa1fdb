//! Envelopes that are not one: what RFC 8949 and RFC 9052 allow and documents do not have, and what nobody allows.

use super::{document, fields, judge, map_of};
use crate::cbor::{CborError, Writer};
use crate::document::{EnvelopeError, MAX_DOCUMENT, MAX_PAYLOAD, PayloadError, Refusal};

const ES384: &[u8] = &[0xa1, 0x01, 0x38, 0x22];

/// A document of four parts, each encoded already.
fn parts(protected: &[u8], unprotected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    [&[0x84][..], protected, unprotected, payload, signature].concat()
}

fn bytes(content: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.bytes(content);
    writer.finish()
}

fn refused(name: &str, document: &[u8], error: EnvelopeError) {
    assert_eq!(judge(document), Err(Refusal::Envelope(error)), "{name}");
}

#[test]
fn the_parts_have_to_be_those_of_a_document() {
    use EnvelopeError::{Algorithm, Detached, Malformed, Shape, UnprotectedHeader};
    let header = bytes(ES384);
    let payload = bytes(&map_of(&fields()));
    let signature = bytes(&[1; 96]);
    let with_header = |header: &[u8]| parts(header, &[0xa0], &payload, &signature);
    let with_unprotected = |map: &[u8]| parts(&header, map, &payload, &signature);
    let with_payload = |payload: &[u8]| parts(&header, &[0xa0], payload, &signature);
    let with_signature = |signature: &[u8]| parts(&header, &[0xa0], &payload, signature);
    let unsupported = || Malformed(CborError::Unsupported);
    let whole = parts(&header, &[0xa0], &payload, &signature);
    let mut cases = vec![
        // Which algorithm.
        ("no protected header", with_header(&[0x40]), Algorithm),
        ("an empty map of it", with_header(&[0x41, 0xa0]), Algorithm),
        ("ES256", with_header(&bytes(&[0xa1, 1, 0x26])), Algorithm),
        ("ES512", with_header(&bytes(&[0xa1, 1, 0x38, 0x23])), Algorithm),
        ("ESP384", with_header(&bytes(&[0xa1, 1, 0x38, 0x32])), Algorithm),
        (
            "-1, as QEMU writes",
            with_header(&bytes(&[0xa1, 1, 0x20])),
            Algorithm,
        ),
        (
            "the algorithm as text",
            with_header(b"\x48\xa1\x01\x65ES384"),
            Algorithm,
        ),
        (
            "a longer number",
            with_header(&bytes(&[0xa1, 1, 0x39, 0, 0x22])),
            Algorithm,
        ),
        (
            "an indefinite map",
            with_header(&bytes(&[0xbf, 1, 0x38, 0x22, 0xff])),
            Algorithm,
        ),
        (
            "a key identifier beside it",
            with_header(&bytes(&[0xa2, 1, 0x38, 0x22, 4, 0x41, 7])),
            Algorithm,
        ),
        (
            "the algorithm twice",
            with_header(&bytes(&[0xa2, 1, 0x38, 0x22, 1, 0x38, 0x22])),
            Algorithm,
        ),
        (
            "a critical header",
            with_header(&bytes(&[0xa2, 1, 0x38, 0x22, 2, 0x81, 1])),
            Algorithm,
        ),
        (
            "bytes behind the map",
            with_header(&bytes(&[0xa1, 1, 0x38, 0x22, 0])),
            Algorithm,
        ),
        ("the map itself", with_header(ES384), Shape),
        ("a null header", with_header(&[0xf6]), Shape),
        ("a text header", with_header(&[0x61, b'a']), Shape),
        (
            "the algorithm moved to where nobody signs it",
            parts(&[0x40], ES384, &payload, &signature),
            Algorithm,
        ),
        // What nobody signs.
        (
            "the algorithm twice, once unsigned",
            with_unprotected(ES384),
            UnprotectedHeader,
        ),
        (
            "an indefinite unprotected header",
            with_unprotected(&[0xbf, 0xff]),
            UnprotectedHeader,
        ),
        (
            "a chain in it",
            with_unprotected(&[0xa1, 0x18, 0x21, 0x41, 0]),
            UnprotectedHeader,
        ),
        ("a null unprotected header", with_unprotected(&[0xf6]), Shape),
        ("an array for it", with_unprotected(&[0x80]), Shape),
        ("bytes for it", with_unprotected(&[0x40]), Shape),
        // The payload.
        ("a detached payload", with_payload(&[0xf6]), Detached),
        (
            "no payload",
            with_payload(&[0x40]),
            EnvelopeError::PayloadLength(0),
        ),
        ("a text payload", with_payload(&[0x61, b'a']), Shape),
        (
            "a payload that is not wrapped",
            with_payload(&map_of(&fields())),
            Shape,
        ),
        (
            "a payload in pieces",
            with_payload(&[0x5f, 0x41, 0, 0xff]),
            unsupported(),
        ),
        ("an undefined payload", with_payload(&[0xf7]), unsupported()),
        (
            "a long payload",
            with_payload(&bytes(&vec![0; MAX_PAYLOAD + 1])),
            EnvelopeError::PayloadLength(MAX_PAYLOAD + 1),
        ),
        (
            "a payload of 2^64-1 bytes",
            with_payload(&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255]),
            Malformed(CborError::Truncated),
        ),
        // The signature.
        ("a null signature", with_signature(&[0xf6]), Shape),
        ("a text signature", with_signature(&[0x60]), Shape),
        ("an array of signatures", with_signature(&[0x81, 0x40]), Shape),
        // The whole.
        (
            "an array of three",
            [&[0x83], &whole[1..whole.len() - 98]].concat(),
            Shape,
        ),
        (
            "an array of five",
            [&[0x85], &whole[1..], &[0x40]].concat(),
            Shape,
        ),
        (
            "an indefinite array",
            [&[0x9f], &whole[1..], &[0xff]].concat(),
            Shape,
        ),
        ("a map of four", [&[0xa4], &whole[1..]].concat(), Shape),
        (
            "an array of 2^64-1",
            [&[0x9b][..], &[255; 8], &whole[1..]].concat(),
            Shape,
        ),
        (
            "a long form of four",
            [&[0x98, 4], &whole[1..]].concat(),
            Malformed(CborError::NotShortest),
        ),
        (
            "a byte behind it",
            [&whole[..], &[0]].concat(),
            Malformed(CborError::Trailing),
        ),
        (
            "itself behind it",
            [&whole[..], &whole].concat(),
            Malformed(CborError::Trailing),
        ),
        ("a byte before it", [&[0], &whole[..]].concat(), Shape),
        ("wrapped in bytes", bytes(&whole), Shape),
        ("nothing", Vec::new(), EnvelopeError::Length(0)),
        (
            "too much",
            vec![0x84; MAX_DOCUMENT + 1],
            EnvelopeError::Length(MAX_DOCUMENT + 1),
        ),
        ("ten thousand arrays", vec![0x81; 10_000], Shape),
        ("base64", b"hEShATgioFkRQKlpbW9kdWxl".to_vec(), Shape),
    ];
    // Tags: 18 once, and nothing else. The longer form of 18 is none that anybody writes.
    for tag in (0xc0..0xd8u8).filter(|tag| *tag != 0xd2) {
        cases.push(("another tag", [&[tag], &whole[..]].concat(), unsupported()));
    }
    for (tags, error) in [
        (&[0xd8, 18][..], CborError::NotShortest),
        (&[0xd9, 0, 18], CborError::NotShortest),
        (&[0xd2, 0xd2], CborError::Unsupported),
        (&[0xd2; 10_000], CborError::Unsupported),
        (&[0xd9, 0xd9, 0xf7], CborError::Unsupported),
    ] {
        let document = [tags, &whole[..]].concat();
        cases.push(("other tags", document, Malformed(error)));
    }
    for length in (0..96).chain(97..140) {
        cases.push((
            "another length of the signature",
            with_signature(&bytes(&vec![1; length])),
            EnvelopeError::SignatureLength(length),
        ));
    }
    let count = cases.len();
    for (name, document, error) in cases {
        refused(name, &document, error);
    }
    assert!(count >= 200, "{count}");
}

#[test]
fn a_tagged_document_is_the_same() {
    let document = document(&fields());
    assert_eq!(judge(&[&[0xd2], &document[..]].concat()), judge(&document));
}

#[test]
fn a_document_that_ends_early_is_refused_wherever_it_ends() {
    let document = document(&fields());
    for end in 1..document.len() {
        let error = EnvelopeError::Malformed(CborError::Truncated);
        refused("truncated", &document[..end], error);
    }
}

/// What comes instead of the payload's first byte: a form that CBOR allows somewhere, and documents do not have.
#[test]
fn a_payload_is_a_map_of_text_and_nothing_else() {
    use PayloadError::{FieldName, Malformed, NotAMap};
    for (payload, error) in [
        (&[0x80][..], NotAMap),
        (&[0x40], NotAMap),
        (&[0x60], NotAMap),
        (&[0x00], NotAMap),
        (&[0x20], NotAMap),
        (&[0xf6], NotAMap),
        (&[0xf5], NotAMap),
        (&[0xc0, 0xa0], Malformed(CborError::Unsupported)),
        (&[0xd2, 0xa0], Malformed(CborError::Unsupported)),
        (&[0xf7], Malformed(CborError::Unsupported)),
        (&[0xff], Malformed(CborError::Unsupported)),
        (&[0xb8, 9], Malformed(CborError::NotShortest)),
        (&[0xb9, 0, 9], Malformed(CborError::NotShortest)),
        (&[0xa1], Malformed(CborError::Truncated)),
        (&[0xbf], Malformed(CborError::Truncated)),
        (&[0xa1, 0x69, b'm'], Malformed(CborError::Truncated)),
        (
            &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
            Malformed(CborError::Truncated),
        ),
        (&[0xa1, 1, 1], FieldName),
        (&[0xa1, 0x41, b'a', 1], FieldName),
        (&[0xa1, 0xf6, 1], FieldName),
        (&[0xa1, 0xa0, 1], FieldName),
        (&[0xa1, 0x80, 1], FieldName),
        (&[0xa1, 0xf9, 0, 0, 1], Malformed(CborError::Unsupported)),
        (&[0xa1, 0xfa, 0, 0, 0, 0, 1], Malformed(CborError::Unsupported)),
        (
            &[0xa1, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            Malformed(CborError::Unsupported),
        ),
        (&[0xa1, 0xc1, 0x61, b'a', 1], Malformed(CborError::Unsupported)),
        (
            &[0xa1, 0x7f, 0x61, b'a', 0xff, 1],
            Malformed(CborError::Unsupported),
        ),
        (&[0xa1, 0x61, 0xff, 1], Malformed(CborError::Unsupported)),
        (&[0xbf, 0xff, 0xff], Malformed(CborError::Trailing)),
        (&[0xa1, 0x60, 1], PayloadError::Unknown(String::new())),
        (
            &[0xa1, 0x78, 5, b'n', b'o', b'n', b'c', b'e', 0xf6],
            Malformed(CborError::NotShortest),
        ),
    ]
    .into_iter()
    .chain([
        (&[0x81; 10_000][..], NotAMap),
        (&[0xc1; 10_000][..], Malformed(CborError::Unsupported)),
    ]) {
        let document = super::SIGNER.key().document(payload).expect("a document");
        assert_eq!(judge(&document), Err(Refusal::Payload(error)), "{payload:02x?}");
    }
}
