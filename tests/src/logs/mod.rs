//! What tests of log sinks and `cargo xtask soak` share: a Pod that counts, the real rsyslog, what arrived there and in files,
//! and the way of many lines through a `host-proxy` that is killed again and again.

mod kills;
mod rsyslog;
mod tally;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{guest, pod};

pub use kills::{Delivery, through_kills};
pub use rsyslog::{Rsyslog, free_port};
pub use tally::Tally;

/// Name of a container of [`counting`].
fn counter(index: u64) -> String {
    format!("c{index}")
}

/// A Pod whose containers `c0`, `c1`, … write `lines` numbered lines each, `burst` at once, then wait `pause_ms`.
pub fn counting(containers: u64, lines: u64, burst: u64, pause_ms: u64) -> Value {
    let words = [lines, burst, pause_ms].map(|number| number.to_string());
    let all: Vec<Value> = (0..containers)
        .map(|index| guest(&counter(index), &["count", &words[0], &words[1], &words[2]]))
        .collect();
    pod(json!({"containers": all, "terminationGracePeriodSeconds": 0}))
}

/// Flags of `host-proxy up` for a spool on disk and these sinks.
pub fn flags(spool: &Path, spool_bytes: &str, sinks: &[String]) -> Vec<String> {
    let mut flags = vec!["--log-spool".to_owned(), spool.display().to_string()];
    flags.extend(["--log-spool-bytes".to_owned(), spool_bytes.to_owned()]);
    for sink in sinks {
        flags.extend(["--log-sink".to_owned(), sink.clone()]);
    }
    flags
}

/// The files that the kubelet's layout has for one container, oldest first.
pub fn files_of(directory: &Path, container: &str) -> Vec<PathBuf> {
    let pods = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = pods
        .flat_map(|pod| std::fs::read_dir(pod.path().join(container)))
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    // `0.log` is the newest and sorts before `0.log.DATE`.
    files.sort_by_key(|path| {
        (
            path.extension().is_some_and(|extension| extension == "log"),
            path.clone(),
        )
    });
    files
}

/// The numbers in these files, in order.
///
/// # Errors
/// There is a line that no container of [`counting`] writes.
pub fn numbers_in_files(directory: &Path, container: &str) -> Result<Vec<u64>> {
    let files = files_of(directory, container);
    let numbers: Result<Vec<_>> = files.iter().map(|path| tally::read_cri(path)).collect();
    Ok(numbers?.concat())
}
