//! The only wait. Nothing else in this process may wait for a child: its status would be lost.

use cloister_init::supervisor::event::{ExitStatus, Pid};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Tells `ended` of every process that has ended, orphans included. SIGCHLD coalesces, so this goes on until nobody is
/// left to reap (waitpid(2)).
pub(crate) fn reap(mut ended: impl FnMut(Pid, ExitStatus)) {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => ended(pid.as_raw(), ExitStatus::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _core)) => {
                ended(pid.as_raw(), ExitStatus::Signal(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                // A real-time signal has no name in nix; the process is reaped all the same.
                log::warn!("waitpid: {error}");
            }
        }
    }
}
