//! F3: many crash loops at once. PID 1 neither grows nor loses one, and the back-off of each is kept.

use manifest_sync::status::{ContainerState, ContainerStatus};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

use crate::history::History;
use crate::rules::Policy;

const CONTAINERS: usize = 40;
/// Resident memory that allocators and caches may take between two looks, KiB.
const SLACK_KIB: u64 = 512;

/// `VmRSS` of proc_pid_status(5), KiB.
fn resident(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.expect("VmRSS")
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .count()
}

/// Waits until every container has been started so often again and waits for its back-off.
fn wait_for_restarts(up: &Up, history: &mut History, count: u32) {
    wait_for(&format!("{count} restarts of each"), || {
        let status = history.look(up)?;
        let done = |state: &ContainerStatus| {
            state.restart_count == count
                && matches!(&state.state, ContainerState::Waiting { reason, .. } if reason == "CrashLoopBackOff")
        };
        status.all_containers().all(done).then_some(())
    });
}

#[test]
fn crash_loops_back_off_and_leave_nothing_in_pid_1() {
    let Some(product) = product() else { return };
    let containers: Vec<Value> = (0..CONTAINERS)
        .map(|index| guest(&format!("c{index}"), &["exit", "1"]))
        .collect();
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    let mut history = History::default();
    wait_for_restarts(&up, &mut history, 1);
    let init = up.enclave_pid().expect("it runs");
    let before = (resident(init), descriptors(init));
    wait_for_restarts(&up, &mut history, 3);
    let after = (resident(init), descriptors(init));
    println!(
        "{} restarts: resident {} → {} KiB, descriptors {} → {}",
        CONTAINERS * 3,
        before.0,
        after.0,
        before.1,
        after.1
    );
    assert!(
        after.0 <= before.0 + SLACK_KIB,
        "memory: {before:?}, then {after:?}"
    );
    assert!(after.1 <= before.1 + 1, "descriptors: {before:?}, then {after:?}");
    history.check(Policy::Always);
    up.signal(Signal::SIGTERM);
    up.wait();
}
