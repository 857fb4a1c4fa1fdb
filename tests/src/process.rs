//! What the kernel says of a process of this machine (proc(5)).

use std::fs;

/// State letter and parent (proc_pid_stat(5)).
pub fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A field of proc_pid_status(5) that is a size, such as `VmRSS` (now) or `VmHWM` (at its worst), KiB.
///
/// # Panics
/// When the process does not run, or has no such field.
pub fn memory(pid: i32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or_else(|| panic!("no {field} of process {pid}"))
}

/// How many descriptors are open.
///
/// # Panics
/// When the process does not run.
pub fn descriptors(pid: i32) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process that runs");
    all.count()
}

/// Bytes that it has written, to whatever (`wchar` of proc_pid_io(5)).
pub fn written(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let count = text.lines().find_map(|line| line.strip_prefix("wchar: "))?;
    count.parse().ok()
}

/// Whether it has a handler for this signal (`SigCgt` of proc_pid_status(5)).
pub fn handles(pid: i32, signal: nix::sys::signal::Signal) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}
