//! Log sinks, end to end: a Pod that counts, the real `host-proxy`, which is killed again and again, and the real
//! rsyslog of the Debian archive or a server of the tests. Every line arrives once, or is counted. `cargo xtask soak logs` does
//! the first of it with a million lines.

mod bad;
mod http;
mod sealed;
mod server;
mod stalled;

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::logs::{Rsyslog, counting, flags, free_port, numbers_in_files, through_kills};
use tests::{Product, Up, product, wait_for};

/// `host-proxy up` with these sinks; none of them is standard output.
fn up(product: &Product, pod: Value, flags: &[String]) -> Up {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Up::start(product, &[pod], &flags)
}

fn start_again(up: &mut Up, flags: &[String]) {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    up.start_again(&flags);
}

/// Stops the Pod at once.
fn stop(mut up: Up) {
    up.signal(Signal::SIGTERM);
    up.wait();
}

/// The sum of the series of `/metrics` whose lines begin so; 0 when there is none, or no proxy yet.
fn metric(up: &Up, series: &str) -> u64 {
    up.metric(series)
}

#[test]
fn a_proxy_that_is_killed_loses_and_doubles_nothing() {
    let Some(product) = product() else { return };
    if !Rsyslog::is_there() {
        return;
    }
    let delivery = through_kills(&product, 5, 50_000).unwrap_or_else(|error| panic!("{error:#}"));
    print!("{delivery}");
}

#[test]
fn an_outage_costs_nothing_while_the_spool_holds_out() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let port = free_port();
    if !Rsyslog::is_there() {
        return;
    }
    let sinks = [format!("syslog+tcp://127.0.0.1:{port}")];
    let flags = flags(&scratch.path().join("spool"), "64Mi", &sinks);
    let up = up(&product, counting(2, 10_000, 100, 20), &flags);
    wait_for("lines that wait", || {
        (metric(&up, "cloister_log_sink_lag_records") > 4000
            && metric(&up, "cloister_log_sink_retries_total") > 0)
            .then_some(())
    });
    let mut server = Rsyslog::start(scratch.path(), port).expect("it is there");
    wait_for("the first lines", || {
        (server.tally().distinct() > 5000).then_some(())
    });
    // The server dies with whatever it had not read yet.
    server.kill();
    let mut server = Rsyslog::start(scratch.path(), port).expect("it is there");
    let tally = wait_for("every line", || {
        (server.tally().distinct() >= 20_000).then(|| server.tally().clone())
    });
    assert_eq!(tally.dropped(), 0);
    assert_eq!(tally.doubled_unmarked, 0, "whatever comes twice says so");
    for lines in tally.lines.values() {
        assert_eq!(*lines, (0..10_000).collect());
    }
    stop(up);
}

#[test]
fn a_full_spool_drops_the_oldest_and_says_exactly_how_many_of_whom() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let port = free_port();
    if !Rsyslog::is_there() {
        return;
    }
    let sinks = [format!("syslog+tcp://127.0.0.1:{port},batch-bytes=4Ki")];
    let flags = flags(&scratch.path().join("spool"), "256Ki", &sinks);
    let up = up(&product, counting(3, 10_000, 100, 5), &flags);
    wait_for("all lines, most of them too many", || {
        let received = (0..3)
            .map(|index| {
                let series =
                    format!("cloister_log_records_total{{container=\"c{index}\",stream=\"stdout\"}}");
                metric(&up, &series)
            })
            .sum::<u64>();
        (received == 30_000).then_some(())
    });
    let dropped = metric(&up, "cloister_log_sink_dropped_records_total");
    assert!(dropped > 10_000, "{dropped}");
    assert_eq!(metric(&up, "cloister_log_dropped_records_total"), 0);
    assert!(metric(&up, "cloister_log_spool_bytes") <= 256 << 10);
    let mut server = Rsyslog::start(scratch.path(), port).expect("it is there");
    let tally = wait_for("every line or its absence", || {
        (server.tally().accounted() >= 30_000).then(|| server.tally().clone())
    });
    for (container, lines) in &tally.lines {
        let missing = tally.dropped.get(container).copied().unwrap_or(0);
        assert_eq!(lines.len() as u64 + missing, 10_000, "{container}");
        assert!(lines.contains(&9999), "the newest are kept");
    }
    assert_eq!(tally.dropped(), dropped);
    stop(up);
}

#[test]
fn a_torn_spool_is_mended_from_the_enclave() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (spool, files) = (scratch.path().join("spool"), scratch.path().join("pods"));
    // Nobody is there: everything stays in the spool.
    let nobody = [format!("syslog+tcp://127.0.0.1:{}", free_port())];
    let mut up = up(
        &product,
        counting(1, 2000, 100, 5),
        &flags(&spool, "64Mi", &nobody),
    );
    wait_for("all lines", || {
        (metric(&up, "cloister_log_records_total") == 2000).then_some(())
    });
    up.signal(Signal::SIGKILL);
    up.wait();
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&spool)
        .expect("the spool")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    segments.sort();
    let last = segments.pop().expect("a segment");
    let length = std::fs::metadata(&last).expect("metadata").len();
    let file = std::fs::File::options()
        .write(true)
        .open(&last)
        .expect("the segment");
    file.set_len(length - 5).expect("torn");
    let sink = [format!("file:{}", files.display())];
    start_again(&mut up, &flags(&spool, "64Mi", &sink));
    wait_for("every line in the file", || {
        let numbers = numbers_in_files(&files, "c0").expect("lines that count");
        (numbers == (0..2000).collect::<Vec<_>>()).then_some(())
    });
    assert!(metric(&up, "cloister_log_spool_torn_bytes_total") > 0);
    stop(up);
}

#[test]
fn a_sink_that_stands_still_stops_no_other() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let files = scratch.path().join("pods");
    // It accepts and never reads.
    let deaf = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = deaf.local_addr().expect("an address").port();
    let sinks = [
        format!("syslog+tcp://127.0.0.1:{port}"),
        format!("file:{}", files.display()),
    ];
    let up = up(
        &product,
        counting(4, 30_000, 1000, 2),
        &flags(&scratch.path().join("spool"), "64Mi", &sinks),
    );
    let lag = |sink: &str| metric(&up, &format!("cloister_log_sink_lag_records{{sink=\"{sink}\"}}"));
    wait_for("every line in the files", || {
        let numbers = ["c0", "c1", "c2", "c3"].map(|container| {
            let numbers = numbers_in_files(&files, container).expect("lines that count");
            numbers.len() as u64
        });
        // The enclave's rings may overflow, too: nobody waits for the host.
        let lost = metric(&up, "cloister_log_dropped_records_total");
        (numbers.iter().sum::<u64>() + lost == 120_000).then_some(())
    });
    wait_for("no line that waits for the files", || {
        (lag("file") == 0).then_some(())
    });
    assert!(lag("syslog") > 0);
    stop(up);
}
