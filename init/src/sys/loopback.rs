//! The loopback interface.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::libc::{self, c_char, c_short};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `IFF_UP` in the width of the flags.
#[expect(clippy::cast_possible_truncation, reason = "it is bit 0")]
const IFF_UP: c_short = libc::IFF_UP as c_short;

/// Brings `lo` up, which gives it 127.0.0.1 and ::1 (netdevice(7)). One pair of ioctls instead of a netlink library.
pub(crate) fn up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: `ifreq` is plain old data, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as c_char;
    }
    // SAFETY: the kernel fills in the flags of a request that outlives the call.
    let got = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) };
    check(got)?;
    // SAFETY: SIOCGIFFLAGS has just written this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | IFF_UP;
    // SAFETY: the kernel reads a request that outlives the call.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    check(set)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
