//! Real documents and the published vectors. They are not part of the repository: `CLOISTER_VECTORS` says where they are.

use std::time::Duration;

use super::ANYTHING;
use crate::cbor::CborError;
use crate::document::{
    ChainError, DebugMode, EnvelopeError, Identity, PayloadError, Policy, PolicyError, Proof, Refusal, Root,
    unverified_time, verify,
};
use crate::hex::from_hex;
use crate::nsm::PcrValue;
use crate::time::UnixTime;

/// A real document: file, time, first and last second, module, PCR0, lengths of public key, user data and nonce.
type Real = (
    &'static str,
    u64,
    [u64; 2],
    &'static str,
    &'static str,
    [Option<usize>; 3],
);

const ZERO: &str =
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";
/// PCR0 of `02`, from which the derived vectors are made.
const PCR0_OF_02: &str =
    "22f9e1c949208da55eb01b9b9fc88f87454f77ba133f0d82320b509621c92482152a99d0a12335b97178c02d6f977d01";
/// When the derived vectors are to be verified.
const TIME_OF_DERIVED: u64 = 1_668_034_321;

const REAL: [Real; 6] = [
    (
        "accept/01-2022-10-13-signed-eif-nonce256.bin",
        1_665_651_482,
        [1_665_651_479, 1_665_662_282],
        "i-020b6af9246d90e92-enc0183d09086c24190",
        "f4d48b81a460c9916d1e685119074bf24660afd3e34fae9fca0a0d28d9d5599936332687e6f66fc890ac8cf150142d8b",
        [None, None, Some(256)],
    ),
    (
        "accept/02-2022-11-09-userdata-nonce.bin",
        1_668_034_320,
        [1_668_034_317, 1_668_045_120],
        "i-04fd167167daacf3b-enc01845e97d0b3eb4e",
        PCR0_OF_02,
        [None, Some(32), Some(32)],
    ),
    (
        "accept/05-2025-01-06-rsa2048-spki-public-key.bin",
        1_736_179_625,
        [1_736_179_622, 1_736_190_425],
        "i-0bee92034f3d60691-enc01943c5eaab3ad6a",
        "8bb159f202bb95d6d4d98e0e103918246cea734f1d57cd263e4fd56075ed53f6fa8c68854817a32749a241e11874c26b",
        [Some(294), None, None],
    ),
    (
        "accept/07-2025-04-29-pcr16-locked-empty-userdata.bin",
        1_745_922_759,
        [1_745_922_699, 1_745_933_502],
        "i-07859a25773d39fcc-enc01968119042c6454",
        "2984ab215649c40ffe8f8b80cfadee47f1b06760f7d9257981f64b2758c347fafa6c733591b25e75ae7e9d1cb86ad5df",
        [Some(32), Some(0), None],
    ),
    (
        "accept/08-2025-12-25-indefinite-map.bin",
        1_766_668_537,
        [1_766_668_534, 1_766_679_337],
        "i-0827e799ec9232d44-enc019b55a68bd2ed4b",
        "5cb702954321826d7939d6da829a940d787fcf32357beb8eae1ddf33c28c17d36f3ac3ba6828fdf7edeed02889702da6",
        [None, Some(64), None],
    ),
    (
        "accept/10-2026-01-03-indefinite-map-userdata20.bin",
        1_767_472_867,
        [1_767_472_825, 1_767_483_628],
        "i-0368fa67e156d6d23-enc019b8596b1a9dad6",
        "4b8d4cf2a99e05ce1b5bddaf9d21cb446eb0e606c5bebd1ebf02b473a22165f7b68b0bb0d1ac5a90f0311e493522cfab",
        [None, Some(20), None],
    ),
];

