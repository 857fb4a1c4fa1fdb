//! What is refused, with which code, and what client and log get to know.

use super::*;
use crate::release::{Binding, NONCE_BYTES, Nonce};

#[test]
fn another_image_is_refused_and_the_register_is_named() {
    let scene = Scene::new();
    let other = "c0".repeat(48);
    let desk = scene.broker_with(|rule| rule["pcrs"]["0"] = json!(other));
    let refusal = scene.get(&desk, 7, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::WrongMeasurement);
    let expected = format!("PCR0 is {}, expected {other}", "a0".repeat(48));
    assert!(refusal.message.as_str().starts_with(&expected), "{refusal}");
    let line = scene.audit.last();
    assert_eq!(line["decision"], "refused");
    assert_eq!(
        line["differs"],
        json!({"pcr": 0, "found": "a0".repeat(48), "expected": [other]})
    );
    // Who it was is known all the same.
    assert_eq!(line["moduleId"], json!(scene.module.module_id()));
    drop(desk);
    let desk = scene.broker_with(|rule| rule["pcrs"]["17"] = json!("17".repeat(48)));
    let refusal = scene.get(&desk, 7, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::WrongMeasurement);
    assert!(
        refusal
            .message
            .as_str()
            .starts_with("PCR17 is not in the document")
    );
    drop(desk);
    // One of several values will do.
    let desk = scene.broker_with(|rule| rule["pcrs"]["0"] = json!([other, "a0".repeat(48)]));
    assert!(scene.get(&desk, 7, &["tls.key"]).is_ok());
}

#[test]
fn debug_mode_is_refused_unless_the_rule_says_otherwise() {
    let scene = Scene::on(&Platform::debug());
    let desk = scene.broker();
    let refusal = scene.get(&desk, 7, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::DebugMode);
    assert_eq!(scene.audit.last()["debug"], true);
    drop(desk);
    let desk = scene.broker_with(|rule| rule["allowDebug"] = json!(true));
    assert!(scene.get(&desk, 7, &["tls.key"]).is_ok());
    drop(desk);
    // Who may say what runs counts even then.
    let desk = scene.broker_with(|rule| {
        rule["allowDebug"] = json!(true);
        rule["pcrs"]["16"] = json!("c0".repeat(48));
    });
    let refusal = scene.get(&desk, 7, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::WrongMeasurement);
}

