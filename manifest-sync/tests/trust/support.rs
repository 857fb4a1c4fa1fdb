//! Signers, bundles and policies of the tests.

use manifest_sync::base64;
use manifest_sync::trust::TrustPolicy;
use manifest_sync::trust::envelope::{Envelope, pae};
use manifest_sync::trust::key::PublicKey;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// One who signs.
pub(crate) enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Signer {
    pub(crate) fn ed25519(seed: u8) -> Self {
        Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key"))
    }

    pub(crate) fn p256() -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        Self::P256(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).expect("the key"))
    }

    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::ed25519(key.public_key().as_ref().try_into().expect("32 bytes")),
            Self::P256(key) => PublicKey::p256(key.public_key().as_ref().try_into().expect("65 bytes")),
        }
        .expect("usable")
    }

    pub(crate) fn raw(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::P256(key) => key
                .sign(&SystemRandom::new(), message)
                .expect("signs")
                .as_ref()
                .to_vec(),
        }
    }

    pub(crate) fn entry(&self, name: &str) -> Value {
        json!({ "name": name, "key": base64::encode(&self.public().to_spki()) })
    }
}

/// A bundle of an application and a generation.
pub(crate) fn bundle(application: &str, generation: u64) -> Vec<u8> {
    list(&[
        pod(),
        enclave_policy(json!({"application": application, "generation": generation})),
    ])
}

pub(crate) fn list(items: &[Value]) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
        .to_string()
        .into_bytes()
}

pub(crate) fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
           "spec": {"containers": [{"name": "app", "image": format!("app@sha256:{}", "a".repeat(64))}]}})
}

pub(crate) fn enclave_policy(spec: Value) -> Value {
    let mut policy =
        json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "web"}});
    policy["spec"] = spec;
    policy
}

pub(crate) fn signed(bundle: &[u8], signers: &[&Signer]) -> Envelope {
    let mut envelope = Envelope::new(bundle.to_vec());
    for signer in signers {
        envelope.add(signer.public().key_id(), signer.raw(&pae(bundle)));
    }
    envelope
}

/// The JSON of a policy for `web` with these signers, named a, b, and so on.
pub(crate) fn signed_by(threshold: usize, signers: &[&Signer]) -> Value {
    let entries: Vec<Value> = signers
        .iter()
        .zip('a'..)
        .map(|(signer, name)| signer.entry(&name.to_string()))
        .collect();
    base(json!({"signedBy": {"application": "web", "threshold": threshold, "signers": entries}}))
}

/// A policy with these fields beside those that every policy has.
pub(crate) fn base(mut fields: Value) -> Value {
    fields["apiVersion"] = json!("cloister.dev/v1");
    fields["kind"] = json!("TrustPolicy");
    fields
}

#[track_caller]
pub(crate) fn policy(value: &Value) -> TrustPolicy {
    TrustPolicy::parse(value.to_string().as_bytes()).unwrap_or_else(|rejection| panic!("{rejection}"))
}
