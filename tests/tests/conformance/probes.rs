//! Probes (section H of the cases), and those of sidecars (LC-068).

use manifest_sync::status::{ContainerState, ContainerStatus};
use serde_json::{Value, json};
use tests::{Up, guest, pod, product};

/// A container with this probe, asked every second; one failure is enough.
fn probed(mut container: Value, field: &str, handler: Value) -> Value {
    let mut probe = handler;
    probe["periodSeconds"] = json!(1);
    if probe.get("failureThreshold").is_none() {
        probe["failureThreshold"] = json!(1);
    }
    container[field] = probe;
    container
}

fn sidecar(mut container: Value) -> Value {
    container["restartPolicy"] = json!("Always");
    container
}

fn with_data(mut container: Value) -> Value {
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    container
}

fn in_a_pod(containers: &[Value]) -> Value {
    pod(
        json!({"containers": containers, "volumes": [{"name": "data", "emptyDir": {}}],
               "terminationGracePeriodSeconds": 0}),
    )
}

fn exec(words: &[&str]) -> Value {
    let command: Vec<&str> = ["/guest"].iter().chain(words).copied().collect();
    json!({"exec": {"command": command}})
}

fn get(path: &str) -> Value {
    json!({"httpGet": {"port": 8080, "path": path}})
}

fn restarted(status: &ContainerStatus) -> bool {
    status.restart_count > 0
}

/// A Pod of one container whose liveness probe is this.
fn alive_by(container: Value, handler: Value) -> Value {
    in_a_pod(&[with_data(probed(container, "livenessProbe", handler))])
}

#[test]
fn lc_132_a_command_that_fails_restarts_its_container() {
    let Some(product) = product() else { return };
    let container = guest("app", &["healthy-for", "2500", "/health"]);
    let up = Up::start(
        &product,
        &[alive_by(container, exec(&["exists", "/health"]))],
        &[],
    );
    up.wait_container("app", "restarted", restarted);
    up.wait_event(
        "Killing",
        "Container app failed liveness probe, will be restarted",
    );
}

#[test]
fn lc_133_a_command_that_succeeds_restarts_nothing() {
    let Some(product) = product() else { return };
    let container = guest("app", &["wait-lines", "/data/probed", "4"]);
    let up = Up::start(
        &product,
        &[alive_by(container, exec(&["append", "/data/probed", "x"]))],
        &[],
    );
    up.wait_log("4 lines");
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn lc_134_a_status_of_500_restarts_the_container() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[alive_by(guest("app", &["http", "8080"]), get("/broken"))],
        &[],
    );
    up.wait_container("app", "restarted", restarted);
    up.wait_event("Unhealthy", "HTTP probe failed with statuscode: 500");
}

#[test]
fn lc_137_a_status_of_200_restarts_nothing() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[alive_by(guest("app", &["http", "8080"]), get("/"))],
        &[],
    );
    tests::wait_for("three requests", || {
        (up.stdout().matches("GET / HTTP/1.1").count() >= 3).then_some(())
    });
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn lc_138_a_command_that_hangs_restarts_its_container() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[alive_by(
            guest("app", &["sleep"]),
            exec(&["hang-with-child", "word"]),
        )],
        &[],
    );
    up.wait_event(
        "Unhealthy",
        "command timed out: \"/guest hang-with-child word\" timed out after 1s",
    );
    up.wait_container("app", "restarted", restarted);
}

#[test]
fn lc_140_a_command_that_fails_and_leaves_a_child_restarts_its_container() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[alive_by(
            guest("app", &["sleep"]),
            exec(&["leave-behind", "word", "1"]),
        )],
        &[],
    );
    up.wait_container("app", "restarted", restarted);
}

#[test]
fn lc_141_a_local_redirect_is_followed() {
    let Some(product) = product() else { return };
    let app = guest("app", &["http", "8080"]);
    let up = Up::start(&product, &[alive_by(app, get("/redirect-broken"))], &[]);
    up.wait_container("app", "restarted", restarted);
    up.wait_event("Unhealthy", "HTTP probe failed with statuscode: 500");
    assert!(up.stdout().contains("GET /broken HTTP/1.1"), "{}", up.stdout());
}

