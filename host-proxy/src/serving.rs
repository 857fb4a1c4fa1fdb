//! Serving one enclave: bind everything, run the tasks around the control task, end when it ends.
//!
//! Binding is a step of its own and comes before an enclave is started or a bundle applied: a port in use must not
//! leave anything running.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};

use crate::announce::{self, announce};
use crate::blobs::BlobStore;
use crate::cgroup::Memory;
use crate::cli::{LogFormat, Publish, Serving};
use crate::control::{Bundle, Control, Ended, HasBooted, Obituary};
use crate::egress::Egress;
use crate::enclave::Enclave;
use crate::exit::{Exit, Failure};
use crate::http::{Site, serve_tcp, serve_unix};
use crate::ingress::Ingress;
use crate::logs::{Follower, Joiner, Ring};
use crate::room::Room;
use crate::signal;
use crate::sink::{Counts, LogOptions, Pipeline};
use crate::view::{Publisher, Snapshot, StatusAnswer, View};
use crate::{table, time};

/// Wishes waiting for the control task.
const WISHES: usize = 16;
/// How long the follower may take to print what it has, after the control task has ended.
const LAST_LINES: Duration = Duration::from_secs(10);

/// Everything that listens, and the lock that makes this process the only proxy of its state directory.
pub struct Bound {
    ingress: Ingress,
    room: Room,
    logs: LogOptions,
    http: Option<TcpListener>,
    socket: UnixListener,
    socket_path: PathBuf,
    _lock: Flock<File>,
}

/// Binds the ports that are known, the HTTP address and the Unix socket of the state directory `state`.
pub async fn bind(state: &Path, serving: &Serving, ports: &[Publish]) -> Result<Bound, Failure> {
    let lock = lock(state)?;
    let socket_path = state.join("proxy.sock");
    let in_use = |what: String, error: &io::Error| {
        Failure::new(Exit::InUse, format!("cannot listen on {what}: {error}"))
    };
    // The lock is ours: a socket that is there belongs to a proxy that is gone.
    match std::fs::remove_file(&socket_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(in_use(socket_path.display().to_string(), &error));
        }
        _ => {}
    }
    let socket = UnixListener::bind(&socket_path)
        .and_then(|socket| {
            std::fs::set_permissions(&socket_path, std::fs::Permissions::from_mode(0o600))?;
            Ok(socket)
        })
        .map_err(|error| in_use(socket_path.display().to_string(), &error))?;
    let memory = Memory::of_this_process();
    let logs = within_memory(serving.logs.clone(), memory.as_ref());
    let spool = if logs.spool.is_none() { logs.spool_bytes } else { 0 };
    let room = Room::new(memory, spool);
    let ingress = Ingress::new(
        serving.ingress_address,
        serving.publish.clone(),
        serving.ingress_when,
        room.clone(),
    );
    ingress
        .bind(ports)
        .await
        .map_err(|error| Failure::new(Exit::InUse, error.to_string()))?;
    let http = match serving.http_address {
        None => None,
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
            let what =
                format!("{address} for health and metrics (choose another with --http-address, or none)");
            in_use(what, &error)
        })?),
    };
    Ok(Bound {
        ingress,
        room,
        logs,
        http,
        socket,
        socket_path,
        _lock: lock,
    })
}

/// A spool in memory may have a quarter of what there is.
fn within_memory(mut logs: LogOptions, memory: Option<&Memory>) -> LogOptions {
    if let Some(most) = memory
        .map(|memory| memory.limit() / 4)
        .filter(|_| logs.spool.is_none())
        && logs.spool_bytes > most
    {
        log::warn!(
            "the log spool in memory has {} MiB, a quarter of the memory limit; --log-spool DIR keeps it on a disk",
            most >> 20
        );
        logs.spool_bytes = most;
    }
    logs
}

/// flock(2) goes with the process, however it ends.
fn lock(state: &Path) -> Result<Flock<File>, Failure> {
    let path = state.join("lock");
    let host =
        |error: io::Error| Failure::new(Exit::Host, format!("cannot lock {}: {error}", path.display()));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(host)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => {
            let message = format!(
                "another host-proxy already serves this enclave ({}); see `host-proxy status`, or stop it first",
                state.display()
            );
            Failure::new(Exit::InUse, message)
        }
        errno => host(errno.into()),
    })
}

/// Reads a bundle.
pub type Reload = Box<dyn Fn() -> Result<Vec<u8>, Failure>>;

