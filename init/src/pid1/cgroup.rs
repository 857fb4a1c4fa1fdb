//! The cgroup v2 hierarchy of the machine. The numbers are [`cloister_init::resources`]'s.
//!
//! ```text
//! /sys/fs/cgroup           PID 1
//! ├── system               base services, unpack workers
//! └── pod                  limits of the Pod
//!     └── NAME-ATTEMPT     one instance of a container: its limits, its count of OOM kills
//!         └── command-N    a command of a probe or hook in it, to be killed as a whole
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloister_init::resize::{Group, Step, Steps};
use cloister_init::resources::{self, CgroupFile, OomKill};
use manifest_sync::plan::{ContainerPlan, Plan};
use manifest_sync::resources::ResourcesPlan;
use nix::mount::{MsFlags, mount};

use super::capacity;
use crate::sys;

const ROOT: &str = "/sys/fs/cgroup";
/// Where base services and workers live.
const SYSTEM: &str = "/sys/fs/cgroup/system";
const POD: &str = "/sys/fs/cgroup/pod";
/// How the names of commands' cgroups begin.
const COMMAND: &str = "command-";
/// What we need of the kernel.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Where containers share a PID namespace, what one leaves behind is about to end when its first process has.
const REMOVE_AGAIN: Duration = Duration::from_millis(10);
const REMOVE_TRIES: usize = 500;
/// Processes and threads that a Pod cannot take from PID 1 and the base services. A kubelet keeps as many back as
/// `systemReserved` says.
const RESERVED_PIDS: u64 = 256;

/// The hierarchy, ready for the Pod.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// Memory of the machine, bytes.
    capacity: u64,
    /// Whom the kernel kills for want of memory.
    oom_kill: OomKill,
}

