//! Policies that mean something, and policies with a mistake: each names the field.

use manifest_sync::base64;
use manifest_sync::trust::TrustPolicy;
use manifest_sync::trust::key::{KeyError, PublicKey};
use manifest_sync::trust::policy::{Authority, Updates};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Signer, base, policy, signed_by};

#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let rejection = match TrustPolicy::parse(text.as_bytes()) {
        Err(rejection) => rejection.to_string(),
        Ok(_) => panic!("accepted: {text}"),
    };
    for word in words {
        assert!(rejection.contains(word), "no {word:?} in:\n{rejection}");
    }
}

fn good() -> Value {
    signed_by(1, &[&Signer::ed25519(1), &Signer::ed25519(2)])
}

/// The good policy with one value changed, by JSON pointer.
fn with(pointer: &str, value: Value) -> String {
    let mut good = good();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    good.pointer_mut(parent).expect("the parent")[name] = value;
    good.to_string()
}

fn without(pointer: &str) -> String {
    let mut good = good();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = good.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.expect("the parent").remove(name).expect("it was there");
    good.to_string()
}

#[test]
fn what_is_left_out_is_the_strict_choice() {
    let policy = policy(&good());
    assert!(matches!(&policy.authority, Authority::SignedBy(by) if by.signers.len() == 2));
    assert_eq!((policy.min_generation, policy.updates), (0, Updates::Immutable));
    assert!(!policy.allow_plain_secrets && !policy.allow_clear_logs && !policy.allow_debug_exec);
    assert!(!policy.allow_privileged);
}

#[test]
fn every_field_is_read() {
    let digest = format!("sha384:{}", "0a".repeat(48));
    let all = base(
        json!({"pinned": [digest], "minGeneration": 9, "updates": "InPlace",
        "allowPlainSecrets": true, "allowClearLogs": true, "allowDebugExec": true,
        "allowPrivileged": true}),
    );
    let policy = policy(&all);
    let Authority::Pinned(pinned) = &policy.authority else {
        panic!("not pinned")
    };
    assert_eq!(
        pinned.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [digest]
    );
    assert_eq!((policy.min_generation, policy.updates), (9, Updates::InPlace));
    assert!(policy.allow_plain_secrets && policy.allow_clear_logs && policy.allow_debug_exec);
    assert!(policy.allow_privileged);
}

#[test]
fn a_typo_is_an_error_with_its_path() {
    refused(
        &with("/minGenertion", json!(7)),
        &["policy: minGenertion: unknown field; did you mean `minGeneration`?"],
    );
    refused(
        &with("/allowClearlogs", json!(true)),
        &["allowClearlogs", "`allowClearLogs`"],
    );
    refused(
        &with("/signedBy/treshold", json!(2)),
        &["signedBy.treshold", "`threshold`"],
    );
    refused(
        &with("/signedBy/signers/1/nam", json!("x")),
        &["signedBy.signers[1].nam", "`name`"],
    );
    refused(&with("/metadata", json!({})), &["metadata: unknown field"]);
    refused(
        &with("/kind", json!("Trustpolicy")),
        &["kind: expected `TrustPolicy`"],
    );
    refused(
        &with("/apiVersion", json!("v1")),
        &["apiVersion: expected `cloister.dev/v1`"],
    );
    refused(
        &with("/updates", json!("inPlace")),
        &["updates: expected `Immutable` or `InPlace`"],
    );
}

#[test]
fn every_mistake_is_reported_at_once() {
    let bad = r#"{"kind":"TrustPolicy","signedBy":{"application":"Web","threshold":3,"signers":[{"name":"a b","key":"x"}]},
        "minGeneration":-1,"updates":1,"allowDebugExec":"no"}"#;
    let words = [
        "apiVersion: is required",
        "signedBy.application: must be",
        "signedBy.threshold: 3 is out of range",
        "signedBy.signers[0].name: must be",
        "signedBy.signers[0].key: not a public key",
        "minGeneration: -1 is out of range",
        "updates: expected a string",
        "allowDebugExec: expected a boolean",
    ];
    refused(bad, &words);
}

#[test]
fn exactly_one_authority() {
    let message = "exactly one of `pinned`, `signedBy` and `any`";
    refused(&without("/signedBy"), &[message]);
    refused(&with("/any", json!(true)), &[message]);
    refused(&with("/pinned", json!([])), &[message]);
    refused(&base(json!({"any": false})).to_string(), &["any: must be true"]);
    refused(
        &base(json!({"any": "true"})).to_string(),
        &["any: expected a boolean"],
    );
    refused(
        &base(json!({"pinned": []})).to_string(),
        &["pinned: must name at least one"],
    );
    let digest = format!("sha384:{}", "00".repeat(48));
    refused(
        &base(json!({"pinned": [digest, digest]})).to_string(),
        &["pinned[1]: is there twice"],
    );
    for bad in [
        digest.to_uppercase(),
        digest[..102].to_owned(),
        digest[7..].to_owned(),
        format!("sha256:{}", "0".repeat(64)),
    ] {
        refused(
            &base(json!({"pinned": [bad]})).to_string(),
            &["pinned[0]: expected `sha384:`"],
        );
    }
    let many: Vec<String> = (0..65).map(|n| format!("sha384:{n:096x}")).collect();
    refused(
        &base(json!({"pinned": many})).to_string(),
        &["pinned: has 65 entries"],
    );
}

