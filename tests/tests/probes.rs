//! Commands of probes that misbehave, and what else is not a conformance case, seen through `host-proxy` only.

use manifest_sync::status::ContainerState;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

/// A container with this readiness probe, asked once.
fn asked_once(mut container: Value, command: &[&str]) -> Value {
    container["readinessProbe"] = json!({"exec": {"command": command}, "periodSeconds": 3600});
    container
}

/// Whether a process of this machine has this word among its arguments.
fn is_left(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut commands = entries.map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
    commands.any(|command| String::from_utf8_lossy(&command).contains(word))
}

#[test]
fn a_command_that_hangs_is_killed_with_what_has_left_its_group_and_session() {
    let Some(product) = product() else { return };
    let word = format!("stuck-{}", std::process::id());
    let app = asked_once(
        guest("app", &["sleep"]),
        &["/guest", "hang-and-fork", "20", &word],
    );
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    wait_for("the command", || is_left(&word).then_some(()));
    up.wait_event("Unhealthy", "timed out after 1s");
    assert!(!is_left(&word), "something is left of the command");
    let status = up.wait_running("app");
    assert!(!status.ready && status.restart_count == 0, "{status:?}");
}

#[test]
fn what_an_ended_command_has_left_behind_lives_as_long_as_its_container() {
    let Some(product) = product() else { return };
    let word = format!("left-{}", std::process::id());
    let mut app = asked_once(
        guest("app", &["on-signal", "0", "0"]),
        &["/guest", "leave-behind", &word, "0"],
    );
    app["readinessProbe"]["timeoutSeconds"] = json!(60);
    let spec = json!({"containers": [app]});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_container("app", "ready", |status| status.ready);
    assert!(is_left(&word));
    up.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(!is_left(&word), "something has outlived its container");
}

#[test]
fn a_hook_that_runs_dies_with_its_container() {
    let Some(product) = product() else { return };
    let word = format!("hook-{}", std::process::id());
    let mut app = guest("app", &["sleep"]);
    app["lifecycle"] = json!({"postStart": {"exec": {"command": ["/guest", "hang-and-fork", "3", &word]}}});
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 1});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    wait_for("the hook", || is_left(&word).then_some(()));
    up.signal(nix::sys::signal::Signal::SIGTERM);
    up.wait();
    assert!(!is_left(&word), "something has outlived its container");
}

#[test]
fn a_command_that_floods_is_killed_in_time_and_told_in_few_words() {
    let Some(product) = product() else { return };
    let app = asked_once(guest("app", &["sleep"]), &["/guest", "flood"]);
    let fails = asked_once(guest("fails", &["sleep"]), &["/guest", "flood-and-fail"]);
    let spec = json!({"containers": [app, fails], "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_event("Unhealthy", "timed out after 1s");
    let said = up.wait_event("Unhealthy", "Readiness probe failed: xxx");
    assert!(said.len() <= 1024, "{} bytes", said.len());
    up.wait_running("app");
}

#[test]
fn a_server_that_goes_mad_harms_nobody_but_itself() {
    let Some(product) = product() else { return };
    let asks = |name: &str, words: &[&str], handler: Value| {
        let mut container = guest(name, words);
        container["livenessProbe"] = handler;
        container["livenessProbe"]["periodSeconds"] = json!(1);
        container["livenessProbe"]["failureThreshold"] = json!(1_000_000);
        container
    };
    let clear = json!({"httpGet": {"port": 8080}});
    let tls = json!({"httpGet": {"port": 8080, "scheme": "HTTPS"}});
    let mut good = guest("good", &["http", "8081"]);
    good["readinessProbe"] = json!({"httpGet": {"port": 8081}, "initialDelaySeconds": 8, "periodSeconds": 1});
    let containers = [
        asks("mad", &["mad", "8080"], clear),
        asks("one", &["sleep"], tls),
        asks("two", &["sleep"], json!({"grpc": {"port": 8080}})),
        good,
    ];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("connection 24");
    up.wait_container("good", "ready", |status| status.ready);
    let console = up.console();
    assert!(!console.contains("base service net ended"), "{console}");
    for name in ["mad", "one", "two"] {
        assert_eq!(up.wait_running(name).restart_count, 0, "{name}");
    }
}

#[test]
fn a_command_runs_as_the_container_does() {
    let Some(product) = product() else { return };
    let mut container = asked_once(guest("app", &["sleep"]), &["/guest", "who"]);
    container["env"] = json!([{"name": "OWN", "value": "variable"}]);
    container["securityContext"] = json!({"capabilities": {"drop": ["ALL"]}});
    container["readinessProbe"]["timeoutSeconds"] = json!(60);
    let up = Up::start(&product, &[pod(json!({"containers": [container]}))], &[]);
    let said = up.wait_event("Unhealthy", "Readiness probe failed: argv0");
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
    up.wait_event(
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
