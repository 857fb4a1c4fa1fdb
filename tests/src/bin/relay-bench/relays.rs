//! Relays of one hop: the two that ours is compared with, and ours with nothing around it.

use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use manifest_sync::link;
use manifest_sync::relay::relay;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

/// What the pipe of the bare splice relay holds, in bytes: as much as one of ours.
const PIPE: i32 = 256 * 1024;

/// How long a connection may be silent, as in the enclave.
const IDLE: Duration = Duration::from_secs(3600);

/// Where a relay listens or connects to.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// A port of 127.0.0.1.
    Tcp(u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::Unix(PathBuf::from(text)), Self::Tcp))
    }
}

/// Relays for ever.
pub(crate) fn run(kind: &str, listen: &Address, target: &Address) -> Result<()> {
    if kind == "splice" {
        return bare(listen, target);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = async {
        match (kind, listen, target) {
            ("tokio", Address::Tcp(port), Address::Unix(path)) => outside(*port, path).await,
            ("tokio", Address::Unix(path), Address::Tcp(port)) => inside(path, *port).await,
            ("ours", Address::Tcp(port), Address::Unix(path)) => ours(*port, path).await,
            _ => bail!("no relay {kind} from {listen:?} to {target:?}"),
        }
    };
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// Two threads for each connection, which do nothing but splice(2).
fn bare(listen: &Address, target: &Address) -> Result<()> {
    let accept: Box<dyn Fn() -> io::Result<OwnedFd>> = match listen {
        Address::Tcp(port) => {
            let listener = TcpListener::bind(("127.0.0.1", *port))?;
            Box::new(move || tcp(listener.accept()?.0))
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(path)?;
            Box::new(move || Ok(listener.accept()?.0.into()))
        }
    };
    loop {
        let Ok(client) = accept() else { continue };
        let target = target.clone();
        std::thread::spawn(move || -> io::Result<()> {
            let server = match target {
                Address::Tcp(port) => tcp(TcpStream::connect(("127.0.0.1", port))?)?,
                Address::Unix(path) => UnixStream::connect(path)?.into(),
            };
            let (client, server) = (Arc::new(client), Arc::new(server));
            let (from, to) = (Arc::clone(&server), Arc::clone(&client));
            std::thread::spawn(move || one_way(&from, &to));
            one_way(&client, &server)
        });
    }
}

fn tcp(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

fn one_way(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let result = moved(from, to);
    // A failure ends both directions, as does an end of reading after it.
    let how = if result.is_ok() {
        Shutdown::Write
    } else {
        Shutdown::Both
    };
    let _ = shutdown(to.as_raw_fd(), how);
    if result.is_err() {
        let _ = shutdown(from.as_raw_fd(), Shutdown::Both);
    }
    result
}

fn moved(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE));
    let size = usize::try_from(PIPE).unwrap_or_default();
    loop {
        let mut filled = splice(from, None, &writer, None, size, SpliceFFlags::SPLICE_F_MOVE)?;
        if filled == 0 {
            return Ok(());
        }
        while filled > 0 {
            filled -= splice(&reader, None, to, None, filled, SpliceFFlags::SPLICE_F_MOVE)?;
        }
    }
}

/// What most proxies of enclaves do, on the host.
async fn outside(port: u16, path: &PathBuf) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let server = tokio::net::UnixStream::connect(path).await;
        tokio::task::spawn_local(both(client, server));
    }
}

/// The same inside.
async fn inside(path: &PathBuf, port: u16) -> Result<()> {
    let listener = tokio::net::UnixListener::bind(path)?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            if let Ok(server) = &server {
                let _ = server.set_nodelay(true);
            }
            both(client, server).await;
        });
    }
}

async fn both<C, S>(mut client: C, server: io::Result<S>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Ok(mut server) = server {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// `manifest_sync::relay`, which host-proxy and the enclave's `net` share, without what they do around it.
async fn ours(port: u16, path: &std::path::Path) -> Result<()> {
    let number = path.file_stem().and_then(|stem| stem.to_str());
    let number: u32 = number.context("the socket of a link is NUMBER.sock")?.parse()?;
    let dir = path.parent().context("a directory")?.to_path_buf();
    let address = link::Address::Unix { dir };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let address = address.clone();
        tokio::task::spawn_local(async move {
            if let Ok(stream) = link::dial(&address, number, Duration::from_secs(5)).await {
                let _ = relay(client, stream, IDLE).await;
            }
        });
    }
}
