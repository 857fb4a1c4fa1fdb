//! Where the state of an enclave is kept, and which enclave a command without a name means.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::cli::Target;
use crate::exit::{Exit, Failure};

/// The directory that holds one directory for each enclave of this user.
fn base() -> PathBuf {
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        return PathBuf::from("/run/cloister");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("cloister"),
        None => PathBuf::from(format!("/tmp/cloister-{uid}")),
    }
}

/// State directory of `target`; `name` is what it is called when the user did not say.
pub fn state_dir(target: &Target, name: &str) -> PathBuf {
    match (&target.state_dir, &target.name) {
        (Some(dir), _) => dir.clone(),
        (None, Some(name)) => base().join(name),
        (None, None) => base().join(name),
    }
}

/// Makes the directory and its parents, mode 0700. In /tmp anybody could have made it first: it must be ours.
pub fn create(dir: &Path) -> Result<(), Failure> {
    let host =
        |error: std::io::Error| Failure::new(Exit::Host, format!("cannot use {}: {error}", dir.display()));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(host)?;
    let metadata = fs::symlink_metadata(dir).map_err(host)?;
    let ours = metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw();
    if !ours || metadata.mode() & 0o022 != 0 {
        let message = format!(
            "cannot use {}: it is not a directory that only we can write to",
            dir.display()
        );
        return Err(Failure::new(Exit::Host, message));
    }
    Ok(())
}

/// The socket of the proxy that a client command means: the named one, or the only one that runs.
pub fn socket(target: &Target) -> Result<PathBuf, Failure> {
    if target.state_dir.is_some() || target.name.is_some() {
        return Ok(state_dir(target, "").join("proxy.sock"));
    }
    let base = base();
    let mut running: Vec<PathBuf> = fs::read_dir(&base)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("proxy.sock"))
        .filter(|socket| UnixStream::connect(socket).is_ok())
        .collect();
    running.sort();
    match (running.pop(), running.is_empty()) {
        (Some(socket), true) => Ok(socket),
        (None, _) => {
            let message = format!(
                "no proxy runs ({} has none); start one with `host-proxy up`",
                base.display()
            );
            Err(Failure::new(Exit::Unavailable, message))
        }
        (Some(last), false) => {
            running.push(last);
            let names: Vec<_> = running
                .iter()
                .filter_map(|path| path.parent()?.file_name()?.to_str())
                .collect();
            let message = format!(
                "several proxies run: choose one with --name ({})",
                names.join(", ")
            );
            Err(Failure::new(Exit::Usage, message))
        }
    }
}
