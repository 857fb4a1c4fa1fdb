//! The PID namespace of a Pod with `shareProcessNamespace` (K-480): its first process, and which of the processes in it
//! belong to a container. With one namespace for all, the kernel does not end them all with the first.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use cloister_init::supervisor::event::Pid;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::layout;
use crate::pause::READY_FD;
use crate::sys::spawn::{Namespaces, spawn};
use crate::sys::{fd, join, kill};

/// How long the first process may take. It needs milliseconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// The supervisor knows a container by a number that no process has: the process that was started is not the one that
/// executes, and the number of one that has ended is soon another's (`PID_MAX_LIMIT` is 2²²).
const FIRST_NUMBER: Pid = 1 << 24;
/// Looks at who is left before it is given up.
const TRIES: usize = 500;

/// The namespace.
#[derive(Debug)]
pub(super) struct PodProcess {
    pid: Pid,
    /// The process behind it is not reaped without us.
    pub(super) pidfd: OwnedFd,
}

impl PodProcess {
    /// Starts the first process and waits until it is ready.
    pub(super) fn start() -> io::Result<Self> {
        let (ready, ready_end) = fd::pipe()?;
        let (null, console) = (fs::File::open("/dev/null")?, io::stderr());
        let fds = [
            (null.as_fd(), 0),
            (console.as_fd(), 1),
            (console.as_fd(), 2),
            (ready_end.as_fd(), READY_FD),
        ];
        let pid = spawn("pause", &[layout::POD_PROC], Namespaces::Pid, &fds, &[])?;
        drop(ready_end);
        let pidfd = join::pidfd(pid)?;
        let said = is_readable(&ready)? && fs::File::from(ready).read_exact(&mut [0]).is_ok();
        if said {
            return Ok(Self { pid, pidfd });
        }
        kill::kill(pid);
        Err(io::Error::other(
            "the first process of the Pod's PID namespace did not start",
        ))
    }

    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

/// Waits for the byte, or for the end of who would write it. Other children may end meanwhile.
fn is_readable(ready: &OwnedFd) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

/// A container's processes in the namespace.
#[derive(Debug)]
pub(super) struct SharedChild {
    /// What the supervisor calls it.
    pub(super) number: Pid,
    /// The process that prepares it.
    starter: Pid,
    /// Where the other one's number comes from.
    told: OwnedFd,
    process: Cell<Option<Pid>>,
    /// The mount namespace of all its processes, as /proc names it.
    mounts: Option<PathBuf>,
}

/// Whose process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The container's own.
    Process,
    /// That which prepared it, and has done so.
    Starter,
    /// That which prepared it, and could not.
    FailedStarter,
}

impl SharedChild {
    /// `count` numbers have been given before. `told`: see [`crate::child::spec::Join::Pod`].
    pub(super) fn new(count: Pid, starter: Pid, told: OwnedFd) -> Self {
        Self {
            number: FIRST_NUMBER + count,
            starter,
            told,
            process: Cell::new(None),
            mounts: fs::read_link(format!("/proc/{starter}/ns/mnt")).ok(),
        }
    }

    /// The process that signals go to: before there is another, that which prepares it.
    pub(super) fn process(&self) -> Pid {
        self.known().unwrap_or(self.starter)
    }

    fn known(&self) -> Option<Pid> {
        if self.process.get().is_none() {
            let mut number = [0; size_of::<Pid>()];
            // So few bytes come at once or not at all.
            if nix::unistd::read(&self.told, &mut number) == Ok(number.len()) {
                self.process.set(Some(Pid::from_ne_bytes(number)));
            }
        }
        self.process.get()
    }

    /// Whether a process that has ended is one of it.
    pub(super) fn whose(&self, pid: Pid) -> Option<Whose> {
        match self.known() {
            Some(process) if process == pid => Some(Whose::Process),
            Some(_) if self.starter == pid => Some(Whose::Starter),
            None if self.starter == pid => Some(Whose::FailedStarter),
            _ => None,
        }
    }

    /// Kills what the container has left behind: processes in its cgroup, or where there is none, in its mount namespace.
    /// What has left the latter cannot be told from the others'; that is so on machines that are not ours only.
    pub(super) fn end(&self, cgroup: Option<PathBuf>) {
        if let Some(cgroup) = cgroup {
            if let Err(error) = fs::write(cgroup.join("cgroup.kill"), "1") {
                log::warn!("cannot kill what is in {}: {error}", cgroup.display());
            }
            return;
        }
        // A process may make another while we look; one that has been killed makes none.
        for _ in 0..TRIES {
            let left = self.in_mount_namespace();
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(kill::kill);
        }
    }

    fn in_mount_namespace(&self) -> Vec<Pid> {
        let Some(mounts) = &self.mounts else {
            return Vec::new();
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|link| link == *mounts))
            .filter(|pid| !is_over(*pid))
            .collect()
    }
}

/// A process that waits to be reaped, or is being killed, has no more namespaces in most cases; this is for the others.
fn is_over(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, None | Some('Z' | 'X'))
}
