//! One document for each rule about fields and their lengths, broken.

use super::{document, fields, judge, with};
use crate::cbor::{CborError, Writer};
use crate::document::issue::encoded;
use crate::document::{ChainError, PayloadError, Refusal};

const MANDATORY: [&str; 6] = [
    "module_id",
    "digest",
    "timestamp",
    "pcrs",
    "certificate",
    "cabundle",
];
const OPTIONAL: [&str; 3] = ["public_key", "user_data", "nonce"];

pub(super) fn refused(name: &str, fields: &super::Fields, error: PayloadError) {
    assert_eq!(judge(&document(fields)), Err(Refusal::Payload(error)), "{name}");
}

pub(super) fn text(text: &str) -> Vec<u8> {
    encoded(|writer| writer.text(text))
}

pub(super) fn bytes(length: usize) -> Vec<u8> {
    encoded(|writer| writer.bytes(&vec![7; length]))
}

#[test]
fn every_mandatory_field_is_there_once_and_nothing_else_is() {
    for name in MANDATORY {
        let mut without = fields();
        without.retain(|(field, _)| *field != name);
        refused(name, &without, PayloadError::Missing(name));
        refused(
            name,
            &with(name, encoded(Writer::null)),
            PayloadError::WrongType(name),
        );
    }
    for name in OPTIONAL {
        // AWS's text says absent, its security module writes null.
        let mut without = fields();
        without.retain(|(field, _)| *field != name);
        assert!(judge(&document(&without)).is_ok(), "{name}");
        assert!(
            judge(&document(&with(name, encoded(Writer::null)))).is_ok(),
            "{name}"
        );
    }
    for (name, value) in fields() {
        for second in [value, encoded(Writer::null)] {
            let mut twice = fields();
            twice.push((name, second));
            refused(name, &twice, PayloadError::Duplicate(name));
        }
    }
    for name in [
        "",
        "Nonce",
        "nonce ",
        "extra",
        "pcr",
        "nitrotpm",
        "x5c",
        "\u{202e}ecnon",
    ] {
        let mut more = fields();
        more.push((name, encoded(Writer::null)));
        refused(name, &more, PayloadError::Unknown(name.to_owned()));
    }
    let long: &'static str = Box::leak("n".repeat(5000).into_boxed_str());
    let mut more = fields();
    more.push((long, encoded(Writer::null)));
    refused(long, &more, PayloadError::Unknown("n".repeat(40)));
}

#[test]
fn the_document_of_a_virtual_machine_is_none_of_an_enclave() {
    let mut both = fields();
    both.push(("nitrotpm_pcrs", encoded(|writer| writer.map(0))));
    refused("beside pcrs", &both, PayloadError::NitroTpm);
    let mut instead = fields();
    instead[3].0 = "nitrotpm_pcrs";
    refused("instead of pcrs", &instead, PayloadError::NitroTpm);
    let tpm = text("i-0123456789abcdef0-tpm0000000000000000");
    refused("its name", &with("module_id", tpm), PayloadError::ModuleId);
}

#[test]
fn fields_have_their_type() {
    let values: [(&str, Vec<u8>); 8] = [
        ("unsigned", vec![5]),
        ("negative", vec![0x24]),
        ("bytes", vec![0x41, 1]),
        ("text", vec![0x61, b'a']),
        ("array", vec![0x80]),
        ("map", vec![0xa0]),
        ("true", vec![0xf5]),
        ("false", vec![0xf4]),
    ];
    for (name, _) in fields() {
        for (kind, value) in &values {
            let right = match name {
                "module_id" | "digest" => *kind == "text",
                "timestamp" => *kind == "unsigned",
                "pcrs" => *kind == "map",
                "cabundle" => *kind == "array",
                _ => *kind == "bytes",
            };
            if !right {
                refused(kind, &with(name, value.clone()), PayloadError::WrongType(name));
            }
        }
        // Tags, floats, simple values, strings in pieces.
        for value in [
            &[0xc1, 0][..],
            &[0xd8, 0x18, 0x41, 0],
            &[0xf9, 0, 0],
            &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xf7],
            &[0xf8, 32],
            &[0x5f, 0x41, 0, 0xff],
            &[0x7f, 0x61, b'a', 0xff],
            &[0x1c],
        ] {
            let error = PayloadError::Malformed(CborError::Unsupported);
            refused(name, &with(name, value.to_vec()), error);
        }
        for value in [
            &[0x18, 5][..],
            &[0x58, 1, 0],
            &[0x78, 1, b'a'],
            &[0x98, 1, 0],
            &[0xb8, 1, 0, 0],
        ] {
            let error = PayloadError::Malformed(CborError::NotShortest);
            refused(name, &with(name, value.to_vec()), error);
        }
    }
}

#[test]
fn strings_have_their_length() {
    for (name, least, most, good, bad) in [
        (
            "public_key",
            1,
            1024,
            &[1, 97, 294, 1024][..],
            &[0, 1025, 2000][..],
        ),
        ("user_data", 0, 512, &[0, 1, 511, 512], &[513, 1024]),
        ("nonce", 0, 512, &[0, 15, 16, 512], &[513, 1024]),
        ("certificate", 1, 1024, &[], &[0, 1025]),
    ] {
        for length in good {
            let proof = judge(&document(&with(name, bytes(*length))));
            assert!(proof.is_ok(), "{name} {length}: {proof:?}");
        }
        for length in bad.iter().copied() {
            let error = PayloadError::Length {
                field: name,
                length,
                least,
                most,
            };
            refused(name, &with(name, bytes(length)), error);
        }
    }
}

#[test]
fn the_bundle_has_one_to_eight_certificates_of_one_to_1024_bytes() {
    let bundle = |lengths: &[usize]| {
        encoded(|writer| {
            let writer = writer.array(lengths.len());
            lengths
                .iter()
                .fold(writer, |writer, length| writer.bytes(&vec![0; *length]))
        })
    };
    for lengths in [&[][..], &[1; 9], &[1; 100]] {
        refused(
            "bundle",
            &with("cabundle", bundle(lengths)),
            PayloadError::BundleLength,
        );
    }
    for (lengths, length) in [
        (&[0][..], 0),
        (&[1, 0], 0),
        (&[1025], 1025),
        (&[1, 1, 1, 1025], 1025),
    ] {
        let error = PayloadError::Length {
            field: "cabundle",
            length,
            least: 1,
            most: 1024,
        };
        refused("bundle", &with("cabundle", bundle(lengths)), error);
    }
    let endless = [&[0x9f][..], &[0x41; 400], &[0xff]].concat();
    refused("endless", &with("cabundle", endless), PayloadError::BundleLength);
    // Eight that are none: what refuses them is the chain.
    let judged = judge(&document(&with("cabundle", bundle(&[1; 8]))));
    assert!(matches!(
        judged,
        Err(Refusal::Chain(ChainError::UntrustedRoot(_)))
    ));
}
