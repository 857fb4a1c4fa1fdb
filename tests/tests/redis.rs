//! A real program with a real client: the Redis of the Debian archive.

use std::process::Command;

use nix::sys::signal::Signal;
use tests::{Up, product, wait_for};

#[test]
fn redis_answers_its_own_client_through_the_ingress() {
    let Some(product) = product() else { return };
    let Some(images) = std::env::var_os("CLOISTER_REDIS") else {
        println!("SKIPPED: there is no Redis image: it needs mmdebstrap and the Debian archive");
        return;
    };
    if Command::new("redis-cli").arg("--version").output().is_err() {
        println!("SKIPPED: there is no redis-cli: install the package redis-tools");
        return;
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/redis/pod.yaml");
    let manifest = std::fs::read_to_string(example).expect("the example");
    let images = images.to_str().expect("UTF-8").to_owned();
    let mut up = Up::start_text(&product, &manifest, &["--images", &images, "--publish", "0:6379"]);
    up.wait_running("redis");
    let port = up.port(6379).to_string();
    let redis = |arguments: &[&str]| {
        let output = Command::new("redis-cli")
            .args(["-p", &port])
            .args(arguments)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    wait_for("PONG", || (redis(&["ping"]) == "PONG").then_some(()));
    assert_eq!(redis(&["set", "key", "value"]), "OK");
    assert_eq!(redis(&["get", "key"]), "value");
    let big = "x".repeat(100_000);
    assert_eq!(redis(&["set", "big", &big]), "OK");
    assert_eq!(redis(&["get", "big"]), big);
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
