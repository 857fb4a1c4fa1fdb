//! F3: many crash loops at once, and restarts of all containers together. PID 1 neither grows nor loses one, and the
//! back-off of each is kept.

use manifest_sync::status::{ContainerState, ContainerStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

use crate::history::History;
use crate::rules::Policy;

const CONTAINERS: usize = 40;
/// Resident memory that allocators and caches may take between two looks, KiB.
const SLACK_KIB: u64 = 512;

/// `VmRSS` of proc_pid_status(5), KiB.
fn resident(pid: i32) -> u64 {
    memory(pid, "VmRSS:")
}

/// A field of proc_pid_status(5), KiB.
fn memory(pid: i32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.expect(field)
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

/// Containers that are restarted together, and how often: after 0, 10 and 20 seconds.
const TOGETHER: usize = 20;
const ROUNDS: u32 = 3;

/// Whether all run after so many restarts.
fn all_run(up: &Up, restarts: u32) -> Option<()> {
    let status = up.report()?.status;
    let runs = |one: &ContainerStatus| {
        one.restart_count == restarts && matches!(one.state, ContainerState::Running { .. })
    };
    status.all_containers().all(runs).then_some(())
}

#[test]
fn restarts_of_all_containers_leave_no_descriptor_and_no_process_in_pid_1() {
    let Some(product) = product() else { return };
    let mut containers: Vec<Value> = (0..TOGETHER)
        .map(|index| {
            let mut container = guest(&format!("c{index}"), &["sleep"]);
            // They are stopped one after another: none shall wait out its grace period.
            container["lifecycle"] = json!({"stopSignal": "SIGKILL"});
            container
        })
        .collect();
    // 128 + SIGKILL.
    containers[0] = guest("source", &["idle", "source"]);
    containers[0]["restartPolicy"] = json!("Never");
    containers[0]["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [137]}}]);
    let spec = json!({"containers": containers, "os": {"name": "linux"}});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    wait_for("all to run", || all_run(&up, 0));
    let init = up.enclave_pid().expect("it runs");
    let looks = || (descriptors(init), Up::children_of(init).len());
    // Whoever has unpacked the image has ended as well, and nothing is on its way.
    let first = wait_for("no worker", || {
        let looks = looks();
        // The base services `net` and `attest` are children, too.
        (looks.1 == TOGETHER + 2).then_some(looks)
    });
    let memory = resident(init);
    for round in 1..=ROUNDS {
        kill(Pid::from_raw(up.guest_pid("source")), Signal::SIGKILL).expect("it runs");
        wait_for("all to run again", || all_run(&up, round));
        wait_for(&format!("{first:?} again, not {:?}", looks()), || {
            (looks() == first).then_some(())
        });
    }
    let after = resident(init);
    println!("60 restarts: resident {memory} → {after} KiB, descriptors and children {first:?} as before");
    assert!(
        after <= memory + SLACK_KIB,
        "memory: {memory} KiB, then {after} KiB"
    );
    up.signal(Signal::SIGTERM);
    up.wait();
}

/// Containers of one Pod: more than there is room for statuses on their way, if each were told alone.
const MANY: usize = 150;
/// What PID 1 may have had at its worst, KiB. The status of so many containers is some 100 KiB long.
const PEAK_KIB: u64 = 10 << 10;

#[test]
fn many_containers_start_at_once_and_their_statuses_neither_fill_pid_1_nor_cut_the_host_off() {
    let Some(product) = product() else { return };
    let containers: Vec<Value> = (0..MANY)
        .map(|index| guest(&format!("c{index}"), &["sleep"]))
        .collect();
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    wait_for("all to run", || all_run(&up, 0));
    let peak = memory(up.enclave_pid().expect("it runs"), "VmHWM:");
    println!("{MANY} containers: {peak} KiB at its worst");
    assert!(peak <= PEAK_KIB, "{peak} KiB");
    let console = up.console();
    assert!(!console.contains("does not read"), "{console}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(!up.console().contains("does not read"), "{}", up.console());
}
