//! The security module at boot: its random bytes go into the kernel's pool before anything draws from it, and an enclave
//! that cannot prove what it is says so.

use std::fs;
use std::io;

use attest::nsm::{Nsm, NsmError};

/// What is written here is mixed into the pool (random(4)); the kernel's own driver of the module adds the credit.
const POOL: &str = "/dev/urandom";

/// Mixes entropy and reports the mode. A machine without a module is no error: it cannot attest, and says so. A module
/// that does not answer is one.
pub(super) fn greet() -> io::Result<()> {
    let module = match Nsm::open() {
        Ok(module) => module,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::info!(
                "boot: there is no {}: nobody can verify this enclave",
                attest::nsm::PATH
            );
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    fs::write(POOL, module.random().map_err(explain)?)?;
    let image = module.describe_pcr(0).map_err(explain)?;
    if image.value.iter().all(|byte| *byte == 0) {
        log::warn!("boot: DEBUG MODE: the host reads this console, and no verifier accepts this enclave");
    }
    Ok(())
}

fn explain(error: NsmError) -> io::Error {
    match error {
        NsmError::Device(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
