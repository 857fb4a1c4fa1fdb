//! What the machine has. It stands for the node's allocatable resources: nothing else runs here (K-376).

use std::fs;
use std::io;

use manifest_sync::downward::Capacity;
use nix::sys::statfs::statfs;
use nix::unistd::{SysconfVar, sysconf};

use super::layout;

/// What containers without limits of their own have. What cannot be found out is 0.
pub(super) fn of_this_machine() -> Capacity {
    let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
    Capacity {
        cpu_milli: u64::try_from(cpus).unwrap_or(1).saturating_mul(1000),
        memory: memory().unwrap_or(0),
        ephemeral_storage: storage().unwrap_or(0),
    }
}

/// `MemTotal` of proc_meminfo(5), bytes.
pub(super) fn memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))
}

/// Bytes of the file system that our root is: what an enclave has for a disk.
fn storage() -> io::Result<u64> {
    let all = statfs(layout::STORE)?;
    let block = u64::try_from(all.block_size()).map_err(io::Error::other)?;
    Ok(all.blocks().saturating_mul(block))
}
