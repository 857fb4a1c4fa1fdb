//! `up`: read the bundle, bind, start an enclave or pick up the running one, serve until the Pod has ended.

use crate::cli::Up;
use crate::exit::{Exit, Failure};
use crate::{bundle, place, serving};

/// Runs `up`.
pub async fn up(up: Up) -> Result<Exit, Failure> {
    let loaded = bundle::load(&up.files, up.images.as_deref())?;
    let state = place::state_dir(&up.target, &loaded.name);
    place::create(&state)?;
    let _bound = serving::bind(&state, &up.serving, &loaded.ports).await?;
    Err(Failure::new(
        Exit::Unavailable,
        "this build has no back-end to start an enclave on; use `host-proxy serve`",
    ))
}
