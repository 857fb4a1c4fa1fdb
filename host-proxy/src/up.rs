//! `up`: read the bundle, bind, start an enclave or pick up the running one, serve until the Pod has ended.

use std::path::Path;
use std::time::{Duration, Instant};

use manifest_sync::trust::TrustPolicy;

use crate::announce::say;
use crate::backend::{self, Probe, local, nitro, qemu};
use crate::blobs::BlobStore;
use crate::bundle::Loaded;
use crate::cli::{Backend, Up};
use crate::control::Ended;
use crate::enclave::Enclave;
use crate::exit::{Exit, Failure};
use crate::inspect::read_policy;
use crate::serving::{self, Work};
use crate::{bundle, place};

/// How long an enclave may take to answer.
const FIRST: Patience = Patience {
    namespaces: Duration::from_secs(30),
    machine: Duration::from_secs(300),
};
/// How long it may be silent; a dead one is noticed at once.
const LOST: Duration = Duration::from_secs(60);
/// How long the enclave may take to go after its Pod has ended.
const GONE: Patience = Patience {
    namespaces: Duration::from_secs(5),
    machine: Duration::from_secs(60),
};
/// How often it is looked for then.
const LOOK: Duration = Duration::from_millis(20);

/// Namespaces are made in milliseconds, on a machine that may be busy; a machine boots, perhaps emulated.
struct Patience {
    namespaces: Duration,
    machine: Duration,
}

impl Patience {
    fn with(&self, enclave: &backend::Enclave) -> Duration {
        match enclave {
            backend::Enclave::Local(_) => self.namespaces,
            backend::Enclave::Qemu(_) | backend::Enclave::Nitro(_) => self.machine,
        }
    }
}

/// Runs `up`.
pub async fn up(up: Up) -> Result<Exit, Failure> {
    let loaded = bundle::load(&up.source, up.images.as_deref())?;
    let state = place::state_dir(&up.target, &loaded.name);
    place::create(&state)?;
    let bound = serving::bind(&state, &up.serving, &loaded.ports).await?;
    let enclave = of(&up.backend, &state);
    let started = if enclave.probe() == Probe::Running {
        say(&format!(
            "the enclave in {} is running: picking it up",
            state.display()
        ));
        false
    } else {
        start(&enclave, &up.backend, &loaded, up.images.as_deref())?;
        true
    };
    let (watched, booting) = (enclave.clone(), enclave.clone());
    let (source, images) = (up.source.clone(), up.images.clone());
    let work = Work {
        reload: Box::new(move || crate::run::reload(Some(&source), images.as_deref())),
        enclave: Enclave::new(enclave.address()?),
        state,
        bundle: Some(loaded.bundle),
        blobs: BlobStore::new(up.images.as_deref()),
        obituary: Box::new(move || watched.obituary()),
        has_booted: Box::new(move || booting.has_booted()),
        first_deadline: FIRST.with(&enclave),
        lost_deadline: LOST,
    };
    let ended = serving::serve(bound, &up.serving, work).await;
    match ended {
        Ok(Ended::Finished(code)) => {
            gone(&enclave).await;
            Ok(Exit::Pod(code))
        }
        Ok(Ended::NeverApplied) => {
            enclave.terminate();
            Ok(Exit::Pod(0))
        }
        // An enclave without a Pod is of no use to anybody.
        Err(failure) => {
            if started && failure.exit == Exit::Rejected {
                enclave.terminate();
            }
            Err(failure)
        }
    }
}

/// The enclave of a state directory.
fn of(backend: &Backend, state: &Path) -> backend::Enclave {
    match backend {
        Backend::Local { .. } => backend::Enclave::Local(local::Enclave::of(state)),
        Backend::Qemu(_) => backend::Enclave::Qemu(qemu::Enclave::of(state)),
        Backend::Nitro { .. } => backend::Enclave::Nitro(nitro::Enclave::of(state)),
    }
}

fn start(
    enclave: &backend::Enclave,
    backend: &Backend,
    loaded: &Loaded,
    images: Option<&Path>,
) -> Result<(), Failure> {
    match (enclave, backend) {
        (backend::Enclave::Local(enclave), Backend::Local { init, policy }) => {
            let policy = match policy {
                Some(path) => read_policy(path)?.0,
                // An enclave that protects nothing has nothing to keep anybody from.
                None => TrustPolicy::DEVELOPMENT.into(),
            };
            enclave.start(&local::find_init(init.as_deref())?, &policy)
        }
        (backend::Enclave::Qemu(enclave), Backend::Qemu(options)) => enclave.start(options),
        (
            backend::Enclave::Nitro(enclave),
            Backend::Nitro {
                options,
                cpus,
                memory_mib,
            },
        ) => {
            let eif_bytes = nitro::eif_bytes(&options.eif)?;
            let size = nitro::size(&loaded.payload, images, eif_bytes, *cpus, *memory_mib)?;
            enclave.start(options, &size)
        }
        // `of` has made the enclave from the back-end.
        _ => Ok(()),
    }
}

/// Waits until the enclave has gone: the next `up` must not pick up a dying one.
async fn gone(enclave: &backend::Enclave) {
    let deadline = Instant::now() + GONE.with(enclave);
    while enclave.probe() == Probe::Running && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}
