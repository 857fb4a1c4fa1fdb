//! Leaving the initramfs. pivot_root(2) refuses to work while `/` is the initramfs, and every container needs it: a tmpfs
//! is moved over `/`, and we execute ourselves again there. What the image brought is moved along, not copied twice:
//! each file is gone from the initramfs before the next is copied, and preloaded images stay where they are.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::layout;

/// Where the new root is put together.
const NEW_ROOT: &str = "/new-root";
/// What does not move to the new root: what is mounted or made there, and images, which are bound.
const STAYS: [&str; 6] = ["dev", "end-of-image", "images", "new-root", "proc", "sys"];
/// Options of the new root. The default of half the memory would refuse large images although there is room; what
/// is written to it counts against the machine's memory like any other.
const OPTIONS: &str = "mode=0755,size=90%,nr_inodes=0";

/// Moves to a tmpfs when `/` is the initramfs, and does not return then. Elsewhere it does nothing.
pub(super) fn leave() -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if !root_is_initramfs(&mounts) {
        return Ok(());
    }
    log::info!("boot: the kernel has handed over; leaving the initramfs");
    let Err(error) = switch();
    Err(error)
}

/// proc_pid_mountinfo(5): mount point in field 5, file system type after the separator.
fn root_is_initramfs(mounts: &str) -> bool {
    let last = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/"));
    let kind = last.and_then(|line| line.split(" - ").nth(1)?.split(' ').next());
    kind == Some("rootfs")
}

fn switch() -> io::Result<Infallible> {
    if !Path::new(rootfs::store::END).exists() {
        let message = "it is incomplete: the machine has too little memory to unpack the image";
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, message));
    }
    let new = Path::new(NEW_ROOT);
    fs::create_dir_all(new)?;
    mount(
        Some("tmpfs"),
        new,
        Some("tmpfs"),
        MsFlags::MS_NODEV,
        Some(OPTIONS),
    )?;
    for name in ["dev", "proc", "sys"] {
        fs::create_dir_all(new.join(name))?;
    }
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        if STAYS.iter().all(|name| entry.file_name() != *name) {
            relocate(&entry.path(), &new.join(entry.file_name()))?;
        }
    }
    let images = Path::new(rootfs::store::PRELOADED);
    if images.is_dir() {
        let target = new.join(&layout::PRELOADED[1..]);
        fs::create_dir_all(&target)?;
        mount(
            Some(images),
            &target,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
        mount(None::<&str>, &target, None::<&str>, read_only, None::<&str>)?;
    }
    for mounted in ["/proc", "/sys"] {
        let target = new.join(&mounted[1..]);
        mount(
            Some(mounted),
            &target,
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )?;
    }
    std::env::set_current_dir(new)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")?;
    let init = CString::new("/init")?;
    let environment: [CString; 0] = [];
    Ok(nix::unistd::execve(&init, &[&init], &environment)?)
}

/// Moves a file or directory to another file system, one file after the other.
fn relocate(from: &Path, to: &Path) -> io::Result<()> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
    let metadata = match fs::symlink_metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(explain)?,
    };
    if metadata.is_dir() {
        fs::create_dir_all(to).map_err(explain)?;
        for entry in fs::read_dir(from).map_err(explain)? {
            let entry = entry.map_err(explain)?;
            relocate(&entry.path(), &to.join(entry.file_name()))?;
        }
        return fs::remove_dir(from).map_err(explain);
    }
    fs::copy(from, to).map_err(explain)?;
    fs::remove_file(from).map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_initramfs_is_left() {
        let rootfs = "1 1 0:2 / / rw - rootfs rootfs rw\n20 1 0:5 / /proc rw - proc proc rw\n";
        assert!(root_is_initramfs(rootfs));
        let moved = "25 1 0:20 / / rw,nodev - tmpfs tmpfs rw\n20 25 0:5 / /proc rw - proc proc rw\n";
        assert!(!root_is_initramfs(moved));
        let both = "1 1 0:2 / / rw - rootfs rootfs rw\n25 1 0:20 / / rw - tmpfs tmpfs rw\n";
        assert!(!root_is_initramfs(both));
        assert!(!root_is_initramfs(""));
    }
}
