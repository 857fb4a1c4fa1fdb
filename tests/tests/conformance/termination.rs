//! Termination (section E of the cases).

use manifest_sync::status::Phase;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Product, Up, guest, pod, product};

fn stops(up: &mut Up) {
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn lc_086_a_stop_is_asked_for_in_time_and_everything_ends() {
    let Some(product) = product() else { return };
    let containers = [
        guest("one", &["on-signal", "0", "0"]),
        guest("two", &["on-signal", "0", "0"]),
    ];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 3600});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_running("one");
    up.wait_running("two");
    tests::wait_for("both handlers", || {
        (up.stdout().matches("ready").count() == 2).then_some(())
    });
    stops(&mut up);
    assert_eq!(up.stdout().matches("handled 15").count(), 2, "{}", up.stdout());
}

#[test]
fn lc_088_a_pod_whose_volume_does_not_exist_ends_at_once() {
    let Some(product) = product() else { return };
    let mut app = guest("app", &["sleep"]);
    app["volumeMounts"] = json!([{"name": "missing", "mountPath": "/missing"}]);
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 3600,
                      "volumes": [{"name": "missing", "secret": {"secretName": "absent"}}]});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_event("FailedMount", "absent");
    stops(&mut up);
}

#[test]
fn lc_090_a_container_that_stops_has_the_time_it_needs() {
    let Some(product) = product() else { return };
    let app = guest("app", &["on-signal", "3000", "0"]);
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 3600});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("ready");
    stops(&mut up);
    assert!(up.stdout().contains("handled 15"), "{}", up.stdout());
}

/// Stops a Pod of this container, which says what came.
fn stopped_by(product: &Product, mut container: Value) -> String {
    container["image"] = json!("guest:stops-by-usr1");
    let spec = json!({"os": {"name": "linux"}, "containers": [container]});
    let mut up = Up::start(product, &[pod(spec)], &[]);
    up.wait_log("ready");
    stops(&mut up);
    up.stdout()
}

#[test]
fn lc_093_the_stop_signal_of_an_image_is_sent_instead_of_sigterm() {
    let Some(product) = product() else { return };
    let said = stopped_by(&product, guest("app", &["on-signal", "0", "0"]));
    assert!(said.contains("signal 10"), "{said}");
}

#[test]
fn lc_094_the_stop_signal_of_the_pod_comes_before_that_of_the_image() {
    let Some(product) = product() else { return };
    let mut app = guest("app", &["on-signal", "0", "0"]);
    app["lifecycle"] = json!({"stopSignal": "SIGRTMIN+3"});
    let said = stopped_by(&product, app);
    assert!(said.contains("signal 37"), "{said}");
}

#[test]
fn lc_096_an_enclave_that_is_started_again_is_pending_while_it_initialises() {
    let Some(product) = product() else { return };
    let spec = json!({"initContainers": [guest("init", &["sleep"])], "containers": [guest("app", &["sleep"])],
                      "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("ready");
    let first = up.report().expect("a Pod").uid;
    let enclave = up.enclave_pid().expect("an enclave");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(enclave), Signal::SIGKILL).expect("our enclave");
    assert_ne!(up.wait().code(), Some(0));
    up.start_again(&[]);
    let again = tests::wait_for("another enclave in its init container", || {
        let report = up.report().filter(|report| report.uid != first)?;
        let inits = &report.status.init_container_statuses;
        inits.iter().any(|init| init.started).then_some(report)
    });
    assert_eq!(again.status.phase, Phase::Pending);
}
