//! Signal dispositions.

use nix::libc;

/// What Rust's runtime changed is changed back: it ignores SIGPIPE, and exec(2) would hand that on.
pub(crate) fn restore_defaults() {
    // SAFETY: SIG_DFL is always a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
