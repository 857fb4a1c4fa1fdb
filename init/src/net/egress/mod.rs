//! Egress: what the Pod may reach outside, and how. Containers need no settings: the resolver on the Pod's loopback gives an
//! allowed name a loopback address of its own, where this process listens at the ports of the policy. Each connection takes
//! one of the streams that the host has opened ahead, says the *name*, and is relayed. Everything else does not resolve.
//!
//! ```text
//! container ── DNS ──► resolver ─ policy, book ─► 127.128.x.y
//!     └────── TCP ──► listener at 127.128.x.y:port ─► pool of egress streams ─► host-proxy resolves, dials
//!     └── CONNECT ──► proxy at 127.0.0.53:3128 ───────────┘
//! ```

mod connection;
mod denial;
mod listener;
mod opening;
mod pool;
mod proxy;
mod resolver;
mod socket_table;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use cloister_init::egress::book::{Book, Tenure};
use cloister_init::supervisor::time::Time;
use manifest_sync::egress::EgressPolicy;
use manifest_sync::link::{EgressHost, EgressTarget, Stream};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use self::denial::Denials;
use self::opening::Openings;
use self::pool::Pool;

/// Connections out at once; each costs two descriptors. One more is reset.
const MAX_CONNECTIONS: usize = 1024;
/// Names that have an address at once; each costs a listener for each of its ports.
const MAX_NAMES: usize = 1024;
/// Listeners at once.
const MAX_LISTENERS: usize = 2048;

/// All of egress.
pub(super) struct Egress {
    started: Instant,
    policy: RefCell<Option<Rc<EgressPolicy>>>,
    /// Domains that resolvers append on their own account: failing there is no attempt on anything.
    searches: RefCell<Vec<String>>,
    book: RefCell<Book>,
    pool: Pool,
    denials: Denials,
    connections: Arc<Semaphore>,
    openings: Openings,
    /// Ports at which everything that is local is ours, for networks.
    wildcards: RefCell<BTreeSet<(bool, u16)>>,
    tasks: RefCell<BTreeMap<SocketAddr, Vec<JoinHandle<()>>>>,
    listeners: Cell<usize>,
}

