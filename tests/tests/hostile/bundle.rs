//! Bundles that the trust policy does not allow. After each the good one is taken by the same enclave and runs, alone.

use manifest_sync::base64;
use manifest_sync::protocol::{FromEnclave, RefusedReason};
use manifest_sync::reject::Rejection;
use manifest_sync::trust::envelope::{PAYLOAD_TYPE, pae};
use manifest_sync::trust::key::PublicKey;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tests::{Product, pod};

use crate::controller::Controller;
use crate::enclave::Enclave;
use crate::stage::{bundle, container, refused};

/// The application of the policy, and of good bundles.
pub(crate) const APPLICATION: &str = "shop";
/// What the attacker's container would run.
const INTRUDER: &str = "ignore-term";

/// A signer of the policy, or not.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key"))
    }

    fn public(&self) -> PublicKey {
        PublicKey::ed25519(self.0.public_key().as_ref().try_into().expect("32 bytes")).expect("usable")
    }

    pub(crate) fn entry(&self, name: &str) -> Value {
        json!({"name": name, "key": base64::encode(&self.public().to_spki())})
    }

    /// A signature of these bytes, as an envelope has it.
    pub(crate) fn signs(&self, message: &[u8]) -> Value {
        json!({"keyid": self.public().key_id(), "sig": base64::encode(self.0.sign(message).as_ref())})
    }
}

pub(crate) fn alice() -> Signer {
    Signer::new(1)
}

pub(crate) fn bob() -> Signer {
    Signer::new(2)
}

/// Two of two sign, for one application, from generation 5 on; neither Secrets nor logs in clear.
fn policy() -> String {
    json!({
        "apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "minGeneration": 5,
        "signedBy": {"application": APPLICATION, "threshold": 2,
                     "signers": [alice().entry("alice"), bob().entry("bob")]},
    })
    .to_string()
}

pub(crate) fn release(application: &str, generation: u64) -> Value {
    json!({
        "apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "release"},
        "spec": {"application": application, "generation": generation},
    })
}

/// A bundle whose container runs the guest with one word.
fn payload(product: &Product, word: &str, more: &[Value]) -> Vec<u8> {
    let pod = pod(json!({
        "containers": [container(product, "app", &[word])], "terminationGracePeriodSeconds": 0,
    }));
    bundle(&[&[pod], more].concat())
}

fn good(product: &Product) -> Vec<u8> {
    payload(product, "sleep", &[release(APPLICATION, 5)])
}

fn intruder(product: &Product) -> Vec<u8> {
    payload(product, INTRUDER, &[release(APPLICATION, 5)])
}

