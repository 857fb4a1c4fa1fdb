//! The programs, run by a small interpreter of what the kernel would run.

use nix::libc;

use super::assemble::{
    AND, ARCH, ARCHITECTURE, ARGUMENTS, FOREIGN, JUMP, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, NUMBER, RETURN,
};
use super::{Instruction, Profile, program};

const ALLOWED: Result<(), i32> = Ok(());

/// linux/seccomp.h: `seccomp_data`, and what comes back. `Err(-1)`: killed.
fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> Result<(), i32> {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        match code {
            LOAD => {
                accumulator = match k {
                    NUMBER => number,
                    ARCH => arch,
                    offset => {
                        let index = usize::try_from((offset - ARGUMENTS) / 8).expect("small");
                        u32::try_from(arguments[index] & u64::from(u32::MAX)).expect("masked")
                    }
                }
            }
            AND => accumulator &= k,
            JUMP => at += usize::try_from(k).expect("small"),
            JUMP_EQUAL => at += usize::from(if accumulator == k { jt } else { jf }),
            JUMP_AT_LEAST => at += usize::from(if accumulator >= k { jt } else { jf }),
            RETURN if k == libc::SECCOMP_RET_ALLOW => return Ok(()),
            RETURN if k == libc::SECCOMP_RET_KILL_PROCESS => return Err(-1),
            RETURN => return Err(i32::try_from(k & 0xffff).expect("an errno")),
            other => panic!("instruction {other:#x}"),
        }
    }
}

struct Filter(Vec<Instruction>);

impl Filter {
    fn of(profile: Profile, capabilities: &[&str]) -> Self {
        let names: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
        Self(program(profile, &names))
    }

    fn call(&self, number: libc::c_long, arguments: &[u64]) -> Result<(), i32> {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let number = u32::try_from(number).expect("a number");
        run(&self.0, ARCHITECTURE, number, all)
    }
}

const ALL: [Profile; 3] = [Profile::Floor, Profile::RuntimeDefault, Profile::Service];
const NSM_RAW: u64 = 0xc020_0a00;

#[test]
fn no_profile_and_no_capability_opens_vsock_or_what_leads_to_it() {
    let every: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    let every: Vec<&str> = every.iter().map(String::as_str).collect();
    for profile in ALL {
        for capabilities in [&[][..], &every] {
            let filter = Filter::of(profile, capabilities);
            let refused = Err(libc::EAFNOSUPPORT);
            let vsock = u64::from(libc::AF_VSOCK.unsigned_abs());
            assert_eq!(filter.call(libc::SYS_socket, &[vsock]), refused);
            assert_eq!(filter.call(libc::SYS_socketpair, &[vsock]), refused);
            // The kernel takes an int: what is above does not make it another family.
            assert_eq!(filter.call(libc::SYS_socket, &[vsock | 1 << 32]), refused);
            for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] {
                let family = u64::from(family.unsigned_abs());
                assert_eq!(filter.call(libc::SYS_socket, &[family]), ALLOWED, "{family}");
            }
            for call in [
                libc::SYS_io_uring_setup,
                libc::SYS_io_uring_enter,
                libc::SYS_io_uring_register,
            ] {
                assert_eq!(filter.call(call, &[]), Err(libc::ENOSYS));
            }
            for call in [
                libc::SYS_bpf,
                libc::SYS_kexec_load,
                libc::SYS_finit_module,
                libc::SYS_iopl,
            ] {
                assert_eq!(filter.call(call, &[]), Err(libc::EPERM));
            }
            // Commands of /dev/vsock and of the module: only who holds the module may use it.
            assert_eq!(filter.call(libc::SYS_ioctl, &[9, 0x7b9]), Err(libc::EPERM));
            let holder = profile == Profile::Service;
            let expected = if holder { ALLOWED } else { Err(libc::EPERM) };
            assert_eq!(filter.call(libc::SYS_ioctl, &[9, NSM_RAW]), expected);
            assert_eq!(filter.call(libc::SYS_ioctl, &[9, NSM_RAW | 1 << 40]), expected);
            assert_eq!(filter.call(libc::SYS_ioctl, &[0, 0x5413]), ALLOWED, "TIOCGWINSZ");
        }
    }
}

#[test]
fn another_abi_ends_the_process_and_x32_does_not_exist() {
    for profile in ALL {
        let filter = Filter::of(profile, &[]);
        // i386, where 359 is socket(2).
        assert_eq!(run(&filter.0, 0x4000_0003, 359, [40; 6]), Err(-1));
        let x32 = FOREIGN + 41;
        assert_eq!(run(&filter.0, ARCHITECTURE, x32, [40; 6]), Err(libc::ENOSYS));
        assert_eq!(run(&filter.0, ARCHITECTURE, u32::MAX, [0; 6]), Err(libc::ENOSYS));
    }
}