/// What to serve.
pub struct Work {
    /// The enclave.
    pub enclave: Enclave,
    /// State directory.
    pub state: PathBuf,
    /// Reads what the proxy was started with once more, on SIGHUP.
    pub reload: Reload,
    /// To be applied when the enclave has none.
    pub bundle: Option<Bundle>,
    /// What the enclave may fetch.
    pub blobs: BlobStore,
    /// Knows when the enclave is gone.
    pub obituary: Obituary,
    /// Knows when the enclave can be dialled.
    pub has_booted: HasBooted,
    /// How long the first connection may take.
    pub first_deadline: Duration,
    /// How long a lost connection may stay lost.
    pub lost_deadline: Duration,
}

/// Serves until the Pod has ended. Must run within a `LocalSet`.
pub async fn serve(bound: Bound, serving: &Serving, work: Work) -> Result<Ended, Failure> {
    let publisher = Publisher::new(Snapshot::new());
    let view = publisher.subscribe();
    let (wishes, requests) = mpsc::channel(WISHES);
    let (drained, logs_drained) = oneshot::channel();
    let counts = Counts::default();
    let ring = Ring::counting(counts.clone());
    let host = |error: io::Error| Failure::new(Exit::Host, error.to_string());
    let abandoned = signal::watch(wishes.clone()).map_err(host)?;
    let follower = follower(&work, &view, &ring, &counts, &bound.logs, drained).map_err(host)?;
    signal::update_on_hangup(wishes.clone(), work.reload).map_err(host)?;

    bound.ingress.serve(&work.enclave, &view);
    if let Some(address) = bound.http.as_ref().and_then(|http| http.local_addr().ok()) {
        announce::say(&format!("health and metrics: http://{address}"));
    }
    let follow = tokio::task::spawn_local(bound.ingress.clone().follow(work.enclave.clone(), view.clone()));
    let egress = Egress::new(serving.egress.clone(), bound.room.clone());
    let connect = tokio::task::spawn_local(egress.clone().run(work.enclave.clone(), view.clone()));
    let site = Site {
        enclave: work.enclave.clone(),
        view: view.clone(),
        ingress: bound.ingress.clone(),
        egress,
        logs: ring,
        control: wishes,
    };
    let unix = tokio::spawn(serve_unix(bound.socket, site.clone()));
    let tcp = bound.http.map(|listener| tokio::spawn(serve_tcp(listener, site)));
    let announcer = tokio::spawn(announce(view.clone()));
    let lines = tokio::spawn(follower.run());

    let session_path = work.state.join("session");
    let offered_path = work.state.join("update");
    let control = Control {
        enclave: work.enclave,
        blobs: work.blobs,
        broker: serving.broker.clone(),
        bundle: work.bundle,
        session: read_session(&session_path),
        store_session: Box::new(move |key| write_atomically(&session_path, key.as_bytes())),
        offered: std::fs::read_to_string(&offered_path).ok(),
        store_offered: Box::new(move |digest| write_atomically(&offered_path, digest.as_bytes())),
        obituary: work.obituary,
        has_booted: work.has_booted,
        first_deadline: work.first_deadline,
        lost_deadline: work.lost_deadline,
        publisher,
        requests,
        logs_drained: Some(logs_drained),
    };
    let ended = tokio::select! {
        ended = control.run() => ended,
        () = abandoned => Err(Failure::new(Exit::Unavailable, "gave up waiting; the enclave may still be running")),
    };
    // The control task owned the publisher: the others see that no news will come, and end.
    let _ = tokio::time::timeout(LAST_LINES, lines).await;
    let _ = announcer.await;
    if serving.log_format == LogFormat::Text {
        let answer = StatusAnswer::from(&*view.borrow());
        if answer.pod.is_some() {
            announce::say(&format!("\n{}", table::status(&answer, time::now()).trim_end()));
        }
    }
    for task in [Some(unix), tcp].into_iter().flatten() {
        task.abort();
    }
    follow.abort();
    connect.abort();
    let _ = std::fs::remove_file(&bound.socket_path);
    ended
}

fn follower(
    work: &Work,
    view: &View,
    ring: &Ring,
    counts: &Counts,
    logs: &LogOptions,
    drained: oneshot::Sender<()>,
) -> io::Result<Follower> {
    Ok(Follower {
        enclave: work.enclave.clone(),
        view: view.clone(),
        ring: ring.clone(),
        pipeline: Pipeline::start(logs, &work.state, counts)?,
        seen: (String::new(), 0),
        drained,
        joiner: Joiner::default(),
    })
}

/// The key of an earlier run; a file that holds none is as good as no file.
fn read_session(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let key = text.trim();
    (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| key.to_owned())
}

/// Either the old content or the new one, never half of it: rename(2). Mode 0600: the key is a secret.
fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(new, path)
}
