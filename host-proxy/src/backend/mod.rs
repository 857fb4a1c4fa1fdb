//! Back-ends: how an enclave comes to be.
//!
//! | back-end | what it is |
//! |---|---|
//! | `local` | namespaces on this machine; for development |
//! | `qemu` | QEMU's `nitro-enclave` machine: a real image, a real kernel, no special hardware |
//! | `nitro` | an enclave on EC2, by `nitro-cli` |

mod detached;
pub mod local;
pub mod nitro;
mod process;
pub mod qemu;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manifest_sync::link::Address;

use crate::exit::Failure;

/// What is known of the enclave of a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It runs.
    Running,
    /// It has ended: `exit N` or `signal N`.
    Ended(String),
    /// There was none, or nobody was left to say how it ended.
    Absent,
}

/// The enclave of a state directory, on one of the back-ends. Clones are the same enclave.
#[derive(Debug, Clone)]
pub enum Enclave {
    /// Namespaces on this machine.
    Local(local::Enclave),
    /// An emulated machine.
    Qemu(qemu::Enclave),
    /// An enclave on EC2.
    Nitro(nitro::Enclave),
}

impl Enclave {
    /// Where it listens. On Nitro this is known only once it has been started.
    ///
    /// # Errors
    ///
    /// When it has not been started.
    pub fn address(&self) -> Result<Address, Failure> {
        match self {
            Self::Local(enclave) => Ok(enclave.address()),
            Self::Qemu(enclave) => Ok(enclave.address()),
            Self::Nitro(enclave) => enclave.address(),
        }
    }

    /// Whether it runs.
    pub fn probe(&self) -> Probe {
        match self {
            Self::Local(enclave) => enclave.probe(),
            Self::Qemu(enclave) => enclave.probe(),
            Self::Nitro(enclave) => enclave.probe(),
        }
    }

    /// Whether it can be dialled. A guest whose vsock driver is dialled while it starts may never hear of anybody again,
    /// so a machine says when it has booted; `nitro-cli` has waited for that.
    pub fn has_booted(&self) -> bool {
        match self {
            Self::Local(_) | Self::Nitro(_) => true,
            Self::Qemu(enclave) => enclave.has_booted(),
        }
    }

    /// One message for people when it is gone.
    pub fn obituary(&self) -> Option<String> {
        match self {
            Self::Local(enclave) => enclave.obituary(),
            Self::Qemu(enclave) => enclave.obituary(),
            Self::Nitro(enclave) => enclave.obituary(),
        }
    }

    /// Ends it at once, whatever it does.
    pub fn terminate(&self) {
        match self {
            Self::Local(enclave) => enclave.terminate(),
            Self::Qemu(enclave) => enclave.terminate(),
            Self::Nitro(enclave) => enclave.terminate(),
        }
    }
}

/// Runs an applet of a back-end, if the arguments name one: this program again, as a process of an enclave.
pub fn applet() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let applet = args.next()?;
    let applet = applet.to_str()?;
    let paths: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let path = |index: usize| paths.get(index).map_or(Path::new(""), PathBuf::as_path);
    match applet {
        local::LAUNCHER => Some(local::launcher(path(0), path(1))),
        local::ROOT => Some(local::root(path(0), path(1))),
        qemu::LAUNCHER => Some(qemu::launcher(path(0), path(1))),
        qemu::PART => Some(qemu::part(&paths)),
        _ => None,
    }
}
