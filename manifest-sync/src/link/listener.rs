//! Listening on the link.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

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
    Ok(Listener { socket })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another process listens on {}", path.display()),
            ));
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
