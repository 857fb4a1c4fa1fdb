//! F3: many crash loops at once, and restarts of all containers together. PID 1 neither grows nor loses one, and the
//! back-off of each is kept.

use manifest_sync::plan::RestartPolicy;
use manifest_sync::status::{ContainerState, ContainerStatus};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::history::History;
use tests::process::{descriptors, memory};
use tests::together::{all_run, restart_all, restarted_together};
use tests::{Up, guest, pod, product, wait_for};

const CONTAINERS: usize = 40;
/// Resident memory that allocators and caches may take between two looks, KiB.
const SLACK_KIB: u64 = 512;

/// What may grow, KiB, and what may not, of PID 1.
fn holdings(init: i32) -> (u64, usize) {
    (memory(init, "VmRSS"), descriptors(init))
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
    let before = holdings(init);
    wait_for_restarts(&up, &mut history, 3);
    let after = holdings(init);
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
    history.check(RestartPolicy::Always);
    up.signal(Signal::SIGTERM);
    up.wait();
}

/// Containers that are restarted together, and how often: after 0, 10 and 20 seconds.
const TOGETHER: usize = 20;
const ROUNDS: u32 = 3;

#[test]
fn restarts_of_all_containers_leave_no_descriptor_and_no_process_in_pid_1() {
    let Some(product) = product() else { return };
    let mut up = Up::start(&product, &[restarted_together(TOGETHER)], &[]);
    wait_for("all to run", || all_run(&up, 0));
    let init = up.enclave_pid().expect("it runs");
    let looks = || (descriptors(init), Up::children_of(init).len());
    // Whoever has unpacked the image has ended as well, and nothing is on its way.
    let first = wait_for("no worker", || {
        let looks = looks();
        // The base services `net` and `attest` are children, too.
        (looks.1 == TOGETHER + 2).then_some(looks)
    });
    let before = memory(init, "VmRSS");
    for round in 1..=ROUNDS {
        restart_all(&up);
        wait_for("all to run again", || all_run(&up, round));
        wait_for(&format!("{first:?} again, not {:?}", looks()), || {
            (looks() == first).then_some(())
        });
    }
    let after = memory(init, "VmRSS");
    println!("60 restarts: resident {before} → {after} KiB, descriptors and children {first:?} as before");
    assert!(
        after <= before + SLACK_KIB,
        "memory: {before} KiB, then {after} KiB"
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
    let peak = memory(up.enclave_pid().expect("it runs"), "VmHWM");
    println!("{MANY} containers: {peak} KiB at its worst");
    assert!(peak <= PEAK_KIB, "{peak} KiB");
    let console = up.console();
    assert!(!console.contains("does not read"), "{console}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(!up.console().contains("does not read"), "{}", up.console());
}
