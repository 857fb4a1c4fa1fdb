//! Lines on their way to rsyslog and to files while `host-proxy` is killed and started again: each arrives, or is said to be
//! missing, and what comes twice says so.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{Rsyslog, Tally, counter, counting, flags, free_port, numbers_in_files};
use crate::{Product, Up, look_for, process, sum};

/// How often `host-proxy` is killed.
const KILLS: u64 = 5;
/// Lines that a container writes at once.
const BURST: u64 = 100;
/// Lines of all containers together in a second: a pace that rsyslog keeps up with, so that `host-proxy` has work to do whenever
/// it is killed, and the rings hold out while it is started again.
const PER_SECOND: u64 = 10_000;
/// Bytes of each line with its end.
const LINE: u64 = "line 0000000\n".len() as u64;

/// What came of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// How many wrote.
    pub containers: u64,
    /// Lines of all of them.
    pub written: u64,
    /// How often `host-proxy` was killed.
    pub kills: u64,
    /// How often while there were still lines to write.
    pub kills_while_writing: u64,
    /// What the server has.
    pub tally: Tally,
    /// Lines that the server does not have.
    pub missing: u64,
    /// Lines in files.
    pub in_files: u64,
    /// Containers whose files have something else than the server, or not once, or not in order.
    pub differing_files: u64,
    /// From the start of the Pod to the last line.
    pub took: Duration,
}

impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        writeln!(
            formatter,
            "logs to rsyslog: {} lines of {} containers in {:?}; host-proxy killed {} times, {} of them while lines were written",
            self.written, self.containers, self.took, self.kills, self.kills_while_writing
        )?;
        writeln!(
            formatter,
            "  lines: {} written, {} received, {} missing, {} nobody's",
            self.written,
            tally.distinct(),
            self.missing,
            tally.strange
        )?;
        writeln!(
            formatter,
            "  gaps: {} reported, of {} lines",
            tally.gaps,
            tally.dropped()
        )?;
        writeln!(
            formatter,
            "  duplicates: {} unmarked, {} marked; {} lines marked as sent again",
            tally.doubled_unmarked,
            tally.doubled - tally.doubled_unmarked,
            tally.resent
        )?;
        writeln!(
            formatter,
            "  files: {} lines, of {} containers not once, in order and the same",
            self.in_files, self.differing_files
        )
    }
}

impl Delivery {
    fn check(self) -> Result<Self> {
        let tally = &self.tally;
        let exact =
            tally.accounted() == self.written && self.missing == tally.dropped() && tally.strange == 0;
        ensure!(
            exact,
            "what was received and what is said to be missing is not what was written: {self}"
        );
        ensure!(tally.doubled_unmarked == 0, "lines came twice unmarked: {self}");
        ensure!(
            self.differing_files == 0,
            "the files are not what the server has: {self}"
        );
        Ok(self)
    }
}

/// `lines` lines, shared out among so many containers, into a real rsyslog over TCP and into files, with a spool on disk;
/// meanwhile `host-proxy` is killed five times by SIGKILL and started again.
///
/// # Errors
/// There is no rsyslog; a line is missing and nobody says so, or came twice unmarked; the files have something else.
pub fn through_kills(product: &Product, containers: u64, lines: u64) -> Result<Delivery> {
    let each = lines / containers;
    let written = each * containers;
    let scratch = tempfile::tempdir()?;
    let server = Rsyslog::start(scratch.path(), free_port());
    let mut server = server.context("there is no rsyslogd: install the package rsyslog")?;
    let files = scratch.path().join("pods");
    let sinks = [
        format!("syslog+tcp://127.0.0.1:{}", server.port()),
        format!("file:{},max-size=128Ki,max-files=1000", files.display()),
    ];
    let flags = flags(&scratch.path().join("spool"), "256Mi", &sinks);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let began = Instant::now();
    let pause_ms = BURST * containers * 1000 / PER_SECOND;
    let mut up = Up::start(product, &[counting(containers, each, BURST, pause_ms)], &flags);
    let mut kills_while_writing = 0;
    for kill in 1..=KILLS {
        let (due, before) = (kill * written / (KILLS + 1), server.tally().accounted());
        // Each does some work before it is killed.
        let reached = look_for(|| {
            let works = server.tally().accounted() > before;
            (works && lines_written(&up, each) >= due).then_some(())
        });
        ensure!(
            reached.is_some(),
            "before kill {kill}, {} of {due} lines were written, and rsyslog, which had {before}, has {}\n{}",
            lines_written(&up, each),
            server.tally().accounted(),
            up.stderr()
        );
        kills_while_writing += u64::from(lines_written(&up, each) < written);
        up.signal(Signal::SIGKILL);
        up.wait();
        up.start_again(&flags);
    }
    // When some never come, it is the tally that says so.
    wait_for_lines(&mut server, written);
    let took = began.elapsed();
    look_for(|| nothing_waits(&up).then_some(()));
    up.signal(Signal::SIGTERM);
    up.wait();
    let tally = server.tally().clone();
    let (mut found, mut in_files, mut differing_files) = (0, 0, 0);
    for container in (0..containers).map(counter) {
        let there = tally.lines.get(&container).cloned().unwrap_or_default();
        let numbers = numbers_in_files(&files, &container)?;
        found += there.range(..each).count() as u64;
        in_files += numbers.len() as u64;
        differing_files += u64::from(!numbers.iter().eq(&there));
    }
    let delivery = Delivery {
        containers,
        written,
        kills: KILLS,
        kills_while_writing,
        missing: written - found,
        tally,
        in_files,
        differing_files,
        took,
    };
    delivery.check()
}

/// Waits until the server has so many lines, or knows that they are missing, or gets no more.
fn wait_for_lines(server: &mut Rsyslog, lines: u64) {
    loop {
        let before = server.tally().accounted();
        let all = look_for(|| (server.tally().accounted() >= lines).then_some(()));
        if all.is_some() || server.tally().accounted() == before {
            return;
        }
    }
}

/// How many lines the containers have written, each of them `most` at the end.
fn lines_written(up: &Up, most: u64) -> u64 {
    let children = up.enclave_pid().map(Up::children_of).unwrap_or_default();
    let counts = |pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == b"count")
    };
    let lines = |pid| process::written(pid).map_or(0, |bytes| bytes / LINE).min(most);
    children.into_iter().filter(counts).map(lines).sum()
}

/// Whether `host-proxy` says that every sink has taken everything.
fn nothing_waits(up: &Up) -> bool {
    let (metrics, lag) = (up.metrics(), "cloister_log_sink_lag_records{");
    metrics.contains(lag) && sum(&metrics, lag) == 0
}