pub(crate) fn envelope(payload: &[u8], signatures: &[Value]) -> Vec<u8> {
    let envelope = json!({
        "payload": base64::encode(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures,
    });
    envelope.to_string().into_bytes()
}

/// Signed by both.
pub(crate) fn signed(payload: &[u8]) -> Vec<u8> {
    let message = pae(payload);
    envelope(payload, &[alice().signs(&message), bob().signs(&message)])
}

/// The rejection's first finding has this path and message.
#[track_caller]
fn assert_rejected(rejection: &Rejection, path: &str, words: &str) {
    let first = &rejection.errors[0];
    assert_eq!(first.path, path, "{rejection}");
    assert!(first.message.contains(words), "no {words:?} in: {rejection}");
}

/// Delivers what must be rejected so, then the good bundle, which must run.
fn rejected(policy: &str, attack: impl FnOnce(&Product) -> Vec<u8>, path: &str, words: &str) {
    refused(|product| {
        let enclave = Enclave::start(product, policy);
        let mut host = Controller::connect(&enclave, None);
        let rejection = host.apply(&attack(product)).expect_err("it must not run");
        assert_rejected(&rejection, path, words);
        assert_eq!(host.report, None, "there is a Pod");
        let again = Controller::connect(&enclave, Some(&host.key));
        assert_eq!(again.bundle, None, "it was kept");
        the_good_one_runs(product, &enclave, again);
    });
}

/// Nothing is poisoned: the good bundle is taken now, and it is all that runs.
fn the_good_one_runs(product: &Product, enclave: &Enclave, mut host: Controller) {
    host.apply(&signed(&good(product))).expect("the good one");
    host.until_running(enclave, &product.guests, &["app"]);
    assert!(enclave.runs("sleep") && !enclave.runs(INTRUDER));
}

/// Against the policy of two signers.
fn rejected_by_signers(attack: impl FnOnce(&Product) -> Vec<u8>, path: &str, words: &str) {
    rejected(&policy(), attack, path, words);
}

#[test]
fn unsigned() {
    rejected_by_signers(intruder, "signedBy", "not signed");
}

#[test]
fn without_signatures() {
    rejected_by_signers(
        |product| envelope(&intruder(product), &[]),
        "signedBy.threshold",
        "0 of 2 signatures",
    );
}

#[test]
fn signed_by_one_of_two() {
    let attack = |product: &Product| {
        let payload = intruder(product);
        envelope(&payload, &[alice().signs(&pae(&payload))])
    };
    rejected_by_signers(
        attack,
        "signedBy.threshold",
        "1 of 2 signatures that the policy asks for (by alice)",
    );
}

#[test]
fn signed_by_one_of_two_twice() {
    let attack = |product: &Product| {
        let payload = intruder(product);
        let alice = alice().signs(&pae(&payload));
        let mut nameless = alice.clone();
        nameless.as_object_mut().expect("an object").remove("keyid");
        envelope(&payload, &[alice.clone(), alice, nameless])
    };
    rejected_by_signers(attack, "signedBy.threshold", "1 of 2 signatures");
}

#[test]
fn signed_by_one_of_two_in_the_name_of_the_other() {
    let attack = |product: &Product| {
        let payload = intruder(product);
        let alice = alice().signs(&pae(&payload));
        let mut other = alice.clone();
        other["keyid"] = json!(bob().public().key_id());
        envelope(&payload, &[alice, other])
    };
    rejected_by_signers(attack, "signedBy.threshold", "1 of 2 signatures");
}

#[test]
fn signed_by_strangers() {
    let attack = |product: &Product| {
        let payload = intruder(product);
        let message = pae(&payload);
        envelope(
            &payload,
            &[Signer::new(7).signs(&message), Signer::new(8).signs(&message)],
        )
    };
    rejected_by_signers(attack, "signedBy.threshold", "0 of 2 signatures");
}

#[test]
fn signatures_of_other_bytes() {
    let attack = |product: &Product| {
        let message = pae(&good(product));
        envelope(
            &intruder(product),
            &[alice().signs(&message), bob().signs(&message)],
        )
    };
    rejected_by_signers(attack, "signedBy.threshold", "0 of 2 signatures");
}

#[test]
fn signatures_of_the_payload_without_its_type() {
    let attack = |product: &Product| {
        let payload = intruder(product);
        envelope(&payload, &[alice().signs(&payload), bob().signs(&payload)])
    };
    rejected_by_signers(attack, "signedBy.threshold", "0 of 2 signatures");
}

#[test]
fn signed_and_written_anew() {
    let attack = |product: &Product| {
        // The same JSON, other bytes.
        let payload = good(product);
        let message = pae(&payload);
        let tree: Value = serde_json::from_slice(&payload).expect("JSON");
        let anew = serde_json::to_vec_pretty(&tree).expect("JSON");
        envelope(&anew, &[alice().signs(&message), bob().signs(&message)])
    };
    rejected_by_signers(attack, "signedBy.threshold", "0 of 2 signatures");
}

#[test]
fn one_bit_of_the_payload() {
    let attack = |product: &Product| {
        let mut payload = good(product);
        let message = pae(&payload);
        let at = payload
            .windows(5)
            .position(|word| word == b"sleep")
            .expect("its word");
        payload[at] ^= 1;
        envelope(&payload, &[alice().signs(&message), bob().signs(&message)])
    };
    rejected_by_signers(attack, "signedBy.threshold", "0 of 2 signatures");
}

#[test]
fn two_payloads() {
    let attack = |product: &Product| {
        let (good, bad) = (good(product), intruder(product));
        let envelope = String::from_utf8(signed(&good)).expect("JSON");
        let second = format!("{{\"payload\":\"{}\",", base64::encode(&bad));
        envelope.replacen('{', &second, 1).into_bytes()
    };
    rejected_by_signers(attack, "", "the key `payload` appears twice");
}

#[test]
fn a_signed_bundle_with_a_key_twice() {
    let attack = |product: &Product| {
        let payload = String::from_utf8(intruder(product)).expect("JSON");
        signed(payload.replacen('{', "{\"kind\":\"List\",", 1).as_bytes())
    };
    rejected_by_signers(attack, "", "the key `kind` appears twice");
}

#[test]
fn an_envelope_of_another_type() {
    let attack = |product: &Product| {
        let mut envelope: Value = serde_json::from_slice(&signed(&good(product))).expect("JSON");
        envelope["payloadType"] = json!("application/vnd.in-toto+json");
        envelope.to_string().into_bytes()
    };
    rejected_by_signers(
        attack,
        "payloadType",
        "expected `application/vnd.cloister.bundle.v1+json`",
    );
}

#[test]
fn an_envelope_in_an_envelope() {
    let attack = |product: &Product| signed(&signed(&good(product)));
    rejected_by_signers(attack, "payload", "unknown field");
}

#[test]
fn a_bundle_and_an_envelope_in_one() {
    let attack = |product: &Product| {
        let envelope = String::from_utf8(signed(&good(product))).expect("JSON");
        let bundle: Value = serde_json::from_slice(&intruder(product)).expect("JSON");
        let items = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":{},",
            bundle["items"]
        );
        envelope.replacen('{', &items, 1).into_bytes()
    };
    rejected_by_signers(attack, "apiVersion", "unknown field");
}

