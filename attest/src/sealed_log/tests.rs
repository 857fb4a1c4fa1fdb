use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR};
use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];

fn sealer() -> Sealer {
    Sealer::new(&PrivateKey::new(KEY).public()).expect("a source")
}

fn opener() -> Opener {
    Opener::new(PrivateKey::new(KEY))
}

/// Batches of one record each.
fn batches(sealer: &mut Sealer, count: u32) -> Vec<Vec<u8>> {
    let one = |number: u32| {
        let header = Header {
            container: "app",
            before: u64::from(number),
            records: 1,
            text_bytes: 4,
            lost: u64::from(number / 3),
            last: number + 1 == count,
        };
        sealer.seal(&header, &number.to_be_bytes()).expect("sealed")
    };
    (0..count).map(one).collect()
}

#[test]
fn what_is_sealed_opens_to_the_same_bytes_and_is_complete() {
    let mut opener = opener();
    let batches = batches(&mut sealer(), 4);
    for (number, bytes) in batches.iter().enumerate() {
        let batch = opener.open(bytes).expect("opened");
        assert_eq!(batch.records, u32::try_from(number).expect("small").to_be_bytes());
        assert_eq!((batch.container.as_str(), batch.findings.len()), ("app", 0));
    }
    let rest = opener.rest();
    assert_eq!(
        (rest.len(), rest[0].batches, rest[0].missing, rest[0].complete),
        (1, 4, 0, true)
    );
}

/// The other implementation of RFC 9180 opens a sequence of ours.
#[test]
fn a_sequence_is_that_of_rfc_9180() {
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&KEY).expect("a key");
    let batches = batches(&mut sealer(), 3);
    let source = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&batches[0][5..37]).expect("a key");
    let mut context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &source,
        INFO,
    )
    .expect("a context");
    for (number, bytes) in batches.iter().enumerate() {
        let (associated, sealed) = bytes.split_at(bytes.len() - TAG_BYTES - 4);
        let opened = context.open(sealed, associated).expect("opened");
        assert_eq!(opened, u32::try_from(number).expect("small").to_be_bytes());
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let bytes = batches(&mut sealer(), 1).remove(0);
    for byte in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[byte] ^= 1 << (byte % 8);
        opener().open(&changed).expect_err("it was changed");
    }
    for length in 0..bytes.len() {
        opener().open(&bytes[..length]).expect_err("it is cut off");
    }
    assert_eq!(
        Opener::new(PrivateKey::new([8; 32])).open(&bytes),
        Err(SealError::Forged),
        "another key"
    );
}

#[test]
fn a_forgery_hides_nothing_behind_it() {
    let mut opener = opener();
    let batches = batches(&mut sealer(), 2);
    let mut forged = batches[1].clone();
    // A large number, so that all real batches would look old.
    forged[37] = 1;
    assert_eq!(opener.open(&forged), Err(SealError::Forged));
    for bytes in &batches {
        assert_eq!(opener.open(bytes).expect("opened").findings, []);
    }
}

#[test]
fn what_is_dropped_moved_or_repeated_is_reported() {
    let mut opener = opener();
    let batches = batches(&mut sealer(), 8);
    let findings =
        |opener: &mut Opener, number: usize| opener.open(&batches[number]).expect("opened").findings;
    let missing = |first, batches, lost_in_enclave| Finding::Missing {
        first,
        batches,
        records: batches,
        lost_in_enclave,
    };
    assert_eq!(findings(&mut opener, 2), [missing(0, 2, 0)]);
    assert_eq!(findings(&mut opener, 6), [missing(3, 3, 2)]);
    assert_eq!(findings(&mut opener, 4), [Finding::Late]);
    assert_eq!(findings(&mut opener, 4), [Finding::Repeated]);
    assert_eq!(findings(&mut opener, 2), [Finding::Repeated]);
    let rest = opener.rest();
    assert_eq!(
        (rest[0].batches, rest[0].missing, rest[0].complete),
        (3, 4, false)
    );
}

#[test]
fn a_key_of_small_order_is_none() {
    assert_eq!(Sealer::new(&[0; 32]).err(), Some(SealError::PublicKey));
}

proptest! {
    #[test]
    fn any_order_with_losses_and_repetitions_is_told_exactly(
        order in prop::collection::vec(0usize..12, 0..30),
    ) {
        let batches = batches(&mut sealer(), 12);
        let mut opener = opener();
        let mut seen = std::collections::BTreeSet::new();
        for number in order {
            let batch = opener.open(&batches[number]).expect("opened");
            let again = !seen.insert(number);
            prop_assert_eq!(batch.records.is_empty(), again);
            prop_assert_eq!(batch.findings.contains(&Finding::Repeated), again);
        }
        if let Some(newest) = seen.last() {
            let rest = opener.rest();
            prop_assert_eq!(rest[0].batches, seen.len() as u64);
            prop_assert_eq!(rest[0].missing, (newest + 1 - seen.len()) as u64);
        }
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(opener().open(&bytes).is_err());
    }
}
