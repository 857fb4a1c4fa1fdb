//! PID 1's line to the `attest` service: what it is given, and given again when it has been restarted. The security module
//! is given once and not kept, so an instance that dies takes it along: secrets that containers have stay, new ones and
//! documents are not to be had.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;

use attest::release::{Application, Names};
use manifest_sync::plan::{Plan, VolumeSource};
use manifest_sync::trust::VerifiedBundle;
use manifest_sync::update::History;
use manifest_sync::volume::ATTESTATION_SOCKET;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;

use super::input::Input;
use super::layout;
use super::security_module::Module;
use crate::attestation::message::{FromAttest, ToAttest};
use crate::sys::fd;

/// Largest packet of the service.
const MAX_PACKET_BYTES: usize = 16 * 1024;

/// What runs here, as documents say it.
pub(super) struct Identity {
    pub(super) bundle: String,
    pub(super) generation: u64,
    pub(super) application: Application,
    pub(super) history: History,
}

impl Identity {
    /// Of a bundle that may run. One that names no application is known by its Pod.
    pub(super) fn of(verified: &VerifiedBundle, history: History) -> Result<Self, String> {
        let name = verified.application().unwrap_or(&verified.plan().name);
        let application = Application::try_from(name.to_owned());
        Ok(Self {
            bundle: verified.digest().to_string(),
            generation: verified.generation(),
            application: application.map_err(|error| format!("{name:?} is {error}"))?,
            history,
        })
    }
}

impl Identity {
    fn message(&self) -> ToAttest {
        ToAttest::Identity {
            bundle: self.bundle.clone(),
            generation: self.generation,
            application: self.application.clone(),
            history: *self.history.as_bytes(),
        }
    }
}

/// The line, and what an instance of the service has to be told.
#[derive(Default)]
pub(super) struct Attestation {
    socket: Option<Rc<AsyncFd<OwnedFd>>>,
    /// Whether the instance that runs has the security module.
    has_module: bool,
    identity: Option<Identity>,
    /// The containers that asked for a socket, which stays bound while the service is restarted.
    listeners: Vec<(String, OwnedFd)>,
}

impl Attestation {
    /// An instance has been started.
    pub(super) fn connect(&mut self, socket: OwnedFd, inbox: &Sender<Input>) -> io::Result<()> {
        fd::set_nonblocking(&socket, true)?;
        let socket = Rc::new(fd::watch(socket)?);
        tokio::task::spawn_local(listen(Rc::clone(&socket), inbox.clone()));
        self.socket = Some(socket);
        self.introduce()
    }

    /// An instance has ended. Whether it took the security module along.
    pub(super) fn ended(&mut self) -> bool {
        self.socket = None;
        std::mem::take(&mut self.has_module)
    }

    /// A bundle has been measured: the service gets the module, who we are, and the containers' sockets.
    pub(super) fn begin(&mut self, module: &Module, identity: Identity, plan: &Plan) -> io::Result<()> {
        self.send(&ToAttest::Module(module.kind), Some(&module.descriptor))?;
        self.has_module = true;
        self.identity = Some(identity);
        self.listeners = bind(plan)?;
        self.introduce()
    }

    /// Another bundle runs: documents say so from now on.
    pub(super) fn update(&mut self, identity: Identity) -> io::Result<()> {
        let told = identity.message();
        // Without a measured bundle there was no module to give, and there is nobody to tell.
        if self.identity.replace(identity).is_some() {
            self.send(&told, None)?;
        }
        Ok(())
    }

    /// The history has gone on, of the same bundle: documents say so from now on.
    pub(super) fn follow(&mut self, history: History) -> io::Result<()> {
        let Some(identity) = &mut self.identity else {
            return Ok(());
        };
        identity.history = history;
        let told = identity.message();
        self.send(&told, None)
    }

    fn introduce(&self) -> io::Result<()> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        self.send(&identity.message(), None)?;
        self.listeners.iter().try_for_each(|(container, listener)| {
            let container = container.clone();
            self.send(&ToAttest::Socket { container }, Some(listener))
        })
    }

    /// Asks for secrets over this connection to the broker.
    pub(super) fn release(
        &self,
        request: u64,
        secrets: Names,
        broker_key: [u8; 32],
        connection: &OwnedFd,
    ) -> io::Result<()> {
        let message = ToAttest::Release {
            request,
            secrets,
            broker_key,
        };
        self.send(&message, Some(connection))
    }

    fn send(&self, message: &ToAttest, attached: Option<&OwnedFd>) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let packet = serde_json::to_vec(message)?;
        fd::send_with_fd(socket.get_ref(), &packet, attached.map(|fd| fd.as_fd()))
    }
}

/// One socket for each container that mounts such a volume.
fn bind(plan: &Plan) -> io::Result<Vec<(String, OwnedFd)>> {
    let asks = |volume: &str| {
        plan.volumes
            .iter()
            .any(|one| one.name == volume && one.source == VolumeSource::Attestation)
    };
    let containers = plan
        .init_containers
        .iter()
        .chain(&plan.containers)
        .filter(|container| container.mounts.iter().any(|mount| asks(&mount.volume)));
    containers
        .map(|container| {
            let directory = layout::attestation(&container.name);
            Ok((container.name.clone(), bind_in(&directory)?))
        })
        .collect()
}

fn bind_in(directory: &Path) -> io::Result<OwnedFd> {
    fs::create_dir_all(directory)?;
    let path = directory.join(ATTESTATION_SOCKET);
    let listener = UnixListener::bind(&path)?;
    // Whatever user the container runs as: the directory is in no other.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    Ok(listener.into())
}

async fn listen(socket: Rc<AsyncFd<OwnedFd>>, inbox: Sender<Input>) {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    loop {
        let Ok(mut ready) = socket.readable().await else {
            return;
        };
        let Ok(received) = ready.try_io(|socket| fd::recv_with_fd(socket.get_ref(), &mut packet)) else {
            continue;
        };
        let Ok((count @ 1.., attached)) = received else {
            return;
        };
        match serde_json::from_slice::<FromAttest>(&packet[..count]) {
            Ok(message) => {
                if inbox.send(Input::Attest(message, attached)).await.is_err() {
                    return;
                }
            }
            Err(error) => log::error!("attest: a packet that is no message: {error}"),
        }
    }
}
