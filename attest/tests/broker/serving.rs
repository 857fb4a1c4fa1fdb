//! `serve`: a release over the network, what the log has of it, and an orderly end.

use std::fs;
use std::io::BufRead as _;

use attest::release::ReleaseError;
use serde_json::{Value, json};

use crate::scene::{Failure, MARKER, Scene, health};

#[test]
fn secrets_are_released_logged_and_counted_and_the_end_is_orderly() {
    let scene = Scene::new();
    let mut running = scene.start();
    assert_eq!(running.started["event"], "started");
    assert_eq!(running.started["rules"], 1);
    assert_eq!(running.started["generations"], 0);
    assert_eq!(
        scene.get(running.address, 7).expect("a secret"),
        MARKER.as_bytes()
    );
    let mut line = String::new();
    running.log.read_line(&mut line).expect("a line");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["decision"], "released");
    assert_eq!(line["secrets"], json!(["password"]));
    // Rotation.
    scene.write("secrets/next", "rotated");
    fs::rename(scene.at("secrets/next"), scene.at("secrets/password")).expect("renamed");
    assert_eq!(scene.get(running.address, 7).expect("a secret"), b"rotated");
    let refused = scene.get(running.address, 6).expect_err("refused");
    let Failure::Release(ReleaseError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        refusal.message.as_str().contains("generation 7 was seen"),
        "{refusal}"
    );
    assert!(health(running.health, "/readyz").contains("ok"));
    let metrics = health(running.health, "/metrics");
    for expected in [
        "cloister_broker_releases_total 2\n",
        "cloister_broker_refusals_total{code=\"Rollback\"} 1\n",
        "cloister_broker_generations 1\n",
        "cloister_broker_nonces_outstanding 0\n",
        "cloister_broker_verification_seconds_count 3\n",
    ] {
        assert!(metrics.contains(expected), "{expected} is not in\n{metrics}");
    }
    let (code, rest) = running.terminate();
    assert_eq!(code, Some(0));
    let events: Vec<Value> = rest
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let last: Vec<_> = events.iter().rev().take(2).map(|line| &line["event"]).collect();
    assert_eq!(last, ["stopped", "stopping"]);
    assert!(!rest.contains(MARKER) && !rest.contains("rotated"));
}
