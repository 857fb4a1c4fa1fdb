//! What is released, what is written down about it, and what is remembered.

use super::*;

#[test]
fn a_good_enclave_gets_its_secrets_and_the_log_says_so_without_them() {
    let scene = Scene::new();
    let desk = scene.broker();
    let secrets = scene.get(&desk, 7, &["password", "tls.key"]).expect("secrets");
    assert_eq!(
        secrets,
        [format!("{MARKER}\0\n").into_bytes(), MARKER.as_bytes().to_vec()]
    );
    let line = scene.audit.last();
    for (field, expected) in [
        ("/event", json!("secrets")),
        ("/decision", json!("released")),
        ("/application", json!("web")),
        ("/secrets", json!(["password", "tls.key"])),
        ("/generation", json!(7)),
        ("/bundle", json!("b0".repeat(48))),
        ("/moduleId", json!(scene.module.module_id())),
        ("/debug", json!(false)),
        ("/peer", json!("127.0.0.1:7")),
        ("/request", json!("0123")),
        ("/pcrs/0", json!("a0".repeat(48))),
        ("/pcrs/16", json!(Hex(&scene.authority).to_string())),
    ] {
        assert_eq!(line.pointer(field), Some(&expected), "{field} of {line}");
    }
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    for absent in ["code", "reason", "differs"] {
        assert_eq!(line.get(absent), None);
    }
    let state = content(&scene.at("state"));
    assert!(!String::from_utf8_lossy(&state).contains(MARKER));
    assert!(!scene.audit.text().contains(MARKER));
    assert!(!format!("{:?}", desk.broker).contains(MARKER));
    let metrics = desk.broker.metrics().text(0, 1).expect("metrics");
    assert!(
        metrics.contains("cloister_broker_releases_total 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("cloister_broker_refusals_total{code=\"Rollback\"} 0\n"));
}

#[test]
fn secrets_are_those_of_now() {
    let scene = Scene::new();
    let desk = scene.broker();
    let get = || scene.get(&desk, 7, &["tls.key"]);
    assert_eq!(get(), Ok(vec![MARKER.as_bytes().to_vec()]));
    scene.put("new", "rotated");
    std::fs::rename(scene.at("secrets/new"), scene.at("secrets/tls.key")).expect("renamed");
    assert_eq!(get(), Ok(vec![b"rotated".to_vec()]));
    std::fs::remove_file(scene.at("secrets/tls.key")).expect("removed");
    assert_eq!(get().expect_err("a refusal").code, RefusalCode::UnknownSecret);
    // Out of the directory: the client does not learn where, the log does.
    std::os::unix::fs::symlink("/etc/hostname", scene.at("secrets/tls.key")).expect("linked");
    let refusal = get().expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::Unavailable);
    assert!(!refusal.message.as_str().contains("link"), "{refusal}");
    let reason = scene.audit.last()["reason"].to_string();
    assert!(reason.contains("leads out of the directory"), "{reason}");
}

#[test]
fn a_generation_is_remembered_across_restarts() {
    let scene = Scene::new();
    let desk = scene.broker();
    // Without a generation there is no order yet.
    assert!(scene.get(&desk, 0, &["tls.key"]).is_ok());
    assert!(scene.get(&desk, 7, &["tls.key"]).is_ok());
    drop(desk);
    let desk = scene.broker();
    for (generation, expected) in [
        (6, "generation 6: generation 7 was seen already"),
        (
            0,
            "the bundle has no generation, and generation 7 was seen already",
        ),
    ] {
        let refusal = scene.get(&desk, generation, &["tls.key"]).expect_err("a refusal");
        assert_eq!(refusal.code, RefusalCode::Rollback);
        assert!(refusal.message.as_str().contains(expected), "{refusal}");
    }
    assert_eq!(scene.audit.last()["code"], "Rollback");
    let pending = desk.begin_bundle([0xb1; 48], 7, &["tls.key"]);
    let request = pending.request(&scene.nsm).expect("a document");
    let refusal = desk.refusal(&request, Moment::now());
    assert_eq!(refusal.code, RefusalCode::Rollback);
    assert!(refusal.message.as_str().contains("another bundle"), "{refusal}");
    assert!(scene.get(&desk, 7, &["tls.key"]).is_ok());
    assert!(scene.get(&desk, 8, &["tls.key"]).is_ok());
    assert!(scene.get(&desk, 7, &["tls.key"]).is_err());
}

#[test]
fn a_policy_may_demand_a_generation_at_once() {
    let scene = Scene::new();
    let desk = scene.broker_with(|rule| rule["minimumGeneration"] = json!(8));
    for generation in [0, 7] {
        let refusal = scene.get(&desk, generation, &["tls.key"]).expect_err("a refusal");
        assert_eq!(refusal.code, RefusalCode::Rollback);
        assert!(
            refusal.message.as_str().contains("demands 8 at least"),
            "{refusal}"
        );
    }
    assert!(scene.get(&desk, 8, &["tls.key"]).is_ok());
}

#[test]
fn a_refused_enclave_does_not_raise_the_generation() {
    let scene = Scene::new();
    let desk = scene.broker();
    for list in [&["other"][..], &["missing"]] {
        assert!(scene.get(&desk, 100, list).is_err());
    }
    assert!(scene.get(&desk, 7, &["tls.key"]).is_ok());
}

#[test]
fn what_cannot_be_written_down_is_not_released() {
    let scene = Scene::new();
    let desk = scene.broker_of(&scene.policy(), AuditLog::new(Full));
    let refusal = scene.get(&desk, 7, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::Unavailable);
    drop(desk);
    let desk = scene.broker();
    std::fs::create_dir(scene.at("state/generations.json.next")).expect("made");
    let refusal = scene.get(&desk, 8, &["tls.key"]).expect_err("a refusal");
    assert_eq!(refusal.code, RefusalCode::Unavailable);
    assert!(!refusal.message.as_str().contains("generations.json"));
    assert!(
        scene.audit.last()["reason"]
            .to_string()
            .contains("generations.json")
    );
}
