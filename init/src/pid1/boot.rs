//! Boot: a table of steps, then the configuration. Nothing here parses a byte from the host.

use std::path::Path;
use std::{fs, io};

use cloister_init::resources::OomKill;
use manifest_sync::config::{self, EnclaveConfig};
use manifest_sync::reject::Rejection;
use manifest_sync::trust::TrustPolicy;
use manifest_sync::trust::policy::Authority;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, umask};

use super::cgroup::Cgroups;
use super::security_module::Module;
use super::{initramfs, layout, security_module};
use crate::sys;
use crate::unpack::message::Owners;

/// Whether the boot goes on without a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Its failure ends the boot.
    Required,
    /// It may fail, for the reason written beside it in the table.
    Optional,
}

/// One step of the boot, in order.
struct Step {
    name: &'static str,
    need: Need,
    run: fn() -> io::Result<()>,
}

const STEPS: &[Step] = &[
    Step {
        name: "set the file mode creation mask",
        need: Need::Required,
        run: clear_umask,
    },
    Step {
        name: "mount /proc",
        need: Need::Required,
        run: mount_proc,
    },
    // A user namespace whose parent hides parts of sysfs may not mount it; containers then get an empty /sys.
    Step {
        name: "mount /sys",
        need: Need::Optional,
        run: mount_sys,
    },
    // Without keyboard controller and sysfs it cannot be chosen, and need not.
    Step {
        name: "choose how the machine ends",
        need: Need::Optional,
        run: sys::power::choose_reset,
    },
    Step {
        name: "leave the initramfs",
        need: Need::Required,
        run: initramfs::leave,
    },
    Step {
        name: "mount /dev",
        need: Need::Required,
        run: mount_dev,
    },
    Step {
        name: "make mounts private",
        need: Need::Required,
        run: private_mounts,
    },
    Step {
        name: "load kernel modules",
        need: Need::Required,
        run: sys::module::load_all,
    },
    Step {
        name: "take away device nodes",
        need: Need::Required,
        run: security_module::remove_nodes,
    },
    // A kernel without sysfs does not say.
    Step {
        name: "check the clock",
        need: Need::Optional,
        run: security_module::check_clock,
    },
    Step {
        name: "bring lo up",
        need: Need::Required,
        run: sys::loopback::up,
    },
    // Read-only in an unprivileged namespace; only ports below 1024 for base services depend on it.
    Step {
        name: "let every user bind any port",
        need: Need::Optional,
        run: unprivileged_ports,
    },
    Step {
        name: "create the run-time directories",
        need: Need::Required,
        run: layout::create,
    },
];

/// What the boot found out.
pub(super) struct Booted {
    /// The measured configuration.
    pub(crate) config: EnclaveConfig,
    /// Who owns files of images here.
    pub(crate) owners: Owners,
    /// The cgroup hierarchy, or why this machine has none for us.
    pub(crate) cgroups: io::Result<Cgroups>,
    /// Which bundles may run.
    pub(crate) policy: TrustPolicy,
    /// The security module, when this machine has one.
    pub(super) module: Option<Module>,
}

/// Why the boot ended.
#[derive(Debug)]
pub(crate) enum BootError {
    /// A required step failed.
    Step(&'static str, io::Error),
    /// The configuration cannot be read.
    ReadConfig(io::Error),
    /// The configuration is invalid.
    ParseConfig(serde_json::Error),
    /// The trust policy cannot be read.
    ReadPolicy(io::Error),
    /// The trust policy is invalid.
    ParsePolicy(Rejection),
}

impl std::fmt::Display for BootError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Step(name, error) => write!(f, "cannot {name}: {error}"),
            Self::ReadConfig(error) => write!(f, "cannot read {}: {error}", config::PATH),
            Self::ParseConfig(error) => write!(f, "{} is invalid: {error}", config::PATH),
            Self::ReadPolicy(error) => write!(f, "cannot read {}: {error}", config::POLICY_PATH),
            Self::ParsePolicy(rejection) => write!(f, "{} is invalid: {rejection}", config::POLICY_PATH),
        }
    }
}

/// Runs every step, then reads the configuration.
pub(super) fn boot() -> Result<Booted, BootError> {
    for step in STEPS {
        match (step.run)() {
            Ok(()) => log::debug!("boot: {}", step.name),
            Err(error) if step.need == Need::Optional => log::info!("boot: cannot {}: {error}", step.name),
            Err(error) => return Err(BootError::Step(step.name, error)),
        }
    }
    let bytes = fs::read(config::PATH).map_err(BootError::ReadConfig)?;
    let config: EnclaveConfig = serde_json::from_slice(&bytes).map_err(BootError::ParseConfig)?;
    let module = security_module::open(&config.security_module)
        .map_err(|error| BootError::Step("use the security module", error))?;
    let bytes = fs::read(config::POLICY_PATH).map_err(BootError::ReadPolicy)?;
    let policy = TrustPolicy::parse(&bytes).map_err(BootError::ParsePolicy)?;
    if policy.authority == Authority::Any {
        log::warn!("boot: the policy lets everybody say what runs here: it is for development");
    }
    let oom_kill = if config.single_process_oom_kill {
        OomKill::Process
    } else {
        OomKill::Container
    };
    let cgroups =
        Cgroups::set_up(oom_kill).inspect_err(|error| log::info!("boot: no resource is limited: {error}"));
    Ok(Booted {
        config,
        owners: owners(),
        cgroups,
        policy,
        module,
    })
}

fn clear_umask() -> io::Result<()> {
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

fn mount_proc() -> io::Result<()> {
    if Path::new("/proc/self/stat").exists() {
        return Ok(());
    }
    mount_at(
        "proc",
        "/proc",
        "proc",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None,
    )
}

fn mount_sys() -> io::Result<()> {
    if Path::new("/sys/kernel").exists() {
        return Ok(());
    }
    mount_at(
        "sysfs",
        "/sys",
        "sysfs",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None,
    )
}

fn mount_dev() -> io::Result<()> {
    if Path::new("/dev/null").exists() {
        return Ok(());
    }
    mount_at(
        "devtmpfs",
        "/dev",
        "devtmpfs",
        MsFlags::MS_NOSUID,
        Some("mode=0755"),
    )
}

fn mount_at(source: &str, target: &str, kind: &str, flags: MsFlags, data: Option<&str>) -> io::Result<()> {
    fs::create_dir_all(target)?;
    mount(Some(source), target, Some(kind), flags, data)?;
    Ok(())
}

fn private_mounts() -> io::Result<()> {
    // Containers' mounts must never appear here (mount_namespaces(7)).
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    Ok(())
}

fn unprivileged_ports() -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
}

/// In a user namespace with a single id, nothing can belong to anybody else (user_namespaces(7)).
fn owners() -> Owners {
    let initial = sys::proc::is_initial_user_namespace();
    if initial { Owners::Keep } else { Owners::Squash }
}
