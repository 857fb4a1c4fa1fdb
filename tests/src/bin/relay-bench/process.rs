//! CPU time of processes.

use std::fs;

use anyhow::{Context as _, Result};

/// Processes whose CPU time is asked for.
pub(crate) struct Processes(Vec<i32>);

impl Processes {
    /// As the command line names them: `+` takes everything below a process, as it is now.
    pub(crate) fn new(words: &[&str]) -> Result<Self> {
        let mut pids = Vec::new();
        for word in words {
            let pid = word.trim_start_matches('+').parse().context("a pid")?;
            pids.push(pid);
            if word.starts_with('+') {
                let mut next = pids.len() - 1;
                while let Some(parent) = pids.get(next).copied() {
                    pids.extend(children_of(parent));
                    next += 1;
                }
            }
        }
        Ok(Self(pids))
    }

    /// CPU seconds of all threads until now: the scheduler's count (schedstat), which is exact to a tick.
    pub(crate) fn cpu(&self) -> f64 {
        self.0.iter().map(|pid| cpu(*pid)).sum::<f64>() / 1e9
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| tests::stat(*pid).is_some_and(|(_, of)| of == parent))
        .collect()
}

/// Nanoseconds.
fn cpu(pid: i32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        })
        .sum()
}
