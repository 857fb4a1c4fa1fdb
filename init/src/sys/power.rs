//! The end of the machine.

use nix::sys::reboot::{RebootMode, reboot};

/// reboot(2) with power-off; if the kernel cannot, a restart, which ends the VM too.
pub(crate) fn power_off() {
    nix::unistd::sync();
    for mode in [RebootMode::RB_POWER_OFF, RebootMode::RB_AUTOBOOT] {
        let Err(error) = reboot(mode);
        log::error!("reboot({mode:?}): {error}");
    }
}
