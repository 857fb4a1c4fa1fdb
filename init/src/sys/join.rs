//! Joining a container: its namespaces through a pidfd, and the fork that its PID namespace takes.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use cloister_init::supervisor::event::Pid;
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork};

use super::descendant;

/// Exit code of a process whose child ended in a way that has no code.
pub(super) const NO_CODE: i32 = 255;

/// pidfd_open(2). The process must not have been reaped: its number could be another's.
pub(crate) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call on numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Goes on as a process of the PID namespace of the process behind `pidfd`. setns(2) moves only children there, so this
/// one stays behind, waits, and exits as its child does. `release` drops what only the child shall hold.
pub(crate) fn enter_pid_namespace(pidfd: &OwnedFd, release: impl FnOnce()) -> io::Result<()> {
    setns(pidfd, CloneFlags::CLONE_NEWPID)?;
    let mask = descendant::hold_signals()?;
    // SAFETY: an applet has a single thread, so the child's memory is as consistent as ours.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(mask.thread_set_mask()?),
        ForkResult::Parent { child } => {
            release();
            descendant::wait_and_exit(child.as_raw())
        }
    }
}

/// Joins the other namespaces of a container; afterwards its root is ours.
pub(crate) fn enter_namespaces(pidfd: &OwnedFd) -> io::Result<()> {
    Ok(setns(
        pidfd,
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP,
    )?)
}

/// Dies when its parent does (prctl(2), `PR_SET_PDEATHSIG`). A change of user takes it back.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}
