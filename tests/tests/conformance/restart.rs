//! Restart policy and exit status (section A of the cases).

use manifest_sync::status::{ContainerState, Phase};
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

use crate::turns::turns;

fn spec(policy: &str, containers: &[Value]) -> Value {
    json!({
        "restartPolicy": policy,
        "containers": containers,
        "volumes": [{"name": "data", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    })
}

#[test]
fn lc_001_restarts_until_it_stays() {
    let Some(product) = product() else { return };
    // One restart, since the second waits ten seconds: the rest of the case is a transcript.
    let app = turns("app", &["exit=1", "sleep"]);
    let up = Up::start(&product, &[pod(spec("Always", &[app]))], &[]);
    let status = up.wait_container("app", "running again", |status| {
        status.restart_count == 1 && matches!(status.state, ContainerState::Running { .. })
    });
    let Some(ContainerState::Terminated {
        exit_code, reason, ..
    }) = &status.last_state
    else {
        panic!("{status:?}");
    };
    assert_eq!((*exit_code, reason.as_str()), (1, "Error"));
    let report = up.report().expect("a Pod");
    assert_eq!(report.status.phase, Phase::Running);
    assert!(status.ready && status.started, "{status:?}");
}

#[test]
fn lc_002_ends_when_it_has_succeeded() {
    let Some(product) = product() else { return };
    let app = turns("app", &["exit=1", "exit=0"]);
    let mut up = Up::start(&product, &[pod(spec("OnFailure", &[app]))], &[]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn lc_008_a_rule_restarts_what_the_policy_would_not() {
    let Some(product) = product() else { return };
    let mut app = turns("app", &["exit=42", "exit=3"]);
    app["restartPolicy"] = json!("Never");
    app["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let mut up = Up::start(&product, &[pod(spec("Never", &[app]))], &[]);
    // LC-009: the second code is in no rule.
    assert_eq!(up.exit_code(), 3, "{}", up.stderr());
}

#[test]
fn lc_010_the_policy_of_the_container_comes_first() {
    let Some(product) = product() else { return };
    let mut app = turns("app", &["exit=5", "exit=6"]);
    app["restartPolicy"] = json!("Never");
    let mut up = Up::start(&product, &[pod(spec("Always", &[app]))], &[]);
    assert_eq!(up.exit_code(), 5, "{}", up.stderr());
}

#[test]
fn lc_018_a_missing_key_is_no_exit() {
    let Some(product) = product() else { return };
    let mut app = guest("app", &["say", "never"]);
    let key = json!({"configMapKeyRef": {"name": "absent", "key": "key"}});
    app["env"] = json!([{"name": "KEY", "valueFrom": key}]);
    let up = Up::start(
        &product,
        &[pod(json!({"restartPolicy": "Never", "containers": [app]}))],
        &[],
    );
    let message = up.wait_waiting("app", "CreateContainerConfigError");
    assert!(message.contains("absent"), "{message}");
    let status = wait_for("the Pod", || Some(up.report()?.status));
    assert_eq!(status.phase, Phase::Pending);
    assert_eq!(status.container_statuses[0].restart_count, 0);
}
