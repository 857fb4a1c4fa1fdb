//! The end of the machine. An enclave has neither ACPI nor another way to be switched off: it ends with a reset, and the
//! hypervisor does not start it again.

use std::fs;
use std::io;

use nix::sys::reboot::{RebootMode, reboot};

/// How the kernel resets the machine (`reboot=` of kernel-parameters, writable since Linux 5.11).
const RESET: &str = "/sys/kernel/reboot/type";
/// Status port of the keyboard controller, which Nitro has for its reset line.
#[cfg(target_arch = "x86_64")]
const KEYBOARD_STATUS: u16 = 0x64;

/// Where there is no keyboard controller, the `reboot=k` of a Nitro image would hang instead of ending the machine, after
/// a panic too: a triple fault ends it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn choose_reset() -> io::Result<()> {
    if fs::metadata(RESET).is_ok() && (is_emulated() || !has_keyboard_controller()?) {
        fs::write(RESET, "triple")?;
    }
    Ok(())
}

/// Other architectures ask their firmware (PSCI).
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn choose_reset() -> io::Result<()> {
    Ok(())
}

/// QEMU without hardware virtualisation says so (CPUID leaf 0x40000000); Nitro is never that.
#[cfg(target_arch = "x86_64")]
fn is_emulated() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0x4000_0000);
    [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat() == b"TCGTCGTCGTCG"
}

/// An absent device reads as all ones. A kernel without port permissions (`X86_IOPL_IOPERM`) cannot tell: the command
/// line is right then.
#[cfg(target_arch = "x86_64")]
fn has_keyboard_controller() -> io::Result<bool> {
    let permit = |on| {
        // SAFETY: ioperm(2) only changes which ports this thread may use.
        let result = unsafe { nix::libc::ioperm(KEYBOARD_STATUS.into(), 1, on) };
        nix::errno::Errno::result(result).map(|_| ())
    };
    match permit(1) {
        Err(nix::errno::Errno::ENOSYS) => return Ok(true),
        other => other?,
    }
    let status: u8;
    // SAFETY: ioperm has just allowed this port, and reading the status of a keyboard controller changes nothing.
    unsafe {
        std::arch::asm!(
            "in al, dx",
            in("dx") KEYBOARD_STATUS,
            out("al") status,
            options(nomem, nostack, preserves_flags)
        );
    }
    permit(0)?;
    Ok(status != 0xff)
}

/// Ends the machine; returns only if the kernel refuses. Power-off comes first where the kernel has it; without it, it
/// would only halt (kernel/reboot.c), and the machine would stay.
pub(crate) fn power_off() {
    nix::unistd::sync();
    let mode = if cfg!(target_arch = "x86_64") {
        RebootMode::RB_AUTOBOOT
    } else {
        RebootMode::RB_POWER_OFF
    };
    let Err(error) = reboot(mode);
    log::error!("reboot({mode:?}): {error}");
}
