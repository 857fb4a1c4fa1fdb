//! The bytes of messages and of `user_data`.

use serde_json::json;

use super::*;
use crate::seal;

#[test]
fn user_data_is_encoded_as_documented() {
    let binding = Binding {
        bundle: [1; 48],
        generation: 0x0102,
        names: [2; 48],
        application: application("web"),
    };
    let bytes = binding.encode();
    assert_eq!(&bytes[..32], b"cloister.dev/secret-release/v1\0\0");
    assert_eq!(bytes[32..80], [1; 48]);
    assert_eq!(bytes[80..88], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(bytes[88..136], [2; 48]);
    assert_eq!(&bytes[136..], b"\x03web");
    let longest = Binding {
        application: application(&"a".repeat(MAX_NAME)),
        ..binding
    };
    assert_eq!(longest.encode().len(), 390);
    assert!(longest.encode().len() <= crate::nsm::MAX_USER_DATA);
    // The digest of the names is that of `\x01a\x02bc`.
    let expected = ring::digest::digest(&ring::digest::SHA384, b"\x01a\x02bc");
    assert_eq!(names(&["a", "bc"]).digest(), expected.as_ref());
}

#[test]
fn messages_are_the_json_of_the_documentation() {
    let nonce = NonceAnswer::Nonce {
        value: Nonce::from([0; NONCE_BYTES]),
        lifetime_seconds: 60,
    };
    let text = String::from_utf8(nonce.to_json()).expect("text");
    let zeros = "A".repeat(43);
    assert_eq!(
        text,
        format!(r#"{{"nonce":{{"value":"{zeros}=","lifetimeSeconds":60}}}}"#)
    );
    let refused = SecretsAnswer::Refused(Refusal::new(RefusalCode::WrongMeasurement, "PCR0\u{1b}[2J\nfake"));
    assert_eq!(
        String::from_utf8(refused.to_json()).expect("text"),
        r#"{"refused":{"code":"WrongMeasurement","message":"PCR0?[2J?fake"}}"#
    );
    assert_eq!(SecretsAnswer::parse(&refused.to_json()), Ok(refused));
    assert_eq!(NonceRequest {}.to_json(), b"{}");
    let sealed = SecretsAnswer::Sealed(sealed(vec![0])).to_json();
    let signature = "Wlpa".repeat(21);
    assert_eq!(
        String::from_utf8(sealed).expect("text"),
        format!(r#"{{"sealed":{{"value":"AA==","signature":"{signature}Wg=="}}}}"#)
    );
}

#[test]
fn messages_of_another_form_are_refused() {
    let good = json!({"document": "AQID", "application": "web", "generation": 1, "secrets": ["a"]});
    let parse = |value: &serde_json::Value| SecretsRequest::parse(value.to_string().as_bytes());
    assert!(parse(&good).is_ok());
    for (field, value) in [
        ("document", json!("AQI")),
        ("document", json!("A".repeat(MAX_DOCUMENT / 3 * 4 + 4))),
        ("document", json!([1, 2])),
        ("application", json!("")),
        ("application", json!("Web")),
        ("application", json!("-web")),
        ("application", json!("a".repeat(254))),
        ("generation", json!(-1)),
        ("generation", json!(1.5)),
        ("generation", json!("1")),
        ("secrets", json!([])),
        ("secrets", json!(["a", "b", "a"])),
        ("secrets", json!(["../a"])),
        ("secrets", json!([".a"])),
        ("secrets", json!([""])),
        ("secrets", json!(["a/b"])),
        (
            "secrets",
            json!((0..65).map(|n| n.to_string()).collect::<Vec<_>>()),
        ),
        ("more", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(parse(&bad).is_err(), "{bad}");
    }
    for field in ["document", "application", "generation", "secrets"] {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(field);
        assert!(parse(&bad).is_err(), "{bad}");
    }
    for text in [&b"{} {}"[..], b"", b"[]", b"{\"a\":1}", b"\xff", b"null"] {
        assert!(NonceRequest::parse(text).is_err(), "{text:?}");
    }
    assert!(SecretsRequest::parse(br#"["AQID","web",1,["a"]]"#).is_err());
    let good = String::from_utf8(SecretsAnswer::Sealed(sealed(vec![0])).to_json()).expect("text");
    assert!(SecretsAnswer::parse(good.as_bytes()).is_ok());
    for text in [
        r#"{"sealed":"AA=="}"#,
        r#"{"sealed":{"value":"AA=="}}"#,
        r#"{"sealed":{"value":"AA==","signature":"AA=="}}"#,
        &good.replace("}}", r#","more":1}}"#),
        &good.replace("}}", r#"},"refused":{"code":"Rollback","message":""}}"#),
        &good.replace(r#""value""#, r#""value":"AA==","value""#),
        r#"{"refused":{"code":"Whatever","message":""}}"#,
        r#"{"refused":{"code":"Rollback"}}"#,
        r#""sealed""#,
    ] {
        assert!(SecretsAnswer::parse(text.as_bytes()).is_err(), "{text}");
    }
    let twice = br#"{"document":"","application":"a","generation":1,"generation":2,"secrets":["a"]}"#;
    assert!(SecretsRequest::parse(twice).is_err());
}

#[test]
fn bodies_are_bounded_before_they_are_read() {
    let long = vec![b' '; MAX_ANSWER + 1];
    assert_eq!(
        SecretsAnswer::parse(&long),
        Err(MessageError::TooLong(MAX_ANSWER))
    );
    assert_eq!(
        SecretsRequest::parse(&long[..=MAX_REQUEST]),
        Err(MessageError::TooLong(MAX_REQUEST))
    );
    // The largest of each fits.
    let largest = SecretsAnswer::Sealed(sealed(vec![0; seal::MAX_PLAINTEXT + seal::OVERHEAD])).to_json();
    assert!(SecretsAnswer::parse(&largest).is_ok());
    let list: Vec<_> = (10..74)
        .map(|n| name(&format!("{n}{}", "a".repeat(MAX_NAME - 2))))
        .collect();
    let request = SecretsRequest {
        document: vec![0; MAX_DOCUMENT],
        application: application(&"a".repeat(MAX_NAME)),
        generation: u64::MAX,
        secrets: Names::try_from(list).expect("names"),
    };
    assert_eq!(SecretsRequest::parse(&request.to_json()), Ok(request));
}

#[test]
fn what_a_host_sends_is_safe_to_log() {
    let body = b"{\"\\u001b[2J\\nforged line\":1}";
    let error = NonceRequest::parse(body).expect_err("a refusal").to_string();
    assert!(error.contains("forged line"), "{error}");
    assert!(error.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{error}");
    assert_eq!(SafeText::new(&"a".repeat(1000)).as_str().len(), MAX_TEXT);
    for code in RefusalCode::ALL {
        assert!((400..600).contains(&code.status()), "{code}");
    }
}
