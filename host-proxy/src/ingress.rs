//! Ingress: ports that listen outside, each connection carried to a port of the Pod on a stream of its own.
//!
//! Binding comes first and is its own step, so that a port in use is known before anything runs. What a connection
//! carries is never looked at.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manifest_sync::config::DATA_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::relay::{self, Direction, relay_and_count};
use manifest_sync::status::PodReport;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::announce::say;
use crate::cli::Publish;
use crate::enclave::Enclave;
use crate::view::View;

/// Connections relayed at the same time over all ports; beyond it the kernel's queue waits.
const MAX_CONNECTIONS: usize = 4096;
/// A connection in which nothing moves for so long is closed; as long as most load balancers are generous, and
/// short enough that forgotten connections do not pile up.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// First pause of an accept loop that has no descriptor left; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause of an accept loop.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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

/// Counts of one port at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortCounts {
    /// Port of the Pod.
    pub container: u16,
    /// Where it listens outside.
    pub listen: SocketAddr,
    /// Connections accepted.
    pub connections: u64,
    /// Of these, not relayed because the enclave or the container refused.
    pub refused: u64,
    /// Open now.
    pub open: u64,
    /// Bytes from outside to the Pod.
    pub bytes_in: u64,
    /// Bytes from the Pod to the outside.
    pub bytes_out: u64,
}

/// Counters of one port; shared by its connections.
struct Port {
    container: u16,
    listen: SocketAddr,
    connections: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// All ports of one Pod.
#[derive(Clone)]
pub struct Ingress {
    inner: Arc<Inner>,
}

/// By the port as it was asked for; each keeps its listener until [`Ingress::serve`] takes it.
type Ports = BTreeMap<Publish, (Arc<Port>, Option<TcpListener>)>;

struct Inner {
    address: IpAddr,
    publish: Vec<Publish>,
    permits: Arc<Semaphore>,
    ports: Mutex<Ports>,
}

impl Ingress {
    /// No port listens yet.
    pub fn new(address: IpAddr, publish: Vec<Publish>) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self {
            inner: Arc::new(Inner {
                address,
                publish,
                permits,
                ports: Mutex::default(),
            }),
        }
    }

    /// Listens on every port of `declared` (container port, port outside) and on every published one, as far as it
    /// does not yet. The first port that cannot be had ends it; those bound before stay.
    pub async fn bind(&self, declared: &[(u16, u16)]) -> Result<(), BindError> {
        for publish in wanted(&self.inner.publish, declared) {
            if self.ports().contains_key(&publish) {
                continue;
            }
            let address = SocketAddr::new(self.inner.address, publish.host);
            let error = |source| BindError {
                address,
                container: publish.container,
                source,
            };
            let listener = TcpListener::bind(address).await.map_err(error)?;
            let listen = listener.local_addr().map_err(error)?;
            let port = Port {
                container: publish.container,
                listen,
                connections: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                open: AtomicU64::new(0),
                bytes_in: AtomicU64::new(0),
                bytes_out: AtomicU64::new(0),
            };
            self.ports().insert(publish, (Arc::new(port), Some(listener)));
        }
        Ok(())
    }

    /// Accepts on every bound port that does not accept yet. Must be called within a `LocalSet`.
    pub fn serve(&self, enclave: &Enclave, view: &View) {
        for (port, listener) in self.ports().values_mut() {
            if let Some(listener) = listener.take() {
                say(&format!("port {} of the Pod: {}", port.container, port.listen));
                let accept = accept(
                    listener,
                    port.clone(),
                    self.inner.permits.clone(),
                    enclave.clone(),
                    view.clone(),
                );
                tokio::task::spawn_local(accept);
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
        let count = |(port, _): &(Arc<Port>, Option<TcpListener>)| PortCounts {
            container: port.container,
            listen: port.listen,
            connections: port.connections.load(Relaxed),
            refused: port.refused.load(Relaxed),
            open: port.open.load(Relaxed),
            bytes_in: port.bytes_in.load(Relaxed),
            bytes_out: port.bytes_out.load(Relaxed),
        };
        self.ports().values().map(count).collect()
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Ports> {
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Container port and port outside of each declared port.
fn declared(report: &PodReport) -> Vec<(u16, u16)> {
    report
        .ports
        .iter()
        .map(|port| (port.container_port, port.host_port))
        .collect()
}

/// What is published, and what is declared and not published otherwise.
fn wanted(publish: &[Publish], declared: &[(u16, u16)]) -> Vec<Publish> {
    let mut wanted = publish.to_vec();
    for (container, host) in declared.iter().copied() {
        if !publish.iter().any(|one| one.container == container) {
            wanted.push(Publish { host, container });
        }
    }
    wanted
}

async fn accept(
    listener: TcpListener,
    port: Arc<Port>,
    permits: Arc<Semaphore>,
    enclave: Enclave,
    view: View,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((client, _)) => {
                pause = FIRST_PAUSE;
                let (port, enclave) = (port.clone(), enclave.clone());
                let session = view.borrow().session.clone();
                tokio::task::spawn_local(async move {
                    carry(client, &port, &enclave, session).await;
                    drop(permit);
                });
            }
            // accept(2): errors of the connection that was waiting; EMFILE and its kind pass with time.
            Err(error) => {
                log::warn!("{}: accept: {error}", port.listen);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// One connection from its accept to its end.
async fn carry(client: TcpStream, port: &Port, enclave: &Enclave, session: Option<String>) {
    port.connections.fetch_add(1, Relaxed);
    let kind = StreamKind::Ingress { port: port.container };
    let stream = match session {
        Some(session) => enclave
            .open(DATA_PORT, Some(session), kind)
            .await
            .map_err(|error| error.to_string()),
        None => Err("the enclave is not connected yet".to_owned()),
    };
    match stream {
        Ok(stream) => {
            let _ = client.set_nodelay(true);
            port.open.fetch_add(1, Relaxed);
            let options = relay::Options {
                idle: IDLE,
                half_close: stream.half_close(),
            };
            let (_, result) = relay_and_count(client, stream, options, |direction, bytes| {
                let counter = match direction {
                    Direction::ToLink => &port.bytes_in,
                    Direction::FromLink => &port.bytes_out,
                };
                counter.fetch_add(bytes, Relaxed);
            })
            .await;
            port.open.fetch_sub(1, Relaxed);
            if let Err(error) = result {
                log::debug!("{}: {error}", port.listen);
            }
        }
        Err(error) => {
            port.refused.fetch_add(1, Relaxed);
            log::debug!("{}: {error}", port.listen);
            // The client learns it as from a port where nobody listens: a reset, not an empty answer (tcp(7)).
            let _ = client.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_port_replaces_the_declared_one() {
        let publish = [
            Publish {
                host: 8080,
                container: 80,
            },
            Publish {
                host: 9000,
                container: 9,
            },
        ];
        let wanted = wanted(&publish, &[(80, 80), (443, 8443)]);
        assert_eq!(
            wanted,
            [
                publish[0],
                publish[1],
                Publish {
                    host: 8443,
                    container: 443
                }
            ]
        );
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let ingress = Ingress::new("127.0.0.1".parse().expect("an address"), Vec::new());
        let error = ingress.bind(&[(80, port)]).await.expect_err("in use");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on 127.0.0.1:{port} for port 80 of the Pod: the port is in use; choose another with --publish"
            )
        );
    }
}
