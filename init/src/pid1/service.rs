//! Base services: the built-in `net`, then those of the image's configuration. All are units like any other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use cloister_init::supervisor::event::{Pid, Readiness};
use manifest_sync::config::EnclaveConfig;
use manifest_sync::egress::EgressPolicy;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;

use super::attestation::Attestation;
use super::input::Input;
use super::process::{self, FIRST_KEPT_FD, Outputs, Started};
use crate::child::spec::{ChildSpec, UserSpec};
use crate::net::message::{NetProbe, PodPorts, ToNet};
use crate::seccomp::Profile;
use crate::sys::fd;
use crate::sys::spawn::Namespaces;
use crate::unpack::message::Owners;

/// User and group of `net`: nobody else's, and no capability.
const NET_UID: u32 = 65_532;
/// User and group of `attest`, likewise.
const ATTEST_UID: u32 = 65_531;
/// Descriptors of a base service: its socket to PID 1, its notify descriptor, and
/// for `net` the data listener.
const SOCKET_FD: i32 = 3;
const NOTIFY_FD: i32 = 4;
const LISTENER_FD: i32 = 5;

/// The Pod goes first when the machine has no memory left.
const SERVICE_OOM_SCORE_ADJ: i32 = -999;

/// Index of `net`.
pub(super) const NET: usize = 0;
/// Index of `attest`, on a machine that has a security module.
const ATTEST: usize = 1;
/// Descriptors of a base service: two for each stream of `net`, and its pipes.
const SERVICE_FILES: u64 = 16 * 1024;
/// Largest packet of `net`: an answer with its output, escaped.
const MAX_PACKET_BYTES: usize = 128 * 1024;

/// What one base service is.
struct Service {
    name: String,
    command: Vec<String>,
    uid: u32,
    readiness: Readiness,
    seccomp: Option<Profile>,
}

/// What base services and workers share.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Whether this is a user namespace.
    pub(crate) owners: Owners,
    /// The cgroup they live in.
    pub(crate) cgroup: Option<PathBuf>,
}

/// The base services and PID 1's line to `net`.
pub(super) struct Services {
    list: Vec<Service>,
    around: Surroundings,
    listener: OwnedFd,
    net: Option<Rc<AsyncFd<OwnedFd>>>,
    session: String,
    ports: PodPorts,
    /// What the Pod may reach outside, and its search domains.
    egress: Option<(EgressPolicy, Vec<String>)>,
    /// The line to `attest`; `None`: there is no security module.
    attestation: Option<Attestation>,
}

impl Services {
    pub(crate) fn new(
        config: &EnclaveConfig,
        around: Surroundings,
        session: String,
        listener: OwnedFd,
        attests: bool,
    ) -> Self {
        let net = Service {
            name: "net".to_owned(),
            command: applet(&["net", &config.listen.to_string()]),
            uid: NET_UID,
            readiness: Readiness::Notify,
            seccomp: Some(Profile::Service),
        };
        let attest = attests.then(|| Service {
            name: "attest".to_owned(),
            command: applet(&["attest"]),
            uid: ATTEST_UID,
            readiness: Readiness::Notify,
            seccomp: Some(Profile::Service),
        });
        let configured = config.services.iter().map(|service| Service {
            name: service.name.clone(),
            command: service.command.clone(),
            uid: service.uid,
            readiness: if service.notify {
                Readiness::Notify
            } else {
                Readiness::Exec
            },
            // The image's own programs, of which we know nothing.
            seccomp: None,
        });
        let list = std::iter::once(net).chain(attest).chain(configured).collect();
        Self {
            list,
            around,
            listener,
            net: None,
            session,
            ports: PodPorts::default(),
            egress: None,
            attestation: attests.then(Attestation::default),
        }
    }

    /// The line to `attest`, on a machine that has a security module.
    pub(super) fn attestation(&mut self) -> Option<&mut Attestation> {
        self.attestation.as_mut()
    }

    /// What the supervisor is told at boot.
    pub(crate) fn declarations(&self) -> Vec<(String, Readiness)> {
        self.list
            .iter()
            .map(|service| (service.name.clone(), service.readiness))
            .collect()
    }

    /// Starts one.
    pub(crate) fn start(&mut self, index: usize, inbox: &Sender<Input>) -> io::Result<Started> {
        let service = self
            .list
            .get(index)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such base service"))?;
        let (notify, notify_end) = fd::pipe()?;
        fd::set_nonblocking(&notify, true)?;
        let (socket, socket_end) = fd::seqpacket_pair()?;
        fd::set_nonblocking(&socket, true)?;
        let console = io::stderr();
        let outputs = Outputs {
            stdin: None,
            stdout: &console,
            stderr: &console,
        };
        let kept = [&socket_end, &notify_end, &self.listener];
        // Only `net` may have the listener.
        let kept = if index == NET { &kept[..] } else { &kept[..2] };
        let spec = spec(service, &self.around, kept.len());
        let started = process::start(&spec, Namespaces::Inherited, &outputs, kept)?;
        watch_notify(notify, started.pid, inbox.clone())?;
        if index == NET {
            let socket = Rc::new(fd::watch(socket)?);
            tokio::task::spawn_local(listen(Rc::clone(&socket), inbox.clone()));
            self.net = Some(socket);
            self.tell(&ToNet::Session {
                key: self.session.clone(),
            });
            self.tell(&ToNet::Pod {
                ports: self.ports.clone(),
            });
            self.tell_egress();
        } else if index == ATTEST
            && let Some(attestation) = &mut self.attestation
        {
            attestation.connect(socket, inbox)?;
        }
        Ok(started)
    }

