//! Init containers (section C of the cases).

use manifest_sync::status::{ContainerState, Phase};
use serde_json::json;
use tests::{Up, guest, pod, product};

use crate::turns::{DATA, turns};

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

#[test]
fn lc_034_init_containers_run_one_after_another() {
    let Some(product) = product() else { return };
    let mut app = guest("app", &["cat", "/data/log"]);
    app["volumeMounts"] = json!([{"name": "data", "mountPath": DATA}]);
    let inits = ["one", "two", "three"].map(|name| turns(name, &["after=50=0"]));
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": inits,
        "containers": [app],
        "volumes": [{"name": "data", "emptyDir": {}}],
    });
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let said = up.stdout();
    let order: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("app | "))
        .collect();
    let expected = [
        "one starts",
        "one ends",
        "two starts",
        "two ends",
        "three starts",
        "three ends",
    ];
    assert_eq!(order, expected, "{said}");
}

#[test]
fn lc_038_init_containers_run_once() {
    let Some(product) = product() else { return };
    let spec = json!({
        "initContainers": [turns("first", &["exit=0"])],
        "containers": [turns("app", &["exit=1", "sleep"])],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    });
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_container("app", "running again", |status| {
        status.restart_count == 1 && matches!(status.state, ContainerState::Running { .. })
    });
    let status = up.report().expect("a Pod").status;
    let first = &status.init_container_statuses[0];
    assert_eq!((first.restart_count, first.ready), (0, true), "{first:?}");
    assert_eq!(status.phase, Phase::Running);
}
