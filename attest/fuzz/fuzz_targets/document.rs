//! Attestation documents: any bytes are refused with a reason, and what the signer of the seeds signs is read in full.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use attest::UnixTime;
use attest::cbor::{Item, Reader};
use attest::document::issue::Key;
use attest::document::{DebugMode, Exchange, Field, Identity, Policy, Root, unverified_time, verify};
use libfuzzer_sys::fuzz_target;

/// When the seeds were made: `attest/examples/fuzz-seeds.rs`.
const NOW: UnixTime = UnixTime::from_seconds(1_780_315_200);
/// Throw-away: of the root and the signer of the seeds, and of nothing else.
const ROOT: &[u8] = include_bytes!("../identity/root.der");
const SIGNER: &[u8] = include_bytes!("../identity/signer.pkcs8");

static KEY: LazyLock<Key> = LazyLock::new(|| Key::from_pkcs8(SIGNER).expect("a key"));
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    Policy::new(Identity::Image([0xa0; 48]))
        .roots(vec![Root::from_der(ROOT).expect("a root")])
        .debug_mode(DebugMode::Allow)
        .age(Duration::MAX, Duration::MAX)
});
const EXCHANGE: Exchange<'_> = Exchange {
    nonce: Field::Any,
    user_data: Field::Any,
    public_key: Field::Any,
};

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    // A random signature is never right, and what is behind it would never be seen.
    if let Ok(document) = KEY.document(payload(bytes).unwrap_or(bytes)) {
        look(&document);
    }
});

fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes.strip_prefix(&[0xd2]).unwrap_or(bytes));
    for _ in 0..3 {
        reader.item().ok()?;
    }
    match reader.item() {
        Ok(Item::Bytes(payload)) => Some(payload),
        _ => None,
    }
}

fn look(document: &[u8]) {
    match verify(document, &POLICY, &EXCHANGE, NOW) {
        Ok(proof) => {
            assert_eq!(unverified_time(document), Ok(proof.time));
            let (first, last) = proof.window();
            assert!(first <= NOW && NOW <= last);
            assert!(proof.module_id.contains("-enc") && proof.chain.len() >= 2);
            assert!(!proof.pcrs.is_empty() && proof.pcrs.keys().all(|index| *index < 32));
            assert!(proof.debug || proof.pcrs.get(&0) == Some(&[0xa0; 48]));
            let lengths = [&proof.nonce, &proof.user_data];
            assert!(lengths.into_iter().flatten().all(|bytes| bytes.len() <= 512));
        }
        Err(refusal) => {
            let message = refusal.to_string();
            assert!(
                !message.is_empty() && !message.chars().any(char::is_control),
                "{message:?}"
            );
        }
    }
}