#[test]
fn lc_142_a_redirect_to_another_host_is_a_success_with_a_warning() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[alive_by(guest("app", &["http", "8080"]), get("/elsewhere"))],
        &[],
    );
    up.wait_event("ProbeWarning", "Probe terminated redirects, Response body: body");
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn lc_149_a_grpc_server_that_serves_is_left_alone_and_one_that_is_not_there_is_restarted() {
    let Some(product) = product() else { return };
    let grpc = |port: u16| json!({"grpc": {"port": port}});
    let good = probed(guest("good", &["grpc", "5000"]), "livenessProbe", grpc(5000));
    let good = probed(good, "readinessProbe", grpc(5000));
    let bad = probed(guest("bad", &["grpc", "5001"]), "livenessProbe", grpc(2333));
    let up = Up::start(&product, &[in_a_pod(&[good, bad])], &[]);
    up.wait_container("bad", "restarted", restarted);
    up.wait_event(
        "Unhealthy",
        "Liveness probe failed: timeout: failed to connect service \"127.0.0.1:2333\" within 1s",
    );
    let good = up.wait_container("good", "ready", |status| status.ready);
    assert_eq!(good.restart_count, 0);
}

#[test]
fn lc_154_a_command_that_is_not_there_is_neither_success_nor_failure() {
    let Some(product) = product() else { return };
    let probe = json!({"exec": {"command": ["/absent"]}});
    let up = Up::start(&product, &[alive_by(guest("app", &["sleep"]), probe)], &[]);
    up.wait_event(
        "Unhealthy",
        "Liveness probe errored and resulted in unknown state",
    );
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn lc_068_sidecars_are_probed_as_containers_are() {
    let Some(product) = product() else { return };
    let one = |name: &str, words: &[&str], field: &str, handler: Value| {
        sidecar(probed(guest(name, words), field, handler))
    };
    let silent = json!({"tcpSocket": {"port": 9}});
    let absent = json!({"exec": {"command": ["/absent"]}, "timeoutSeconds": 1});
    let inits = [
        // What succeeds, and lets the next one start.
        one(
            "started",
            &["healthy-for", "3600000", "/health"],
            "startupProbe",
            exec(&["exists", "/health"]),
        ),
        one("web", &["http", "8080"], "readinessProbe", get("/redirect")),
        one(
            "health",
            &["grpc", "5000"],
            "livenessProbe",
            json!({"grpc": {"port": 5000}}),
        ),
        one("unknown", &["sleep"], "livenessProbe", absent),
        // What fails.
        one("unready", &["sleep"], "readinessProbe", silent.clone()),
        one(
            "command",
            &["sleep"],
            "livenessProbe",
            exec(&["exists", "/absent"]),
        ),
        one("hangs", &["sleep"], "livenessProbe", exec(&["sleep"])),
        one("broken", &["sleep"], "livenessProbe", get("/redirect-broken")),
        one("port", &["sleep"], "livenessProbe", silent),
        one(
            "remote",
            &["sleep"],
            "livenessProbe",
            json!({"grpc": {"port": 2333}}),
        ),
    ];
    let spec = json!({"initContainers": inits, "containers": [guest("app", &["sleep"])],
                      "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_running("app");
    for name in ["command", "hangs", "broken", "port", "remote"] {
        up.wait_init(name, "restarted", restarted);
    }
    up.wait_init("web", "ready", |status| status.ready);
    for name in ["started", "web", "health", "unknown", "unready"] {
        let status = up.wait_init(name, "running", |status| {
            matches!(status.state, ContainerState::Running { .. })
        });
        assert_eq!(status.restart_count, 0, "{name}");
    }
    let conditions = up.report().expect("a Pod").status.conditions;
    let ready = conditions.iter().find(|condition| condition.r#type == "Ready");
    let message = ready.and_then(|ready| ready.message.clone()).unwrap_or_default();
    assert!(
        message.starts_with("containers with unready status: [unready"),
        "{message}"
    );
}
