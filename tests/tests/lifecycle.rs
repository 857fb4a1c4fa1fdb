//! Start, restart and end of containers, seen through `host-proxy` only.

use manifest_sync::status::{ContainerState, ContainerStatus};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

fn running_again(status: &ContainerStatus) -> bool {
    status.restart_count == 1 && matches!(status.state, ContainerState::Running { .. })
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
fn lc_050_init_containers_and_sidecars_come_before_the_containers() {
    let Some(product) = product() else { return };
    let with_data = |mut container: Value| {
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        container
    };
    let mut sidecar = guest("sidecar", &["ignore-term"]);
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "initContainers": [with_data(guest("prepare", &["write", "/data/greeting", "prepared"])), sidecar],
        "containers": [with_data(guest("app", &["cat-and-sleep", "/data/greeting"]))],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    });
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("prepared");
    up.wait_running("app");
    let status = up.report().expect("a Pod").status;
    let [prepare, sidecar] = status.init_container_statuses.as_slice() else {
        panic!("{status:?}");
    };
    assert!(
        matches!(prepare.state, ContainerState::Terminated { exit_code: 0, .. }) && prepare.ready,
        "{prepare:?}"
    );
    assert!(
        matches!(sidecar.state, ContainerState::Running { .. }) && sidecar.ready,
        "{sidecar:?}"
    );
    let events = String::from_utf8_lossy(&up.client(&["status"]).stdout).into_owned();
    assert!(events.contains("spec.initContainers{sidecar}"), "{events}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn lc_033_an_init_container_that_fails_for_good_fails_the_pod() {
    let Some(product) = product() else { return };
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [guest("first", &["exit", "0"]), guest("second", &["exit", "7"])],
        "containers": [guest("app", &["say", "never"])],
    });
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    assert_eq!(up.exit_code(), 7, "{}", up.stderr());
    assert!(!up.stdout().contains("never"), "{}", up.stdout());
}
