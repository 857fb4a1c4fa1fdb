//! `up`: read the bundle, bind, start an enclave or pick up the running one, serve until the Pod has ended.

use std::time::{Duration, Instant};

use crate::announce::say;
use crate::backend::local::{self, Probe};
use crate::blobs::BlobStore;
use crate::cli::Up;
use crate::control::Ended;
use crate::enclave::Enclave;
use crate::exit::{Exit, Failure};
use crate::serving::{self, Work};
use crate::{bundle, place};

/// How long a local enclave may take to answer: it starts in milliseconds, on a machine that may be busy.
const FIRST: Duration = Duration::from_secs(30);
/// How long it may be silent; a dead one is noticed at once.
const LOST: Duration = Duration::from_secs(60);
/// How long the enclave may take to go after its Pod has ended.
const GONE: Duration = Duration::from_secs(5);
/// How often it is looked for then.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `up`.
pub async fn up(up: Up) -> Result<Exit, Failure> {
    let loaded = bundle::load(&up.files, up.images.as_deref())?;
    let state = place::state_dir(&up.target, &loaded.name);
    place::create(&state)?;
    let bound = serving::bind(&state, &up.serving, &loaded.ports).await?;
    let enclave = local::Enclave::of(&state);
    let started = if enclave.probe() == Probe::Running {
        say(&format!(
            "the enclave in {} is running: picking it up",
            state.display()
        ));
        false
    } else {
        enclave.start(&local::find_init(up.init.as_deref())?)?;
        true
    };
    let watched = enclave.clone();
    let work = Work {
        enclave: Enclave::new(enclave.address()),
        state,
        bundle: Some(loaded.bundle),
        blobs: BlobStore::new(up.images.as_deref()),
        obituary: Box::new(move || watched.obituary()),
        first_deadline: FIRST,
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

/// Waits until the enclave has gone: the next `up` must not pick up a dying one.
async fn gone(enclave: &local::Enclave) {
    let deadline = Instant::now() + GONE;
    while enclave.probe() == Probe::Running && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}
