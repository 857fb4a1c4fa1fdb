//! F5, F6: containers that do not end, and containers that do nothing at all.

use manifest_sync::status::ContainerState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::{Up, guest, pod, product};

#[test]
fn a_container_that_was_stopped_by_a_signal_fails_its_probe_and_is_replaced() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["http", "8080"]);
    container["livenessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1,
                                        "timeoutSeconds": 1, "failureThreshold": 1});
    let spec =
        json!({"containers": [container, guest("other", &["sleep"])], "terminationGracePeriodSeconds": 1});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("asked:");
    // SIGTERM does not reach a stopped process, SIGKILL does (signal(7)).
    kill(Pid::from_raw(up.guest_pid("http")), Signal::SIGSTOP).expect("alive");
    let status = up.wait_container("app", "running again", |status| {
        status.restart_count == 1 && matches!(status.state, ContainerState::Running { .. })
    });
    assert!(
        matches!(&status.last_state, Some(ContainerState::Terminated { exit_code: 137, reason, .. }) if reason == "Error"),
        "{status:?}"
    );
    assert_eq!(up.wait_running("other").restart_count, 0);
}

#[test]
fn a_stopped_and_a_deaf_container_end_with_their_pod() {
    let Some(product) = product() else { return };
    let containers = [guest("stopped", &["sleep"]), guest("deaf", &["ignore-term"])];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 1});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_running("deaf");
    kill(Pid::from_raw(up.guest_pid("sleep")), Signal::SIGSTOP).expect("alive");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
