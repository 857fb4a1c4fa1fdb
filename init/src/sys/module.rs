//! Kernel modules that came with the image: `nsm.ko`, where the kernel has the driver as a module.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

/// Loads every module of the image, in the order of their names. One that the kernel has already is no error.
pub(crate) fn load_all() -> io::Result<()> {
    let entries = match fs::read_dir(rootfs::store::MODULES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
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
    modules.iter().try_for_each(|path: &PathBuf| {
        load(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    })
}

/// finit_module(2).
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
