//! One end of a relay: a non-blocking socket whose readiness tokio watches.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// What a pump needs of an end.
pub(super) trait End {
    /// Waits until an operation of this kind may succeed.
    async fn ready(&self, interest: Interest) -> io::Result<()>;

    /// Tries an operation; `WouldBlock` makes the next [`End::ready`] wait.
    fn try_io<T>(
        &self,
        interest: Interest,
        operation: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T>;

    /// Most that may be written at once, in bytes.
    fn max_write(&self) -> usize;
}

/// A socket that can be relayed.
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
    max_write: usize,
    has_half_close: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// A Unix socket into which at most `max_write` bytes may be written at once. Where it loses the answer to a half-close,
    /// the end of what was written is held back until the connection is closed.
    pub(crate) fn unix(socket: UnixStream, max_write: usize, has_half_close: bool) -> Self {
        Self {
            kind: Kind::Unix(socket),
            max_write,
            has_half_close,
        }
    }

    /// Any other non-blocking stream socket.
    pub(crate) fn other(socket: OwnedFd, max_write: usize) -> io::Result<Self> {
        // tokio watches no unknown descriptor without `unsafe`. What the relay asks of a Unix socket, readiness, every
        // stream socket has.
        Ok(Self::unix(UnixStream::from_std(socket.into())?, max_write, true))
    }

    /// The peer sees the end of what was written; it can still answer.
    pub(super) fn end_of_writing(&self) -> io::Result<()> {
        if !self.has_half_close {
            return Ok(());
        }
        match shutdown(self.as_fd().as_raw_fd(), Shutdown::Write) {
            // The peer is gone already: there is nobody left to tell.
            Ok(()) | Err(nix::errno::Errno::ENOTCONN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Closing makes the peer see a reset instead of an end, where the protocol has one: what it has read is not all.
    pub(super) fn reset_on_close(&self) {
        if let Kind::Tcp(socket) = &self.kind {
            let _ = socket.set_zero_linger();
        }
    }

    /// Bounds what the kernel holds of it, in bytes each way. Nothing that is there is lost. Best effort: what is no socket of
    /// IP or Unix has other buffers.
    pub(super) fn set_buffers(&self, bytes: usize) {
        let socket = self.as_fd();
        let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
        // On a Unix socket the writer's buffer is all there is (unix(7)).
        if let Kind::Tcp(_) = self.kind {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &bytes);
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket) => socket.as_fd(),
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self {
            kind: Kind::Tcp(socket),
            max_write: usize::MAX,
            has_half_close: true,
        }
    }
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        Self::unix(socket, usize::MAX, true)
    }
}

impl End for Socket {
    async fn ready(&self, interest: Interest) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(socket) => socket.ready(interest).await.map(|_| ()),
            Kind::Unix(socket) => socket.ready(interest).await.map(|_| ()),
        }
    }

    fn try_io<T>(
        &self,
        interest: Interest,
        operation: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match &self.kind {
            Kind::Tcp(socket) => socket.try_io(interest, || operation(socket.as_fd())),
            Kind::Unix(socket) => socket.try_io(interest, || operation(socket.as_fd())),
        }
    }

    fn max_write(&self) -> usize {
        self.max_write
    }
}
