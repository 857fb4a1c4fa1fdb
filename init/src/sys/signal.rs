//! Signal dispositions.

use nix::libc;

/// Children end without being waited for: the kernel reaps them itself (sigaction(2), `SIGCHLD`).
pub(crate) fn ignore_children() -> std::io::Result<()> {
    // SAFETY: SIG_IGN is always a valid disposition.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// What Rust's runtime changed is changed back: it ignores SIGPIPE, and exec(2) would hand that on.
pub(crate) fn restore_defaults() {
    // SAFETY: SIG_DFL is always a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