const DEBUG: [Real; 2] = [
    (
        "debug/21-2023-09-18-debug-userdata-nonce256.bin",
        1_695_049_410,
        [1_695_047_829, 1_695_058_632],
        "i-0918f6c55e3b61d89-enc018aa8b8e2285d13",
        ZERO,
        [None, Some(91), Some(256)],
    ),
    (
        "debug/24-2025-12-25-debug-indefinite-map-no-role.bin",
        1_766_650_846,
        [1_766_650_843, 1_766_661_646],
        "i-0fd3fdaad4e904e69-enc019b54988b2d89ba",
        ZERO,
        [None, Some(64), None],
    ),
];

fn vector(name: &str) -> Option<Vec<u8>> {
    let Some(directory) = std::env::var_os("CLOISTER_VECTORS") else {
        println!("SKIPPED: CLOISTER_VECTORS is not set: no real documents are verified");
        return None;
    };
    let path = std::path::Path::new(&directory).join(name);
    Some(std::fs::read(path).expect("a vector"))
}

fn pcr(digits: &str) -> PcrValue {
    from_hex(digits)
        .and_then(|bytes| bytes.try_into().ok())
        .expect("48 bytes")
}

/// The whole window counts, as for a document that was kept.
fn policy(pcr0: &str) -> Policy {
    Policy::new(Identity::Image(pcr(pcr0))).age(Duration::from_secs(4 * 3600), Duration::from_secs(4 * 3600))
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_seconds(seconds)
}

/// Every real document at its time and at the ends of its window, and one second outside of it.
fn check(real: &Real, policy: &Policy) -> Option<Proof> {
    let (name, time, [first, last], module, _, lengths) = real;
    let document = vector(name)?;
    let judge = |seconds| verify(&document, policy, &ANYTHING, at(seconds));
    for seconds in [*time, *first, *last] {
        let proof = judge(seconds).unwrap_or_else(|refusal| panic!("{name} at {seconds}: {refusal}"));
        assert_eq!(proof.window(), (at(*first), at(*last)), "{name}");
    }
    assert!(
        matches!(
            judge(first - 1),
            Err(Refusal::Chain(ChainError::NotYetValid { .. }))
        ),
        "{name}"
    );
    assert!(
        matches!(judge(last + 1), Err(Refusal::Chain(ChainError::Expired { .. }))),
        "{name}"
    );
    let proof = judge(*time).expect("valid");
    assert_eq!(unverified_time(&document), Ok(proof.time), "{name}");
    assert_eq!(proof.time.seconds(), *time, "{name}");
    assert_eq!(proof.module_id, *module, "{name}");
    let found = [&proof.public_key, &proof.user_data, &proof.nonce];
    let found = found.map(|bytes| bytes.as_ref().map(Vec::len));
    assert_eq!(found, *lengths, "{name}");
    assert_eq!(proof.chain.len(), 5, "{name}");
    assert_eq!(proof.chain[0].subject, "aws.nitro-enclaves", "{name}");
    Some(proof)
}

#[test]
fn real_documents_verify_in_their_window_and_not_one_second_outside() {
    for real in &REAL {
        let Some(proof) = check(real, &policy(real.4)) else {
            return;
        };
        assert!(!proof.debug);
        // The instance of the module's name (AWS: PCR4 is extended with it).
        let instance = proof.module_id.split("-enc").next().expect("an instance");
        let mut data = vec![0; 48];
        data.extend(instance.as_bytes());
        let pcr4 = ring::digest::digest(&ring::digest::SHA384, &data);
        assert_eq!(proof.pcrs[&4], pcr4.as_ref(), "{}", real.0);
    }
}

