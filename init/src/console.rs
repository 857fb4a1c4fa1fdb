//! The console: one line a record, with the process that says it and the seconds since it started.

use std::io::Write as _;
use std::time::Instant;

/// Sends this process's log records to standard error.
pub(crate) fn start(process: &'static str) {
    let start = Instant::now();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .format(move |out, record| {
            let seconds = start.elapsed().as_secs_f64();
            writeln!(
                out,
                "cloister-init[{process}] {seconds:.3} {} {}",
                record.level(),
                record.args()
            )
        })
        .init();
}
