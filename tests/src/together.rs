//! A Pod whose containers are restarted together, all of them, when one of them is killed (RestartAllContainers).

use manifest_sync::status::{ContainerState, ContainerStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{Up, guest, pod};

/// What tells the process that is to be killed from the others.
const SOURCE: &str = "source";
/// Exit code of a process that SIGKILL has ended.
const KILLED: i32 = 128 + 9;

/// The Pod, of so many containers. Its restarts as a whole have a back-off: 0, 10, 20, 40 s.
pub fn restarted_together(containers: usize) -> Value {
    let mut all: Vec<Value> = (1..containers)
        .map(|index| {
            let mut container = guest(&format!("c{index}"), &["sleep"]);
            // They are stopped one after another: none shall wait out its grace period.
            container["lifecycle"] = json!({"stopSignal": "SIGKILL"});
            container
        })
        .collect();
    let mut source = guest(SOURCE, &["idle", SOURCE]);
    source["restartPolicy"] = json!("Never");
    source["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [KILLED]}}]);
    all.insert(0, source);
    pod(json!({"containers": all, "os": {"name": "linux"}}))
}

/// Has them all restarted.
///
/// # Panics
/// When the process that is to be killed does not run.
pub fn restart_all(up: &Up) {
    kill(Pid::from_raw(up.guest_pid(SOURCE)), Signal::SIGKILL).expect("it runs");
}

/// Whether every container runs after so many restarts.
pub fn all_run(up: &Up, restarts: u32) -> Option<()> {
    let status = up.report()?.status;
    let runs = |one: &ContainerStatus| {
        one.restart_count == restarts && matches!(one.state, ContainerState::Running { .. })
    };
    status.all_containers().all(runs).then_some(())
}
