//! Conditions, phase, readiness (section I of the cases).

use manifest_sync::status::{Condition, PodReport};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Up, guest, pod, product, wait_for};

fn condition(report: &PodReport, kind: &str) -> Option<Condition> {
    let mut all = report.status.conditions.iter();
    all.find(|condition| condition.r#type == kind).cloned()
}

fn wait_ready(up: &Up, wanted: &str) -> Condition {
    wait_for(&format!("Ready to be {wanted}"), || {
        condition(&up.report()?, "Ready").filter(|ready| ready.status == wanted)
    })
}

#[test]
fn lc_164_readiness_gates_are_set_from_outside() {
    let Some(product) = product() else { return };
    let gates = json!([{"conditionType": "example.com/first"}, {"conditionType": "second"}]);
    let spec = json!({
        "containers": [guest("app", &["sleep"])],
        "readinessGates": gates,
        "terminationGracePeriodSeconds": 0,
    });
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_running("app");
    let ready = wait_ready(&up, "False");
    assert_eq!(
        ready.reason.as_deref(),
        Some("ReadinessGatesNotReady"),
        "{ready:?}"
    );
    let set = |words: &[&str]| {
        let mut arguments = vec!["condition"];
        arguments.extend(words);
        let output = up.client(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    assert_eq!(set(&["example.com/first", "True"]).0, Some(0));
    assert_eq!(
        set(&["second", "False", "--reason", "Warming", "--message", "not yet"]).0,
        Some(0)
    );
    let said = wait_for("the gate's message", || {
        condition(&up.report()?, "Ready")?
            .message
            .filter(|message| !message.contains("does not exist"))
    });
    assert_eq!(
        said,
        "the status of pod readiness gate \"second\" is not \"True\", but False"
    );
    let second = condition(&up.report().expect("a Pod"), "second").expect("it is set");
    assert_eq!(
        (second.reason.as_deref(), second.message.as_deref()),
        (Some("Warming"), Some("not yet"))
    );
    assert_eq!(set(&["second", "True"]).0, Some(0));
    wait_ready(&up, "True");
    assert_eq!(set(&["second", "False"]).0, Some(0));
    wait_ready(&up, "False");
    let (code, stderr) = set(&["Ready", "True"]);
    assert_eq!(code, Some(65), "{stderr}");
    assert!(stderr.contains("it has example.com/first, second"), "{stderr}");
}

#[test]
fn lc_166_addresses_are_in_the_status() {
    let Some(product) = product() else { return };
    let mut app = guest("app", &["sleep"]);
    app["resources"] = json!({"limits": {"cpu": "100m", "memory": "64Mi"}});
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_running("app");
    let status = up.report().expect("a Pod").status;
    assert_eq!(
        (status.host_ip.as_str(), status.pod_ip.as_str()),
        ("127.0.0.1", "127.0.0.1")
    );
    // LC-165.
    assert_eq!(status.qos_class, "Guaranteed");
    let memory = status.container_statuses[0]
        .allocated_resources
        .get("memory")
        .cloned();
    assert_eq!(memory.as_deref(), Some("64Mi"));
}

#[test]
fn an_ordinary_stop_is_no_loss_of_attestation() {
    let Some(product) = product() else { return };
    let spec = json!({"containers": [guest("app", &["sleep"])], "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_running("app");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let console = up.console();
    assert!(console.contains("base service attest ended"), "{console}");
    assert!(!console.contains("held the security module"), "{console}");
}
