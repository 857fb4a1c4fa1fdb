//! Ingress: ports that listen outside, each connection or conversation carried to a port of the Pod on a stream of its
//! own.
//!
//! Binding comes first and is its own step, so that a port in use is known before anything runs. What a connection
//! carries is never looked at.

mod gate;
mod port;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use manifest_sync::plan::Protocol;
use manifest_sync::status::PodReport;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

pub use self::gate::When;
use self::port::Port;
pub use self::port::PortCounts;
use crate::announce::say;
use crate::cli::Publish;
use crate::enclave::Enclave;
use crate::room::{Room, RoomCounts};
use crate::view::View;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// A port that cannot be listened on.
#[derive(Debug, Error)]
#[error(
    "cannot listen on {address} for port {container} of the Pod: {}",
    reason(source)
)]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// For which port of the Pod.
    pub container: u16,
    /// From bind(2).
    #[source]
    pub source: io::Error,
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use; choose another with --publish".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges; choose another with --publish".to_owned()
        }
        _ => error.to_string(),
    }
}

/// All ports of one Pod.
#[derive(Clone)]
pub struct Ingress {
    inner: Arc<Inner>,
}

/// By the port as it was asked for; each keeps its socket until [`Ingress::serve`] takes it.
type Ports = BTreeMap<Publish, (Arc<Port>, Option<Bound>)>;

enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

struct Inner {
    address: IpAddr,
    publish: Vec<Publish>,
    when: When,
    room: Room,
    ports: Mutex<Ports>,
}

impl Ingress {
    /// No port listens yet; clients will be let in as `room` allows. An `address` of `::` takes IPv4 as well, and is `0.0.0.0` on a machine without IPv6.
    pub fn new(address: IpAddr, publish: Vec<Publish>, when: When, room: Room) -> Self {
        Self {
            inner: Arc::new(Inner {
                address,
                publish,
                when,
                room,
                ports: Mutex::default(),
            }),
        }
    }

    /// Takes every port of `declared` and every published one, as far as they are not yet taken. The first port that
    /// cannot be had ends it; those bound before stay. Clients are let in later, by [`Ingress::serve`].
    pub async fn bind(&self, declared: &[Publish]) -> Result<(), BindError> {
        for publish in wanted(&self.inner.publish, declared) {
            if self.ports().contains_key(&publish) {
                continue;
            }
            let address = SocketAddr::new(self.inner.address, publish.host);
            let (bound, listen) = match bind(publish.protocol, address).await {
                Err(error)
                    if error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
                        && address.ip() == Ipv6Addr::UNSPECIFIED =>
                {
                    bind(publish.protocol, (Ipv4Addr::UNSPECIFIED, publish.host).into()).await
                }
                bound => bound,
            }
            .map_err(|source| BindError {
                address,
                container: publish.container,
                source,
            })?;
            let port = Arc::new(Port::new(publish, listen));
            self.ports().insert(publish, (port, Some(bound)));
        }
        Ok(())
    }

    /// Serves every bound port that is not yet served. Must be called within a `LocalSet`.
    pub fn serve(&self, enclave: &Enclave, view: &View) {
        let (when, room) = (self.inner.when, &self.inner.room);
        for (publish, (port, bound)) in self.ports().iter_mut() {
            let Some(bound) = bound.take() else { continue };
            let (port, enclave, view, room) = (port.clone(), enclave.clone(), view.clone(), room.clone());
            let suffix = match publish.protocol {
                Protocol::Tcp => "",
                Protocol::Udp => "/udp",
            };
            say(&format!(
                "port {}{suffix} of the Pod: {}",
                port.container, port.listen
            ));
            match bound {
                Bound::Tcp(listener) => {
                    tokio::task::spawn_local(tcp::serve(listener, port, enclave, when, view, room));
                }
                Bound::Udp(socket) => {
                    tokio::task::spawn_local(udp::serve(socket, port, enclave, when, view, room));
                }
            }
        }
    }

