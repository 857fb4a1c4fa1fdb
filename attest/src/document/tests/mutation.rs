//! Damage at random: nothing panics, and nothing that was changed is accepted.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;

use super::{SIGNER, document, fields, judge, map_of};
use crate::cbor::decode;
use crate::document::{Refusal, unverified_time};

static PAYLOAD: LazyLock<Vec<u8>> = LazyLock::new(|| map_of(&fields()));
static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| document(&fields()));

/// Replaces, removes and inserts at a few places.
fn damage(bytes: &[u8], edits: &[(Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (index, kind, value) in edits {
        let at = index.index(bytes.len());
        match kind % 4 {
            0 => bytes[at] = *value,
            1 => bytes[at] ^= 1 << (value % 8),
            2 => bytes.insert(at, *value),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

#[test]
fn a_document_with_one_bit_changed_is_refused() {
    for index in (0..DOCUMENT.len()).step_by(7) {
        let mut changed = DOCUMENT.clone();
        changed[index] ^= 1 << (index % 8);
        let judged = judge(&changed);
        assert!(judged.is_err(), "{index}");
        assert!(!matches!(judged, Err(Refusal::Policy(_))), "{index}: {judged:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert!(judge(&bytes).is_err());
        prop_assert!(unverified_time(&bytes).is_err());
        let _ = decode(&bytes);
    }

    #[test]
    fn a_damaged_document_is_refused(edits in vec((any::<Index>(), any::<u8>(), any::<u8>()), 1..6)) {
        let damaged = damage(&DOCUMENT, &edits);
        // The one prefix that means nothing.
        let same = damaged.strip_prefix(&[0xd2]).unwrap_or(&damaged) == *DOCUMENT;
        prop_assert_eq!(judge(&damaged).is_ok(), same);
        let _ = decode(&damaged);
    }

    /// Behind the signature, as if the signer wrote nonsense: what is accepted says what the bytes say.
    #[test]
    fn a_damaged_payload_that_is_signed_does_no_harm(
        edits in vec((any::<Index>(), any::<u8>(), any::<u8>()), 1..6),
    ) {
        let payload = damage(&PAYLOAD, &edits);
        if let Ok(document) = SIGNER.key().document(&payload) {
            match judge(&document) {
                Ok(proof) => prop_assert_eq!(proof.chain.len(), 5),
                Err(refusal) => prop_assert!(refusal.to_string().len() > 10),
            }
        }
    }
}
