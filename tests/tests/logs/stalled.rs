//! F12, F28 on the log path, in the middle of a flood: nobody reads the enclave's logs, and a sink takes nothing. Containers write
//! as fast as they can all the same, and what had no room is counted to the record.

use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;
use tests::logs::flags;
use tests::{Up, guest, pod, process, product, wait_for};

use super::bad::{HUGE, PIECE, peak};
use super::{metric, stop, up};

/// Lines of each of the two containers that flood.
const LINES: u64 = 200_000;

/// Processes of the enclave that have this word among their arguments.
fn running(up: &Up, word: &str) -> usize {
    let children = up.enclave_pid().map(Up::children_of).unwrap_or_default();
    let has_word = |pid: &i32| {
        let command = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        command.is_ok_and(|command| {
            command
                .split(|byte| *byte == 0)
                .any(|part| part == word.as_bytes())
        })
    };
    children.iter().filter(|pid| has_word(pid)).count()
}

#[test]
fn f28_a_reader_and_a_sink_that_stand_still_block_no_container_and_every_record_is_counted() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    // It accepts and never reads.
    let deaf = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = deaf.local_addr().expect("an address").port();
    let sinks = [format!("syslog+tcp://127.0.0.1:{port}")];
    let (lines, huge) = (LINES.to_string(), HUGE.to_string());
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [
        guest("one", &["count-as", "one", &lines]),
        guest("two", &["count-as", "two", &lines]),
        guest("line", &["one-line", &huge]),
    ]});
    let up = up(
        &product,
        pod(spec),
        &flags(&scratch.path().join("spool"), "256Ki", &sinks),
    );
    let line = up.guest_pid("one-line");
    up.signal(Signal::SIGSTOP);
    // Nobody waits for the host: all of them come to their ends, or to where they write no more.
    wait_for("the containers to have written everything", || {
        (running(&up, "count-as") == 0 && process::written(line).is_some_and(|written| written >= HUGE))
            .then_some(())
    });
    up.signal(Signal::SIGCONT);
    let of = |series: &str, container: &str| metric(&up, &format!("{series}{{container=\"{container}\""));
    wait_for("every record or its absence", || {
        let taken = ["one", "two", "line"].map(|name| of("cloister_init_log_records_total", name));
        let arrived = ["one", "two", "line"].map(|name| {
            of("cloister_log_records_total", name) + of("cloister_log_dropped_records_total", name)
        });
        // The end of the long line waits for more.
        (taken == [LINES, LINES, HUGE / PIECE] && arrived == taken).then_some(())
    });
    let dropped = metric(&up, "cloister_log_dropped_records_total");
    assert!(dropped > 0, "the flood is larger than the rings");
    // The sink has nothing, and what the spool could not keep for it is known.
    let sink = |what: &str| metric(&up, &format!("cloister_log_sink_{what}{{sink=\"syslog\"}}"));
    let received = metric(&up, "cloister_log_records_total");
    wait_for("every record at the sink's door", || {
        let lost = sink("dropped_records_total");
        let (sent, waits) = (sink("sent_records_total"), sink("lag_records"));
        println!(
            "{received} received, {dropped} dropped inside, {lost} by the spool, {sent} sent, {waits} wait"
        );
        (metric(&up, "cloister_log_spool_bytes") <= 256 << 10 && lost > 0 && lost + sent + waits >= received)
            .then_some(())
    });
    let (proxy, init) = (peak(up.proxy_pid()), peak(up.enclave_pid().expect("an enclave")));
    println!("peaks: host-proxy {proxy}, PID 1 {init}");
    assert!(proxy < 64 << 20 && init < 16 << 20, "{proxy} {init}");
    stop(up);
}
