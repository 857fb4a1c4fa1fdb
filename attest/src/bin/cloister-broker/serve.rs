//! `serve`: bind, announce, serve, drain.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use attest::broker::server::{Limits, Server};
use attest::broker::{AuditLog, Broker, Moment, Notice, SecretStore, State, StateError};
use attest::hex::Hex;
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

use crate::arguments::Serve;
use crate::exit::{Exit, Failure};
use crate::input;

/// How long requests that are under way may take after SIGTERM: below the 30 s after which Kubernetes kills.
const DRAIN: Duration = Duration::from_secs(20);

/// Serves until a signal.
pub(crate) fn serve(serve: &Serve) -> Result<(), Failure> {
    let policy = input::policy(&serve.policy, &serve.roots)?;
    let store = SecretStore::new(&serve.secrets);
    let unreadable = |error| Failure::new(Exit::NoInput, format!("{error}"));
    store.check().map_err(unreadable)?;
    // From here on there are keys and secrets in memory: no core dump, and no other process of this user reads it.
    nix::sys::prctl::set_dumpable(false).map_err(|error| host("prctl(2)", &error.into()))?;
    let key = input::key(&serve.key)?;
    let state = State::open(&serve.state).map_err(|error| state_failure(&error))?;
    let public = Hex(key.public().as_bytes()).to_string();
    let rules = policy.rules().count();
    let broker = Arc::new(Broker::new(
        policy,
        store,
        state,
        key,
        AuditLog::new(io::stdout()),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| host("cannot start", &error))?;
    let result = runtime.block_on(async {
        let listener = bind(serve.listen).await?;
        let health = match serve.http_address {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let mut signals = signals().map_err(|error| host("signals", &error))?;
        let (_, generations) = broker.levels();
        notice(&broker, |notice| Notice {
            listen: listener.local_addr().ok(),
            http_address: health.as_ref().and_then(|health| health.local_addr().ok()),
            public_key: Some(&public),
            rules: Some(rules),
            generations: Some(generations),
            ..notice("started")
        })?;
        run(&broker, serve, listener, health, &mut signals).await
    });
    // A disk that hangs must not keep the process.
    runtime.shutdown_background();
    result
}

async fn run(
    broker: &Arc<Broker>,
    serve: &Serve,
    listener: TcpListener,
    health: Option<TcpListener>,
    signals: &mut UnixStream,
) -> Result<(), Failure> {
    let mut limits = Limits::default();
    limits.requests_per_second = serve.rate.unwrap_or(limits.requests_per_second);
    let (stop, stopping) = watch::channel(false);
    let server = Server::new(broker.clone(), limits, stopping);
    if let Some(health) = health {
        tokio::spawn(server.clone().serve_health(health));
    }
    let serving = tokio::spawn(server.serve(listener));
    let _ = signals.read_u8().await;
    notice(broker, |notice| notice("stopping"))?;
    let _ = stop.send(true);
    // A second signal ends it at once.
    tokio::select! {
        _ = tokio::time::timeout(DRAIN, serving) => {}
        _ = signals.read_u8() => {}
    }
    notice(broker, |notice| notice("stopped"))
}

fn notice<'a>(
    broker: &Broker,
    of: impl FnOnce(fn(&'static str) -> Notice<'a>) -> Notice<'a>,
) -> Result<(), Failure> {
    let line = of(|event| Notice::new(event, Moment::now().clock));
    let written = broker.audit().write(&line);
    written.map_err(|error| host("the audit log (standard output)", &error))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::AddrInUse => Exit::InUse,
            _ => Exit::Host,
        };
        Failure::new(exit, format!("cannot listen on {address}: {error}"))
    })
}

/// One byte for each SIGTERM and SIGINT.
fn signals() -> io::Result<UnixStream> {
    let (read, write) = StdUnixStream::pair()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        signal_hook::low_level::pipe::register(signal as i32, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    UnixStream::from_std(read)
}

fn host(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Host, format!("{what}: {error}"))
}

fn state_failure(error: &StateError) -> Failure {
    let exit = match error {
        StateError::Io(..) => Exit::Host,
        StateError::InUse(_) => Exit::InUse,
        StateError::Damaged(..) => Exit::Data,
    };
    Failure::new(exit, format!("--state: {error}"))
}
