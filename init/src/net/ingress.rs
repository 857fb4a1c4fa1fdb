//! Ingress streams: each is connected with a port that the Pod declares, and its bytes or datagrams are relayed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use manifest_sync::link::{Stream, StreamKind, StreamReply};
use manifest_sync::relay;
use manifest_sync::relay::datagrams::{Datagrams, datagrams};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::proxy_protocol;
use super::rules::Rules;

/// How long the container may take to accept: it is on the same machine.
const CONNECT: Duration = Duration::from_secs(5);
/// A stream on which nothing moves for this long is ended: Kubernetes' load balancers do it after an hour.
const IDLE: Duration = Duration::from_secs(3600);
/// A conversation of datagrams in which nothing came for so long is over; the host forgets it earlier.
const SILENCE: Duration = Duration::from_secs(300);
/// Streams at once; each costs two descriptors.
const MAX_STREAMS: usize = 4096;

/// Streams at once, by port: one port whose server is stuck takes no other's place.
#[derive(Default)]
pub(super) struct Streams(Rc<RefCell<BTreeMap<u16, usize>>>);

/// A place among the streams of a port.
pub(super) struct Taken {
    streams: Rc<RefCell<BTreeMap<u16, usize>>>,
    port: u16,
}

impl Streams {
    /// A place for a stream to `port`, one of `ports` ports.
    pub(super) fn take(&self, port: u16, ports: usize) -> Option<Taken> {
        let mut streams = self.0.borrow_mut();
        let open = streams.entry(port).or_default();
        if *open >= MAX_STREAMS / ports.max(1) {
            return None;
        }
        *open += 1;
        Some(Taken {
            streams: Rc::clone(&self.0),
            port,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut streams = self.streams.borrow_mut();
        if let Some(open) = streams.get_mut(&self.port) {
            *open = open.saturating_sub(1);
        }
    }
}

/// What a stream is connected with.
pub(super) enum Target {
    Connection(TcpStream),
    Conversation(Peer),
}

/// Connects what a header asks for.
pub(super) async fn open(
    kind: &StreamKind,
    rules: &RefCell<Rules>,
    streams: &Streams,
) -> Result<(Target, Taken), StreamReply> {
    let (port, known, count) = {
        let ports = &rules.borrow().ports;
        let (port, known) = match *kind {
            StreamKind::Ingress { port, .. } => (port, ports.tcp.contains(&port)),
            StreamKind::Datagrams { port } => (port, ports.udp.contains(&port)),
            _ => return Err(StreamReply::Malformed),
        };
        (port, known, ports.tcp.len() + ports.udp.len())
    };
    if !known {
        return Err(StreamReply::NoPod);
    }
    let taken = streams.take(port, count).ok_or(StreamReply::Busy)?;
    let target = match *kind {
        StreamKind::Ingress { client, .. } => {
            let proxied = rules.borrow().ports.proxied.contains(&port);
            connect(port)
                .await
                .map(|socket| (socket, proxied.then(|| proxy_protocol::header(client, port))))
        }
        _ => {
            return match Peer::new(port).await {
                Ok(peer) => Ok((Target::Conversation(peer), taken)),
                Err(_) => Err(StreamReply::Busy),
            };
        }
    };
    let target = match target {
        Ok((mut socket, Some(header))) => timeout(CONNECT, socket.write_all(&header))
            .await
            .unwrap_or_else(|_elapsed| Err(io::Error::from(io::ErrorKind::TimedOut)))
            .map(|()| socket),
        Ok((socket, None)) => Ok(socket),
        Err(error) => Err(error),
    };
    target
        .map(|socket| (Target::Connection(socket), taken))
        .map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => StreamReply::Timeout,
            _ => StreamReply::NoSuchTarget,
        })
}

/// Relays until it is over.
pub(super) async fn carry(target: Target, stream: Stream) {
    let (moved, result) = match target {
        Target::Connection(socket) => relay::relay(socket, stream, IDLE).await,
        Target::Conversation(peer) => Box::pin(datagrams(&peer, stream, SILENCE, |_, _| ())).await,
    };
    if let Err(error) = result {
        log::debug!(
            "stream ended after {} and {} bytes: {error}",
            moved.to_link,
            moved.from_link
        );
    }
}

/// The Pod's address, IPv4 first: a server that listens on `::` has both.
pub(super) async fn connect(port: u16) -> io::Result<TcpStream> {
    let connect = async {
        match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
            Ok(stream) => Ok(stream),
            Err(_) => TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await,
        }
    };
    let stream = timeout(CONNECT, connect)
        .await
        .unwrap_or_else(|_elapsed| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One client's socket inside: the server answers to its port.
pub(super) struct Peer(UdpSocket);

impl Peer {
    async fn new(port: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(Self(socket))
    }
}

impl Datagrams for Peer {
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.0.recv(buffer).await {
                Ok(length) => return Ok(Some(length)),
                // udp(7): nobody listens yet; the next datagram may find somebody.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&self, datagram: &[u8]) {
        let _ = self.0.send(datagram).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_its_share() {
        let streams = Streams::default();
        let taken: Vec<_> = std::iter::from_fn(|| streams.take(80, 2))
            .take(MAX_STREAMS)
            .collect();
        assert_eq!(taken.len(), MAX_STREAMS / 2);
        assert!(streams.take(443, 2).is_some());
        drop(taken);
        assert!(streams.take(80, 2).is_some());
    }
}
