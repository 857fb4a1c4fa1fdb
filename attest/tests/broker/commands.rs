//! Commands, and what is said when something is wrong with their input.

use serde_json::json;

use crate::scene::{MARKER, PUBLIC, Scene, ends};

#[test]
fn the_public_key_is_the_one_that_openssl_would_print() {
    let scene = Scene::new();
    assert_eq!(ends(&scene.run(&["public-key", "--key", "key.pem"]), 0), PUBLIC);
    let refused = ends(&scene.run(&["public-key", "--key", "policy.json"]), 66);
    assert!(refused.contains("openssl genpkey"), "{refused}");
    ends(&scene.run(&["public-key", "--key", "nowhere.pem"]), 66);
}

#[test]
fn a_policy_is_checked_and_explained() {
    let scene = Scene::new();
    let check = |more: &[&str]| scene.run(&[&["check", "--policy", "policy.json"], more].concat());
    let text = ends(&check(&["--secrets", "secrets"]), 0);
    for part in [
        "web\n",
        "gets         password",
        &"a0".repeat(48),
        "who may say what runs",
        "any, and never back",
        "(AWS)",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("WARNING") && !text.contains(MARKER), "{text}");
    let text = ends(&check(&["--root", "root.pem"]), 0);
    assert!(text.contains("not AWS"), "{text}");
    let mut policy = scene.policy();
    policy["rules"][0]["allowDebug"] = json!(true);
    policy["rules"][0]["minimumGeneration"] = json!(7);
    policy["rules"][0]["secrets"] = json!(["password", "missing"]);
    scene.write("policy.json", &policy.to_string());
    let text = ends(&check(&[]), 0);
    assert!(
        text.contains("WARNING      debug mode") && text.contains("7 at least"),
        "{text}"
    );
    let text = ends(&check(&["--secrets", "secrets"]), 66);
    assert!(text.contains("there is no secret missing"), "{text}");
}

#[test]
fn a_typing_error_in_a_policy_stops_both_commands() {
    let scene = Scene::new();
    let mut policy = scene.policy();
    policy["rules"][0]["minimumGenration"] = json!(7);
    policy["rules"][0]["pcrs"]["0"] = json!("a0");
    scene.write("policy.json", &policy.to_string());
    for output in [
        scene.run(&["check", "--policy", "policy.json"]),
        scene.serve().output().expect("it runs"),
    ] {
        let text = ends(&output, 65);
        for part in [
            "policy.json: rules[0].minimumGenration: unknown field; did you mean `minimumGeneration`?",
            "policy.json: rules[0].pcrs.0: expected 96 hexadecimal digits",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn flags_are_checked_all_at_once() {
    let scene = Scene::new();
    let text = ends(
        &scene.run(&["serve", "--polcy", "x", "--rate", "0", "--listen", "x"]),
        64,
    );
    for part in [
        "`--polcy` is not an option of `serve`; did you mean `--policy`?",
        "--rate: `0` is not",
        "--listen: `x` is not IP:PORT",
        "add `--key`",
        "add `--secrets`",
        "add `--state`",
        "cloister-broker help serve",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let text = ends(&scene.run(&["serv"]), 64);
    assert!(text.contains("did you mean `serve`?"), "{text}");
    ends(&scene.run(&[]), 64);
    ends(&scene.run(&["check", "--policy", "a", "--policy", "b"]), 64);
    for arguments in [&["help"][..], &["--help"], &["help", "serve"], &["serve", "-h"]] {
        assert!(ends(&scene.run(arguments), 0).contains("Usage:"));
    }
    assert!(ends(&scene.run(&["version"]), 0).starts_with("cloister-broker "));
}

#[test]
fn what_serve_cannot_do_without_has_its_exit_code() {
    let scene = Scene::new();
    let running = scene.start();
    let serve = || scene.serve().output().expect("it runs");
    let text = ends(&serve(), 73);
    assert!(text.contains("another broker uses this directory"), "{text}");
    std::fs::create_dir(scene.at("other")).expect("made");
    let taken = running.address.to_string();
    let output = scene
        .command()
        .args(["serve", "--policy", "policy.json", "--secrets", "secrets"])
        .args(["--state", "other", "--key", "key.pem", "--listen", &taken])
        .output();
    let text = ends(&output.expect("it runs"), 73);
    assert!(text.contains("cannot listen on"), "{text}");
    running.kill();
    scene.write("state/generations.json", "{");
    let text = ends(&serve(), 65);
    assert!(text.contains("restore it from a backup"), "{text}");
    std::fs::remove_dir_all(scene.at("state")).expect("removed");
    ends(&serve(), 71);
    std::fs::remove_dir_all(scene.at("secrets")).expect("removed");
    ends(&serve(), 66);
}
