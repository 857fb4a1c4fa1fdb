//! The `pause` applet: first process of the PID namespace of a Pod with `shareProcessNamespace` (K-480). It mounts the
//! /proc that the Pod's containers see, gives everything up, and reaps what they leave behind. PID 1 itself is not in that
//! namespace, and nothing of it can be seen from there.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::{seccomp, sys};

/// Descriptor for the byte that says that it is ready.
pub(crate) const READY_FD: i32 = 3;
/// Nobody else's.
const USER: u32 = 65_530;

/// Runs until it is killed. Its argument is the directory for /proc.
pub(crate) fn main() -> ExitCode {
    let (Some(ready), Some(proc)) = (sys::fd::inherited(READY_FD), std::env::args().nth(2)) else {
        eprintln!("cloister-init pause: started by hand; only PID 1 can start this applet");
        return ExitCode::FAILURE;
    };
    let prepared = prepare(Path::new(&proc)).and_then(|()| File::from(ready).write_all(&[1]));
    if let Err(error) = prepared {
        eprintln!("cloister-init pause: {error}");
        return ExitCode::FAILURE;
    }
    loop {
        nix::unistd::pause();
    }
}

fn prepare(proc: &Path) -> io::Result<()> {
    // Children of ours are those that others have left: nobody asks how they ended (waitpid(2)).
    sys::signal::ignore_children()?;
    // One of an earlier Pod process, which has ended and took its containers along.
    let _ = umount2(proc, MntFlags::MNT_DETACH);
    std::fs::create_dir_all(proc)?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), proc, Some("proc"), safe, None::<&str>)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    // Containers can look through /proc/1/root: there is nothing to see.
    let flags = safe | MsFlags::MS_RDONLY;
    mount(Some("tmpfs"), proc, Some("tmpfs"), flags, Some("size=0"))?;
    std::env::set_current_dir(proc)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")?;
    let program = seccomp::program(seccomp::Profile::RuntimeDefault, &[]);
    sys::seccomp::install(&program)?;
    for capability in caps::all() {
        // The kernel may not know all of them.
        let _ = caps::drop(None, caps::CapSet::Bounding, capability);
    }
    // A user namespace with a single id has no other user to become, and the capabilities go all the same.
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    let _ = setgroups(&[]).and_then(|()| setresgid(group, group, group));
    let _ = setresuid(user, user, user);
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    nix::sys::prctl::set_dumpable(false)?;
    Ok(nix::sys::prctl::set_no_new_privs()?)
}
