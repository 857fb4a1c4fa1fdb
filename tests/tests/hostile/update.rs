//! Changes of a running Pod that nobody has agreed to. After each the Pod runs on, untouched, and takes a good update.

use manifest_sync::protocol::FromEnclave;
use manifest_sync::reject::Rejection;
use manifest_sync::trust::envelope::pae;
use serde_json::{Value, json};
use tests::{Product, pod};

use crate::bundle::{APPLICATION, alice, bob, envelope, release, signed};
use crate::controller::Controller;
use crate::enclave::Enclave;
use crate::stage::{bundle, container, refused};

/// What the attacker's container would run.
const INTRUDER: &str = "ignore-term";
/// Generation of what runs first.
const FIRST: u64 = 5;

/// Two of two sign, and what runs may be changed.
fn policy() -> String {
    json!({
        "apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "updates": "InPlace",
        "signedBy": {"application": APPLICATION, "threshold": 2,
                     "signers": [alice().entry("alice"), bob().entry("bob")]},
    })
    .to_string()
}

/// The Pod of a generation, which is its only label.
fn shop(product: &Product, generation: u64) -> Value {
    let mut pod = pod(json!({
        "containers": [container(product, "app", &["sleep"])], "terminationGracePeriodSeconds": 0,
    }));
    pod["metadata"]["labels"] = json!({"release": generation.to_string()});
    pod
}

fn of(pod: Value, generation: u64) -> Vec<u8> {
    bundle(&[pod, release(APPLICATION, generation)])
}

fn good(product: &Product, generation: u64) -> Vec<u8> {
    signed(&of(shop(product, generation), generation))
}

/// The rejection has a finding with this path and these words.
#[track_caller]
fn assert_found(rejection: &Rejection, path: &str, words: &str) {
    let found =
        |finding: &manifest_sync::reject::Finding| finding.path == path && finding.message.contains(words);
    assert!(
        rejection.errors.iter().any(found),
        "no {words:?} at {path} in: {rejection}"
    );
}

/// A Pod runs; after the attack its container is the same, and a later generation is taken.
fn against_a_release(attack: impl FnOnce(&Product, &Enclave, &mut Controller)) {
    refused(|product| {
        let enclave = Enclave::start(product, &policy());
        let mut host = Controller::connect(&enclave, None);
        host.apply(&good(product, FIRST)).expect("the first one");
        host.until_running(&enclave, &product.guests, &["app"]);
        let app = host.container("app").cloned();
        attack(product, &enclave, &mut host);
        host.ping();
        assert_eq!(host.container("app").cloned(), app, "it was touched");
        assert!(enclave.runs("sleep") && !enclave.runs(INTRUDER));
        let last = host.apply(&good(product, 100)).expect("a good update");
        host.ping();
        assert_eq!(host.report.as_ref().expect("it runs").bundle_digest, last);
        assert_eq!(host.container("app").cloned(), app, "a label restarts nothing");
    });
}

/// Delivers one update, which must be refused so.
fn rejected(attack: impl FnOnce(&Product) -> Vec<u8>, path: &str, words: &str) {
    against_a_release(|product, _enclave, host| {
        let rejection = host.apply(&attack(product)).expect_err("it must not be taken");
        assert_found(&rejection, path, words);
    });
}

#[test]
fn unsigned() {
    rejected(|product| of(shop(product, 6), 6), "signedBy", "not signed");
}

#[test]
fn signed_by_one_of_two() {
    let attack = |product: &Product| {
        let payload = of(shop(product, 6), 6);
        envelope(&payload, &[alice().signs(&pae(&payload))])
    };
    rejected(attack, "signedBy.threshold", "1 of 2 signatures");
}

#[test]
fn of_another_application() {
    let attack = |product: &Product| signed(&bundle(&[shop(product, 6), release("bank", 6)]));
    rejected(attack, "signedBy.application", "`bank`");
}

#[test]
fn of_another_pod() {
    let attack = |product: &Product| {
        let mut other = shop(product, 6);
        other["metadata"]["name"] = json!("other");
        signed(&of(other, 6))
    };
    rejected(attack, "metadata.name", "another Pod runs");
}

#[test]
fn another_command() {
    let attack = |product: &Product| {
        let mut other = shop(product, 6);
        other["spec"]["containers"][0]["args"] = json!([INTRUDER]);
        signed(&of(other, 6))
    };
    rejected(attack, "spec.containers[0].args[0]", "pod updates may not change");
}

#[test]
fn the_first_bundle_again() {
    against_a_release(|product, _enclave, host| {
        host.apply(&good(product, 7)).expect("a good update");
        let rejection = host
            .apply(&good(product, FIRST))
            .expect_err("it has been replaced");
        assert_found(
            &rejection,
            "generation",
            "the bundle has generation 5, and 7 runs",
        );
    });
}

#[test]
fn another_release_of_the_same_generation() {
    let attack = |product: &Product| signed(&of(shop(product, 6), FIRST));
    rejected(attack, "generation", "an update needs a higher one");
}

#[test]
fn half_of_it() {
    against_a_release(|product, enclave, host| {
        let update = good(product, 6);
        let half = update.get(..update.len() / 2).expect("shorter");
        host.wire.say(&json!({"type": "apply", "size": update.len()}));
        let size = u32::try_from(update.len()).expect("small").to_be_bytes();
        host.wire.send(&size);
        host.wire.send(half);
        let report = host.report.take();
        *host = Controller::connect(enclave, Some(&host.key));
        host.report = report;
        let first = manifest_sync::digest::BundleDigest::of(&of(shop(product, FIRST), FIRST)).to_string();
        assert_eq!(host.bundle, Some(first));
    });
}

#[test]
fn two_at_once() {
    against_a_release(|product, _enclave, host| {
        let mut other = shop(product, 6);
        other["metadata"]["annotations"] = json!({"of": "the second"});
        for update in [good(product, 6), signed(&of(other, 6))] {
            host.wire.say(&json!({"type": "apply", "size": update.len()}));
            host.wire.frame(&update);
        }
        let mut answers = Vec::new();
        while answers.len() < 2 {
            match host.next() {
                FromEnclave::Applied { .. } => answers.push(None),
                FromEnclave::Rejected { rejection } => answers.push(Some(rejection)),
                _ => {}
            }
        }
        let [None, Some(rejection)] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert_found(rejection, "generation", "the bundle has generation 6, and 6 runs");
    });
}

#[test]
fn while_the_pod_ends() {
    refused(|product| {
        let enclave = Enclave::start(product, &policy());
        let mut host = Controller::connect(&enclave, None);
        host.apply(&good(product, FIRST)).expect("the first one");
        host.until_running(&enclave, &product.guests, &["app"]);
        host.wire.say(&json!({"type": "stop", "graceSeconds": 3600}));
        let rejection = host.apply(&good(product, 6)).expect_err("it ends");
        assert_found(&rejection, "", "the Pod is ending");
        host.wire.say(&json!({"type": "stop", "graceSeconds": 0}));
        host.until(&enclave, &mut |_, _, _, _| None, "the end", |host| {
            host.finished.is_some()
        });
        assert_eq!(host.finished, Some(0), "{:?}", host.report);
    });
}
