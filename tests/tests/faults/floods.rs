//! F28: output without measure, and nobody who reads it. No container waits for its log, and every end is reported.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Up, guest, pod, product, wait_for};

use crate::history::History;
use crate::rules::Policy;

#[test]
fn containers_end_as_they_do_while_nobody_reads_their_logs() {
    let Some(product) = product() else { return };
    // 20 MB each, where the ring has 1 MiB; one line of 20 MB; and one that has closed its outputs.
    let containers = [
        guest("lines", &["count-as", "n", "2000000"]),
        guest("line", &["one-line-and-exit", "20000000"]),
        guest("closed", &["close-output"]),
        guest("fails", &["flood-and-fail"]),
    ];
    let spec =
        json!({"containers": containers, "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &["--log-format", "json"]);
    up.wait_running("closed");
    // The reader stands still: what is printed meanwhile has nowhere to go but the ring.
    up.signal(Signal::SIGSTOP);
    let console = up.state().join("console.log");
    let size = || std::fs::metadata(&console).map_or(0, |meta| meta.len());
    let before = size();
    // PID 1 works: the console tells of the restarts.
    wait_for("another start while the host stands still", || {
        (size() > before).then_some(())
    });
    up.signal(Signal::SIGCONT);
    let mut history = History::default();
    for name in ["lines", "line"] {
        assert_eq!(history.wait_ended(&up, name, 0).code, 0, "{name}");
    }
    for attempt in 0..2 {
        assert_eq!(history.wait_ended(&up, "fails", attempt).code, 1);
    }
    assert_eq!(up.wait_running("closed").restart_count, 0);
    history.check(Policy::OnFailure);
    up.wait_log("last words");
    up.signal(Signal::SIGTERM);
    up.wait();
}
