//! RestartAllContainers (section B of the cases).

use manifest_sync::status::{Condition, ContainerState, PodReport};
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

use crate::turns::{DATA, turns};

/// A container that has all containers restarted when it ends with 42.
fn source(name: &str, policy: &str, steps: &[&str]) -> Value {
    let mut container = turns(name, steps);
    container["restartPolicy"] = json!(policy);
    container["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    container
}

fn sidecar(name: &str) -> Value {
    let mut container = turns(name, &["sleep"]);
    container["restartPolicy"] = json!("Always");
    container
}

fn spec(init: &[Value], containers: &[Value]) -> Value {
    json!({
        "restartPolicy": "Never",
        "initContainers": init,
        "containers": containers,
        "volumes": [{"name": "data", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    })
}

fn condition<'a>(report: &'a PodReport, kind: &str) -> &'a Condition {
    let mut all = report.status.conditions.iter();
    all.find(|condition| condition.r#type == kind)
        .expect("it is published")
}

#[test]
fn lc_020_all_restart_on_the_exit_of_a_container() {
    let Some(product) = product() else { return };
    // The first turn ends when all others run, so that all of them are victims.
    let source = source("source", "Never", &["until=/data/regular=42", "sleep"]);
    let spec = spec(
        &[turns("first", &["exit=0"]), sidecar("side")],
        &[source, turns("regular", &["sleep"])],
    );
    let up = Up::start(&product, &[pod(spec)], &[]);
    let report = wait_for("the second round", || {
        let report = up.report()?;
        let again = report.status.all_containers().all(|status| {
            let runs = matches!(status.state, ContainerState::Running { .. });
            status.restart_count == 1 && (runs || status.name == "first" && status.ready)
        });
        again.then_some(report)
    });
    for status in report.status.all_containers() {
        let Some(ContainerState::Terminated {
            exit_code, reason, ..
        }) = &status.last_state
        else {
            panic!("{status:?}");
        };
        assert_eq!(
            (*exit_code, reason.as_str()),
            (137, "RestartingAllContainers"),
            "{status:?}"
        );
    }
}

#[test]
fn lc_025_volumes_stay_and_pre_stop_hooks_do_not_run() {
    let Some(product) = product() else { return };
    let mut regular = turns("regular", &["sleep"]);
    regular["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["/guest", "append", "/data/log", "preStop"]}}});
    let reader = turns("reader", &["until=/data/never=0", "exit=0"]);
    let source = source("source", "Never", &["until=/data/reader=42", "sleep"]);
    let mut show = guest("show", &["cat-and-sleep", "/data/log"]);
    show["volumeMounts"] = json!([{"name": "data", "mountPath": DATA}]);
    let spec = spec(&[turns("first", &["exit=0"])], &[source, regular, reader, show]);
    let up = Up::start(&product, &[pod(spec)], &[]);
    let status = up.wait_container("reader", "over", |status| {
        status.restart_count == 1 && matches!(status.state, ContainerState::Terminated { exit_code: 0, .. })
    });
    assert!(status.last_state.is_some(), "{status:?}");
    // The counters were in the volume, and so were the lines of both rounds.
    let log = wait_for("both rounds in the log", || {
        let starts = up.stdout().matches("first starts").count();
        (starts >= 2).then(|| up.stdout())
    });
    assert!(!log.contains("preStop"), "{log}");
    let report = up.report().expect("a Pod");
    assert_eq!(condition(&report, "Initialized").status, "True");
    assert_eq!(condition(&report, "AllContainersRestarting").status, "False");
    assert_eq!(report.status.pod_ip, "127.0.0.1");
    let events = String::from_utf8_lossy(&up.client(&["status", "-o", "json"]).stdout).into_owned();
    assert!(
        events.contains(r#""message":"killing""#) || events.contains(r#""message": "killing""#),
        "{events}"
    );
}
