//! seccomp(2): giving this process a filter, for good.

use std::io;

use nix::errno::Errno;
use nix::libc;

use crate::seccomp::Instruction;

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    filter: *const Instruction,
}

/// Filters the calls of this process and of all that come from it. Who has neither CAP_SYS_ADMIN nor `no_new_privs` may
/// not.
pub(crate) fn install(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = Program {
        length,
        filter: program.as_ptr(),
    };
    // SAFETY: `Program` and `Instruction` are laid out as the kernel's structures, and it copies what they point to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    Errno::result(result)?;
    Ok(())
}
