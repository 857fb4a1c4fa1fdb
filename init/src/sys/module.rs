//! Kernel modules that came with the image: `nsm.ko`, where the kernel has the driver as a module. After them, none.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

use super::proc::is_machine;

/// What is written here cannot be taken back before the next boot (`Documentation/admin-guide/sysctl/kernel.rst`).
const DISABLED: &str = "/proc/sys/kernel/modules_disabled";

/// Loads every module of the image, in the order of their names, and has the kernel load no other afterwards. One that the
/// kernel has already is no error.
pub(crate) fn load_all() -> io::Result<()> {
    for path in modules()? {
        load(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        log::info!("boot: the kernel has loaded {}", path.display());
    }
    close()
}

fn modules() -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(rootfs::store::MODULES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut modules = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("ko")) {
            modules.push(path);
        }
    }
    modules.sort();
    Ok(modules)
}

/// finit_module(2). A driver has found its devices, and devtmpfs has their nodes, when it returns.
fn load(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let no_parameters = c"";
    // SAFETY: the descriptor and the string outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            no_parameters.as_ptr(),
            0,
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is not in the measured image must not become kernel code, not even for a Pod that asks for `CAP_SYS_MODULE`.
fn close() -> io::Result<()> {
    // Somebody else's kernel, whose modules are not our affair.
    if !is_machine() {
        return Ok(());
    }
    match fs::write(DISABLED, "1") {
        // A kernel without modules.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| io::Error::new(error.kind(), format!("{DISABLED}: {error}"))),
    }
}
