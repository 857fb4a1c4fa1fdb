//! The `attest` base service: the only holder of the security module once a bundle has been measured. It makes documents for
//! containers, each at a socket of its own, and has secrets released. It has its own uid and no capability, it cannot be
//! dumped or traced, and what the host sends it are the answers of a secret service.

mod connection;
pub(crate) mod message;
mod release;
mod socket;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;

use attest::Secret;
use attest::nsm::{Nsm, NsmError};
use attest::release::Application;
use manifest_sync::digest::BundleDigest;
use tokio::io::unix::AsyncFd;

use self::message::{FromAttest, ToAttest};
use crate::sys::fd;

/// Descriptor of the socket to PID 1.
const SOCKET_FD: i32 = 3;
/// Name of the variable that names the notify descriptor.
const NOTIFY_FD: &str = "NOTIFY_FD";
/// Largest packet of PID 1: 64 names of secrets and some air.
const MAX_PACKET_BYTES: usize = 64 * 1024;

/// What PID 1 has told.
#[derive(Default)]
struct Knowledge {
    module: Option<Nsm>,
    identity: Option<Identity>,
}

/// What runs here, as every document says it.
#[derive(Clone)]
struct Identity {
    bundle: BundleDigest,
    generation: u64,
    application: Application,
    history: [u8; 32],
}

/// Shared by all conversations.
type Shared = Rc<RefCell<Knowledge>>;

/// Why there is no document.
#[derive(Debug)]
enum Unavailable {
    /// The module was lost with an earlier instance of this service, or no bundle has been measured yet.
    NoModule,
    /// It was asked and did not make one.
    Module(NsmError),
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoModule => f.write_str(
                "the security module is not to be had: the service that held it has been restarted, and nobody can give \
                 it back until the enclave starts again",
            ),
            Self::Module(error) => error.fmt(f),
        }
    }
}

/// Runs until PID 1 is gone.
pub(crate) fn main() -> ExitCode {
    crate::console::start("attest");
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    // Keys live on this process's heap until their memory is used again.
    nix::sys::prctl::set_dumpable(false)?;
    let by_hand = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "no socket to PID 1: only PID 1 can start this applet",
        )
    };
    let socket = fd::inherited(SOCKET_FD).ok_or_else(by_hand)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        fd::set_nonblocking(&socket, true)?;
        let socket = Rc::new(fd::watch(socket)?);
        if let Ok(number) = std::env::var(NOTIFY_FD)
            && let Some(notify) = number.parse().ok().and_then(fd::inherited)
        {
            nix::unistd::write(&notify, b"1")?;
        }
        listen_to_pid1(&socket).await
    })
}

async fn listen_to_pid1(socket: &Rc<AsyncFd<OwnedFd>>) -> io::Result<()> {
    let shared = Shared::default();
    let mut packet = vec![0; MAX_PACKET_BYTES];
    loop {
        let mut ready = socket.readable().await?;
        let Ok(received) = ready.try_io(|socket| fd::recv_with_fd(socket.get_ref(), &mut packet)) else {
            continue;
        };
        let (count @ 1.., attached) = received? else {
            return Ok(());
        };
        hear(
            serde_json::from_slice(&packet[..count])?,
            attached,
            &shared,
            socket,
        )?;
    }
}

fn hear(
    message: ToAttest,
    attached: Option<OwnedFd>,
    shared: &Shared,
    socket: &Rc<AsyncFd<OwnedFd>>,
) -> io::Result<()> {
    let attached =
        || attached.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a descriptor is missing"));
    match message {
        ToAttest::Module(kind) => shared.borrow_mut().module = Some(kind.attach(attached()?)?),
        ToAttest::Identity {
            bundle,
            generation,
            application,
            history,
        } => {
            let bundle = bundle
                .parse()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not the digest of a bundle"))?;
            shared.borrow_mut().identity = Some(Identity {
                bundle,
                generation,
                application,
                history,
            });
        }
        ToAttest::Socket { container } => socket::serve(container, attached()?, Rc::clone(shared))?,
        ToAttest::Release {
            request,
            secrets,
            broker_key,
        } => {
            let (stream, shared, socket) = (attached()?, Rc::clone(shared), Rc::clone(socket));
            tokio::task::spawn_local(async move {
                let released = release::release(stream, secrets, broker_key.into(), &shared).await;
                if let Err(error) = answer(&socket, request, released).await {
                    log::error!("cannot tell PID 1 of request {request}: {error}");
                }
            });
        }
    }
    Ok(())
}

async fn answer(socket: &AsyncFd<OwnedFd>, request: u64, released: Result<Secret, String>) -> io::Result<()> {
    let (message, set) = match released {
        Ok(set) => (
            FromAttest::Released { request },
            Some(fd::memfd("secrets", set.expose())?),
        ),
        Err(message) => (FromAttest::Failed { request, message }, None),
    };
    let packet = serde_json::to_vec(&message)?;
    loop {
        let mut ready = socket.writable().await?;
        let attached = set.as_ref().map(|set| set.as_fd());
        if let Ok(sent) = ready.try_io(|socket| fd::send_with_fd(socket.get_ref(), &packet, attached)) {
            return sent;
        }
    }
}

/// Asks the module, for whatever purpose.
fn document(
    shared: &Shared,
    user_data: &[u8],
    nonce: Option<&[u8]>,
    public_key: Option<&[u8]>,
) -> Result<Vec<u8>, Unavailable> {
    let knowledge = shared.borrow();
    let module = knowledge.module.as_ref().ok_or(Unavailable::NoModule)?;
    module
        .attest(Some(user_data), nonce, public_key)
        .map_err(Unavailable::Module)
}