#[test]
fn device_nodes_of_the_machine_cannot_be_made_and_others_can() {
    const CHARACTER: u64 = 0o020_666;
    const BLOCK: u64 = 0o060_666;
    let misc = |minor: u64| (minor & 0xff) | 10 << 8 | (minor & !0xff) << 12;
    for profile in [Profile::Floor, Profile::RuntimeDefault] {
        let filter = Filter::of(profile, &["CAP_MKNOD"]);
        for minor in [0, 57, 126, 255, 256, 300, 1000] {
            let arguments = [0, CHARACTER, misc(minor)];
            assert_eq!(
                filter.call(libc::SYS_mknod, &arguments),
                Err(libc::EPERM),
                "{minor}"
            );
            let arguments = [0, 0, CHARACTER | 1 << 16, misc(minor)];
            // `mode` has 16 bits in the kernel.
            assert_eq!(
                filter.call(libc::SYS_mknodat, &arguments),
                Err(libc::EPERM),
                "{minor}"
            );
            assert_eq!(filter.call(libc::SYS_mknod, &[0, BLOCK, misc(minor)]), ALLOWED);
        }
        assert_eq!(
            filter.call(libc::SYS_mknod, &[0, CHARACTER, 1 << 8 | 1]),
            Err(libc::EPERM)
        );
        // A file, a FIFO, /dev/null, a major number that only ends as ours does.
        for (mode, device) in [
            (0o100_644, 0),
            (0o010_644, misc(57)),
            (CHARACTER, 1 << 8 | 3),
            (CHARACTER, 266 << 8),
        ] {
            assert_eq!(
                filter.call(libc::SYS_mknod, &[0, mode, device]),
                ALLOWED,
                "{mode:o}"
            );
        }
    }
}

#[test]
fn the_default_profile_is_the_ecosystems() {
    let plain = Filter::of(Profile::RuntimeDefault, &["CAP_SYS_CHROOT"]);
    for call in [
        libc::SYS_read,
        libc::SYS_execve,
        libc::SYS_chroot,
        libc::SYS_ptrace,
        libc::SYS_setresuid,
        libc::SYS_close_range,
        libc::SYS_removexattr,
        libc::SYS_mseal,
    ] {
        assert_eq!(plain.call(call, &[]), ALLOWED, "{call}");
    }
    for call in [
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_open_by_handle_at,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_syslog,
    ] {
        assert_eq!(plain.call(call, &[]), Err(libc::EPERM), "{call}");
    }
    // Flags in memory cannot be judged: as if the kernel were older, so that C libraries use clone(2).
    assert_eq!(plain.call(libc::SYS_clone3, &[]), Err(libc::ENOSYS));
    assert_eq!(plain.call(467, &[]), Err(libc::ENOSYS));
    assert_eq!(plain.call(600, &[]), Err(libc::ENOSYS));
    let thread = 0x3d_0f00;
    assert_eq!(plain.call(libc::SYS_clone, &[thread]), ALLOWED);
    for flag in [
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(
            plain.call(libc::SYS_clone, &[thread | flag]),
            Err(libc::EPERM),
            "{flag:#x}"
        );
    }
    for (persona, expected) in [
        (0, ALLOWED),
        (8, ALLOWED),
        (0xffff_ffff, ALLOWED),
        (0x40_0000, Err(libc::EPERM)),
    ] {
        assert_eq!(
            plain.call(libc::SYS_personality, &[persona]),
            expected,
            "{persona:#x}"
        );
    }
    // AF_ALG.
    assert_eq!(plain.call(libc::SYS_socket, &[38]), Err(libc::EAFNOSUPPORT));
}

#[test]
fn capabilities_open_what_they_are_for() {
    for (capability, call) in [
        ("CAP_SYS_ADMIN", libc::SYS_mount),
        ("CAP_SYS_ADMIN", libc::SYS_clone3),
        ("CAP_SYS_ADMIN", 460),
        ("CAP_DAC_READ_SEARCH", libc::SYS_open_by_handle_at),
        ("CAP_SYS_BOOT", libc::SYS_reboot),
        ("CAP_SYS_CHROOT", libc::SYS_chroot),
        ("CAP_SYS_PTRACE", libc::SYS_pidfd_getfd),
        ("CAP_SYS_TIME", libc::SYS_clock_settime),
        ("CAP_SYS_NICE", libc::SYS_mbind),
        ("CAP_SYSLOG", libc::SYS_syslog),
        ("CAP_PERFMON", libc::SYS_perf_event_open),
        ("CAP_SYS_TTY_CONFIG", libc::SYS_vhangup),
        ("CAP_SYS_PACCT", libc::SYS_acct),
    ] {
        let without = Filter::of(Profile::RuntimeDefault, &[]).call(call, &[0xffff_ffff]);
        assert!(without.is_err(), "{capability} {call}");
        let with = Filter::of(Profile::RuntimeDefault, &[capability]).call(call, &[0xffff_ffff]);
        assert_eq!(with, ALLOWED, "{capability} {call}");
    }
    let admin = Filter::of(Profile::RuntimeDefault, &["CAP_SYS_ADMIN"]);
    assert_eq!(admin.call(libc::SYS_clone, &[0x1000_0000]), ALLOWED);
}

#[test]
fn the_floor_closes_nothing_else() {
    let floor = Filter::of(Profile::Floor, &[]);
    for number in 0..500 {
        let expected = match number {
            libc::SYS_io_uring_setup | libc::SYS_io_uring_enter | libc::SYS_io_uring_register => {
                Err(libc::ENOSYS)
            }
            libc::SYS_kexec_load
            | libc::SYS_kexec_file_load
            | libc::SYS_init_module
            | libc::SYS_finit_module
            | libc::SYS_delete_module
            | libc::SYS_bpf
            | libc::SYS_iopl
            | libc::SYS_ioperm => Err(libc::EPERM),
            _ => ALLOWED,
        };
        assert_eq!(floor.call(number, &[]), expected, "{number}");
    }
}

#[test]
fn programs_fit_into_the_kernel() {
    for profile in ALL {
        let length = program(profile, &[]).len();
        // BPF_MAXINSNS.
        assert!(length < 1024, "{length}");
    }
}
