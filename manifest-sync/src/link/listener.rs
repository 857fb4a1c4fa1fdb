//! Listening on the link.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::socket::Backlog;
use tokio::net::UnixListener;
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener};

use super::stream::socket_path;
use super::{Address, Stream};

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Hybrid(UnixListener),
    Vsock(VsockListener),
}

/// Binds `port`. A Unix socket that nobody listens on any more is replaced; one that is in use is `AddrInUse`.
pub fn listen(address: &Address, port: u32) -> io::Result<Listener> {
    let socket = match address {
        Address::Unix { dir } => Socket::Unix(bind(&socket_path(dir, port))?),
        Address::Hybrid { path } => {
            let mut path = path.clone().into_os_string();
            path.push(format!("_{port}"));
            Socket::Hybrid(bind(&PathBuf::from(path))?)
        }
        Address::Vsock { cid } => Socket::Vsock(VsockListener::bind(VsockAddr::new(
            cid.unwrap_or(VMADDR_CID_ANY),
            port,
        ))?),
    };
    // Libraries keep 128 connections until they are accepted, and a vsock refuses the next one (listen(2): a second call
    // changes the bound; the kernel's is net.core.somaxconn, 4096).
    let fd = match &socket {
        Socket::Unix(listener) | Socket::Hybrid(listener) => listener.as_fd(),
        Socket::Vsock(listener) => listener.as_fd(),
    };
    nix::sys::socket::listen(&fd, Backlog::MAXALLOWABLE)?;
    Ok(Listener { socket })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        match std::os::unix::net::UnixStream::connect(path) {
            // Its listener is gone; any other answer means that somebody is there, or may be.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            _ => {
                let message = format!("another process listens on {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Listener {
    /// The descriptor itself, to be passed to another process. It is non-blocking.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self.socket {
            Socket::Unix(listener) | Socket::Hybrid(listener) => Ok(listener.into_std()?.into()),
            Socket::Vsock(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// The listener of `address` that another process has bound.
    pub fn from_fd(address: &Address, fd: OwnedFd) -> io::Result<Self> {
        let unix = |fd| UnixListener::from_std(std::os::unix::net::UnixListener::from(fd));
        let socket = match address {
            Address::Unix { .. } => Socket::Unix(unix(fd)?),
            Address::Hybrid { .. } => Socket::Hybrid(unix(fd)?),
            Address::Vsock { .. } => Socket::Vsock(VsockListener::from(fd)),
        };
        Ok(Self { socket })
    }

    /// The next connection.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        match &mut self.socket {
            Socket::Unix(listener) => listener.accept().await.map(|(socket, _)| Stream::unix(socket)),
            Socket::Hybrid(listener) => listener.accept().await.map(|(socket, _)| Stream::hybrid(socket)),
            Socket::Vsock(listener) => listener.accept().await.map(|(socket, _)| Stream::vsock(socket)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::dial;
    use std::time::Duration;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let address = Address::Unix {
            dir: dir.path().to_path_buf(),
        };
        let mut listener = listen(&address, 1).expect("free");
        let in_use = listen(&address, 1).expect_err("in use");
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        // The probe above is the first connection.
        listener.accept().await.expect("the probe");
        let (dialled, accepted) = tokio::join!(dial(&address, 1, Duration::from_secs(10)), listener.accept());
        assert!(dialled.is_ok() && accepted.is_ok());
        drop(listener);
        let mode = std::fs::metadata(socket_path(dir.path(), 1))
            .expect("it stays")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        listen(&address, 1).expect("stale");
    }

    #[tokio::test]
    async fn hybrid_vsock_names_its_port_and_wants_an_ok() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        for (answer, accepted) in [
            ("OK 1\nrest", true),
            ("NO\n", false),
            ("OK 11111111111111111111111111111111\n", false),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("vsock");
            let vmm = UnixListener::bind(&path).expect("free");
            let vmm = async {
                let (mut socket, _) = vmm.accept().await.expect("a connection");
                let mut line = [0; 13];
                socket.read_exact(&mut line).await.expect("a line");
                assert_eq!(&line, b"CONNECT 7000\n");
                socket.write_all(answer.as_bytes()).await.expect("open");
            };
            let address = Address::Hybrid { path: path.clone() };
            let (dialled, ()) = tokio::join!(dial(&address, 7000, Duration::from_secs(10)), vmm);
            assert_eq!(dialled.is_ok(), accepted, "{answer}");
            if let Ok(mut stream) = dialled {
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.expect("open");
                assert_eq!(rest, "rest", "what follows the line belongs to the stream");
            }
        }
    }
}
