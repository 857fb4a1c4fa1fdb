//! The security module at boot: its random bytes go into the kernel's pool before anything draws from it, and an enclave
//! that cannot prove what it is says so.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use attest::nsm::{self, Nsm, NsmError};
use manifest_sync::config::SecurityModule;
use nix::mount::{MntFlags, umount2};

use crate::attestation::message::ModuleKind;
use crate::sys;

/// What is written here is mixed into the pool (random(4)); the kernel's own driver of the module adds the credit.
const POOL: &str = "/dev/urandom";
/// Where the kernel says what it takes the time from.
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Clocks that no guest can be lied to by without the hypervisor's help. `hpet` and `acpi_pm` are devices that a host
/// emulates; `jiffies` loses time.
const CLOCKS: [&str; 3] = ["kvm-clock", "tsc", "arch_sys_counter"];

/// The open module: ours until a bundle has been measured, the `attest` service's afterwards.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) nsm: Nsm,
    pub(super) kind: ModuleKind,
    /// The same open file, to be handed over.
    pub(super) descriptor: OwnedFd,
    path: PathBuf,
}

impl Module {
    fn open(config: &SecurityModule) -> io::Result<Self> {
        let (kind, path) = match config {
            SecurityModule::Device => (ModuleKind::Device, Path::new(nsm::PATH)),
            SecurityModule::Socket(path) => (ModuleKind::Socket, path.as_path()),
        };
        let descriptor: OwnedFd = match kind {
            ModuleKind::Device => fs::File::options().read(true).write(true).open(path)?.into(),
            ModuleKind::Socket => UnixStream::connect(path)?.into(),
        };
        Ok(Self {
            nsm: kind.attach(descriptor.try_clone()?)?,
            kind,
            descriptor,
            path: path.to_path_buf(),
        })
    }

    /// Base services of the image may have opened it until now; whoever comes later has only what we hand out.
    pub(super) fn hide(&self) {
        // The local back-end has bound its socket there.
        if self.kind == ModuleKind::Socket {
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Opens the module, mixes entropy, reports the mode. A machine without a module is no error: it cannot attest, and says
/// so. A module that does not answer is one.
pub(super) fn open(config: &SecurityModule) -> io::Result<Option<Module>> {
    let module = match Module::open(config) {
        Ok(module) => module,
        Err(error) if error.kind() == io::ErrorKind::NotFound && *config == SecurityModule::Device => {
            log::info!("boot: there is no {}: nobody can verify this enclave", nsm::PATH);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    fs::write(POOL, module.nsm.random().map_err(explain)?)?;
    let image = module.nsm.describe_pcr(0).map_err(explain)?;
    if image.value.iter().all(|byte| *byte == 0) {
        log::warn!("boot: DEBUG MODE: the host reads this console, and no verifier accepts this enclave");
    }
    Ok(Some(module))
}

/// Nodes that nothing here needs, and that a container could find if it can mount devtmpfs. The module's own goes when a
/// bundle has been measured.
pub(super) fn remove_nodes() -> io::Result<()> {
    // Elsewhere /dev is somebody else's.
    if !sys::proc::is_machine() {
        return Ok(());
    }
    for node in ["/dev/vsock", "/dev/mem", "/dev/kmem", "/dev/port"] {
        match fs::remove_file(node) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Says when the time comes from where it should not: certificates are judged by it.
pub(super) fn check_clock() -> io::Result<()> {
    let clock = fs::read_to_string(CLOCK)?;
    if !CLOCKS.contains(&clock.trim()) {
        log::warn!(
            "boot: the clock is {}, which is not one of: {}",
            clock.trim(),
            CLOCKS.join(", ")
        );
    }
    Ok(())
}

fn explain(error: NsmError) -> io::Error {
    match error {
        NsmError::Device(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