#[test]
fn an_older_generation() {
    let attack = |product: &Product| signed(&payload(product, INTRUDER, &[release(APPLICATION, 4)]));
    rejected_by_signers(
        attack,
        "minGeneration",
        "it has generation 4; the policy takes 5 and later ones",
    );
}

#[test]
fn no_generation() {
    let attack = |product: &Product| {
        let mut release = release(APPLICATION, 5);
        release["spec"]
            .as_object_mut()
            .expect("an object")
            .remove("generation");
        signed(&payload(product, INTRUDER, &[release]))
    };
    rejected_by_signers(attack, "minGeneration", "it states no generation");
}

#[test]
fn another_application_of_the_same_signers() {
    let attack = |product: &Product| signed(&payload(product, INTRUDER, &[release("bank", 5)]));
    rejected_by_signers(attack, "signedBy.application", "it is for the application `bank`");
}

#[test]
fn a_plain_secret() {
    let attack = |product: &Product| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "known"}, "stringData": {"k": "v"},
        });
        signed(&payload(product, INTRUDER, &[release(APPLICATION, 5), secret]))
    };
    rejected_by_signers(attack, "allowPlainSecrets", "it holds Secrets");
}

#[test]
fn yaml() {
    let attack = |_: &Product| b"apiVersion: v1\nkind: List\nitems: []\n".to_vec();
    rejected_by_signers(attack, "", "not valid JSON");
}

#[test]
fn signed_yaml() {
    rejected_by_signers(
        |_| signed(b"apiVersion: v1\nkind: List\nitems: []\n"),
        "",
        "not valid JSON",
    );
}

