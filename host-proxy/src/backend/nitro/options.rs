//! What an enclave is started from, apart from its size.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Exit, Failure};

use super::sizing::Size;

/// What an enclave is started from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The enclave image file.
    pub eif: PathBuf,
    /// Readable console, attestation documents with zeroed PCRs: for development.
    pub debug: bool,
    /// Vsock context id; `None`: the hypervisor chooses.
    pub cid: Option<u32>,
    /// The program; `None`: `CLOISTER_NITRO_CLI`, or `nitro-cli` in `PATH`.
    pub nitro_cli: Option<PathBuf>,
}

impl Options {
    /// The program, so that it is found from another working directory too.
    pub(super) fn program(&self) -> PathBuf {
        let named = self.nitro_cli.clone();
        let program = named
            .or_else(|| std::env::var_os("CLOISTER_NITRO_CLI").map(PathBuf::from))
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or_else(|| PathBuf::from("nitro-cli"));
        // A bare name is looked up in PATH (execvp(3)).
        if program.as_os_str().as_encoded_bytes().contains(&b'/') {
            absolute(&program)
        } else {
            program
        }
    }
}

/// From the root: nitro-cli's daemon reads the image, and a name must not look like a flag.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Size of the image in bytes.
///
/// # Errors
/// `NoInput` when it is not there or is no file.
pub fn eif_bytes(eif: &Path) -> Result<u64, Failure> {
    let failed = |what: &dyn std::fmt::Display| {
        let message = format!(
            "cannot read the enclave image {}: {what}; `cargo xtask eif` makes one",
            eif.display()
        );
        Failure::new(Exit::NoInput, message)
    };
    let metadata = std::fs::metadata(eif).map_err(|error| failed(&error))?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Err(failed(&"it is not a file, or empty"));
    }
    Ok(metadata.len())
}

/// How long `run-enclave` may take. Its own wait for the boot is a minute for each 6 GiB of image and one for each
/// 100 GiB of memory (`calculate_necessary_timeout`); its error is better than ours, so it gets a minute more, and a
/// second for each GiB that it has to find huge pages for.
pub(super) fn patience(eif_bytes: u64, size: &Size) -> Duration {
    const MINUTE: u64 = 60;
    let boot = eif_bytes.div_ceil(6 << 30) + size.memory_mib.div_ceil(100 << 10);
    Duration::from_secs((1 + boot) * MINUTE + size.memory_mib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_the_image_and_the_memory() {
        let gib = |memory: u64| Size {
            cpus: 2,
            memory_mib: memory * 1024,
        };
        assert_eq!(patience(1 << 20, &gib(1)), Duration::from_secs(3 * 60 + 1));
        assert_eq!(patience(7 << 30, &gib(200)), Duration::from_secs(5 * 60 + 200));
    }

    #[test]
    fn a_path_becomes_absolute_and_a_name_stays() {
        let program = |text: &str| {
            Options {
                nitro_cli: Some(text.into()),
                ..Options::default()
            }
            .program()
        };
        assert_eq!(program("nitro-cli"), Path::new("nitro-cli"));
        assert!(program("./nitro-cli").is_absolute());
        assert!(absolute(Path::new("-x.eif")).is_absolute());
    }
}