impl Cgroups {
    /// Mounts the hierarchy and delegates the controllers. Only the first process of a machine may: elsewhere the
    /// hierarchy belongs to somebody else.
    pub(super) fn set_up(oom_kill: OomKill) -> io::Result<Self> {
        if !sys::proc::is_machine() {
            return Err(io::Error::other("this enclave is no machine of its own"));
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let mount = |options| mount(Some("cgroup2"), ROOT, Some("cgroup2"), flags, Some(options));
        // Without the last (Linux 6.0), every process that is put into a cgroup, so every start of a container, waits until
        // all processors have passed through the scheduler.
        mount("nsdelegate,memory_recursiveprot,favordynmods")
            .or_else(|_old_kernel| mount("nsdelegate,memory_recursiveprot"))?;
        let present = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers"))?;
        let mut missing = CONTROLLERS.into_iter();
        if let Some(missing) = missing.find(|name| !present.split_whitespace().any(|word| word == *name)) {
            return Err(io::Error::other(format!(
                "the kernel has no {missing} controller"
            )));
        }
        delegate(Path::new(ROOT))?;
        fs::create_dir(SYSTEM)?;
        // PID 1 never dies for want of memory: the machine would end with it.
        sys::proc::set_oom_score_adj(-1000)?;
        Ok(Self {
            capacity: capacity::memory()?,
            oom_kill,
        })
    }

    /// Makes the Pod's cgroup.
    pub(super) fn accept(&self, plan: &Plan) -> io::Result<()> {
        let pod = Path::new(POD);
        fs::create_dir_all(pod)?;
        write(pod, &resources::pod_files(plan))?;
        let most: u64 = [
            number("/proc/sys/kernel/pid_max")?,
            number("/proc/sys/kernel/threads-max")?,
        ]
        .into_iter()
        .fold(u64::MAX, u64::min);
        let left = most.saturating_sub(RESERVED_PIDS).max(1).to_string();
        write(pod, &[("pids.max", left)])?;
        delegate(pod)
    }

    /// Makes the cgroup of an instance, which is to have these amounts.
    pub(super) fn create(
        &self,
        container: &ContainerPlan,
        attempt: u32,
        amounts: &ResourcesPlan,
    ) -> io::Result<PathBuf> {
        let path = instance(&container.name, attempt);
        match fs::create_dir(&path) {
            // An instance that never came to be has left it behind.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        write(&path, &resources::container_files(amounts))?;
        write(&path, &resources::fixed_files(self.oom_kill))?;
        Ok(path)
    }

    /// Why the machine can never give these requests (K-475).
    pub(super) fn infeasible(&self, plan: &Plan) -> Option<String> {
        let requested = resources::pod_memory_request(plan);
        (requested > self.capacity).then(|| {
            format!(
                "Node didn't have enough capacity: memory, requested: {requested}, capacity: {}",
                self.capacity
            )
        })
    }

    /// Gives the Pod and its running instances other amounts, in the order that [`cloister_init::resize::steps`] says. The message is for
    /// the status.
    pub(super) fn resize(&self, steps: &Steps) -> Result<(), String> {
        let path = |group: &Group| match group {
            Group::Pod => PathBuf::from(POD),
            Group::Instance(container, attempt) => instance(container, *attempt),
        };
        for lowered in &steps.lowered {
            let file = path(&lowered.group).join("memory.current");
            let usage =
                number(&file.to_string_lossy()).map_err(|error| format!("{}: {error}", file.display()))?;
            lowered.check(usage)?;
        }
        for Step { group, file } in &steps.writes {
            write(&path(group), std::slice::from_ref(file)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// K-450.
    pub(super) fn oom_score_adj(&self, plan: &Plan, container: &ContainerPlan) -> i32 {
        resources::oom_score_adj(plan, container, self.capacity)
    }

    /// The cgroup of an instance.
    pub(super) fn path(container: &str, attempt: u32) -> PathBuf {
        instance(container, attempt)
    }

    /// Removes the cgroup of an instance whose processes have all ended, or are about to. Whether the kernel has killed one of them for
    /// want of memory (K-305).
    pub(super) fn remove(&self, container: &str, attempt: u32) -> bool {
        let path = instance(container, attempt);
        let events = fs::read_to_string(path.join("memory.events")).unwrap_or_default();
        remove_when_empty(path);
        oom_kills(&events) > 0
    }
}

/// Removes a cgroup as soon as the processes in it have ended.
fn remove_when_empty(cgroup: PathBuf) {
    let try_now = move || {
        remove_commands(&cgroup);
        fs::remove_dir(&cgroup).map_err(|error| (error, cgroup.display().to_string()))
    };
    if try_now().is_ok() {
        return;
    }
    tokio::task::spawn_local(async move {
        for _ in 0..REMOVE_TRIES {
            tokio::time::sleep(REMOVE_AGAIN).await;
            if try_now().is_ok() {
                return;
            }
        }
        if let Err((error, path)) = try_now() {
            log::warn!("cannot remove {path}: {error}");
        }
    });
}

/// Makes the cgroup of a command in a container, whose cgroup is `container`. It has no limits of its own.
pub(super) fn create_command(container: &Path, number: u64) -> io::Result<PathBuf> {
    // Of commands that had left somebody behind, and nobody is left now.
    remove_commands(container);
    let path = container.join(format!("{COMMAND}{number}"));
    fs::create_dir(&path)?;
    Ok(path)
}

/// Kills everything in the cgroup of a command (cgroup.kill of the kernel's cgroup-v2 document).
pub(super) fn kill_command(path: &Path) {
    if let Err(error) = write(path, &[("cgroup.kill", "1".to_owned())]) {
        log::warn!("cannot kill a command: {error}");
    }
}

/// Removes the cgroup of a command, unless it has left somebody behind: then it goes with the container.
pub(super) fn remove_command(path: &Path) {
    let _ = fs::remove_dir(path);
}

fn remove_commands(container: &Path) {
    let entries = fs::read_dir(container).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with(COMMAND) {
            remove_command(&entry.path());
        }
    }
}

/// Where base services and workers live, if there are cgroups.
pub(super) fn system(cgroups: Option<&Cgroups>) -> Option<PathBuf> {
    cgroups.map(|_| PathBuf::from(SYSTEM))
}

/// Where an instance lives.
pub(super) fn instance(container: &str, attempt: u32) -> PathBuf {
    Path::new(POD).join(format!("{container}-{attempt}"))
}

/// Lets the children of a cgroup have controllers of their own.
fn delegate(cgroup: &Path) -> io::Result<()> {
    let all = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
    fs::write(cgroup.join("cgroup.subtree_control"), all)
}

fn write(cgroup: &Path, files: &[CgroupFile]) -> io::Result<()> {
    for (name, value) in files {
        let path = cgroup.join(name);
        // Without O_CREAT: a file that is absent shall be not found, not forbidden.
        let written = File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(value.as_bytes()));
        match written {
            Ok(()) => {}
            // A kernel without swap has no limit of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && *name == "memory.swap.max" => {}
            Err(error) => {
                let message = format!("{}: {error}", path.display());
                return Err(io::Error::new(error.kind(), message));
            }
        }
    }
    Ok(())
}

/// `memory.events` of the kernel's cgroup-v2 document.
fn oom_kills(events: &str) -> u64 {
    let line = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn number(path: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oom_kills_are_counted_and_nothing_else() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(oom_kills(events), 2);
        assert_eq!(oom_kills("oom 3\n"), 0);
        assert_eq!(oom_kills(""), 0);
    }
}
