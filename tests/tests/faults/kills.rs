//! Kills at random: containers, base services and host-proxy itself, with a recorded history. A short loop on every run;
//! `CLOISTER_FAULT_STEPS` makes it longer, and `CLOISTER_FAULT_SEED` repeats one.

use std::time::{SystemTime, UNIX_EPOCH};

use manifest_sync::plan::RestartPolicy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::history::History;
use tests::{Up, guest, pod, product, stat, wait_for};

const CONTAINERS: usize = 6;
const STEPS: u64 = 24;

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

fn name(index: usize) -> String {
    format!("c{index}")
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("alive");
}

#[test]
fn kills_at_random_are_reported_one_by_one_and_nothing_else_is() {
    let Some(product) = product() else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let mut random = number("CLOISTER_FAULT_SEED").unwrap_or(now.as_secs());
    let steps = number("CLOISTER_FAULT_STEPS").unwrap_or(STEPS);
    println!("{steps} steps with CLOISTER_FAULT_SEED={random}");
    let containers: Vec<Value> = (0..CONTAINERS)
        .map(|index| guest(&name(index), &["idle", &format!("mark-{index}")]))
        .collect();
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    for index in 0..CONTAINERS {
        up.wait_running(&name(index));
    }
    let init = up.enclave_pid().expect("it runs");
    let mut history = History::default();
    let mut kills = [0; CONTAINERS];
    for _ in 0..steps {
        // Knuth's MMIX generator.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let choice = usize::try_from((random >> 33) % 100).expect("small");
        match choice {
            0..80 => {
                let container = choice % CONTAINERS;
                // One that waits for its back-off has nothing to kill.
                if let Some(pid) = up.find_guest(&format!("mark-{container}")) {
                    kill_9(pid);
                    let ended = history.wait_ended(&up, &name(container), kills[container]);
                    assert_eq!((ended.code, ended.reason.as_str()), (137, "Error"));
                    kills[container] += 1;
                }
            }
            80..90 => kill_9(up.guest_pid("net")),
            _ => {
                kill_9(up.proxy_pid());
                up.wait();
                up.start_again(&[]);
                wait_for("a report", || up.report());
            }
        }
        history.look(&up);
    }
    wait_for("the last look", || history.look(&up));
    for (index, kills) in kills.iter().enumerate() {
        assert_eq!(
            history.ends(&name(index)).len(),
            *kills,
            "ends of {}",
            name(index)
        );
    }
    history.check(RestartPolicy::Always);
    assert_eq!(up.enclave_pid(), Some(init), "PID 1 is still the same");
    wait_for("no zombie", || {
        let zombie = |pid: &i32| stat(*pid).is_some_and(|(state, _)| state == 'Z');
        (!Up::children_of(init).iter().any(zombie)).then_some(())
    });
    up.signal(Signal::SIGTERM);
    up.wait();
}
