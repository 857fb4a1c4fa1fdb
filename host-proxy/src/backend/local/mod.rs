//! The local back-end: the same `cloister-init` as PID 1 of fresh namespaces with a root file system of its own, and
//! Unix sockets for the link. For development: it isolates like a container and protects nothing from this machine.
//!
//! ```text
//! launcher (security module, unshares) ─spawn─► root (PID 1: builds the root) ─exec─► /init
//! ```

mod launcher;
mod root;
mod security_module;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manifest_sync::config::{EnclaveConfig, End, SecurityModule, Takeover};
use manifest_sync::link::Address;

use super::Probe;
use super::detached::Detached;
use crate::exit::{Exit, Failure};

/// Our applets, by their first argument.
pub(super) const LAUNCHER: &str = "local-launcher";
pub(super) const ROOT: &str = "local-root";
/// The trust policy, in the state directory.
const POLICY: &str = "policy.json";
/// Directory of the sockets, in the state directory.
const LINK: &str = "link";
/// Where the enclave sees the link directory, and the socket of its security module.
const INSIDE_LINK: &str = "run/cloister/link";
const INSIDE_MODULE: &str = "run/cloister/nsm.sock";
/// Longest name in the link directory.
const LONGEST_SOCKET: &str = "/link/4294967295.sock";

/// Runs the launcher.
pub(super) fn launcher(state: &Path, init: &Path) -> ExitCode {
    launcher::main(state, init)
}

/// Builds the root and becomes the enclave.
pub(super) fn root(state: &Path, init: &Path) -> ExitCode {
    root::main(state, init)
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
        Address::Unix {
            dir: self.0.path(LINK),
        }
    }

    /// Whether it runs.
    pub fn probe(&self) -> Probe {
        self.0.probe()
    }

    /// One message for people when it is gone.
    pub fn obituary(&self) -> Option<String> {
        self.0.obituary()
    }

    /// Ends it at once, whatever it does.
    pub fn terminate(&self) {
        self.0.terminate();
    }

    /// Starts it. `init` is the `cloister-init` binary, `policy` its trust policy.
    pub fn start(&self, init: &Path, policy: &[u8]) -> Result<(), Failure> {
        let prepared = self
            .prepare()
            .and_then(|()| fs::write(self.0.path(POLICY), policy));
        prepared.map_err(|error| {
            let message = format!("cannot prepare the state directory: {error}");
            Failure::new(Exit::Host, message)
        })?;
        self.0.launch("local", LAUNCHER, &[init])
    }

    fn prepare(&self) -> io::Result<()> {
        self.0.prepare(LONGEST_SOCKET)?;
        let link = self.0.path(LINK);
        // Sockets of a dead enclave would refuse the first dial instead of being absent.
        match fs::remove_dir_all(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().mode(0o700).create(&link)
    }
}

/// PCR0, 1 and 2 of a local enclave, hexadecimal.
///
/// # Errors
/// `init`, the `cloister-init` binary, cannot be read.
pub fn measurements(init: &Path, policy: &[u8]) -> io::Result<[String; 3]> {
    let values = security_module::measure(&fs::read(init)?, &configuration()?, policy);
    Ok(values.map(|value| manifest_sync::digest::hex(&value)))
}

/// The configuration of every local enclave, as it is measured and placed in the root.
fn configuration() -> io::Result<Vec<u8>> {
    let configuration = EnclaveConfig {
        listen: Address::Unix {
            dir: Path::new("/").join(INSIDE_LINK),
        },
        takeover: Takeover::AfterDisconnect,
        end: End::Exit,
        heartbeat: false,
        security_module: SecurityModule::Socket(Path::new("/").join(INSIDE_MODULE)),
        ..EnclaveConfig::machine()
    };
    Ok(serde_json::to_vec_pretty(&configuration)?)
}

/// The `cloister-init` binary: the one that was named, or the one beside this program.
pub fn find_init(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("cloister-init"));
    let path = match named {
        Some(path) => path.to_path_buf(),
        None => std::env::var_os("CLOISTER_INIT")
            .map(PathBuf::from)
            .or_else(beside)
            .unwrap_or_default(),
    };
    fs::canonicalize(&path).map_err(|error| {
        let message = format!(
            "cannot find cloister-init at {}: {error}; name it with --init or CLOISTER_INIT",
            path.display()
        );
        Failure::new(Exit::NoInput, message)
    })
}