#[test]
fn an_application_gets_what_its_rule_names_and_nothing_else() {
    let scene = Scene::new();
    let desk = scene.broker_with(|rule| rule["application"] = json!("shop"));
    let refusal = scene.get(&desk, 7, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::UnknownApplication);
    drop(desk);
    let desk = scene.broker();
    let mut texts = Vec::new();
    for name in ["other", "missing", "nowhere"] {
        let refusal = scene.get(&desk, 7, &["tls.key", name]).expect_err("a refusal");
        assert_eq!(refusal.code, RefusalCode::UnknownSecret);
        texts.push(refusal.message.as_str().replace(name, "X"));
    }
    // Whether a secret of somebody else exists is nobody's business.
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[test]
fn a_nonce_works_once_for_a_minute_and_only_if_it_is_ours() {
    let scene = Scene::new();
    let desk = scene.broker();
    let (pending, request) = scene.ask(&desk, 7, &["tls.key"]);
    let answer = desk.answer(&request, Moment::now());
    assert!(desk.open(pending, &answer).is_ok());
    // The same request again.
    let refusal = desk.refusal(&request, Moment::now());
    assert_eq!(refusal.code, RefusalCode::StaleNonce);
    assert!(refusal.code.is_temporary());
    // The same nonce in a new document.
    let used = desk.begin(7, &["tls.key"]);
    let first = used.request(&scene.nsm).expect("a document");
    let second = used.request(&scene.nsm).expect("a document");
    assert!(matches!(
        desk.answer(&first, Moment::now()),
        SecretsAnswer::Sealed(_)
    ));
    assert_eq!(desk.refusal(&second, Moment::now()).code, RefusalCode::StaleNonce);
    let (_, late) = scene.ask(&desk, 7, &["tls.key"]);
    assert_eq!(desk.refusal(&late, later(60)).code, RefusalCode::StaleNonce);
    let web = Application::try_from("web".to_owned()).expect("a name");
    let own = Nonce::from([7; NONCE_BYTES]);
    let pending = Pending::begin(own, BUNDLE, 7, web, names(&["tls.key"])).expect("a key");
    let request = pending.request(&scene.nsm).expect("a document");
    assert_eq!(
        desk.refusal(&request, Moment::now()).code,
        RefusalCode::StaleNonce
    );
    // After a restart none is outstanding.
    let (_, request) = scene.ask(&desk, 7, &["tls.key"]);
    drop(desk);
    let desk = scene.broker();
    assert_eq!(
        desk.refusal(&request, Moment::now()).code,
        RefusalCode::StaleNonce
    );
}

#[test]
fn an_enclave_that_was_refused_has_used_its_nonce() {
    let scene = Scene::new();
    let desk = scene.broker_with(|rule| rule["pcrs"]["0"] = json!("c0".repeat(48)));
    let (_, request) = scene.ask(&desk, 7, &["tls.key"]);
    let code = |request| desk.refusal(request, Moment::now()).code;
    assert_eq!(code(&request), RefusalCode::WrongMeasurement);
    assert_eq!(code(&request), RefusalCode::StaleNonce);
}

#[test]
fn only_roots_that_were_given_count() {
    let scene = Scene::new();
    let desk = scene.broker_with(|rule| rule["roots"] = json!(["aws"]));
    let refusal = scene.get(&desk, 7, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::InvalidDocument);
    // Nothing of a document that is not genuine is reported as found.
    assert_eq!(scene.audit.last().get("moduleId"), None);
}

#[test]
fn documents_that_were_changed_or_are_old_are_refused() {
    let scene = Scene::new();
    let desk = scene.broker();
    let (_, mut request) = scene.ask(&desk, 7, &["tls.key"]);
    *request.document.last_mut().expect("a byte") ^= 1;
    let refusal = desk.refusal(&request, Moment::now());
    assert_eq!(refusal.code, RefusalCode::InvalidDocument);
    assert!(refusal.message.as_str().contains("signature"), "{refusal}");
    // A forged document does not use up the nonce of the real one.
    *request.document.last_mut().expect("a byte") ^= 1;
    assert!(matches!(
        desk.answer(&request, Moment::now()),
        SecretsAnswer::Sealed(_)
    ));
    let (_, request) = scene.ask(&desk, 7, &["tls.key"]);
    let wrong_clock = Moment {
        clock: later(400).clock,
        ..Moment::now()
    };
    let refusal = desk.refusal(&request, wrong_clock);
    assert_eq!(refusal.code, RefusalCode::InvalidDocument);
    assert!(refusal.message.as_str().contains("was made at"), "{refusal}");
}

#[test]
fn a_request_that_a_host_changed_or_made_of_something_else_is_refused() {
    let scene = Scene::new();
    let desk = scene.broker();
    let changed = |change: fn(&mut SecretsRequest)| {
        let (_, mut request) = scene.ask(&desk, 7, &["tls.key"]);
        change(&mut request);
        let refusal = desk.refusal(&request, Moment::now());
        assert_eq!(refusal.code, RefusalCode::WrongBinding, "{refusal}");
    };
    changed(|request| request.generation = 8);
    changed(|request| request.secrets = names(&["password"]));
    changed(|request| request.secrets = names(&["tls.key", "password"]));
    // A document that an application asked for, with data of its own choice.
    let pending = desk.begin(7, &["tls.key"]);
    let forged = Binding {
        generation: 8,
        ..pending.binding().clone()
    };
    let key = pending.public_key();
    for user_data in [
        &[b"cloister.dev/report/v1", &forged.encode()[22..]].concat()[..],
        b"",
    ] {
        let nonce = desk.begin(7, &["tls.key"]);
        let nonce = nonce.request(&scene.nsm).expect("a document").document;
        let nonce = crate::document::unverified_nonce(&nonce)
            .expect("read")
            .expect("one");
        let document = scene.nsm.attest(Some(user_data), Some(&nonce), Some(key));
        let request = pending.request_with(document.expect("a document"));
        let refusal = desk.refusal(&request, Moment::now());
        assert_eq!(refusal.code, RefusalCode::WrongBinding, "{refusal}");
    }
    let mut policy = scene.policy();
    let mut shop = policy["rules"][0].clone();
    shop["application"] = json!("shop");
    policy["rules"].as_array_mut().expect("a list").push(shop);
    drop(desk);
    let desk = scene.broker_of(&policy, AuditLog::new(scene.audit.clone()));
    let (_, mut request) = scene.ask(&desk, 7, &["tls.key"]);
    request.application = Application::try_from("shop".to_owned()).expect("a name");
    let refusal = desk.refusal(&request, Moment::now());
    assert_eq!(refusal.code, RefusalCode::WrongBinding, "{refusal}");
}

#[test]
fn garbage_is_refused_and_cannot_forge_a_line_of_the_log() {
    let scene = Scene::new();
    let desk = scene.broker();
    let (_, request) = scene.ask(&desk, 7, &["tls.key"]);
    let good = String::from_utf8(request.to_json()).expect("text");
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "\u{0}",
        &good[..good.len() - 1],
        &good.replace("\"generation\":7", "\"generation\":-7"),
        &good.replace("\"generation\":7", "\"generation\":7,\"generation\":7"),
        "{\"\\n{\\\"decision\\\":\\\"released\\\"}\\u001b[2J\": 1}",
    ] {
        let SecretsAnswer::Refused(refusal) = desk.answer_bytes(body.as_bytes(), Moment::now()) else {
            panic!("{body} was answered");
        };
        assert_eq!(refusal.code, RefusalCode::Malformed, "{body}");
    }
    for document in [&b""[..], b"\x84", &[0; 5000]] {
        let request = SecretsRequest {
            document: document.to_vec(),
            ..request.clone()
        };
        let refusal = desk.refusal(&request, Moment::now());
        assert_eq!(refusal.code, RefusalCode::InvalidDocument);
    }
    for line in scene.audit.text().lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["decision"], "refused");
    }
    assert!(!scene.audit.text().contains('\u{1b}'));
    let NonceAnswer::Refused(refusal) = desk.broker.nonce(b"{\"a\": 1}", Moment::now()) else {
        panic!("a nonce");
    };
    assert_eq!(refusal.code, RefusalCode::Malformed);
}
