//! The only wait. Nothing else in this process may wait for a child: its status would be lost.

use cloister_init::supervisor::event::{ExitStatus, Pid};
use nix::errno::Errno;
use nix::libc;

/// Tells `ended` of every process that has ended, orphans included. SIGCHLD coalesces, so this goes on until nobody is
/// left to reap (waitpid(2)).
pub(crate) fn reap(mut ended: impl FnMut(Pid, ExitStatus)) {
    while let Some((pid, status)) = wait(libc::WNOHANG) {
        ended(pid, status);
    }
}

/// Waits until a child of ours ends, for an applet that has nothing else to do. `None`: there is none.
pub(crate) fn next() -> Option<(Pid, ExitStatus)> {
    wait(0)
}

/// Whether a child of ours has been stopped since this was asked last (waitid(2), `WSTOPPED`). Its end is not waited for.
pub(crate) fn has_stopped(child: Pid) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let (id, flags) = (child.unsigned_abs(), libc::WSTOPPED | libc::WNOHANG);
    // SAFETY: the kernel writes one structure, or nothing.
    let result = unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), flags) };
    // SAFETY: what the kernel has not written is zero, which is a valid value of every field.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid(2) fills in this field, and it is zero otherwise.
    result == 0 && unsafe { info.si_pid() } == child
}

/// waitpid(2) on any child. Not nix's: an exit by a real-time signal, which has no name there, would be reaped and lost.
fn wait(flags: i32) -> Option<(Pid, ExitStatus)> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        match Errno::result(pid) {
            Ok(0) | Err(Errno::ECHILD) => return None,
            Ok(pid) if libc::WIFEXITED(status) => {
                return Some((pid, ExitStatus::Code(libc::WEXITSTATUS(status))));
            }
            Ok(pid) if libc::WIFSIGNALED(status) => {
                return Some((pid, ExitStatus::Signal(libc::WTERMSIG(status))));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                log::warn!("waitpid: {error}");
                return None;
            }
        }
    }
}
