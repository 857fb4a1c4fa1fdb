//! What the machine is made of, and finding its programs.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// What a machine has when nobody says otherwise.
const DEFAULT_CPUS: u32 = 2;
const DEFAULT_MEMORY_MIB: u64 = 1024;
/// Least memory of a Nitro enclave; an emulated one with less ends without a word.
const LEAST_MEMORY_MIB: u64 = 64;

/// How QEMU runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Accelerator {
    /// Software emulation: slow, and works everywhere.
    #[default]
    Tcg,
    /// The machine's own virtualisation. That /dev/kvm exists does not mean that it can boot a kernel, so it is used only
    /// when it was asked for.
    Kvm,
}

impl Accelerator {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// Options of `up --backend qemu`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The enclave image.
    pub eif: PathBuf,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// How instructions are run.
    pub accelerator: Accelerator,
}

/// What the launcher starts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) qemu: PathBuf,
    pub(super) vhost: PathBuf,
    pub(super) eif: PathBuf,
    pub(super) cpus: u32,
    pub(super) memory_mib: u64,
    pub(super) accelerator: Accelerator,
}

impl Options {
    pub(super) fn machine(&self) -> Result<Machine, Failure> {
        let memory_mib = self.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
        if memory_mib < LEAST_MEMORY_MIB {
            let message = format!(
                "--memory: {memory_mib} MiB are too little: an enclave has at least {LEAST_MEMORY_MIB} MiB"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let eif = fs::canonicalize(&self.eif).map_err(|error| {
            let message = format!(
                "cannot find the enclave image {}: {error}; name it with --eif, or build one with `cargo xtask eif`",
                self.eif.display()
            );
            Failure::new(Exit::NoInput, message)
        })?;
        Ok(Machine {
            qemu: find("qemu-system-x86_64", "CLOISTER_QEMU")?,
            vhost: find("vhost-device-vsock", "CLOISTER_VHOST_DEVICE_VSOCK")?,
            eif,
            cpus: self.cpus.unwrap_or(DEFAULT_CPUS),
            memory_mib,
            accelerator: self.accelerator,
        })
    }
}

/// The program that a variable names, or the one in PATH.
fn find(program: &str, variable: &str) -> Result<PathBuf, Failure> {
    let named = std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let found = match &named {
        Some(path) => is_program(path).then(|| path.clone()),
        None => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|directory| directory.join(program))
                .find(|candidate| is_program(candidate))
        }),
    };
    found.ok_or_else(|| {
        let place = match named {
            Some(path) => format!("{variable} names {}, which is no program", path.display()),
            None => format!("it is not in PATH, and {variable} is not set"),
        };
        let message = format!("cannot find {program}: {place}; `cargo xtask vm` finds or builds it");
        Failure::new(Exit::NoInput, message)
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_cannot_boot_is_not_started() {
        let options = Options {
            eif: "/absent.eif".into(),
            cpus: None,
            memory_mib: Some(63),
            accelerator: Accelerator::Tcg,
        };
        let failure = options.machine().expect_err("too little");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("at least 64 MiB"), "{failure}");
        let options = Options {
            memory_mib: Some(64),
            ..options
        };
        let failure = options.machine().expect_err("no image");
        assert_eq!(failure.exit, Exit::NoInput);
        assert!(failure.message.contains("/absent.eif"), "{failure}");
    }
}
