//! F12, F28 on the log path, in the middle of a flood: nobody reads the enclave's logs, and a sink takes nothing. Containers write
//! as fast as they can all the same, and what had no room is counted to the record.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use serde_json::json;
use tests::logs::flags;
use tests::{Up, guest, pod, process, product, wait_for};

use super::bad::{HUGE, PIECE, peak};
use super::{metric, stop, up};

/// Lines of each of the two containers that flood.
const LINES: u64 = 200_000;

/// What a syslog server was sent.
#[derive(Default)]
struct Arrived {
    /// Sequences; a long record comes in several messages.
    records: HashSet<u64>,
    /// Records that are said to be missing.
    dropped: u64,
}

impl Arrived {
    fn accounted(&self) -> u64 {
        self.records.len() as u64 + self.dropped
    }

    fn take(&mut self, message: &str) {
        let number = |name: &str| -> Option<u64> {
            let (_, rest) = message.split_once(&format!(" {name}=\""))?;
            rest.split_once('"')?.0.parse().ok()
        };
        match number("dropped") {
            Some(dropped) => self.dropped += dropped,
            None => drop(self.records.insert(number("sequence").expect("a sequence"))),
        }
    }
}

/// Takes every message that comes, for ever: a number of bytes, a space, the message (RFC 6587, section 3.4.1).
fn read_all(listener: TcpListener, arrived: &Arc<Mutex<Arrived>>) {
    let arrived = Arc::clone(arrived);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut message = move || -> std::io::Result<String> {
                let mut length = Vec::new();
                stream.read_until(b' ', &mut length)?;
                let length = String::from_utf8_lossy(&length).trim().parse();
                let mut bytes = vec![0; length.map_err(std::io::Error::other)?];
                stream.read_exact(&mut bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            };
            // Until the end of the connection.
            while let Ok(message) = message() {
                arrived.lock().expect("nobody panicked").take(&message);
            }
        }
    });
}

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
    // The sink has taken next to nothing, and the spool is bounded.
    let lost = metric(&up, "cloister_log_sink_dropped_records_total{sink=\"syslog\"}");
    assert!(lost > 0, "the flood is larger than the spool");
    assert!(metric(&up, "cloister_log_spool_bytes") <= 256 << 10);
    // Now it takes what there is: each record is there, or known not to be.
    let taken = 2 * LINES + HUGE / PIECE;
    let arrived = Arc::new(Mutex::new(Arrived::default()));
    read_all(deaf, &arrived);
    wait_for("every record or its absence at the sink", || {
        let arrived = arrived.lock().expect("nobody panicked");
        (arrived.accounted() >= taken).then_some(())
    });
    let records = arrived.lock().expect("nobody panicked").records.len();
    println!("{taken} records: {dropped} dropped inside, {lost} by the spool, {records} arrived");
    assert_eq!(arrived.lock().expect("nobody panicked").accounted(), taken);
    let (proxy, init) = (peak(up.proxy_pid()), peak(up.enclave_pid().expect("an enclave")));
    println!("peaks: host-proxy {proxy}, PID 1 {init}");
    assert!(proxy < 64 << 20 && init < 16 << 20, "{proxy} {init}");
    stop(up);
}
