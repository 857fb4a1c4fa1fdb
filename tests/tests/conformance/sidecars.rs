//! Sidecars: their start (section D of the cases).

use manifest_sync::status::ContainerState;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

use crate::turns::turns;

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
    let table = String::from_utf8_lossy(&up.client(&["status"]).stdout).into_owned();
    assert!(table.contains("spec.initContainers{sidecar}"), "{table}");
    // As kubectl counts: the sidecar and the container.
    assert!(table.contains(" 2/2 "), "{table}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn lc_054_a_sidecar_is_restarted_whatever_its_exit_code() {
    let Some(product) = product() else { return };
    let mut side = turns("side", &["until=/data/app=0", "sleep"]);
    side["restartPolicy"] = json!("Always");
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [side],
        "containers": [turns("app", &["sleep"])],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    });
    let up = Up::start(&product, &[pod(spec)], &[]);
    let side = wait_for("the sidecar's second instance", || {
        let side = up.report()?.status.init_container_statuses.into_iter().next()?;
        let runs = matches!(side.state, ContainerState::Running { .. });
        (side.restart_count == 1 && runs).then_some(side)
    });
    assert!(
        matches!(
            side.last_state,
            Some(ContainerState::Terminated { exit_code: 0, .. })
        ),
        "{side:?}"
    );
}
