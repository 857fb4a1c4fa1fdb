//! Bytes over a descriptor that PID 1 passed on, whatever kind of socket it is.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use tokio::io::unix::AsyncFd;

use crate::sys::fd;

/// Most that is written in one call: writes above 32 KiB to a vsock are corrupted by some kernels and hypervisors.
const MAX_WRITE_BYTES: usize = 28 * 1024;

/// One connection.
pub(super) struct Connection(AsyncFd<OwnedFd>);

impl Connection {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        fd::set_nonblocking(&fd, true)?;
        Ok(Self(fd::watch(fd)?))
    }

    /// Some bytes; 0 at the end.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = |fd: &AsyncFd<OwnedFd>| Ok(nix::unistd::read(fd.as_fd(), &mut *buffer)?);
            if let Ok(count) = ready.try_io(read) {
                return count;
            }
        }
    }

    /// All of `bytes`.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            let chunk = bytes.get(..MAX_WRITE_BYTES).unwrap_or(bytes);
            // A socket whose other end is gone is an error, not a signal.
            let send = |fd: &AsyncFd<OwnedFd>| fd::send(fd, chunk);
            if let Ok(count) = ready.try_io(send) {
                bytes = bytes.get(count?..).unwrap_or_default();
            }
        }
        Ok(())
    }
}
