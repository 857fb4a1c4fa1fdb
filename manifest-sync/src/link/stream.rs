//! One connection over the link, and how to make it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::UnixStream;
use tokio_vsock::{VsockAddr, VsockStream};

use super::Address;
use super::framing::Framing;
use crate::relay::Socket as Relayed;

/// Most that is written to a vsock in one call: writes above 32 KiB are corrupted by some kernels and hypervisors
/// (Linux commit 6693731487a8; cloud-hypervisor#7672, libkrun#535).
const MAX_WRITE_BYTES: usize = 28 * 1024;
/// Longest answer of a hybrid vsock to `CONNECT`.
const MAX_HYBRID_ANSWER: usize = 32;

/// One connection over the link.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// Whether the peer sees the end of our bytes and can still answer. A hybrid vsock loses the answer
    /// (vhost-device#874).
    has_half_close: bool,
    framing: Option<Framing>,
    max_write: usize,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Vsock(VsockStream),
}

/// Connects to `port` of the enclave. Fails with `TimedOut` after `deadline`.
pub async fn dial(address: &Address, port: u32, deadline: Duration) -> io::Result<Stream> {
    tokio::time::timeout(deadline, connect(address, port))
        .await
        .unwrap_or_else(|_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

async fn connect(address: &Address, port: u32) -> io::Result<Stream> {
    match address {
        Address::Unix { dir } => Ok(Stream::unix(UnixStream::connect(socket_path(dir, port)).await?)),
        Address::Hybrid { path } => connect_hybrid(path, port).await,
        Address::Vsock { cid: None } => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "vsock:any cannot be dialled: name a CID",
        )),
        Address::Vsock { cid: Some(cid) } => {
            let stream = VsockStream::connect(VsockAddr::new(*cid, port)).await?;
            // A connection that failed late may look connected.
            stream.peer_addr()?;
            Ok(Stream::vsock(stream))
        }
    }
}

/// Socket of a port in the directory of a `unix:` address.
pub(super) fn socket_path(dir: &Path, port: u32) -> PathBuf {
    dir.join(format!("{port}.sock"))
}

async fn connect_hybrid(path: &Path, port: u32) -> io::Result<Stream> {
    let mut socket = UnixStream::connect(path).await?;
    socket.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the line belongs to the stream.
    while answer.last() != Some(&b'\n') {
        if answer.len() >= MAX_HYBRID_ANSWER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "hybrid vsock: answer too long",
            ));
        }
        match socket.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    "hybrid vsock: port refused",
                ));
            }
        }
    }
    if !answer.starts_with(b"OK ") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "hybrid vsock: expected OK",
        ));
    }
    Ok(Stream::hybrid(socket))
}

impl Stream {
    pub(super) fn unix(socket: UnixStream) -> Self {
        Self {
            socket: Socket::Unix(socket),
            has_half_close: true,
            framing: None,
            max_write: usize::MAX,
        }
    }

    pub(crate) fn hybrid(socket: UnixStream) -> Self {
        Self {
            socket: Socket::Unix(socket),
            has_half_close: false,
            framing: None,
            max_write: MAX_WRITE_BYTES,
        }
    }

    pub(super) fn vsock(socket: VsockStream) -> Self {
        Self {
            socket: Socket::Vsock(socket),
            has_half_close: true,
            framing: None,
            max_write: MAX_WRITE_BYTES,
        }
    }

    /// Whether the ends of both directions arrive on this link by themselves. Where they do not, both sides agree on
    /// [`Stream::framed`].
    pub fn has_half_close(&self) -> bool {
        self.has_half_close
    }

    /// From here on the ends of both directions are said in the stream.
    #[must_use]
    pub fn framed(mut self) -> Self {
        self.framing = Some(Framing::default());
        self
    }

    /// Whether the ends are said in the stream.
    pub(crate) fn is_framed(&self) -> bool {
        self.framing.is_some()
    }

    /// The socket of a stream that is not framed, for a relay that moves bytes without looking at them.
    pub(crate) fn into_relayed(self) -> io::Result<Relayed> {
        match self.socket {
            Socket::Unix(socket) => Ok(Relayed::unix(socket, self.max_write, self.has_half_close)),
            Socket::Vsock(socket) => Relayed::other(socket.into(), self.max_write),
        }
    }

    /// The descriptor itself, to be passed to another process. It is non-blocking.
    pub fn into_std_fd(self) -> io::Result<OwnedFd> {
        match self.socket {
            Socket::Unix(socket) => Ok(socket.into_std()?.into()),
            Socket::Vsock(socket) => {
                use std::os::fd::AsFd as _;
                socket.as_fd().try_clone_to_owned()
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.framing {
            Some(framing) => framing.poll_read(&mut this.socket, cx, buf),
            None => Pin::new(&mut this.socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = bytes.get(..this.max_write).unwrap_or(bytes);
        match &mut this.framing {
            Some(framing) => framing.poll_write(&mut this.socket, cx, bytes),
            None => Pin::new(&mut this.socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.framing {
            Some(framing) => framing.poll_end(&mut this.socket, cx),
            None => Pin::new(&mut this.socket).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Vsock(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Vsock(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match self.get_mut() {
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Vsock(socket) => Pin::new(socket).poll_shutdown(cx),
        };
        match ready!(shut) {
            // The peer is gone already: there is nobody left to tell.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}
