//! F29: every processor has four times as much to do as it can. PID 1 goes on: what dies is started again, and the host is
//! answered.

use std::time::Instant;

use manifest_sync::plan::RestartPolicy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::history::History;
use tests::{Up, guest, pod, product, wait_for};

const OVERCOMMIT: usize = 4;
const KILLED: usize = 6;

#[test]
fn restarts_and_answers_come_while_all_processors_are_busy() {
    let Some(product) = product() else { return };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut containers: Vec<Value> = (0..OVERCOMMIT * processors)
        .map(|index| guest(&format!("spin-{index}"), &["spin"]))
        .collect();
    let name = |index: usize| format!("quiet-{index}");
    containers.extend((0..KILLED).map(|index| guest(&name(index), &["idle", &format!("busy-{index}")])));
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    for index in 0..KILLED {
        up.wait_running(&name(index));
    }
    let mut history = History::default();
    let (mut restarts, mut answers) = (Vec::new(), Vec::new());
    for index in 0..KILLED {
        let word = format!("busy-{index}");
        let killed = up.guest_pid(&word);
        kill(Pid::from_raw(killed), Signal::SIGKILL).expect("alive");
        let began = Instant::now();
        wait_for("another process", || {
            (up.guest_pid(&word) != killed).then_some(())
        });
        restarts.push(began.elapsed());
        assert_eq!(history.wait_ended(&up, &name(index), 0).code, 137);
        let began = Instant::now();
        history.look(&up);
        answers.push(began.elapsed());
    }
    println!("restarts: {restarts:?}, statuses: {answers:?}");
    history.check(RestartPolicy::Always);
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
