//! The QEMU back-end: a real enclave image in QEMU's `nitro-enclave` machine, with `vhost-device-vsock` for the link. It
//! needs no special hardware, and protects nothing from this machine.
//!
//! ```text
//! launcher ─spawn─► part ─exec─► vhost-device-vsock   (dies with the launcher)
//!          └─spawn─► part ─exec─► qemu-system-x86_64  (dies with the launcher)
//! ```
//!
//! The two programs are those of `CLOISTER_VHOST_DEVICE_VSOCK` and `CLOISTER_QEMU`, or of PATH.

mod heartbeat;
mod launcher;
mod options;
mod part;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manifest_sync::link::Address;

use super::Probe;
use super::detached::{Detached, remove};
use crate::exit::{Exit, Failure};

pub use options::{Accelerator, Options};

/// Our applets, by their first argument.
pub(super) const LAUNCHER: &str = "qemu-launcher";
pub(super) const PART: &str = "qemu-part";
/// What the launcher is to start; a file of the state directory.
const ORDER: &str = "machine.json";
/// The socket in front of the guest's vsock, in the state directory.
const LINK: &str = "vm.vsock";
/// Between QEMU and the device.
const DEVICE: &str = "vhost.sock";
/// Made when the guest's heartbeat has come.
const BOOTED: &str = "booted";
/// Longest name of a socket: one that the guest dials.
const LONGEST_SOCKET: &str = "/vm.vsock_4294967295";

/// Runs the launcher.
pub(super) fn launcher(state: &Path, order: &Path) -> ExitCode {
    launcher::main(state, order)
}

/// Becomes one of the two programs.
pub(super) fn part(program: &[PathBuf]) -> ExitCode {
    part::main(program)
}

/// An enclave of a state directory.
#[derive(Debug, Clone)]
pub struct Enclave(Detached);

impl Enclave {
    /// The enclave of a state directory, whether it runs or not.
    pub fn of(state: &Path) -> Self {
        Self(Detached::of(state))
    }

    /// Where it listens.
    pub fn address(&self) -> Address {
        Address::Hybrid {
            path: self.0.path(LINK),
        }
    }

    /// Whether it runs.
    pub fn probe(&self) -> Probe {
        self.0.probe()
    }

    /// Whether its heartbeat has come.
    pub fn has_booted(&self) -> bool {
        self.0.path(BOOTED).exists()
    }

    /// One message for people when it is gone.
    pub fn obituary(&self) -> Option<String> {
        self.0.obituary()
    }

    /// Ends it at once, whatever it does.
    pub fn terminate(&self) {
        self.0.terminate();
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// When a program or the image is missing, or the machine does not start.
    pub fn start(&self, options: &Options) -> Result<(), Failure> {
        let machine = options.machine()?;
        let order = self.0.path(ORDER);
        let prepare = || {
            self.0.prepare(LONGEST_SOCKET)?;
            for name in [LINK, DEVICE, BOOTED] {
                remove(&self.0.path(name))?;
            }
            fs::write(&order, serde_json::to_vec_pretty(&machine)?)
        };
        prepare().map_err(|error| {
            let message = format!("cannot prepare the state directory: {error}");
            Failure::new(Exit::Host, message)
        })?;
        self.0.launch("qemu", LAUNCHER, &[&order])
    }
}
