//! F1, F2: every way to end, and every way not to begin.

use manifest_sync::plan::RestartPolicy;
use manifest_sync::status::{ContainerState, Phase};
use serde_json::{Value, json};
use tests::history::History;
use tests::{Up, guest, pod, product, stat, wait_for};

/// Code, signal, reason and message of a container that has ended for good.
fn end_of(up: &Up, name: &str) -> (i32, Option<i32>, String, String) {
    let status = up.wait_container(name, "terminated", |status| {
        matches!(status.state, ContainerState::Terminated { .. })
    });
    assert_eq!(status.restart_count, 0, "{status:?}");
    match status.state {
        ContainerState::Terminated {
            exit_code,
            signal,
            reason,
            message,
            ..
        } => (exit_code, signal, reason, message.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_exit_code_is_reported_as_it_was() {
    let Some(product) = product() else { return };
    let codes = [0, 1, 2, 3, 125, 126, 127, 128, 137, 143, 254, 255];
    let mut containers: Vec<Value> = codes
        .iter()
        .map(|code| guest(&format!("exit-{code}"), &["exit", &code.to_string()]))
        .collect();
    // The kernel lets nothing but a fault of its own kill the first process of a PID namespace from within.
    containers.push(guest("fault", &["fault"]));
    // It keeps the Pod until all have been looked at.
    containers.push(guest("last", &["sleep"]));
    let spec =
        json!({"restartPolicy": "Never", "containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    for code in codes {
        let reason = if code == 0 { "Completed" } else { "Error" };
        let (got, signal, why, _) = end_of(&up, &format!("exit-{code}"));
        assert_eq!((got, signal, why.as_str()), (code, None, reason));
    }
    let (code, signal, reason, _) = end_of(&up, "fault");
    assert_eq!((code, signal, reason.as_str()), (128 + 11, Some(11), "Error"));
    let mut history = History::default();
    history.look(&up);
    history.check(RestartPolicy::Never);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(up.guest_pid("sleep")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("alive");
    // 1 is the first that failed, or another one: all of them failed.
    assert_ne!(up.exit_code(), 0);
}

#[test]
fn a_program_that_cannot_be_executed_is_a_start_error_and_leaves_nothing_behind() {
    let Some(product) = product() else { return };
    let mounted = |name: &str, command: Value| {
        json!({"name": name, "image": "guest", "command": command,
               "volumeMounts": [{"name": "files", "mountPath": "/files"}]})
    };
    // One argument may have 128 KiB (execve(2)).
    let long = "x".repeat(200 << 10);
    let containers = [
        mounted("absent", json!(["/no/such/program"])),
        mounted("not-executable", json!(["/files/plain"])),
        mounted("no-program", json!(["/files/text"])),
        mounted("too-long", json!(["/guest", "say", long])),
        guest("last", &["sleep"]),
    ];
    let files = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"},
                       "data": {"plain": "x", "text": "x"}});
    let items = json!([{"key": "plain", "path": "plain", "mode": 0o644}, {"key": "text", "path": "text", "mode": 0o755}]);
    let volumes = json!([{"name": "files", "configMap": {"name": "files", "items": items}}]);
    let spec = json!({"restartPolicy": "Never", "containers": containers, "volumes": volumes,
                      "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec), files], &[]);
    for (name, words) in [
        ("absent", "No such file or directory"),
        ("not-executable", "Permission denied"),
        ("no-program", "Exec format error"),
        ("too-long", "Argument list too long"),
    ] {
        let (code, signal, reason, message) = end_of(&up, name);
        assert_eq!(
            (code, signal, reason.as_str()),
            (128, None, "StartError"),
            "{name}"
        );
        assert!(message.contains(words), "{name}: {message}");
    }
    assert_eq!(up.phase(), Some(Phase::Running));
    up.wait_running("last");
    let init = up.enclave_pid().expect("it runs");
    wait_for("no zombie", || {
        let zombie = |pid: &i32| stat(*pid).is_some_and(|(state, _)| state == 'Z');
        (!Up::children_of(init).iter().any(zombie)).then_some(())
    });
}
