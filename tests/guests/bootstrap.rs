//! The peer of the boot benchmark: a static PID 1 that does what AWS's stock one does (aws-nitro-enclaves-sdk-bootstrap,
//! `init.c`) and nothing else: mount, heartbeat, move to the root file system in `/rootfs`, run one program, end the
//! machine with it. It measures nothing of what it runs, limits nothing and watches nothing.

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::process::Command;

const AF_VSOCK: c_int = 40;
const SOCK_STREAM: c_int = 1;
const CLOCK_MONOTONIC: c_int = 1;
const MS_MOVE: c_ulong = 8192;
const RB_AUTOBOOT: c_int = 0x0123_4567;
const HEARTBEAT: u8 = 0xb7;
const HEARTBEAT_PORT: u32 = 9000;
/// `VMADDR_CID_HOST`: the parent of an emulated enclave.
const HOST: u32 = 2;

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// `struct sockaddr_vm` of vsock(7).
#[repr(C)]
struct SocketAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

unsafe extern "C" {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    fn chroot(path: *const c_char) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const SocketAddress, length: u32) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn reboot(command: c_int) -> c_int;
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("app") {
        return stamp("application runs");
    }
    // Without it there is no console to write to.
    mount_at(c"devtmpfs", c"/dev", c"devtmpfs", 0);
    stamp("PID 1 runs");
    mount_at(c"proc", c"/proc", c"proc", 0);
    mount_at(c"sysfs", c"/sys", c"sysfs", 0);
    mount_at(c"cgroup2", c"/sys/fs/cgroup", c"cgroup2", 0);
    heartbeat();
    for name in ["dev", "proc", "sys"] {
        let (from, to) = (format!("/{name}"), format!("/rootfs/{name}"));
        std::fs::create_dir_all(&to).expect("a directory");
        mount_at(&c_string(&from), &c_string(&to), c"none", MS_MOVE);
    }
    std::env::set_current_dir("/rootfs").expect("a root file system");
    // SAFETY: a system call with a string that outlives it.
    assert_eq!(unsafe { chroot(c".".as_ptr()) }, 0);
    std::env::set_current_dir("/").expect("a root file system");
    Command::new("/app").arg("app").status().expect("the application");
    // Triple fault: the emulated machine has no keyboard controller.
    let _ = std::fs::write("/sys/kernel/reboot/type", "triple");
    // SAFETY: a system call without pointers.
    unsafe { reboot(RB_AUTOBOOT) };
}

fn mount_at(source: &CStr, target: &CStr, kind: &CStr, flags: c_ulong) {
    // SAFETY: a system call with strings that outlive it.
    let result = unsafe { mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    assert_eq!(result, 0, "{target:?}: {}", std::io::Error::last_os_error());
}

fn heartbeat() {
    let address = SocketAddress { family: 40, reserved: 0, port: HEARTBEAT_PORT, cid: HOST, zero: [0; 4] };
    // SAFETY: system calls with a structure that outlives them; the descriptor is nobody else's.
    let mut stream = unsafe {
        let fd = socket(AF_VSOCK, SOCK_STREAM, 0);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        let result = connect(fd, &address, size_of::<SocketAddress>() as u32);
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        std::fs::File::from_raw_fd(fd)
    };
    stream.write_all(&[HEARTBEAT]).expect("a heartbeat");
    let mut answer = [0];
    stream.read_exact(&mut answer).expect("an answer");
}

/// Seconds since the machine started.
fn stamp(what: &str) {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: a system call with a structure that outlives it.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    let line = format!("bootstrap: {}.{:06} {what}\n", time.seconds, time.nanoseconds / 1000);
    std::fs::OpenOptions::new().write(true).open("/dev/console").expect("a console").write_all(line.as_bytes()).expect("a line");
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}
