//! What no container may do, whatever its securityContext says: reach the machine's vsock and its security module, or
//! become the kernel, from which both could be reached. What attests this enclave must not be in the hands of what is
//! attested.
//!
//! The files of the two devices are gone before a container starts, and mounts are `nodev`. This is for those who can
//! mount and make nodes themselves (CAP_SYS_ADMIN and CAP_MKNOD): both devices do nothing but ioctl(2), and its commands
//! are numbers.

use nix::libc;

use super::Rules;
use super::assemble::{Action, Clause, Rule, Test};

/// `_IOWR(0x0a, 0, struct nsm_raw)`, two pointers with their lengths (linux/nsm.h): the only thing that the module's
/// device can do.
const NSM_RAW: u32 = 0xc020_0a00;
/// `IOCTL_VM_SOCKETS_GET_LOCAL_CID`, the only one of /dev/vsock (vsock(7)).
const VSOCK_CID: u32 = 0x07b9;

/// inode(7).
const FILE_TYPE: u32 = 0o170_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
/// Major number in a `dev_t` of the kernel's (`new_encode_dev`).
const MAJOR: u32 = 0x000f_ff00;
/// Miscellaneous devices, both of ours among them.
const MISC: u32 = 10 << 8;
/// /dev/mem, /dev/kmem, /dev/port.
const MEMORY: [u32; 3] = [1 << 8 | 1, 1 << 8 | 2, 1 << 8 | 4];

/// Calls that are closed in every case, and why.
const CLOSED: &[(libc::c_long, i32)] = &[
    // IORING_OP_SOCKET makes sockets that no filter sees. As in a kernel without io_uring.
    (libc::SYS_io_uring_setup, libc::ENOSYS),
    (libc::SYS_io_uring_enter, libc::ENOSYS),
    (libc::SYS_io_uring_register, libc::ENOSYS),
    // Another kernel, or more of this one.
    (libc::SYS_kexec_load, libc::EPERM),
    (libc::SYS_kexec_file_load, libc::EPERM),
    (libc::SYS_init_module, libc::EPERM),
    (libc::SYS_finit_module, libc::EPERM),
    (libc::SYS_delete_module, libc::EPERM),
    // Reads and writes the kernel's memory, given the capabilities.
    (libc::SYS_bpf, libc::EPERM),
    // The ports of the machine's devices.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_iopl, libc::EPERM),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_ioperm, libc::EPERM),
];

/// Puts the floor under rules; `other` is what becomes of calls without one. Who holds the security module (`holder`)
/// may use it.
pub(super) fn lay(rules: &mut Rules, other: Action, holder: bool) {
    for (number, errno) in CLOSED {
        rules.insert(key(*number), Rule::from(Action::Fail(*errno)));
    }
    let family = |family: libc::c_int| Test {
        argument: 0,
        mask: u32::MAX,
        values: vec![family.unsigned_abs()],
    };
    let no_family = Action::Fail(libc::EAFNOSUPPORT);
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        forbid(rules, other, call, vec![family(libc::AF_VSOCK)], no_family);
    }
    let mut commands = vec![VSOCK_CID];
    if !holder {
        commands.push(NSM_RAW);
    }
    let command = Test {
        argument: 1,
        mask: u32::MAX,
        values: commands,
    };
    let denied = Action::Fail(libc::EPERM);
    forbid(rules, other, libc::SYS_ioctl, vec![command], denied);
    #[cfg(target_arch = "x86_64")]
    forbid_nodes(rules, other, libc::SYS_mknod, 1);
    forbid_nodes(rules, other, libc::SYS_mknodat, 2);
}

/// `mode` is the number of that argument; the device is the next.
fn forbid_nodes(rules: &mut Rules, other: Action, call: libc::c_long, mode: u8) {
    let device = |mask, values| {
        let kind = Test {
            argument: mode,
            mask: FILE_TYPE,
            values: vec![CHARACTER_DEVICE],
        };
        let number = Test {
            argument: mode + 1,
            mask,
            values,
        };
        vec![kind, number]
    };
    let denied = Action::Fail(libc::EPERM);
    forbid(rules, other, call, device(MAJOR, vec![MISC]), denied);
    forbid(rules, other, call, device(u32::MAX, MEMORY.to_vec()), denied);
}

fn forbid(rules: &mut Rules, other: Action, call: libc::c_long, tests: Vec<Test>, action: Action) {
    let rule = rules.entry(key(call)).or_insert_with(|| Rule::from(other));
    rule.clauses.insert(0, Clause { tests, action });
}

/// Numbers of calls are small and positive.
pub(super) fn key(number: libc::c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
