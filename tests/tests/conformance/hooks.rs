//! Lifecycle hooks (section G of the cases), and those of sidecars (LC-069).

use manifest_sync::status::ContainerState;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product};

fn with_hook(mut container: Value, hook: &str, handler: Value) -> Value {
    if container.get("lifecycle").is_none() {
        container["lifecycle"] = json!({});
    }
    container["lifecycle"][hook] = handler;
    container
}

fn with_data(mut container: Value) -> Value {
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    container
}

fn in_a_pod(containers: &[Value]) -> Value {
    pod(
        json!({"containers": containers, "volumes": [{"name": "data", "emptyDir": {}}],
               "terminationGracePeriodSeconds": 2}),
    )
}

/// A server that listens before anything that comes after it is started.
fn server() -> Value {
    let mut web = guest("web", &["http", "8080"]);
    web["restartPolicy"] = json!("Always");
    web["startupProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    web
}

/// A Pod of such a server and a container.
fn beside_a_server(app: &Value) -> Value {
    pod(json!({"initContainers": [server()], "containers": [app], "terminationGracePeriodSeconds": 2}))
}

fn append(text: &str) -> Value {
    json!({"exec": {"command": ["/guest", "append", "/data/log", text]}})
}

fn get(port: u16, path: &str) -> Value {
    json!({"httpGet": {"port": port, "path": path}})
}

#[test]
fn lc_110_the_effect_of_a_post_start_command_is_visible() {
    let Some(product) = product() else { return };
    let app = guest("app", &["wait-lines", "/data/log", "1"]);
    // K-225: what looks like a variable is not one.
    let app = with_hook(with_data(app), "postStart", append("from $(HOME) and $HOME"));
    let other = with_data(guest("other", &["cat-and-sleep", "/data/log"]));
    let up = Up::start(&product, &[in_a_pod(&[app, other])], &[]);
    up.wait_log("1 lines");
    up.wait_log("from $(HOME) and $HOME");
    up.wait_running("app");
}

#[test]
fn lc_112_a_post_start_request_arrives_with_its_path() {
    let Some(product) = product() else { return };
    let app = with_hook(
        guest("app", &["sleep"]),
        "postStart",
        get(8080, "/echo?msg=poststart"),
    );
    let up = Up::start(&product, &[beside_a_server(&app)], &[]);
    up.wait_log("GET /echo?msg=poststart HTTP/1.1");
    up.wait_running("app");
}

#[test]
fn lc_113_a_pre_stop_request_comes_before_the_end_and_any_answer_will_do() {
    let Some(product) = product() else { return };
    let web = with_hook(guest("web", &["http", "8080"]), "preStop", get(8080, "/broken"));
    let mut up = Up::start(&product, &[in_a_pod(&[web])], &[]);
    up.wait_log("ready");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let said = up.stdout();
    assert!(said.contains("GET /broken HTTP/1.1"), "{said}");
    assert!(said.contains("User-Agent: kube-lifecycle/"), "{said}");
}

#[test]
fn lc_116_a_sleeping_pre_stop_is_part_of_the_grace_period() {
    let Some(product) = product() else { return };
    let app = with_hook(
        guest("app", &["ignore-term"]),
        "preStop",
        json!({"sleep": {"seconds": 3000}}),
    );
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 3600});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("ready");
    up.signal(Signal::SIGTERM);
    let output = up.client(&["stop", "--grace", "1"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn lc_121_a_post_start_hook_comes_before_the_next_container() {
    let Some(product) = product() else { return };
    let first = with_hook(
        with_data(guest("first", &["sleep"])),
        "postStart",
        append("from the hook"),
    );
    let second = with_data(guest("second", &["cat-and-sleep", "/data/log"]));
    let up = Up::start(&product, &[in_a_pod(&[first, second])], &[]);
    up.wait_log("from the hook");
    let status = up.wait_running("first");
    assert!(status.started && status.ready, "{status:?}");
}

#[test]
fn lc_124_a_post_start_hook_that_fails_restarts_the_container() {
    let Some(product) = product() else { return };
    let fails = json!({"exec": {"command": ["/guest", "append-and-fail", "/data/log", "x"]}});
    let app = with_hook(with_data(guest("app", &["sleep"])), "postStart", fails);
    let app = with_hook(app, "preStop", append("preStop ran"));
    let other = with_data(guest("other", &["wait-lines", "/data/log", "2"]));
    let up = Up::start(&product, &[in_a_pod(&[app, other])], &[]);
    // The hook, and the preStop hook that follows.
    up.wait_log("2 lines");
    let said = up.wait_waiting("app", "PostStartHookError");
    assert!(
        said.starts_with(
            "Exec lifecycle hook ([/guest append-and-fail /data/log x]) for Container \"app\" in Pod \"test_default("
        ) && said.ends_with(
            ")\" failed - error: command '/guest append-and-fail /data/log x' exited with 3: , message: \"\""
        ),
        "{said}"
    );
    up.wait_container("app", "restarted", |status| status.restart_count > 0);
    up.wait_event("FailedPostStartHook", "PostStartHook failed");
    up.wait_event("Killing", "FailedPostStartHook");
}

#[test]
fn lc_125_a_pre_stop_hook_that_fails_stops_nothing() {
    let Some(product) = product() else { return };
    let app = with_hook(
        guest("app", &["on-signal", "0", "0"]),
        "preStop",
        json!({"exec": {"command": ["/guest", "exit", "1"]}}),
    );
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 3600});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("ready");
    up.signal(Signal::SIGTERM);
    up.wait_log("signal 15");
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn lc_126_any_answer_to_a_post_start_request_will_do() {
    let Some(product) = product() else { return };
    let app = with_hook(guest("app", &["sleep"]), "postStart", get(8080, "/broken"));
    let up = Up::start(&product, &[beside_a_server(&app)], &[]);
    let status = up.wait_running("app");
    assert!(status.started && status.restart_count == 0, "{status:?}");
    up.wait_log("GET /broken HTTP/1.1");
}

#[test]
fn an_https_hook_whose_server_has_no_tls_falls_back_with_an_event() {
    let Some(product) = product() else { return };
    let mut hook = get(8080, "/hook");
    hook["httpGet"]["scheme"] = json!("HTTPS");
    let app = with_hook(guest("app", &["sleep"]), "postStart", hook);
    let up = Up::start(&product, &[beside_a_server(&app)], &[]);
    up.wait_running("app");
    up.wait_event(
        "LifecycleHTTPFallback",
        "request to HTTPS lifecycle hook 127.0.0.1:8080 got HTTP response, retry with HTTP succeeded",
    );
    up.wait_log("GET /hook HTTP/1.1");
}

#[test]
fn lc_069_hooks_of_sidecars_run() {
    let Some(product) = product() else { return };
    let mut side = server();
    side["name"] = json!("side");
    side = with_hook(side, "postStart", append("x"));
    side = with_hook(with_data(side), "preStop", get(8080, "/stopping"));
    let mut other = with_hook(guest("other", &["sleep"]), "postStart", get(8080, "/started"));
    other = with_hook(with_data(other), "preStop", append("y"));
    other["restartPolicy"] = json!("Always");
    let app = with_data(guest("app", &["wait-lines", "/data/log", "2"]));
    let spec = json!({"initContainers": [side, other], "containers": [app],
                      "volumes": [{"name": "data", "emptyDir": {}}], "terminationGracePeriodSeconds": 2});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("GET /started HTTP/1.1");
    up.wait_running("app");
    let inits = up.report().expect("a Pod").status.init_container_statuses;
    let run = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
    assert!(
        inits.iter().all(|init| run(&init.state) && init.started),
        "{inits:?}"
    );
    up.signal(Signal::SIGTERM);
    // Hooks of sidecars start at once (K-161): the one that writes is seen by a container that still runs.
    up.wait_log("2 lines");
    up.wait_log("GET /stopping HTTP/1.1");
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
