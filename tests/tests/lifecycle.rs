//! Start, restart and end of containers, seen from outside.

use manifest_sync::status::{ContainerState, ContainerStatus, Phase};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::{Up, exchange, guest, pod, product, stat, wait_for};

fn running_again(status: &ContainerStatus) -> bool {
    status.restart_count == 1 && matches!(status.state, ContainerState::Running { .. })
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("alive");
}

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
fn a_container_that_fails_once_is_restarted_with_its_volume_intact() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["fail-once", "/data/marker"]);
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let volumes = [json!({"name": "data", "emptyDir": {}})];
    let spec = json!({"restartPolicy": "OnFailure", "containers": [container], "volumes": volumes});
    let up = Up::start(&product, &[pod(spec)], &[]);
    let status = up.wait_container("app", "running again", running_again);
    let Some(ContainerState::Terminated {
        exit_code, reason, ..
    }) = status.last_state
    else {
        panic!("no last state in {status:?}");
    };
    assert_eq!((exit_code, reason.as_str()), (1, "Error"));
}

#[test]
fn kill_9_shows_a_restart_and_then_a_crash_loop() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    kill_9(up.guest_pid("sleep"));
    let status = up.wait_container("app", "running again", running_again);
    assert!(
        matches!(
            status.last_state,
            Some(ContainerState::Terminated { exit_code: 137, .. })
        ),
        "{status:?}"
    );
    kill_9(up.guest_pid("sleep"));
    let message = up.wait_waiting("app", "CrashLoopBackOff");
    assert!(
        message.starts_with("back-off 10s restarting failed container=app"),
        "{message}"
    );
    assert_eq!(up.phase(), Some(Phase::Running));
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

#[test]
fn ten_thousand_orphans_leave_no_zombie() {
    let Some(product) = product() else { return };
    let spec =
        json!({"containers": [guest("app", &["orphans", "10000"])], "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("10000 orphans made");
    // Orphans of a container belong to its PID 1, a guest that never waits. When it ends, nothing may be left.
    let container = up.guest_pid("orphans");
    assert!(
        !Up::children_of(container).is_empty(),
        "the guest has no orphans: this test would show nothing"
    );
    let init = up.enclave_pid().expect("it runs");
    up.signal(Signal::SIGINT);
    wait_for("no process of the container and no zombie", || {
        let zombie = |pid: &i32| stat(*pid).is_some_and(|(state, _)| state == 'Z');
        (stat(container).is_none() && !Up::children_of(init).iter().any(zombie)).then_some(())
    });
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn a_flooding_container_blocks_neither_itself_nor_others() {
    let Some(product) = product() else { return };
    let containers = [guest("flood", &["flood"]), guest("quiet", &["sleep"])];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &["--log-format", "json"]);
    up.wait_running("flood");
    up.wait_running("quiet");
    kill_9(up.guest_pid("sleep"));
    up.wait_container("quiet", "running again", running_again);
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn a_base_service_that_dies_is_back_and_the_pod_does_not_notice() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["echo", "7"]);
    container["ports"] = json!([{"containerPort": 7}]);
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [container]}))],
        &["--publish", "0:7"],
    );
    up.wait_log("ready");
    let port = up.port(7);
    assert_eq!(exchange(port, b"before").expect("an answer"), b"before");
    kill_9(up.guest_pid("net"));
    wait_for("an answer", || {
        exchange(port, b"after").ok().filter(|answer| answer == b"after")
    });
    assert_eq!(up.wait_running("app").restart_count, 0);
}
