//! Tests of documents: real ones, ones that break one rule each, and damaged ones. What the tests issue themselves is signed
//! anew after every change, so that the rule alone is left to refuse it.

mod bundle;
mod certificates;
mod envelope;
mod mutation;
mod payload;
mod policy;
mod values;
mod vectors;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::issue::{Authority, Draft, Fields, Signer, payload as map_of};
use super::{Exchange, Field, Identity, Policy, Proof, Refusal, Root, verify};
use crate::nsm::PcrValue;
use crate::time::UnixTime;

/// 2026-06-01T12:00:00Z.
const NOW: UnixTime = UnixTime::from_seconds(1_780_315_200);
const MODULE: &str = "i-0123456789abcdef0-enc0123456789abcdef";
const IMAGE: PcrValue = [0xa0; 48];
const NONCE: &[u8] = &[7; 32];
const ANYTHING: Exchange<'_> = Exchange {
    nonce: Field::Any,
    user_data: Field::Any,
    public_key: Field::Any,
};

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new(NOW).expect("a root"));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| AUTHORITY.signer(MODULE, NOW).expect("a signer"));

/// As the platform has them at boot: 16 locked registers.
fn pcrs() -> BTreeMap<u8, PcrValue> {
    let mut pcrs: BTreeMap<u8, PcrValue> = (0..16).map(|index| (index, [0; 48])).collect();
    pcrs.insert(0, IMAGE);
    pcrs.insert(4, [0xa4; 48]);
    pcrs
}

fn fields() -> Fields {
    SIGNER.fields(&Draft {
        time: NOW,
        pcrs: &pcrs(),
        public_key: Some(&[1; 97]),
        user_data: Some(b"data"),
        nonce: Some(NONCE),
    })
}

fn document(fields: &Fields) -> Vec<u8> {
    SIGNER.key().document(&map_of(fields)).expect("a document")
}

/// The fields, one of them with another value.
fn with(name: &str, value: Vec<u8>) -> Fields {
    let mut fields = fields();
    let field = fields.iter_mut().find(|(known, _)| *known == name);
    field.expect("a field").1 = value;
    fields
}

fn our_policy() -> Policy {
    let root = Root::from_der(AUTHORITY.root()).expect("a root");
    Policy::new(Identity::Image(IMAGE)).roots(vec![root])
}

/// Under our root, at its time, without an exchange.
fn judge(document: &[u8]) -> Result<Proof, Refusal> {
    verify(document, &our_policy(), &ANYTHING, NOW)
}

#[test]
fn what_is_issued_proves_what_it_says() {
    let proof = judge(&document(&fields())).expect("valid");
    assert_eq!(proof.module_id, MODULE);
    assert_eq!(proof.time, NOW);
    assert_eq!(proof.pcrs, pcrs());
    assert_eq!(proof.nonce.as_deref(), Some(NONCE));
    assert_eq!(proof.user_data.as_deref(), Some(&b"data"[..]));
    assert_eq!(proof.public_key.as_deref(), Some(&[1; 97][..]));
    assert!(!proof.debug);
    assert_eq!(proof.chain.len(), 5);
    assert_eq!(
        proof.chain[4].subject,
        format!("{MODULE}.local.software-nsm.cloister")
    );
    let (first, last) = proof.window();
    assert_eq!(last, SIGNER.not_after());
    assert_eq!(last.seconds() - first.seconds(), 3 * 3600 + 3);
}

#[test]
fn it_has_the_shape_of_a_real_one() {
    let document = document(&fields());
    assert_eq!(document[..8], [0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x59]);
    let payload = &document[10..document.len() - 98];
    assert_eq!((payload[0], payload[payload.len() - 1]), (0xbf, 0xff));
    assert_eq!(document[document.len() - 98..document.len() - 96], [0x58, 0x60]);
}

#[test]
fn a_root_is_kept_and_restored() {
    let key = super::issue::Key::from_pkcs8(AUTHORITY.key().pkcs8().expose()).expect("a key");
    let again = Authority::restore(key, AUTHORITY.root().to_vec()).expect("the root");
    let signer = again.signer(MODULE, NOW).expect("a signer");
    let draft = Draft {
        time: NOW,
        pcrs: &pcrs(),
        public_key: None,
        user_data: None,
        nonce: None,
    };
    let proof = judge(&signer.document(&draft).expect("a document")).expect("valid");
    assert_eq!(
        (proof.public_key, proof.user_data, proof.nonce),
        (None, None, None)
    );
    let other = super::issue::Key::generate().expect("a key");
    assert!(Authority::restore(other, AUTHORITY.root().to_vec()).is_err());
}