    /// A service has ended. Whether the security module is lost with it.
    pub(super) fn ended(&mut self, index: usize) -> bool {
        index == ATTEST && self.attestation.as_mut().is_some_and(Attestation::ended)
    }

    /// The Pod's ports: what `net` may connect to.
    pub(crate) fn open_ports(&mut self, ports: PodPorts) {
        self.ports = ports;
        self.tell(&ToNet::Pod {
            ports: self.ports.clone(),
        });
    }

    /// What the Pod may reach outside, and what its resolvers append to names.
    pub(crate) fn open_egress(&mut self, policy: EgressPolicy, searches: Vec<String>) {
        self.egress = Some((policy, searches));
        self.tell_egress();
    }

    fn tell_egress(&self) {
        if let Some((policy, searches)) = self.egress.clone() {
            self.tell(&ToNet::Egress { policy, searches });
        }
    }

    /// The container of a denial has been looked for.
    pub(crate) fn denial_heard(&self, number: u64) {
        self.tell(&ToNet::EgressHeard { number });
    }

    /// Has `net` ask the Pod; it answers with `Probed`.
    pub(crate) fn probe(&self, number: u64, probe: NetProbe) -> io::Result<()> {
        self.send(&ToNet::Probe { number, probe })
    }

    /// Nobody waits for this answer of `net` any more.
    pub(super) fn forget(&self, number: u64) {
        self.tell(&ToNet::Forget { number });
    }

    fn tell(&self, message: &ToNet) {
        if let Err(error) = self.send(message) {
            // A dead `net` is restarted and then told everything again.
            log::debug!("net: {error}");
        }
    }

    fn send(&self, message: &ToNet) -> io::Result<()> {
        let absent = || io::Error::new(io::ErrorKind::NotConnected, "the network service does not run");
        let socket = self.net.as_ref().ok_or_else(absent)?;
        fd::send_with_fd(socket.get_ref(), &serde_json::to_vec(message)?, None)
    }
}

/// This program under another name.
fn applet(arguments: &[&str]) -> Vec<String> {
    let program = std::iter::once("/proc/self/exe");
    program
        .chain(arguments.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn spec(service: &Service, around: &Surroundings, kept: usize) -> ChildSpec {
    let numbers = [SOCKET_FD, NOTIFY_FD, LISTENER_FD];
    let keep_fds = (FIRST_KEPT_FD..).zip(numbers).take(kept).collect();
    // A user namespace with a single id has no other user to become; the capabilities go all the same.
    let uid = if around.owners == Owners::Squash {
        0
    } else {
        service.uid
    };
    ChildSpec {
        root: None,
        join: None,
        mounts: Vec::new(),
        argv: service.command.clone(),
        env: vec![("NOTIFY_FD".to_owned(), NOTIFY_FD.to_string())],
        cwd: "/".to_owned(),
        user: UserSpec {
            run_as_user: Some(uid),
            run_as_group: Some(uid),
            ..UserSpec::default()
        },
        capabilities: Vec::new(),
        no_new_privileges: true,
        seccomp: service.seccomp,
        umask: 0o077,
        rlimits: vec![
            ("RLIMIT_CORE".to_owned(), 0, 0),
            ("RLIMIT_NOFILE".to_owned(), SERVICE_FILES, SERVICE_FILES),
        ],
        cgroup: around.cgroup.clone(),
        oom_score_adj: around.cgroup.is_some().then_some(SERVICE_OOM_SCORE_ADJ),
        keep_fds,
    }
}

/// Hears what `net` says, until it ends.
async fn listen(socket: Rc<AsyncFd<OwnedFd>>, inbox: Sender<Input>) {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    while let Ok(mut ready) = socket.readable().await {
        let received = ready.try_io(|socket| fd::recv_with_fd(socket.get_ref(), &mut packet));
        let count = match received {
            Ok(Ok((count @ 1.., _))) => count,
            Ok(_) => return,
            Err(_would_block) => continue,
        };
        match serde_json::from_slice(&packet[..count]) {
            Ok(message) => {
                if inbox.send(Input::Net(message)).await.is_err() {
                    return;
                }
            }
            Err(error) => log::warn!("net: {error}"),
        }
    }
}

fn watch_notify(pipe: OwnedFd, pid: Pid, inbox: Sender<Input>) -> io::Result<()> {
    let pipe = fd::watch(pipe)?;
    tokio::task::spawn_local(async move {
        let mut byte = [0];
        loop {
            let Ok(mut ready) = pipe.readable().await else {
                return;
            };
            match ready.try_io(|pipe| Ok(nix::unistd::read(pipe.as_fd(), &mut byte)?)) {
                Ok(Ok(1..)) => {
                    let _ = inbox.send(Input::ServiceReady(pid)).await;
                    return;
                }
                // Its end is closed: it will never say that it is ready.
                Ok(_) => return,
                Err(_would_block) => {}
            }
        }
    });
    Ok(())
}
