//! Lifecycle with the enclave's processes in view, which only the local back-end has: they die by other hands than ours.

use std::process::Command;

use manifest_sync::status::{ContainerState, ContainerStatus, Phase};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::{Up, exchange, guest, pod, product, stat, wait_for};

fn running_again(status: &ContainerStatus) -> bool {
    status.restart_count == 1 && matches!(status.state, ContainerState::Running { .. })
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("alive");
}

#[test]
fn kill_9_shows_a_restart_and_then_a_crash_loop() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    kill_9(up.guest_pid("sleep"));
    let status = up.wait_container("app", "running again", running_again);
    assert!(
        matches!(
            status.last_state,
            Some(ContainerState::Terminated { exit_code: 137, .. })
        ),
        "{status:?}"
    );
    kill_9(up.guest_pid("sleep"));
    let message = up.wait_waiting("app", "CrashLoopBackOff");
    assert!(
        message.starts_with("back-off 10s restarting failed container=app"),
        "{message}"
    );
    assert_eq!(up.phase(), Some(Phase::Running));
}

#[test]
fn ten_thousand_orphans_leave_no_zombie() {
    let Some(product) = product() else { return };
    let spec =
        json!({"containers": [guest("app", &["orphans", "10000"])], "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("10000 orphans made");
    // Orphans of a container belong to its PID 1, a guest that never waits. When it ends, nothing may be left.
    let container = up.guest_pid("orphans");
    assert!(
        !Up::children_of(container).is_empty(),
        "the guest has no orphans: this test would show nothing"
    );
    let init = up.enclave_pid().expect("it runs");
    up.signal(Signal::SIGINT);
    wait_for("no process of the container and no zombie", || {
        let zombie = |pid: &i32| stat(*pid).is_some_and(|(state, _)| state == 'Z');
        (stat(container).is_none() && !Up::children_of(init).iter().any(zombie)).then_some(())
    });
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn a_flooding_container_blocks_neither_itself_nor_others() {
    let Some(product) = product() else { return };
    let containers = [guest("flood", &["flood"]), guest("quiet", &["sleep"])];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &["--log-format", "json"]);
    up.wait_running("flood");
    up.wait_running("quiet");
    kill_9(up.guest_pid("sleep"));
    up.wait_container("quiet", "running again", running_again);
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn a_base_service_that_dies_is_back_and_the_pod_does_not_notice() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["echo", "7"]);
    container["ports"] = json!([{"containerPort": 7}]);
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [container]}))],
        &["--publish", "0:7"],
    );
    up.wait_log("ready");
    let port = up.port(7);
    assert_eq!(exchange(port, b"before").expect("an answer"), b"before");
    kill_9(up.guest_pid("net"));
    wait_for("an answer", || {
        exchange(port, b"after").ok().filter(|answer| answer == b"after")
    });
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn an_unprivileged_user_can_run_a_pod() {
    let Some(product) = product() else { return };
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: not root, so every other test shows this");
        return;
    }
    let scratch = tempfile::Builder::new()
        .prefix("clu")
        .tempdir()
        .expect("a scratch directory");
    let path = scratch.path().to_str().expect("UTF-8");
    let manifest = pod(json!({"restartPolicy": "Never", "containers": [guest("app", &["inspect"])]}));
    std::fs::write(scratch.path().join("pod.json"), manifest.to_string()).expect("a manifest");
    let copies = [
        (&product.init, "init"),
        (&product.proxy, "host-proxy"),
        (&product.guests, "guests"),
    ];
    for (from, to) in copies {
        run(
            "cp",
            &["-r", from.to_str().expect("UTF-8"), &format!("{path}/{to}")],
        );
    }
    run("chown", &["-R", "65534:65534", path]);
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            &format!("{path}/host-proxy"),
            "up",
        ])
        .args([
            "--file",
            &format!("{path}/pod.json"),
            "--images",
            &format!("{path}/guests"),
        ])
        .args([
            "--init",
            &format!("{path}/init"),
            "--state-dir",
            &format!("{path}/state"),
            "--http-address",
            "none",
        ])
        .output()
        .expect("setpriv runs");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // EINVAL is no ban: it is our own mistake (unshare(2): more than one thread).
    if stderr.contains("does not let an unprivileged user") && !stderr.contains("EINVAL") {
        println!("SKIPPED: this kernel forbids user namespaces to unprivileged users");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("pid: 1") && stdout.contains("mount /: overlay"),
        "{stdout}"
    );
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it runs");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
