//! Signals to our own children. A process that has just ended is no error: its exit is on its way.

use cloister_init::supervisor::event::Pid;
use nix::errno::Errno;
use nix::libc;

/// What stops a container whose Pod and image name nothing else (K-143).
pub(crate) const SIGTERM: i32 = libc::SIGTERM;

/// kill(2) with SIGKILL.
pub(crate) fn kill(pid: Pid) {
    signal(pid, libc::SIGKILL);
}

/// SIGKILL for a whole process group; its leader is a child that has not been reaped.
pub(crate) fn kill_group(leader: Pid) {
    signal(-leader, libc::SIGKILL);
}

/// kill(2) with SIGTERM.
pub(crate) fn terminate(pid: Pid) {
    signal(pid, SIGTERM);
}

/// kill(2) with SIGSTOP.
pub(crate) fn suspend(pid: Pid) {
    signal(pid, libc::SIGSTOP);
}

/// kill(2) with SIGCONT.
pub(crate) fn resume(pid: Pid) {
    signal(pid, libc::SIGCONT);
}

/// kill(2). By number: nix has no names for the real-time signals.
pub(crate) fn signal(pid: Pid, number: i32) {
    // SAFETY: a plain system call on numbers.
    if let Err(error) = Errno::result(unsafe { libc::kill(pid, number) }) {
        log::debug!("kill({pid}, {number}): {error}");
    }
}
