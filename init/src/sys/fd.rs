//! Descriptors: pipes, socket pairs, sealed memory files, passing them to other processes.

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use tokio::io::unix::AsyncFd;

/// A descriptor that our parent left open for us under an agreed number. Close-on-exec from now on. `None`: it is not
/// open.
pub(crate) fn inherited(number: i32) -> Option<OwnedFd> {
    // SAFETY: `fcntl` on a number that is not open fails with EBADF and has no other effect.
    let flags = unsafe { nix::libc::fcntl(number, nix::libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: it is open, and by the applet's contract nobody else in this fresh process owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(fd)
}

/// Closes standard input, output and error of a process that has nothing more to say.
pub(crate) fn close_standard() {
    for number in 0..3 {
        // SAFETY: the caller does not use them any more, and nobody owns them as objects.
        unsafe { nix::libc::close(number) };
    }
}

/// pipe(2): read end, write end; both close-on-exec.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

/// A pair of connected `SOCK_SEQPACKET` sockets (unix(7)): one packet is one message.
pub(crate) fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// A sealed file in memory with this content, to be read from its start (memfd_create(2)).
pub(crate) fn memfd(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    use std::io::Seek as _;
    let name = CString::new(name)?;
    let fd = memfd_create(
        name.as_c_str(),
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content)?;
    file.rewind()?;
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// The content of a file in memory that another process made. A longer one than `most` bytes is an error.
pub(crate) fn read_memfd(file: OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _};
    let mut file = std::fs::File::from(file);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    file.rewind()?;
    // Exactly as large as it gets: a buffer that grows leaves a copy behind.
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Sets or clears `O_NONBLOCK`; it belongs to the open file, so a process that shares it is affected too.
pub(crate) fn set_nonblocking(fd: &OwnedFd, nonblocking: bool) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    let flags = if nonblocking {
        flags | OFlag::O_NONBLOCK
    } else {
        flags - OFlag::O_NONBLOCK
    };
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Sends one packet, with a descriptor if there is one (`SCM_RIGHTS`, unix(7)).
pub(crate) fn send_with_fd(
    socket: impl AsFd,
    packet: &[u8],
    attached: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let raw = attached.map(|fd| [fd.as_raw_fd()]);
    let rights = raw.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    let message = [IoSlice::new(packet)];
    sendmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &message,
        rights.as_slice(),
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Sends some bytes of a stream; an end that is gone is an error and no signal (send(2), `MSG_NOSIGNAL`).
pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(nix::sys::socket::send(
        socket.as_fd().as_raw_fd(),
        bytes,
        MsgFlags::MSG_NOSIGNAL,
    )?)
}

/// Receives one packet and the descriptor that came with it. 0 bytes: the other end is closed. A packet larger than
/// `buffer` is an error.
pub(crate) fn recv_with_fd(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut message = [IoSliceMut::new(buffer)];
    let raw = socket.as_fd().as_raw_fd();
    let received = recvmsg::<()>(raw, &mut message, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut attached = None;
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: the kernel has just made this descriptor for us (SCM_RIGHTS).
                attached = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    if received.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet was larger than agreed",
        ));
    }
    Ok((received.bytes, attached))
}

/// Lets the event loop wait for a descriptor. It must be non-blocking.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open file for as long as it lives, and the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Numbers below this one may be wanted by a program.
const FIRST_OUT_OF_THE_WAY: i32 = 64;

/// The same file under a high number, out of the way of descriptors that a program wants.
pub(crate) fn move_up(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let moved = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST_OUT_OF_THE_WAY))?;
    // SAFETY: fcntl has just made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// Before exec: everything but 0, 1 and 2 closes at exec, except that each (from, to) of `keep` stays open as `to`.
pub(crate) fn arrange(keep: &[(i32, i32)]) -> io::Result<()> {
    let flags = nix::libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: marks descriptors only; nothing is closed before exec (close_range(2)).
    let result = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3, u32::MAX, flags) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    for (from, to) in keep {
        // SAFETY: dup2(2) on numbers; whatever had the number `to` is not used again before exec.
        if unsafe { nix::libc::dup2(*from, *to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_descriptor_travels_with_its_packet() {
        let (left, right) = seqpacket_pair().expect("socketpair");
        let file = memfd("test", b"content").expect("memfd");
        send_with_fd(&left, b"packet", Some(file.as_fd())).expect("send");
        let mut buffer = [0; 16];
        let (count, attached) = recv_with_fd(&right, &mut buffer).expect("receive");
        assert_eq!(&buffer[..count], b"packet");
        let mut text = String::new();
        std::fs::File::from(attached.expect("attached"))
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "content");
        drop(left);
        assert_eq!(recv_with_fd(&right, &mut buffer).expect("closed").0, 0);
    }

    #[test]
    fn a_sealed_memory_file_cannot_be_written() {
        let mut file = std::fs::File::from(memfd("test", b"content").expect("memfd"));
        assert!(file.write_all(b"x").is_err());
    }
}
