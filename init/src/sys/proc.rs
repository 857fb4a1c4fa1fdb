//! What the kernel knows of us as a process: memory, cgroup, OOM score.

use std::io;
use std::path::Path;

/// The first PID namespace of a kernel (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether the machine is ours: as its PID 1, not as that of a container.
pub(crate) fn is_machine() -> bool {
    std::process::id() == 1
        && std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(FIRST_PID_NAMESPACE))
}

/// Whether user ids are the machine's own (user_namespaces(7)). Without /proc, which the boot has yet to mount, they are.
pub(crate) fn is_initial_user_namespace() -> bool {
    match std::fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"],
        Err(_) => true,
    }
}

/// Resident memory in bytes (proc_pid_statm(5)); 0 when it cannot be read.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .unwrap_or(4096);
    pages * u64::try_from(page).unwrap_or(4096)
}

/// Moves this process to a cgroup v2 (cgroups(7)).
pub(crate) fn join_cgroup(cgroup: &Path) -> io::Result<()> {
    std::fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Who dies first when the machine has no memory left: -1000 never, 1000 first (proc_pid_oom_score_adj(5)). Children
/// inherit it.
pub(crate) fn set_oom_score_adj(score: i32) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Links of processes' descriptors that are looked at for one question: some milliseconds.
const MAX_LINKS: usize = 20_000;

/// The mount namespace of a process, by name (mount_namespaces(7)).
pub(crate) fn mount_namespace(pid: impl std::fmt::Display) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// The one of these mount namespaces in which a process has the socket with this inode open (proc_pid_fd(5)).
pub(crate) fn namespace_with_socket(
    inode: u64,
    namespaces: &std::collections::BTreeSet<&str>,
) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    let mut links = 0;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some(namespace) = mount_namespace(pid).filter(|name| namespaces.contains(name.as_str())) else {
            continue;
        };
        for descriptor in std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            if std::fs::read_link(descriptor.path()).is_ok_and(|link| link == Path::new(&socket)) {
                return Some(namespace);
            }
        }
    }
    None
}
