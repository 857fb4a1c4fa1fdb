//! Hooks of containers, seen through `host-proxy` only.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

fn with_hook(mut container: Value, hook: &str, handler: Value) -> Value {
    container["lifecycle"] = json!({});
    container["lifecycle"][hook] = handler;
    container
}

#[test]
fn lc_121_a_post_start_hook_comes_before_the_next_container() {
    let Some(product) = product() else { return };
    let in_data = |mut container: Value| {
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        container
    };
    let handler = json!({"exec": {"command": ["/guest", "append", "/data/log", "from the hook"]}});
    let first = with_hook(in_data(guest("first", &["sleep"])), "postStart", handler);
    let second = in_data(guest("second", &["cat-and-sleep", "/data/log"]));
    let spec = json!({"containers": [first, second], "volumes": [{"name": "data", "emptyDir": {}}],
                      "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("from the hook");
    let status = up.wait_running("first");
    assert!(status.started && status.ready, "{status:?}");
}

#[test]
fn lc_113_a_pre_stop_request_comes_before_the_end_and_any_answer_will_do() {
    let Some(product) = product() else { return };
    let handler = json!({"httpGet": {"port": 8080, "path": "/broken"}});
    let web = with_hook(guest("web", &["http", "8080"]), "preStop", handler);
    let spec = json!({"containers": [web], "terminationGracePeriodSeconds": 2});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
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
fn lc_124_a_post_start_hook_that_fails_restarts_the_container() {
    let Some(product) = product() else { return };
    let handler = json!({"exec": {"command": ["/guest", "append-and-fail", "/mark", "x"]}});
    let app = with_hook(guest("app", &["sleep"]), "postStart", handler);
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_container("app", "restarted", |status| status.restart_count > 0);
    let table = wait_for("the event", || {
        let output = up.client(&["status"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("FailedPostStartHook").then_some(text)
    });
    assert!(table.contains("PostStartHook failed"), "{table}");
}
