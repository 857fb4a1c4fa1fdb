//! /dev as containers expect it (K-403, K-404): a tmpfs with the harmless devices, terminals and shared memory of its
//! own. `/dev/nsm` and `/dev/vsock` are never in it.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::report::{Failure, Stage, StageExt as _};
use super::root::{Root, mount_on, proc_path};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
    ("/proc/kcore", "core"),
];

/// Fills /dev of the root.
pub(super) fn populate(root: &Root, shm: &str) -> Result<(), Failure> {
    let stage = Stage::SystemMounts;
    let beneath = root.directory("dev").at(stage, "/dev")?;
    mount_on(
        &beneath,
        "tmpfs",
        // A bound device keeps the flags of its own mount; one that a container makes with CAP_MKNOD is dead.
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=0755,size=65536k,nr_inodes=16k"),
    )
    .at(stage, "/dev")?;
    let dev = root.existing("dev").at(stage, "/dev")?;
    for name in DEVICES {
        device(&dev, root, name)?;
    }
    for (target, name) in LINKS {
        symlinkat(target, &dev, name).at(stage, name)?;
    }
    let pts = directory(&dev, root, "pts")?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_on(&pts, "devpts", flags, Some(options)).at(stage, "/dev/pts")?;
    let mqueue = directory(&dev, root, "mqueue")?;
    // A kernel without POSIX message queues has none to show.
    let _ = mount_on(&mqueue, "mqueue", flags | MsFlags::MS_NODEV, None);
    let target = directory(&dev, root, "shm")?;
    let bind = MsFlags::MS_BIND;
    mount(
        Some(shm),
        proc_path(&target).as_str(),
        None::<&str>,
        bind,
        None::<&str>,
    )
    .at(stage, "/dev/shm")
}

/// A bind mount of PID 1's own node: it works in user namespaces too, where mknod(2) does not.
fn device(dev: &OwnedFd, root: &Root, name: &str) -> Result<(), Failure> {
    let source = format!("/dev/{name}");
    if std::fs::symlink_metadata(&source).is_err() {
        return Ok(());
    }
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    openat(dev, name, flags, Mode::from_bits_truncate(0o644)).at(Stage::SystemMounts, &source)?;
    let target = root
        .existing(&format!("dev/{name}"))
        .at(Stage::SystemMounts, &source)?;
    let bind = MsFlags::MS_BIND;
    mount(
        Some(source.as_str()),
        proc_path(&target).as_str(),
        None::<&str>,
        bind,
        None::<&str>,
    )
    .at(Stage::SystemMounts, &source)
}

fn directory(dev: &OwnedFd, root: &Root, name: &str) -> Result<OwnedFd, Failure> {
    mkdirat(dev, name, Mode::from_bits_truncate(0o755)).at(Stage::SystemMounts, name)?;
    root.existing(&format!("dev/{name}"))
        .at(Stage::SystemMounts, name)
}
