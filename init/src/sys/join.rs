//! Joining a container: its namespaces through a pidfd, and the fork that its PID namespace takes.

use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process;

use cloister_init::supervisor::event::Pid;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork};

use super::descendant;
use crate::child::spec::Leftovers;

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

/// From now on, children are in the PID namespace of the process behind `pidfd`; setns(2) does not move this one.
pub(crate) fn enter_pid_namespace(pidfd: &OwnedFd) -> io::Result<()> {
    Ok(setns(pidfd, CloneFlags::CLONE_NEWPID)?)
}

/// Goes on as a child; this process stays behind, waits for the one whose number is told through the descriptor that comes
/// back, and exits as it does. `release` drops what only the child shall hold.
pub(crate) fn leave_waiter(leftovers: Leftovers, release: impl FnOnce()) -> io::Result<OwnedFd> {
    let (told, number) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mask = descendant::hold_signals()?;
    // SAFETY: an applet has a single thread, so the child's memory is as consistent as ours.
    match unsafe { fork() }? {
        ForkResult::Child => {
            mask.thread_set_mask()?;
            Ok(number)
        }
        ForkResult::Parent { .. } => {
            drop(number);
            release();
            let mut bytes = [0; size_of::<Pid>()];
            match std::fs::File::from(told).read_exact(&mut bytes) {
                Ok(()) => descendant::wait_and_exit(Pid::from_ne_bytes(bytes), leftovers),
                // It has said why.
                Err(_) => process::exit(NO_CODE),
            }
        }
    }
}

/// Goes on as a child of our parent, which reaps it (clone(2), `CLONE_PARENT`). `report` is told its number as our parent
/// knows it; then this process is over. The child waits until that has been told: a process that nobody knows of could not
/// be ended.
pub(crate) fn continue_as_sibling(report: impl FnOnce(Pid) -> io::Result<()>) -> io::Result<()> {
    let (told, teller) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: without CLONE_VM and a stack this is fork(2), and an applet has a single thread.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    let child = Pid::try_from(Errno::result(child)?).map_err(io::Error::other)?;
    if child == 0 {
        drop(teller);
        let mut byte = [0];
        return match nix::unistd::read(&told, &mut byte) {
            Ok(1) => Ok(()),
            _ => Err(io::Error::other("the process that started this one has ended")),
        };
    }
    let known = report(child).and_then(|()| Ok(nix::unistd::write(&teller, &[0])?));
    process::exit(if known.is_ok() { 0 } else { NO_CODE })
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
