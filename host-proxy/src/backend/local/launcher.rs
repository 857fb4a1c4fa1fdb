//! The launcher: makes the namespaces, starts PID 1 in them, and stays to see how it ends. It is a process of its own
//! session, so that the enclave survives host-proxy and its terminal.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid, setsid};

use super::{ROOT, security_module};
use crate::backend::detached::Detached;

/// Runs the launcher.
pub(super) fn main(state: &Path, init: &Path) -> ExitCode {
    let enclave = Detached::of(state);
    match launch(&enclave, state, init) {
        Ok(mut child) => match child.wait().and_then(|status| enclave.record_end(status)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("local enclave: cannot record its end: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            println!("error {error}");
            ExitCode::FAILURE
        }
    }
}

fn launch(enclave: &Detached, state: &Path, init: &Path) -> Result<Child, String> {
    // Fails only for the leader of a process group, which then has what it needs.
    let _ = setsid();
    // The kernel makes a user namespace for a process with one thread only; the module has its own.
    enter_user_namespace()?;
    security_module::start(state, init)
        .map_err(|error| format!("cannot start its security module: {error}"))?;
    enter_namespaces()?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("host-proxy")
        .arg(ROOT)
        .args([state, init])
        .env_clear()
        .spawn()
        .map_err(|error| format!("cannot start PID 1: {error}"))?;
    if let Err(error) = enclave.announce(&child) {
        // An enclave that nobody can find again must not stay.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(child)
}

/// user_namespaces(7): without privileges, a user namespace comes first, with our own id as its root.
fn enter_user_namespace() -> Result<(), String> {
    let (uid, gid) = (geteuid(), getegid());
    if !uid.is_root() {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| {
            format!(
                "the kernel does not let an unprivileged user make a user namespace ({error}): run as root, or see \
                 user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns in sysctl(8)"
            )
        })?;
        for (path, text) in [
            ("/proc/self/setgroups", "deny".to_owned()),
            ("/proc/self/uid_map", format!("0 {uid} 1")),
            ("/proc/self/gid_map", format!("0 {gid} 1")),
        ] {
            fs::write(path, text).map_err(|error| format!("cannot write {path}: {error}"))?;
        }
    }
    Ok(())
}

fn enter_namespaces() -> Result<(), String> {
    // The mount namespace is PID 1's own affair: pivot_root(2) would take us along.
    let namespaces = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).map_err(|error| {
        format!(
            "the kernel does not let us make namespaces ({error}): CAP_SYS_ADMIN is needed, see namespaces(7)"
        )
    })
}
