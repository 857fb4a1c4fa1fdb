//! Start, restart and end of containers, seen through `host-proxy` only.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Up, guest, pod, product, wait_for};

#[test]
fn a_pod_that_succeeds_ends_with_0() {
    let Some(product) = product() else { return };
    let containers = [guest("a", &["say", "hello"]), guest("b", &["exit", "0"])];
    let mut up = Up::start(
        &product,
        &[pod(json!({"restartPolicy": "Never", "containers": containers}))],
        &[],
    );
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(up.stdout().contains("hello"), "{}", up.stdout());
}

#[test]
fn a_pod_that_fails_ends_with_the_code_of_the_first_container_that_failed() {
    let Some(product) = product() else { return };
    let containers = [guest("a", &["exit", "0"]), guest("b", &["exit", "42"])];
    let mut up = Up::start(
        &product,
        &[pod(json!({"restartPolicy": "Never", "containers": containers}))],
        &[],
    );
    assert_eq!(up.exit_code(), 42, "{}", up.stderr());
}

#[test]
fn ctrl_c_stops_within_the_grace_period_and_ends_with_0() {
    let Some(product) = product() else { return };
    // As PID 1 of its namespace the guest ignores SIGTERM: it lives to the end of its grace.
    let spec = json!({"containers": [guest("app", &["ignore-term"])], "terminationGracePeriodSeconds": 2});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("ready");
    up.signal(Signal::SIGINT);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(up.stderr().contains("exit code 137"), "{}", up.stderr());
    wait_for("the enclave's end", || {
        up.state().join("exit").exists().then_some(())
    });
}

#[test]
fn stop_from_another_terminal_can_shorten_the_grace() {
    let Some(product) = product() else { return };
    let spec = json!({"containers": [guest("app", &["ignore-term"])], "terminationGracePeriodSeconds": 3600});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("ready");
    up.signal(Signal::SIGTERM);
    let output = up.client(&["stop", "--grace", "0"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