#[test]
fn an_image_by_its_tag() {
    let attack = |product: &Product| {
        let payload = String::from_utf8(intruder(product)).expect("JSON");
        let image = crate::stage::guest_image(&product.guests);
        signed(payload.replace(&image, "guest:latest").as_bytes())
    };
    rejected_by_signers(attack, "spec.containers[0].image", "digest");
}

#[test]
fn another_digest_than_the_pinned_one() {
    refused(|product| {
        let good = good(product);
        let digest = manifest_sync::digest::BundleDigest::of(&good);
        let policy = json!({
            "apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "pinned": [digest.to_string()],
        });
        let enclave = Enclave::start(product, &policy.to_string());
        let mut host = Controller::connect(&enclave, None);
        // A space more means the same, and is not what was pinned; nor is the policy's own digest of anything else.
        let other = [&good[..], b" "].concat();
        let rejection = host.apply(&other).expect_err("it is not pinned");
        assert_rejected(&rejection, "pinned", "is not one of the policy's pinned digests");
        let rejection = host.apply(&intruder(product)).expect_err("it is not pinned");
        assert_rejected(&rejection, "pinned", "is not one of the policy's pinned digests");
        assert_eq!(host.apply(&good), Ok(digest.to_string()));
        host.until_running(&enclave, &product.guests, &["app"]);
        assert!(!enclave.runs(INTRUDER));
    });
}

#[test]
fn swapped_while_it_is_sent() {
    refused(|product| {
        let enclave = Enclave::start(product, &policy());
        let (good, bad) = (signed(&good(product)), signed(&intruder(product)));
        let mut host = Controller::connect(&enclave, None);
        // The head of the good envelope, then the tail of one of the same form over other bytes.
        let mut mixed = good;
        let half = mixed.len() / 2;
        mixed.truncate(half);
        mixed.extend_from_slice(bad.get(half..).expect("as long"));
        let rejection = host.apply(&mixed).expect_err("it is neither");
        assert!(!rejection.errors.is_empty());
        assert_eq!(host.report, None, "there is a Pod");
        the_good_one_runs(product, &enclave, host);
    });
}

#[test]
fn swapped_between_two_applies() {
    refused(|product| {
        let enclave = Enclave::start(product, &policy());
        let (good, bad) = (good(product), intruder(product));
        let mut host = Controller::connect(&enclave, None);
        let first = manifest_sync::digest::BundleDigest::of(&good).to_string();
        // Both are delivered before the first answer; both are good by themselves.
        for bytes in [signed(&good), signed(&bad)] {
            host.wire.say(&json!({"type": "apply", "size": bytes.len()}));
            host.wire.frame(&bytes);
        }
        loop {
            match host.wire.hear().expect("an answer") {
                FromEnclave::Applied { digest, .. } => assert_eq!(digest, first),
                FromEnclave::Rejected { rejection } => {
                    break assert_rejected(&rejection, "updates", "`Immutable`");
                }
                // The enclave was not complete yet, and the first had to wait.
                FromEnclave::Refused { reason, message } => {
                    assert_eq!(reason, RefusedReason::Malformed);
                    break assert!(message.contains("has not been answered"), "{message}");
                }
                _ => {}
            }
        }
        let mut host = Controller::connect(&enclave, Some(&host.key));
        host.until_running(&enclave, &product.guests, &["app"]);
        assert_eq!(host.report.expect("it runs").bundle_digest, first);
        assert!(enclave.runs("sleep") && !enclave.runs(INTRUDER));
    });
}

#[test]
fn many_bad_ones_before_the_good_one() {
    refused(|product| {
        let enclave = Enclave::start(product, &policy());
        let mut host = Controller::connect(&enclave, None);
        let good = signed(&good(product));
        for cut in (0..good.len()).step_by(good.len() / 50) {
            host.apply(&good[..cut]).expect_err("half an envelope");
        }
        assert_eq!(host.report, None, "there is a Pod");
        the_good_one_runs(product, &enclave, host);
    });
}
