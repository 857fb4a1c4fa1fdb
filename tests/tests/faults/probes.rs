//! F30, F31: probes whose targets misbehave, and commands that hang, fork and flood. What fails often enough is replaced,
//! what does not is left alone, and all of it is in the history.

use std::collections::BTreeMap;

use manifest_sync::plan::RestartPolicy;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::history::History;
use tests::{Up, guest, pod, process, product, wait_for};

/// How many failures in a row are too many.
const THRESHOLD: usize = 2;

fn asked(mut container: Value, handler: Value) -> Value {
    container["livenessProbe"] = handler;
    container["livenessProbe"]["periodSeconds"] = json!(1);
    container["livenessProbe"]["timeoutSeconds"] = json!(1);
    container["livenessProbe"]["failureThreshold"] = json!(THRESHOLD);
    container
}

/// Descriptors of the `net` service.
fn descriptors(up: &Up) -> usize {
    process::descriptors(up.guest_pid("net"))
}

#[test]
fn targets_that_fail_often_enough_are_replaced_and_nothing_is_left_of_their_probes() {
    let Some(product) = product() else { return };
    let bad = ["silent", "drip", "loop", "closes", "half"];
    let good = ["huge", "flaps", "well"];
    let ports: BTreeMap<&str, u16> = bad.into_iter().chain(good).zip(9000..).collect();
    let containers: Vec<Value> = ports
        .iter()
        .map(|(mode, port)| {
            let container = guest(mode, &["target", mode, &port.to_string()]);
            asked(container, json!({"httpGet": {"path": "/", "port": port}}))
        })
        .collect();
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_running("well");
    let before = descriptors(&up);
    let mut history = History::default();
    for mode in bad {
        for attempt in 0..2 {
            let ended = history.wait_ended(&up, mode, attempt);
            assert_eq!((ended.code, ended.reason.as_str()), (137, "Error"), "{mode}");
        }
    }
    // Not before it was asked so often.
    for mode in bad {
        let told = |number: usize| up.stdout().contains(&format!("{mode} {number}\n"));
        wait_for("what it was asked", || told(THRESHOLD - 1).then_some(()));
    }
    // All that while these were asked, too, the flapping one often enough to be judged.
    up.wait_log(&format!("flaps {}", 3 * THRESHOLD));
    for mode in good {
        assert_eq!(up.wait_running(mode).restart_count, 0, "{mode}");
    }
    history.check(RestartPolicy::Always);
    // A probe that is under way has a connection.
    wait_for("the descriptors of probes", || {
        (descriptors(&up) <= before + ports.len()).then_some(())
    });
    up.signal(Signal::SIGTERM);
    up.wait();
}

#[test]
fn commands_that_hang_and_fork_end_with_their_probe_and_their_container_is_replaced() {
    let Some(product) = product() else { return };
    let word = format!("faults-{}", std::process::id());
    let exec = |words: &[&str]| json!({"exec": {"command": words}});
    let containers = [
        asked(
            guest("hangs", &["sleep"]),
            exec(&["/guest", "hang-and-fork", "20", &word]),
        ),
        asked(guest("floods", &["sleep"]), exec(&["/guest", "flood"])),
        asked(guest("well", &["sleep"]), exec(&["/guest", "exit", "0"])),
    ];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    let mut history = History::default();
    for name in ["hangs", "floods"] {
        for attempt in 0..2 {
            let ended = history.wait_ended(&up, name, attempt);
            assert_eq!((ended.code, ended.reason.as_str()), (137, "Error"), "{name}");
        }
    }
    history.check(RestartPolicy::Always);
    up.wait_running("well");
    up.signal(Signal::SIGTERM);
    up.wait();
    let is_left = || {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut commands =
            entries.map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
        commands.any(|command| String::from_utf8_lossy(&command).contains(&word))
    };
    assert!(!is_left(), "something is left of a command");
}
