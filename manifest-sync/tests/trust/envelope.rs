//! The form of an envelope: one way to write each thing, and a bound for each.

use manifest_sync::base64;
use manifest_sync::trust::envelope::{Delivery, Envelope, PAYLOAD_TYPE, pae};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Signer, bundle, signed};

fn good() -> Value {
    let envelope = signed(&bundle("web", 1), &[&Signer::ed25519(1), &Signer::p256()]);
    serde_json::from_slice(&envelope.to_json()).expect("JSON")
}

fn with(pointer: &str, value: Value) -> String {
    let mut good = good();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match good.pointer_mut(parent).expect("the parent") {
        Value::Array(list) => list[name.parse::<usize>().expect("an index")] = value,
        parent => parent[name] = value,
    }
    good.to_string()
}

#[track_caller]
fn refused(text: &str, word: &str) {
    match Envelope::parse(text.as_bytes()) {
        Err(rejection) => assert!(
            rejection.to_string().contains(word),
            "no {word:?} in:\n{rejection}"
        ),
        Ok(_) => panic!("accepted: {text}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let envelope = signed(&bundle("web", 1), &[&Signer::ed25519(1), &Signer::p256()]);
    assert_eq!(Envelope::parse(&envelope.to_json()), Ok(envelope));
    let empty = Envelope::new(Vec::new());
    assert_eq!(Envelope::parse(&empty.to_json()), Ok(empty));
}

#[test]
fn what_is_signed_has_lengths_so_that_nothing_can_move_between_its_fields() {
    let head = format!("DSSEv1 39 {PAYLOAD_TYPE} 3 ");
    assert_eq!(pae(b"a\0b"), [head.as_bytes(), b"a\0b"].concat());
}

#[test]
fn a_second_signature_of_a_key_replaces_the_first() {
    let mut envelope = Envelope::new(b"x".to_vec());
    envelope.add("k".to_owned(), vec![1]);
    envelope.add("l".to_owned(), vec![2]);
    envelope.add("k".to_owned(), vec![3]);
    let bytes: Vec<_> = envelope
        .signatures()
        .iter()
        .map(|one| one.bytes.clone())
        .collect();
    assert_eq!(bytes, [[2], [3]]);
}

#[test]
fn forms_that_are_not_ours_are_refused_with_their_path() {
    refused("[]", "expected an object");
    refused("{}", "payloadType: is required");
    refused(
        &with("/payloadType", json!("application/vnd.in-toto+json")),
        "payloadType: expected `application/vnd.cloister",
    );
    refused(
        &with("/payloadType", json!(format!("{PAYLOAD_TYPE} "))),
        "payloadType: expected",
    );
    refused(&with("/payload", Value::Null), "payload: is required");
    refused(&with("/payload", json!(7)), "payload: expected a string");
    refused(&with("/signatures", Value::Null), "signatures: is required");
    refused(&with("/signatures", json!({})), "signatures: expected a list");
    refused(
        &with("/signatures/1", json!("x")),
        "signatures[1]: expected an object",
    );
    refused(
        &with("/signatures/1", json!({"keyid": "x"})),
        "signatures[1].sig: is required",
    );
    refused(
        &with("/signatures/0/sig", json!(base64::encode(&[0; 129]))),
        "signatures[0].sig: has 129 bytes",
    );
    refused(
        &with("/signatures/0/keyid", json!("a b")),
        "signatures[0].keyid: must be",
    );
    refused(
        &with("/signatures/0/keyid", json!("é")),
        "signatures[0].keyid: must be",
    );
    refused(
        &with("/signatures/0/keyid", json!("k".repeat(257))),
        "signatures[0].keyid: must be",
    );
    refused(
        &with("/signatures/0/keyid", json!(1)),
        "signatures[0].keyid: expected a string",
    );
    refused(
        &with("/signatures/0/cert", json!("x")),
        "signatures[0].cert: unknown field",
    );
    refused(&with("/payloadtype", json!("x")), "did you mean `payloadType`?");
    refused(
        &with("/signatures", json!(vec![json!({"sig": ""}); 17])),
        "signatures: has 17 entries",
    );
    let twice = good().to_string().replacen('{', r#"{"payload":"","#, 1);
    refused(&twice, "appears twice");
    refused(&format!("{}x", good()), "more bytes follow the envelope");
}

#[test]
fn base64_of_a_payload_is_written_in_one_way() {
    let text = good()["payload"].as_str().expect("text").to_owned();
    let message = "payload: not base64";
    for bad in [
        format!("{text}\n"),
        format!("{text}===="),
        format!(" {text}"),
        "-_-_".to_owned(),
        "Zh==".to_owned(),
        "Zg".to_owned(),
    ] {
        refused(&with("/payload", json!(bad)), message);
    }
    refused(
        &with("/signatures/0/sig", json!("Zh==")),
        "signatures[0].sig: not base64",
    );
}

#[test]
fn sizes_are_bounded_and_the_largest_bundle_fits() {
    let most = 4 << 20;
    let envelope = Envelope::new(vec![b' '; most]);
    assert!(Envelope::parse(&envelope.to_json()).is_ok());
    assert!(envelope.to_json().len() < manifest_sync::frame::MAX_BUNDLE_BYTES);
    let large = Envelope::new(vec![b' '; most + 1]).to_json();
    refused(
        &String::from_utf8(large).expect("text"),
        "payload: has 4194305 bytes",
    );
    let bare = [bundle("web", 1), vec![b' '; most]].concat();
    let refusal = Delivery::read(&bare).expect_err("too large").to_string();
    assert!(refusal.contains("at most 4194304"), "{refusal}");
}

#[test]
fn a_delivery_is_an_envelope_or_a_bundle_and_never_both() {
    let bytes = bundle("web", 1);
    let bare = Delivery::read(&bytes).expect("a bundle");
    let wrapped = Delivery::read(&Envelope::new(bytes.clone()).to_json()).expect("an envelope");
    assert!(matches!(bare, Delivery::Bare(_)) && matches!(wrapped, Delivery::Envelope(_)));
    assert_eq!(bare.unverified_bundle(), wrapped.unverified_bundle());
    assert_eq!(bare.digest(), wrapped.digest());
    let text = String::from_utf8(bytes).expect("text");
    for field in ["payload", "payloadType", "signatures"] {
        let both = text.replacen('{', &format!(r#"{{"{field}":"","#), 1);
        assert!(Delivery::read(both.as_bytes()).is_err(), "{field}");
    }
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = good().to_string().into_bytes();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        let _ = Delivery::read(&bytes);
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}:,\"a-z0-9=]{0,200}") {
        let _ = Delivery::read(&bytes);
        let _ = Delivery::read(text.as_bytes());
        let _ = Envelope::parse(text.as_bytes());
    }
}