#[test]
fn a_threshold_means_different_people() {
    let (one, other) = (Signer::ed25519(1), Signer::ed25519(2));
    refused(
        &with("/signedBy/threshold", json!(0)),
        &["signedBy.threshold: 0 is out of range"],
    );
    refused(
        &with("/signedBy/threshold", json!(3)),
        &["signedBy.threshold: 3 is out of range: expected 1 to 2"],
    );
    refused(&with("/signedBy/threshold", json!(1.5)), &["signedBy.threshold"]);
    refused(
        &with("/signedBy/signers", json!([])),
        &["signedBy.signers: must name 1 to 16"],
    );
    refused(
        &with("/signedBy/signers", json!([one.entry("a"), one.entry("b")])),
        &["signedBy.signers[1].key: is the key of `a` too"],
    );
    refused(
        &with("/signedBy/signers", json!([one.entry("a"), other.entry("a")])),
        &["signedBy.signers[1].name: `a` is there twice"],
    );
    let many: Vec<Value> = (0..17)
        .map(|n| Signer::ed25519(n).entry(&n.to_string()))
        .collect();
    refused(
        &with("/signedBy/signers", json!(many)),
        &["signedBy.signers: has 17 entries"],
    );
    for field in ["application", "threshold", "signers"] {
        refused(
            &without(&format!("/signedBy/{field}")),
            &[&format!("signedBy.{field}: is required")],
        );
    }
    for field in ["name", "key"] {
        refused(
            &without(&format!("/signedBy/signers/0/{field}")),
            &[&format!("signedBy.signers[0].{field}: is required")],
        );
    }
    for bad in [
        "",
        "-web",
        "web.",
        "Web",
        "we b",
        "web\n",
        "wéb",
        &"w".repeat(254),
    ] {
        refused(
            &with("/signedBy/application", json!(bad)),
            &["signedBy.application: must be"],
        );
    }
}

#[test]
fn json_is_strict() {
    let text = good().to_string();
    refused("", &["policy: not valid JSON"]);
    refused("[]", &["expected an object"]);
    refused(&format!("\u{feff}{text}"), &["byte order mark"]);
    refused(&format!("{text}{text}"), &["more bytes follow the policy"]);
    refused(
        &text.replacen('{', r#"{"kind":"TrustPolicy","#, 1),
        &["the key `kind` appears twice"],
    );
    refused(
        &text.replacen("\"threshold\":1", "\"threshold\":1,\"threshold\":1", 1),
        &["appears twice"],
    );
    refused(&with("/minGeneration", Value::Null), &["minGeneration: is null"]);
    refused(
        &with("/signedBy/threshold", Value::Null),
        &["signedBy.threshold: is null"],
    );
    refused(&with("/pinned", Value::Null), &["pinned: is null"]);
    refused(
        &with("/minGeneration", json!(1e3)),
        &["minGeneration: expected an integer"],
    );
    refused(&with("/minGeneration", json!(u64::MAX)), &["minGeneration"]);
    refused(
        &format!("{text}{}", " ".repeat(64 << 10)),
        &["at most 65536 are accepted"],
    );
    refused(&"[".repeat(100), &["nested deeper"]);
}

#[test]
fn keys_are_read_strictly() {
    let ed = Signer::ed25519(1).public().to_spki();
    let ec = Signer::p256().public().to_spki();
    let error = |der: &[u8]| PublicKey::from_text(&base64::encode(der));
    for der in [&ed, &ec] {
        let key = error(der).expect("a key");
        assert_eq!(&key.to_spki(), der);
        let pem = manifest_sync::pem::encode("PUBLIC KEY", der);
        assert_eq!(PublicKey::from_text(&pem), Ok(key.clone()));
        // Windows' line ends.
        assert_eq!(PublicKey::from_text(&pem.replace('\n', "\r\n")), Ok(key));
        let twice = format!("{pem}{pem}");
        assert_eq!(PublicKey::from_text(&twice), Err(KeyError::Unreadable));
        let private = pem.replace("PUBLIC", "PRIVATE");
        assert_eq!(PublicKey::from_text(&private), Err(KeyError::Private));
        let certificate = pem.replace("PUBLIC KEY", "CERTIFICATE");
        assert_eq!(PublicKey::from_text(&certificate), Err(KeyError::Unreadable));
        assert_eq!(error(&der[..der.len() - 1]), Err(KeyError::Unsupported));
        assert_eq!(
            error(&[der.as_slice(), &[0]].concat()),
            Err(KeyError::Unsupported)
        );
    }
    assert_eq!(PublicKey::from_text("no key"), Err(KeyError::Unreadable));
    assert_eq!(error(b""), Err(KeyError::Unsupported));
    // Ed448 (RFC 8410).
    assert_eq!(
        error(&[0x30, 0x43, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71]),
        Err(KeyError::Unsupported)
    );
    let mut changed = ec.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    assert_eq!(error(&changed), Err(KeyError::BadPoint));
    let zero = [&ed[..12], &[0; 32]].concat();
    assert_eq!(error(&zero), Err(KeyError::BadPoint));
    let mut compressed = [&[0x30, 0x39], &ec[2..24], &[0x22, 0x00, 0x02]].concat();
    compressed.extend_from_slice(&ec[27..59]);
    assert_eq!(error(&compressed), Err(KeyError::Compressed));
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = good().to_string().into_bytes();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        let _ = TrustPolicy::parse(&bytes);
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = TrustPolicy::parse(&bytes);
        let _ = PublicKey::from_spki(&bytes);
        let _ = PublicKey::from_text(&String::from_utf8_lossy(&bytes));
    }
}
