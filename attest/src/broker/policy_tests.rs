//! What a policy file may say, and what is said about its mistakes.

use serde_json::{Value, json};

use super::*;
use crate::document::issue::Authority;
use crate::{UnixTime, base64};

fn good() -> Value {
    json!({
        "apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy",
        "rules": [{
            "application": "web", "secrets": ["tls.key", "password"],
            "pcrs": {"0": "a0".repeat(48), "16": ["16".repeat(48), "AB".repeat(48)]},
        }],
    })
}

fn mistakes(policy: &Value) -> Vec<String> {
    match BrokerPolicy::parse(policy.to_string().as_bytes(), &Root::aws()) {
        Ok(_) => Vec::new(),
        Err(InvalidPolicy(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_is_left_out_is_the_strict_choice() {
    let policy = BrokerPolicy::parse(good().to_string().as_bytes(), &Root::aws()).expect("a policy");
    let web = Application::try_from("web".to_owned()).expect("a name");
    let rule = policy.rule(&web).expect("a rule");
    assert_eq!(rule.pcrs[&16], [[0x16; 48], [0xab; 48]]);
    assert_eq!((rule.debug, rule.minimum_generation), (DebugMode::Refuse, None));
    assert_eq!(rule.roots, Root::aws());
    assert_eq!(policy.rules().count(), 1);
}

#[test]
fn roots_are_given_one_by_one() {
    let authority = Authority::new(UnixTime::from_seconds(1_780_315_200)).expect("a root");
    let root = base64::encode(authority.root());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{root}\n-----END CERTIFICATE-----\n");
    let mut policy = good();
    policy["rules"][0]["roots"] = json!([pem]);
    let read = |policy: &Value| BrokerPolicy::parse(policy.to_string().as_bytes(), &Root::aws());
    let first = |policy: BrokerPolicy| policy.rules().map(|(_, rule)| rule.roots.clone()).next();
    let own = Root::from_der(authority.root()).expect("a root");
    assert_eq!(read(&policy).map(first), Ok(Some(vec![own.clone()])));
    policy["rules"][0]["roots"] = json!(["aws", pem]);
    let both = [Root::aws(), vec![own]].concat();
    assert_eq!(read(&policy).map(first), Ok(Some(both)));
}

#[test]
fn mistakes_name_their_place_and_what_was_meant() {
    let good_value = "a0".repeat(48);
    for (path, value, expected) in [
        ("/kind", json!("TrustPolicy"), "kind: expected `BrokerPolicy`"),
        ("/apiVersion", json!(1), "apiVersion: expected a text"),
        ("/rules", json!([]), "rules: expected a list of 1 to 1024 entries"),
        (
            "/rules/0/application",
            json!("Web"),
            "rules[0].application: not the name of an application",
        ),
        ("/rules/0/secrets", json!([]), "rules[0].secrets: expected a list"),
        (
            "/rules/0/secrets/1",
            json!("../x"),
            "rules[0].secrets[1]: not the name of a secret",
        ),
        (
            "/rules/0/secrets/1",
            json!("tls.key"),
            "rules[0].secrets[1]: is there twice",
        ),
        (
            "/rules/0/secrets",
            json!("password"),
            "rules[0].secrets: expected a list",
        ),
        (
            "/rules/0/pcrs/0",
            json!("a0"),
            "rules[0].pcrs.0: expected 96 hexadecimal digits",
        ),
        (
            "/rules/0/pcrs/0",
            json!("00".repeat(48)),
            "rules[0].pcrs.0: is zero",
        ),
        (
            "/rules/0/pcrs/16/1",
            json!("00".repeat(48)),
            "rules[0].pcrs.16[1]: is zero",
        ),
        (
            "/rules/0/pcrs/16",
            json!([]),
            "rules[0].pcrs.16: expected a list of 1 to 16 entries",
        ),
        ("/rules/0/pcrs", json!([]), "rules[0].pcrs: expected an object"),
        ("/rules/0/pcrs", json!({}), "rules[0].pcrs: which image?"),
        (
            "/rules/0/pcrs",
            json!({"0": good_value}),
            "rules[0].pcrs: who may say what runs in it?",
        ),
        (
            "/rules/0/pcrs",
            json!({"16": good_value}),
            "rules[0].pcrs: which image?",
        ),
        (
            "/rules/0/pcrs",
            json!({"00": good_value, "16": good_value}),
            "rules[0].pcrs.00: not a PCR",
        ),
        (
            "/rules/0/pcrs",
            json!({"PCR0": good_value, "16": good_value}),
            "rules[0].pcrs.PCR0: not a PCR",
        ),
        ("/rules/0", json!("x"), "rules[0]: expected an object"),
    ] {
        let mut policy = good();
        *policy.pointer_mut(path).expect("a field") = value;
        let found = mistakes(&policy);
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{path}: {found:?}"
        );
    }
    for (field, value, expected) in [
        (
            "minimumGenration",
            json!(7),
            "rules[0].minimumGenration: unknown field; did you mean `minimumGeneration`?",
        ),
        (
            "minimumGeneration",
            json!(0),
            "rules[0].minimumGeneration: expected a whole number above 0",
        ),
        (
            "minimumGeneration",
            json!("7"),
            "rules[0].minimumGeneration: expected a whole number",
        ),
        (
            "allowDebug",
            json!("no"),
            "rules[0].allowDebug: expected true or false",
        ),
        ("allowDebug", json!(null), "rules[0].allowDebug: is null"),
        ("roots", json!([]), "rules[0].roots: expected a list of 1 to 8"),
        (
            "roots",
            json!(["AWS"]),
            "rules[0].roots[0]: neither \"aws\" nor a root in PEM",
        ),
        (
            "secret",
            json!(["x"]),
            "rules[0].secret: unknown field; did you mean `secrets`?",
        ),
    ] {
        let mut policy = good();
        policy["rules"][0][field] = value;
        let found = mistakes(&policy);
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{field}: {found:?}"
        );
    }
}

#[test]
fn every_mistake_is_reported_at_once_and_nothing_is_released_by_an_empty_policy() {
    assert_eq!(
        mistakes(&json!({})),
        [
            "apiVersion: is required",
            "kind: is required",
            "rules: is required"
        ]
    );
    let mut policy = good();
    policy["rules"][0] = json!({});
    assert_eq!(mistakes(&policy).len(), 3);
    let mut twice = good();
    let rule = twice["rules"][0].clone();
    twice["rules"].as_array_mut().expect("a list").push(rule);
    assert_eq!(
        mistakes(&twice),
        ["rules[1]: there is a rule for `web` already: make one of both"]
    );
    for text in ["", "[]", "null", "{\"kind\": 1, \"kind\": 2}"] {
        assert!(BrokerPolicy::parse(text.as_bytes(), &[]).is_err(), "{text}");
    }
    assert!(BrokerPolicy::parse(&vec![b' '; MAX_POLICY + 1], &[]).is_err());
}