#[test]
fn debug_documents_are_refused_unless_they_are_allowed() {
    for real in &DEBUG {
        // Not even who expects zeros gets them.
        for pcr0 in [ZERO, PCR0_OF_02] {
            let Some(document) = vector(real.0) else { return };
            let refused = verify(&document, &policy(pcr0), &ANYTHING, at(real.1));
            assert_eq!(refused, Err(Refusal::Policy(PolicyError::Debug)), "{}", real.0);
        }
        let allowing = policy(PCR0_OF_02).debug_mode(DebugMode::Allow);
        let proof = check(real, &allowing).expect("vectors");
        assert!(proof.debug);
        // What the platform does not zero is compared all the same.
        let document = vector(real.0).expect("vectors");
        let refused = verify(&document, &allowing.pcr(4, [1; 48]), &ANYTHING, at(real.1));
        assert!(matches!(
            refused,
            Err(Refusal::Policy(PolicyError::Pcr { index: 4, .. }))
        ));
    }
}

#[test]
fn a_real_document_has_to_be_of_the_expected_image() {
    for real in &REAL {
        let Some(document) = vector(real.0) else { return };
        let other = policy(&"ab".repeat(48));
        let refused = verify(&document, &other, &ANYTHING, at(real.1));
        let Err(Refusal::Policy(PolicyError::Pcr { index: 0, found, .. })) = refused else {
            panic!("{}: {refused:?}", real.0);
        };
        assert_eq!(found, pcr(real.4));
        // Another root is trusted, or none.
        let foreign = policy(real.4).roots(vec![Root::from_der(super::AUTHORITY.root()).expect("a root")]);
        for policy in [foreign, policy(real.4).roots(Vec::new())] {
            let refused = verify(&document, &policy, &ANYTHING, at(real.1));
            assert!(matches!(
                refused,
                Err(Refusal::Chain(ChainError::UntrustedRoot(_)))
            ));
        }
        // As old as its certificate lasts, which is too old for a live exchange.
        let live = Policy::new(Identity::Image(pcr(real.4)));
        let refused = verify(&document, &live, &ANYTHING, at(real.2[1]));
        assert!(matches!(refused, Err(Refusal::Policy(PolicyError::Stale { .. }))));
    }
}

#[test]
fn derived_documents_get_their_verdict() {
    for name in ["high-s-twin", "tagged18"] {
        let Some(document) = vector(&format!("derived-accept/{name}.bin")) else {
            return;
        };
        let judged = verify(&document, &policy(PCR0_OF_02), &ANYTHING, at(TIME_OF_DERIVED));
        assert!(judged.is_ok(), "{name}: {judged:?}");
    }
    let aws = |name: &str| {
        let document = vector(name).expect("vectors");
        verify(&document, &policy(PCR0_OF_02), &ANYTHING, at(TIME_OF_DERIVED))
    };
    let length = PayloadError::Length {
        field: "nonce",
        length: 513,
        least: 0,
        most: 512,
    };
    for (name, refusal) in [
        ("alg-es256", Refusal::Envelope(EnvelopeError::Algorithm)),
        (
            "duplicate-nonce-key",
            Refusal::Payload(PayloadError::Duplicate("nonce")),
        ),
        ("no-pcrs", Refusal::Payload(PayloadError::Missing("pcrs"))),
        ("nonce-513", Refusal::Payload(length)),
        ("pcr0-bit-flip", Refusal::Signature),
        ("sig-all-zero", Refusal::Signature),
        (
            "truncated",
            Refusal::Envelope(EnvelopeError::Malformed(CborError::Truncated)),
        ),
    ] {
        assert_eq!(aws(&format!("derived-reject/{name}.bin")), Err(refusal), "{name}");
    }
    for name in [
        "derived-reject/cabundle-reversed.bin",
        "reject/33-foreign-root-short-chain.bin",
    ] {
        let judged = aws(name);
        assert!(
            matches!(judged, Err(Refusal::Chain(ChainError::UntrustedRoot(_)))),
            "{name}: {judged:?}"
        );
    }
    let name = "reject/31-bad-cose-signature.bin";
    let document = vector(name).expect("vectors");
    let time = unverified_time(&document).expect("a document");
    let judged = verify(&document, &policy(PCR0_OF_02), &ANYTHING, time);
    assert_eq!(judged, Err(Refusal::Signature), "{name}");
}
