//! The console: one line a record, with the process that says it and the seconds since the machine started, which is the
//! clock of the kernel's own lines (dmesg(1)).

use std::io::Write as _;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Sends this process's log records to standard error.
pub(crate) fn start(process: &'static str) {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .format(move |out, record| {
            writeln!(
                out,
                "cloister-init[{process}] {:.3} {} {}",
                uptime().as_secs_f64(),
                record.level(),
                record.args()
            )
        })
        .init();
}

/// clock_gettime(2) fails for clocks only that do not exist.
fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
