//! Probes of containers, seen through `host-proxy` only.

use manifest_sync::status::{ContainerState, ContainerStatus};
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

/// A Pod of one container with this probe.
fn with_probe(mut container: Value, field: &str, mut probe: Value) -> Value {
    probe["periodSeconds"] = json!(1);
    container[field] = probe;
    pod(json!({"containers": [container], "terminationGracePeriodSeconds": 0}))
}

fn restarted(status: &ContainerStatus) -> bool {
    status.restart_count > 0
}

/// Waits for an event with this reason whose message contains `text`.
fn wait_event(up: &Up, reason: &str, text: &str) -> String {
    wait_for(&format!("an event {reason} with {text:?}"), || {
        let output = up.client(&["status", "-o", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        let events = answer.get("events")?.as_array()?.clone();
        events.into_iter().find_map(|event| {
            let message = event.get("message")?.as_str()?.to_owned();
            (event.get("reason")? == reason && message.contains(text)).then_some(message)
        })
    })
}

#[test]
fn lc_132_a_command_that_fails_restarts_its_container() {
    let Some(product) = product() else { return };
    let probe = json!({"exec": {"command": ["/guest", "exists", "/health"]}, "failureThreshold": 1});
    let container = guest("app", &["healthy-for", "2500", "/health"]);
    let up = Up::start(&product, &[with_probe(container, "livenessProbe", probe)], &[]);
    up.wait_container("app", "restarted", restarted);
    wait_event(
        &up,
        "Killing",
        "Container app failed liveness probe, will be restarted",
    );
}

#[test]
fn lc_138_a_command_that_hangs_is_killed_with_its_children() {
    let Some(product) = product() else { return };
    let word = format!("hang-{}", std::process::id());
    let probe = json!({"exec": {"command": ["/guest", "hang-with-child", word]}, "failureThreshold": 1});
    let up = Up::start(
        &product,
        &[with_probe(guest("app", &["sleep"]), "livenessProbe", probe)],
        &[],
    );
    wait_event(&up, "Unhealthy", "timed out after 1s");
    up.wait_container("app", "restarted", restarted);
}

#[test]
fn a_command_hung_in_a_healthy_container_leaves_nothing_behind() {
    let Some(product) = product() else { return };
    let word = format!("stuck-{}", std::process::id());
    let mut container = guest("app", &["sleep"]);
    container["readinessProbe"] =
        json!({"exec": {"command": ["/guest", "hang-with-child", word]}, "periodSeconds": 3600});
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    wait_event(&up, "Unhealthy", "timed out after 1s");
    wait_for("the end of the command and its child", || {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut commands =
            entries.map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
        let left = commands.any(|command| String::from_utf8_lossy(&command).contains(&word));
        (!left).then_some(())
    });
    let status = up.wait_running("app");
    assert!(!status.ready && status.restart_count == 0, "{status:?}");
}

#[test]
fn a_command_runs_as_the_container_does() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["sleep"]);
    container["env"] = json!([{"name": "OWN", "value": "variable"}]);
    container["securityContext"] = json!({"capabilities": {"drop": ["ALL"]}});
    let probe = json!({"exec": {"command": ["/guest", "who"]}, "timeoutSeconds": 20});
    let up = Up::start(&product, &[with_probe(container, "readinessProbe", probe)], &[]);
    let said = wait_event(&up, "Unhealthy", "Readiness probe failed: argv0");
    for line in [
        "own variable",
        "hostname test",
        "first process Some(1)",
        "it is /guest sleep",
        "Uid: 0 0 0 0",
        "CapEff: 0000000000000000",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
}

#[test]
fn lc_154_a_command_that_is_not_there_is_neither_success_nor_failure() {
    let Some(product) = product() else { return };
    let probe = json!({"exec": {"command": ["/absent"]}, "failureThreshold": 1});
    let up = Up::start(
        &product,
        &[with_probe(guest("app", &["sleep"]), "livenessProbe", probe)],
        &[],
    );
    wait_event(
        &up,
        "Unhealthy",
        "Liveness probe errored and resulted in unknown state",
    );
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn lc_060_a_startup_probe_holds_back_what_comes_after_a_sidecar() {
    let Some(product) = product() else { return };
    let mut sidecar = guest("sidecar", &["http", "8080"]);
    sidecar["restartPolicy"] = json!("Always");
    sidecar["ports"] = json!([{"name": "web", "containerPort": 8080}]);
    sidecar["startupProbe"] = json!({"httpGet": {"port": "web", "path": "/redirect"}, "periodSeconds": 1});
    let spec = json!({"initContainers": [sidecar], "containers": [guest("app", &["sleep"])],
                      "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &["--publish", "0:8080"]);
    up.wait_running("app");
    let status = up.report().expect("a Pod").status;
    assert!(
        status.init_container_statuses.iter().all(|init| init.started),
        "{status:?}"
    );
    // The redirect was followed, with the headers of a kubelet.
    let said = up.stdout();
    assert!(said.contains("GET /redirect HTTP/1.1"), "{said}");
    assert!(said.contains("GET / HTTP/1.1"), "{said}");
    assert!(said.contains("User-Agent: kube-probe/"), "{said}");
}

#[test]
fn lc_134_a_status_of_500_restarts_the_container() {
    let Some(product) = product() else { return };
    let probe = json!({"httpGet": {"port": 8080, "path": "/broken"}, "failureThreshold": 1});
    let up = Up::start(
        &product,
        &[with_probe(
            guest("app", &["http", "8080"]),
            "livenessProbe",
            probe,
        )],
        &[],
    );
    up.wait_container("app", "restarted", restarted);
    wait_event(&up, "Unhealthy", "HTTP probe failed with statuscode: 500");
}

#[test]
fn lc_142_a_redirect_to_another_host_is_a_success_with_a_warning() {
    let Some(product) = product() else { return };
    let probe = json!({"httpGet": {"port": 8080, "path": "/elsewhere"}, "failureThreshold": 1});
    let up = Up::start(
        &product,
        &[with_probe(
            guest("app", &["http", "8080"]),
            "livenessProbe",
            probe,
        )],
        &[],
    );
    wait_event(
        &up,
        "ProbeWarning",
        "Probe terminated redirects, Response body: body",
    );
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn readiness_follows_a_port_that_accepts() {
    let Some(product) = product() else { return };
    let probe = |port: u16| json!({"tcpSocket": {"port": port}});
    let mut deaf = guest("deaf", &["sleep"]);
    deaf["readinessProbe"] = probe(9999);
    deaf["readinessProbe"]["periodSeconds"] = json!(1);
    let mut heard = guest("heard", &["http", "8080"]);
    heard["readinessProbe"] = probe(8080);
    heard["readinessProbe"]["periodSeconds"] = json!(1);
    let spec = json!({"containers": [deaf, heard], "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_container("heard", "ready", |status| status.ready);
    wait_event(
        &up,
        "Unhealthy",
        "dial tcp 127.0.0.1:9999: connect: connection refused",
    );
    let status = up.wait_running("deaf");
    assert!(
        !status.ready && matches!(status.state, ContainerState::Running { .. }),
        "{status:?}"
    );
    let conditions = up.report().expect("a Pod").status.conditions;
    let ready = conditions.iter().find(|condition| condition.r#type == "Ready");
    let message = ready.and_then(|ready| ready.message.clone()).unwrap_or_default();
    assert_eq!(message, "containers with unready status: [deaf]");
}