impl Egress {
    /// Nothing can be reached yet. PID 1 is at the other end of `socket`.
    pub(super) fn new(socket: Rc<AsyncFd<OwnedFd>>) -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            policy: RefCell::default(),
            searches: RefCell::default(),
            book: RefCell::new(Book::new(MAX_NAMES)),
            pool: Pool::default(),
            denials: Denials::new(socket),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            openings: Openings::default(),
            wildcards: RefCell::default(),
            tasks: RefCell::default(),
            listeners: Cell::new(0),
        })
    }

    /// Whether the Pod may reach anything.
    pub(super) fn is_open(&self) -> bool {
        self.policy.borrow().is_some()
    }

    /// Keeps a stream of the host's for a connection to come.
    pub(super) fn park(&self, stream: Stream) {
        self.pool.park(stream);
    }

    /// PID 1 has heard of a denial.
    pub(super) fn denial_heard(&self, number: u64) {
        self.denials.heard(number);
    }

    /// Lets the Pod reach what `policy` says from now on. Connections that are there stay.
    pub(super) async fn open(self: &Rc<Self>, policy: EgressPolicy, searches: Vec<String>) {
        let old = std::mem::take(&mut *self.tasks.borrow_mut());
        for task in old.into_values().flatten() {
            task.abort();
            // Its socket is closed when it is gone.
            let _ = task.await;
        }
        self.listeners.set(0);
        self.wildcards.borrow_mut().clear();
        let policy = Rc::new(policy);
        *self.policy.borrow_mut() = Some(Rc::clone(&policy));
        *self.searches.borrow_mut() = searches;
        if let Err(error) = resolver::start(self) {
            self.denials
                .trouble(format!("the resolver cannot listen: {error}"));
        }
        if let Err(error) = proxy::start(self) {
            self.denials
                .trouble(format!("the HTTP proxy for CONNECT cannot listen: {error}"));
        }
        self.listen_for_networks(&policy);
        for name in policy.fixed_names() {
            if self.address_of(name, Tenure::Fixed).is_none() {
                log::warn!("egress: no address for {name}");
            }
        }
        // Programs keep addresses that they were given before.
        let known = self.book.borrow().names();
        for name in known {
            if !policy.ports_of_name(&name).is_empty() {
                self.address_of(&name, Tenure::Passing);
            }
        }
        self.start(denial::origin(), denial::flush(Rc::clone(self)));
    }

    fn policy(&self) -> Rc<EgressPolicy> {
        self.policy.borrow().clone().unwrap_or_default()
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Runs a task until the policy changes, or the address is given to another name.
    fn start(&self, place: SocketAddr, task: impl Future<Output = ()> + 'static) {
        let task = tokio::task::spawn_local(task);
        self.tasks.borrow_mut().entry(place).or_default().push(task);
    }

    /// The address that stands for a name that is allowed, with listeners at its ports. `None`: there is no room.
    fn address_of(self: &Rc<Self>, name: &str, tenure: Tenure) -> Option<Ipv4Addr> {
        let assigned = self.book.borrow_mut().assign(name, tenure, self.now());
        let Some(assigned) = assigned else {
            self.denials
                .trouble(format!("more than {MAX_NAMES} names are in use at once"));
            return None;
        };
        if let Some(freed) = assigned.freed {
            self.close(freed);
        }
        let ports = self.policy().ports_of_name(name);
        let mut open = ports.is_empty();
        for port in ports {
            open |= self.listen_at(IpAddr::V4(assigned.address), port);
        }
        if !open {
            self.book.borrow_mut().forget(name);
            return None;
        }
        Some(assigned.address)
    }

    fn listen_for_networks(self: &Rc<Self>, policy: &EgressPolicy) {
        for rule in &policy.rules {
            for network in &rule.networks {
                let single = match network.address() {
                    IpAddr::V4(_) => network.prefix() == 32,
                    IpAddr::V6(_) => network.prefix() == 128,
                };
                let any: IpAddr = match network.address() {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                for port in &rule.ports {
                    if single {
                        self.listen_at(network.address(), *port);
                    } else if self.listen_at(any, *port) {
                        self.wildcards.borrow_mut().insert((any.is_ipv4(), *port));
                    }
                }
            }
        }
    }

    /// Whether this process listens at an address and port, now or already.
    fn listen_at(self: &Rc<Self>, address: IpAddr, port: u16) -> bool {
        let place = SocketAddr::new(address, port);
        if self.tasks.borrow().contains_key(&place)
            || self.wildcards.borrow().contains(&(address.is_ipv4(), port))
        {
            return true;
        }
        if self.listeners.get() >= MAX_LISTENERS {
            self.denials.trouble(format!(
                "more than {MAX_LISTENERS} names and ports are in use at once"
            ));
            return false;
        }
        match listener::bind(place) {
            Ok(socket) => {
                self.listeners.set(self.listeners.get() + 1);
                self.start(place, listener::accept(Rc::clone(self), socket));
                true
            }
            Err(error) => {
                self.denials.trouble(explain(place, &error));
                false
            }
        }
    }

    /// Nobody listens at an address any more.
    fn close(&self, address: Ipv4Addr) {
        let mut tasks = self.tasks.borrow_mut();
        let places: Vec<SocketAddr> = tasks
            .keys()
            .filter(|place| place.ip() == address)
            .copied()
            .collect();
        for place in places {
            for task in tasks.remove(&place).into_iter().flatten() {
                task.abort();
                self.listeners.set(self.listeners.get().saturating_sub(1));
            }
        }
    }

    /// Where a connection that arrived at one of our addresses wants to go. `None`: nowhere that is allowed.
    fn target(&self, arrived: SocketAddr) -> Option<EgressTarget> {
        let (address, port) = (arrived.ip().to_canonical(), arrived.port());
        let policy = self.policy();
        if let IpAddr::V4(address) = address {
            let mut book = self.book.borrow_mut();
            book.touch(address, self.now());
            if let Some(name) = book.name_of(address) {
                let host = EgressHost::Name(name.to_owned());
                return policy
                    .allows_name(name, port)
                    .then_some(EgressTarget { host, port });
            }
        }
        let host = EgressHost::Address(address);
        // Everything that is local arrives at a wildcard.
        let allowed = !address.is_loopback() && policy.allows_address(address, port);
        allowed.then_some(EgressTarget { host, port })
    }

    /// Where a name and port lead, when they are allowed.
    fn allowed(&self, host: EgressHost, port: u16) -> Option<EgressTarget> {
        let policy = self.policy();
        let allowed = match &host {
            EgressHost::Name(name) => policy.allows_name(name, port),
            EgressHost::Address(address) => policy.allows_address(*address, port),
        };
        (allowed && port > 0).then_some(EgressTarget { host, port })
    }
}

fn explain(place: SocketAddr, error: &io::Error) -> String {
    let port = place.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is taken: a container listens on it at all addresses. Let it listen on another port (hostPort \
             keeps the one outside)"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("port {port} cannot be listened on here: this kernel keeps ports below 1024 for root")
        }
        _ => format!("cannot listen on {place}: {error}"),
    }
}
