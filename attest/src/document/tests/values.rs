//! One document for each rule about what fields say, broken.

use super::payload::{bytes, refused, text};
use super::{document, judge, with};
use crate::cbor::CborError;
use crate::document::issue::encoded;
use crate::document::{ChainError, PayloadError, PolicyError, Refusal};

#[test]
fn pcrs_are_1_to_32_of_48_bytes() {
    let map = |entries: &[(u64, usize)]| {
        encoded(|writer| {
            let writer = writer.map(entries.len());
            entries.iter().fold(writer, |writer, (index, length)| {
                writer.unsigned(*index).bytes(&vec![0xa0; *length])
            })
        })
    };
    let pcrs = |entries: &[(u64, usize)]| with("pcrs", map(entries));
    refused("none", &pcrs(&[]), PayloadError::NoPcrs);
    for index in [32, 33, 255, 256, 65_536, u64::MAX] {
        let error = PayloadError::PcrIndex(Some(index));
        refused("index", &pcrs(&[(0, 48), (index, 48)]), error);
    }
    let all: Vec<_> = (0..33).map(|index| (index, 48)).collect();
    refused("33", &pcrs(&all), PayloadError::PcrIndex(Some(32)));
    for length in [0, 1, 20, 31, 32, 33, 47, 49, 64, 96, 1000] {
        refused(
            "length",
            &pcrs(&[(3, length)]),
            PayloadError::PcrLength(3, length),
        );
    }
    refused(
        "twice",
        &pcrs(&[(0, 48), (1, 48), (0, 48)]),
        PayloadError::DuplicatePcr(0),
    );
    for key in [&[0x20][..], &[0x61, b'0'], &[0x41, 0], &[0xf6], &[0x80]] {
        let entries = [&[0xa1][..], key, &bytes(48)].concat();
        refused("key", &with("pcrs", entries), PayloadError::PcrIndex(None));
    }
    let float = [&[0xa1, 0xf9, 0, 0][..], &bytes(48)].concat();
    let error = PayloadError::Malformed(CborError::Unsupported);
    refused("float", &with("pcrs", float), error);
    let long = [&[0xa1, 0x18, 3][..], &bytes(48)].concat();
    let error = PayloadError::Malformed(CborError::NotShortest);
    refused("long", &with("pcrs", long), error);
    let null = with("pcrs", vec![0xa1, 0, 0xf6]);
    refused("null", &null, PayloadError::WrongType("pcrs"));

    // Locked registers only: there may be gaps, any order, an indefinite map, or all.
    for entries in [&[(0, 48)][..], &[(16, 48), (20, 48), (0, 48)], &all[..32]] {
        let proof = judge(&document(&pcrs(entries))).expect("valid");
        assert_eq!(proof.pcrs.len(), entries.len());
    }
    let indefinite = [&[0xbf, 0][..], &bytes_of(0xa0), &[0xff]].concat();
    assert!(judge(&document(&with("pcrs", indefinite))).is_ok());
    // Without PCR0 it may be anything.
    let judged = judge(&document(&pcrs(&[(1, 48)])));
    assert_eq!(judged, Err(Refusal::Policy(PolicyError::Debug)));
}

fn bytes_of(byte: u8) -> Vec<u8> {
    encoded(|writer| writer.bytes(&[byte; 48]))
}

#[test]
fn the_module_is_an_enclave() {
    for name in [
        "",
        "i-",
        "i--enc",
        "i-1-enc",
        "i--enc1",
        "i-0123456789abcdef0",
        "i-0123456789ABCDEF0-enc0123456789abcdef",
        "i-0123456789abcdef0-enc0123456789abcdeg",
        "i-0123456789abcdef0-enc0123456789abcdef ",
        "i-0123456789abcdef0-enc0123456789abcdef\0",
        " i-0123456789abcdef0-enc0123456789abcdef",
        "i-0123456789abcdef0-enc0123456789abcdef-enc0",
        "i-0123456789abcdef0-ENC0123456789abcdef",
        "m-0123456789abcdef0-enc0123456789abcdef",
        "enc0123456789abcdef",
        "i-0123456789abcdef0_enc0123456789abcdef",
        "i-٣-enc٣",
    ] {
        refused(name, &with("module_id", text(name)), PayloadError::ModuleId);
    }
    let long = format!("i-{}-enc0", "0".repeat(1000));
    refused("long", &with("module_id", text(&long)), PayloadError::ModuleId);
    // Another one than that of the certificate.
    for name in [
        "i-0-enc0",
        "i-0123456789abcdef0-enc0123456789abcde",
        "i-0123456789abcdef0-enc0123456789abcdef0",
    ] {
        let judged = judge(&document(&with("module_id", text(name))));
        assert_eq!(judged, Err(Refusal::Chain(ChainError::LeafName)), "{name}");
    }
}

#[test]
fn hash_and_time_are_known() {
    for name in ["", "sha384", "SHA-384", "SHA256", "SHA512", "SHA384 ", "SHA384\0"] {
        refused(name, &with("digest", text(name)), PayloadError::Digest);
    }
    let time = |time: u64| with("timestamp", encoded(|writer| writer.unsigned(time)));
    refused("0", &time(0), PayloadError::Timestamp);
    for stale in [1, 1_000_000_000_000, super::NOW.milliseconds() - 300_001] {
        let judged = judge(&document(&time(stale)));
        assert!(
            matches!(judged, Err(Refusal::Policy(PolicyError::Stale { .. }))),
            "{stale}"
        );
    }
    for ahead in [super::NOW.milliseconds() + 60_001, u64::MAX - 1, u64::MAX] {
        let judged = judge(&document(&time(ahead)));
        assert!(
            matches!(judged, Err(Refusal::Policy(PolicyError::Ahead { .. }))),
            "{ahead}"
        );
    }
    for good in [
        super::NOW.milliseconds() - 300_000,
        super::NOW.milliseconds() + 60_000,
    ] {
        assert!(judge(&document(&time(good))).is_ok(), "{good}");
    }
}