    /// Follows the reports and listens on the ports that they name, for ever: ports that were not known before.
    pub async fn follow(self, enclave: Enclave, mut view: View) {
        loop {
            let report = view.borrow_and_update().report.clone();
            if let Some(report) = report {
                if let Err(error) = self.bind(&declared(&report)).await {
                    log::error!("{error}");
                }
                self.serve(&enclave, &view);
            }
            if view.changed().await.is_err() {
                return;
            }
        }
    }

    /// Counts of all ports, by port of the Pod.
    pub fn counts(&self) -> Vec<PortCounts> {
        self.ports().values().map(|(port, _)| port.counts()).collect()
    }

    /// Counts of the memory that connections have, those of the Pod included.
    pub fn room(&self) -> RoomCounts {
        self.inner.room.counts()
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Ports> {
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// tokio's own would have the kernel keep 128 connections only.
async fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<(Bound, SocketAddr)> {
    match protocol {
        Protocol::Tcp => {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // Connections of an earlier run may still be closing.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let listen = listener.local_addr()?;
            Ok((Bound::Tcp(listener), listen))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address).await?;
            let listen = socket.local_addr()?;
            Ok((Bound::Udp(socket), listen))
        }
    }
}

/// Port of the Pod and port outside of each declared port.
fn declared(report: &PodReport) -> Vec<Publish> {
    let ports = report.ports.iter().map(|port| Publish {
        host: port.host_port,
        container: port.container_port,
        protocol: port.protocol,
    });
    ports.collect()
}

/// What is published, and what is declared and not published otherwise.
fn wanted(publish: &[Publish], declared: &[Publish]) -> Vec<Publish> {
    let published = |port: &&Publish| {
        publish
            .iter()
            .any(|one| (one.container, one.protocol) == (port.container, port.protocol))
    };
    let rest = declared.iter().filter(|port| !published(port));
    publish.iter().chain(rest).copied().collect()
}

#[cfg(test)]
mod tests {
    use manifest_sync::status::Condition;

    use super::*;
    use crate::view::{Link, Snapshot};

    fn tcp(host: u16, container: u16) -> Publish {
        Publish {
            host,
            container,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn a_published_port_replaces_the_declared_one() {
        let publish = [tcp(8080, 80), tcp(9000, 9)];
        let dns = Publish {
            protocol: Protocol::Udp,
            ..tcp(80, 80)
        };
        let wanted = wanted(&publish, &[tcp(80, 80), dns, tcp(8443, 443)]);
        assert_eq!(wanted, [publish[0], publish[1], dns, tcp(8443, 443)]);
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let address = "127.0.0.1".parse().expect("an address");
        let ingress = Ingress::new(address, Vec::new(), When::Ready, Room::default());
        let error = ingress.bind(&[tcp(port, 80)]).await.expect_err("in use");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on 127.0.0.1:{port} for port 80 of the Pod: the port is in use; choose another with --publish"
            )
        );
    }

    fn snapshot(ready: &str) -> Snapshot {
        let mut snapshot = Snapshot::new();
        snapshot.link = Link::Connected;
        snapshot.session = Some("key".to_owned());
        let mut report = PodReport::default();
        report.status.conditions.push(Condition {
            r#type: "Ready".to_owned(),
            status: ready.to_owned(),
            reason: None,
            message: None,
            last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
        });
        snapshot.report = Some(report);
        snapshot
    }

    #[test]
    fn who_is_let_in_when() {
        let ready = snapshot("True");
        let stopping = Snapshot {
            stopping: true,
            ..snapshot("True")
        };
        let asked = [&ready, &stopping, &snapshot("False"), &Snapshot::new()];
        assert_eq!(
            asked.map(|one| When::Ready.lets_in(one)),
            [true, false, false, false]
        );
        assert_eq!(
            asked.map(|one| When::Connected.lets_in(one)),
            [true, true, true, false]
        );
    }
}
