//! Egress: connections that the Pod makes. Streams are opened ahead of need and wait in the enclave; when a container
//! connects, the enclave says where to on one of them, and this side looks the name up, dials, and relays. The enclave's
//! measured policy decides what the Pod may reach; the list here is a second wall, and the addresses of this machine are behind
//! it in any case.

mod address;
mod dial;
mod options;
mod pool;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use manifest_sync::link::{EgressHost, EgressReply, EgressTarget, Stream, write_egress_reply};
use manifest_sync::relay::{Direction, relay_and_count};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

pub(crate) use self::options::local;
pub use self::options::{Allow, EgressOptions, Resolve};
use crate::enclave::Enclave;
use crate::room::{Purpose, Room};
use crate::view::View;

/// Connections at the same time; each costs two descriptors. The enclave has a bound of its own.
const MAX_CONNECTIONS: usize = 2048;
/// Lookups at the same time: each is a thread while getaddrinfo(3) waits.
const MAX_LOOKUPS: usize = 64;
/// How long lookup and connect may take together.
const DEADLINE: Duration = Duration::from_secs(10);
/// A connection in which nothing moves for so long is closed; as for ingress.
const IDLE: Duration = Duration::from_secs(4 * 3600);

/// Counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressCounts {
    /// Connections that the enclave wanted.
    pub connections: u64,
    /// Of these, not made, by the reason.
    pub refused: BTreeMap<EgressReply, u64>,
    /// Open now.
    pub open: u64,
    /// Streams that wait for a connection.
    pub idle: u64,
    /// Bytes from outside to the Pod.
    pub bytes_in: u64,
    /// Bytes from the Pod to the outside.
    pub bytes_out: u64,
}

/// All egress of one enclave; cheap to clone.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    options: EgressOptions,
    room: Room,
    connections: Semaphore,
    lookups: Arc<Semaphore>,
    wanted: AtomicU64,
    open: AtomicU64,
    idle: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    refused: Mutex<BTreeMap<EgressReply, u64>>,
}

impl Egress {
    /// Nothing is open yet; connections will be made as `room` allows.
    pub fn new(options: EgressOptions, room: Room) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                room,
                connections: Semaphore::new(MAX_CONNECTIONS),
                lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
                wanted: AtomicU64::new(0),
                open: AtomicU64::new(0),
                idle: AtomicU64::new(0),
                bytes_in: AtomicU64::new(0),
                bytes_out: AtomicU64::new(0),
                refused: Mutex::default(),
            }),
        }
    }

    /// Keeps streams open for the enclave to use, until the proxy ends. Must run within a `LocalSet`.
    pub async fn run(self, enclave: Enclave, view: View) {
        pool::keep(&self, &enclave, view).await;
    }

    /// The counts.
    pub fn counts(&self) -> EgressCounts {
        let inner = &self.inner;
        EgressCounts {
            connections: inner.wanted.load(Relaxed),
            refused: self.refused().clone(),
            open: inner.open.load(Relaxed),
            idle: inner.idle.load(Relaxed),
            bytes_in: inner.bytes_in.load(Relaxed),
            bytes_out: inner.bytes_out.load(Relaxed),
        }
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeMap<EgressReply, u64>> {
        self.inner.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, from where it is to go to its end.
    async fn carry(&self, mut stream: Stream, target: &EgressTarget) {
        let inner = &self.inner;
        inner.wanted.fetch_add(1, Relaxed);
        let permit = inner.connections.try_acquire().ok();
        let place = permit.and_then(|permit| Some((permit, inner.room.admit(Purpose::Egress)?)));
        let made = match place {
            Some(_) => self.connect(target).await,
            None => Err(EgressReply::Busy),
        };
        let reply = match &made {
            Ok(_) => EgressReply::Connected,
            Err(reply) => *reply,
        };
        let told = write_egress_reply(&mut stream, reply).await;
        let server = match (made, told) {
            (Ok(server), Ok(())) => server,
            (made, _) => {
                log::debug!("egress: {target}: {reply}");
                if made.is_err() {
                    *self.refused().entry(reply).or_default() += 1;
                }
                return;
            }
        };
        let _ = server.set_nodelay(true);
        inner.open.fetch_add(1, Relaxed);
        let count = |direction, bytes| {
            let counter = match direction {
                Direction::ToLink => &inner.bytes_in,
                Direction::FromLink => &inner.bytes_out,
            };
            counter.fetch_add(bytes, Relaxed);
            inner.room.moved(bytes);
        };
        let (_, result) = relay_and_count(server, stream, IDLE, count).await;
        inner.open.fetch_sub(1, Relaxed);
        if let Err(error) = result {
            log::debug!("egress: {target}: {error}");
        }
        drop(place);
    }

    /// Looks up, judges each address, dials. What is judged is what is dialled: a name that leads somewhere else a moment later
    /// is not looked up again.
    async fn connect(&self, target: &EgressTarget) -> Result<TcpStream, EgressReply> {
        let options = &self.inner.options;
        if !options.allows(target) {
            return Err(EgressReply::NotAllowed);
        }
        let connected = async {
            let addresses = self.addresses(target).await?;
            let permitted: Vec<SocketAddr> = addresses
                .into_iter()
                .filter(|place| options.permits(place.ip()))
                .collect();
            if permitted.is_empty() {
                return Err(EgressReply::Forbidden);
            }
            dial::connect(&permitted).await
        };
        tokio::time::timeout(DEADLINE, connected)
            .await
            .unwrap_or(Err(EgressReply::Timeout))
    }

    /// At least one address.
    async fn addresses(&self, target: &EgressTarget) -> Result<Vec<SocketAddr>, EgressReply> {
        let name = match &target.host {
            EgressHost::Address(address) => return Ok(vec![SocketAddr::new(*address, target.port)]),
            EgressHost::Name(name) => name,
        };
        let given: Vec<IpAddr> = self.inner.options.resolved(name, target.port).collect();
        if !given.is_empty() {
            let place = |address| SocketAddr::new(address, target.port);
            return Ok(given.into_iter().map(place).collect());
        }
        let Ok(permit) = Arc::clone(&self.inner.lookups).acquire_owned().await else {
            return Err(EgressReply::Busy);
        };
        let (name, port) = (name.clone(), target.port);
        let found = tokio::task::spawn_blocking(move || {
            // Until the thread is done, which may be long after whoever wanted to know has given up.
            let _permit = permit;
            look_up(&name, port)
        });
        let found = found.await.unwrap_or_default();
        if found.is_empty() {
            return Err(EgressReply::NoSuchName);
        }
        Ok(found)
    }
}

/// With a final dot the name is not tried below the domains of this machine's search list, which in a cluster would be five
/// queries; without it, /etc/hosts has a say.
fn look_up(name: &str, port: u16) -> Vec<SocketAddr> {
    let began = Instant::now();
    for name in [format!("{name}."), name.to_owned()] {
        let found: Vec<SocketAddr> = (name, port).to_socket_addrs().into_iter().flatten().collect();
        if !found.is_empty() || began.elapsed() > DEADLINE {
            return found;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests;
