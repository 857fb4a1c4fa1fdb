//! The `net` base service: holds the data listener, relays ingress streams to the Pod's ports and the Pod's connections to
//! the host, and carries out probes and hooks over the network. It has its own uid and no capability; it parses stream
//! headers and nothing else of the host's.

mod egress;
mod grpc;
mod http;
mod ingress;
pub(crate) mod message;
mod probe;
mod proxy_protocol;
mod rules;
mod tls;
mod url;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use manifest_sync::config::Takeover;
use manifest_sync::link::{self, Address, Listener, Stream, StreamKind, StreamReply};
use manifest_sync::protocol::session::Sessions;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use self::egress::Egress;
use self::ingress::{Streams, Taken, Target, connect};
use self::message::ToNet;
use self::probe::Questions;
use self::rules::Rules;
use crate::handshakes::{Handshakes, Place};
use crate::sys::fd;

/// Descriptor of the socket to PID 1.
const SOCKET_FD: i32 = 3;
/// Descriptor of the data listener: PID 1 has bound it, and keeps it while this service is started again.
const LISTENER_FD: i32 = 5;
/// Name of the variable that names the notify descriptor.
const NOTIFY_FD: &str = "NOTIFY_FD";
/// How long a connection may take to send its header.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections in their handshake at once: anybody can make one, so a slow one must not take a stream's place.
const MAX_HANDSHAKES: usize = 1024;
/// Pause after an error of accept(2).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest packet of PID 1: a session key, or 65,535 ports.
const MAX_PACKET_BYTES: usize = 512 * 1024;

/// Runs until PID 1 is gone.
pub(crate) fn main() -> ExitCode {
    crate::console::start("net");
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    // Two descriptors for each connection. What the hard limit does not give is refused one by one.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let invalid = |message: &str| io::Error::new(io::ErrorKind::InvalidInput, message.to_owned());
    let address: Address = std::env::args()
        .nth(2)
        .ok_or_else(|| invalid("started by hand; only PID 1 can start this applet"))?
        .parse()
        .map_err(|error: link::InvalidAddress| invalid(&error.to_string()))?;
    let socket = fd::inherited(SOCKET_FD).ok_or_else(|| invalid("no socket to PID 1"))?;
    let listener = fd::inherited(LISTENER_FD).ok_or_else(|| invalid("no data listener"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = Listener::from_fd(&address, listener)?;
        let rules = Rc::new(RefCell::new(Rules::default()));
        fd::set_nonblocking(&socket, true)?;
        let socket = Rc::new(fd::watch(socket)?);
        let egress = Egress::new(Rc::clone(&socket));
        tokio::task::spawn_local(accept(listener, Rc::clone(&rules), Rc::clone(&egress)));
        listen_to_pid1(socket, &rules, &egress).await
    })
}

/// Follows PID 1's rules; says that it is ready once it has the first.
async fn listen_to_pid1(
    socket: Rc<AsyncFd<OwnedFd>>,
    rules: &RefCell<Rules>,
    egress: &Rc<Egress>,
) -> io::Result<()> {
    let questions = Rc::new(Questions::default());
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let mut notify = std::env::var(NOTIFY_FD)
        .ok()
        .and_then(|number| fd::inherited(number.parse().ok()?));
    loop {
        let mut ready = socket.readable().await?;
        let Ok(received) = ready.try_io(|socket| fd::recv_with_fd(socket.get_ref(), &mut packet)) else {
            continue;
        };
        let (count @ 1.., _) = received? else {
            return Ok(());
        };
        match serde_json::from_slice(&packet[..count])? {
            ToNet::Session { key } => rules.borrow_mut().sessions = Some(Sessions::new(key, Takeover::Never)),
            ToNet::Pod { ports } => rules.borrow_mut().ports = ports,
            ToNet::Probe { number, probe } => questions.ask(&socket, number, probe),
            ToNet::Forget { number } => questions.forget(number),
            ToNet::Egress { policy, searches } => egress.open(policy, searches).await,
            ToNet::EgressHeard { number } => egress.denial_heard(number),
        }
        if let Some(notify) = notify.take() {
            nix::unistd::write(&notify, b"1")?;
        }
    }
}

async fn accept(mut listener: Listener, rules: Rc<RefCell<Rules>>, egress: Rc<Egress>) {
    let handshakes = Handshakes::new(MAX_HANDSHAKES);
    let streams = Rc::new(Streams::default());
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let (rules, streams, egress) = (Rc::clone(&rules), Rc::clone(&streams), Rc::clone(&egress));
                handshakes.start(|place| carry(stream, rules, egress, place, streams));
                tokio::task::yield_now().await;
            }
            Err(error) => {
                log::warn!("accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One stream, from its header to its end.
async fn carry(
    mut stream: Stream,
    rules: Rc<RefCell<Rules>>,
    egress: Rc<Egress>,
    place: Place,
    streams: Rc<Streams>,
) {
    // In boxes that go when the stream is open: an idle stream shall not cost what opening it took.
    let opened = Box::pin(timeout(
        HANDSHAKE,
        open(&mut stream, &rules, &egress, place, &streams),
    ))
    .await;
    let (purpose, framed) = match opened.unwrap_or(Err(StreamReply::Timeout)) {
        Ok(opened) => opened,
        Err(reply) => {
            let _ = Box::pin(timeout(HANDSHAKE, link::write_reply(&mut stream, reply))).await;
            return;
        }
    };
    let accepted = Box::pin(timeout(
        HANDSHAKE,
        link::write_reply(&mut stream, StreamReply::Accepted),
    ))
    .await;
    if !matches!(accepted, Ok(Ok(()))) {
        return;
    }
    let stream = if framed { stream.framed() } else { stream };
    match purpose {
        Purpose::Ingress(target, _taken) => ingress::carry(target, stream).await,
        Purpose::Egress => egress.park(stream),
    }
}

/// What a stream is for.
enum Purpose {
    /// A client of the Pod.
    Ingress(Target, Taken),
    /// For the Pod to connect through.
    Egress,
}

/// What a stream is for, and whether its ends are said in it.
async fn open(
    stream: &mut Stream,
    rules: &RefCell<Rules>,
    egress: &Egress,
    place: Place,
    streams: &Streams,
) -> Result<(Purpose, bool), StreamReply> {
    let header = link::read_header(stream).await.map_err(|error| {
        log::info!("refused a stream: {error}");
        error.reply()
    })?;
    if !rules.borrow().is_ours(header.session.as_deref()) {
        return Err(StreamReply::NotYourSession);
    }
    // It has said what it is for; what a container takes to accept it counts among the streams.
    drop(place);
    let purpose = match header.stream {
        StreamKind::Egress {} if egress.is_open() => Purpose::Egress,
        StreamKind::Egress {} => return Err(StreamReply::NoEgress),
        kind => {
            let (target, taken) = ingress::open(&kind, rules, streams).await?;
            Purpose::Ingress(target, taken)
        }
    };
    Ok((purpose, header.framed))
}
