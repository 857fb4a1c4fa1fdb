//! The container's root: the image's layers under a writable layer, with /proc, /dev, /sys and the Pod's mounts in
//! place. Paths inside the image are hostile (a symlink for /proc, a parent that leads out): every one is resolved
//! beneath the root by openat2(2), and mounts are made on the descriptor that came of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

use super::device;
use super::report::{Failure, Stage, StageExt as _};
use super::spec::{Access, BindSpec, Propagation, RootSpec};
use crate::beneath::Beneath;
use crate::sys;

/// K-420: hidden paths.
const MASKED: [&str; 12] = [
    "proc/asound",
    "proc/acpi",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
];
/// K-420: paths that cannot be written.
const READ_ONLY: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];
/// overlayfs takes its options in one page (mount(2)).
const MAX_OPTIONS: usize = 4095;

const SAFE: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// A directory that is, or is on the way to becoming, the root.
pub(super) struct Root(OwnedFd);

/// Makes the root and enters it.
pub(super) fn enter(spec: &RootSpec, mounts: &[BindSpec]) -> Result<(), Failure> {
    // While their propagation is still that of PID 1's namespace.
    let sources = mounts.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).at(Stage::Root, "private mounts")?;
    let merged = overlay(spec)?;
    let root = Root(open_directory(Path::new(&merged)).at(Stage::Root, "open")?);
    system_mounts(&root, spec)?;
    for (bind, source) in mounts.iter().zip(&sources) {
        put(&root, bind, source).at(Stage::Mount, &bind.target)?;
    }
    pivot(&root, spec.read_only)
}

/// The layers under a tmpfs of this instance's own, which is gone when its mount namespace is.
fn overlay(spec: &RootSpec) -> Result<String, Failure> {
    let scratch = Path::new(&spec.scratch);
    std::fs::create_dir_all(scratch).at(Stage::Overlay, "scratch directory")?;
    // Devices are made by us only.
    let flags = MsFlags::MS_NODEV;
    let options = format!("mode=0755,nr_inodes={}", spec.scratch_inodes);
    mount(
        Some("tmpfs"),
        scratch,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .at(Stage::Overlay, "scratch space")?;
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir(scratch.join(name)).at(Stage::Overlay, name)?;
    }
    // Numbered links are short names: the options of every image's layers fit into a page.
    for (number, layer) in spec.lower.iter().enumerate() {
        symlink(layer, scratch.join(number.to_string())).at(Stage::Overlay, layer)?;
    }
    if spec.lower.is_empty() {
        return Err(Failure::said(Stage::Overlay, "the image has no layer".to_owned()));
    }
    std::env::set_current_dir(scratch).at(Stage::Overlay, "scratch space")?;
    let names = (0..spec.lower.len()).rev().map(|number| number.to_string());
    let options = format!(
        "lowerdir={},upperdir={2}/upper,workdir={2}/work{1}",
        names.collect::<Vec<_>>().join(":"),
        if spec.user_xattr { ",userxattr" } else { "" },
        spec.scratch,
    );
    if options.len() > MAX_OPTIONS {
        return Err(Failure::said(
            Stage::Overlay,
            format!("{} layers are too many", spec.lower.len()),
        ));
    }
    let merged = format!("{}/merged", spec.scratch);
    mount(
        Some("overlay"),
        merged.as_str(),
        Some("overlay"),
        flags,
        Some(options.as_str()),
    )
    .at(Stage::Overlay, "overlay")?;
    Ok(merged)
}

/// K-404, K-418, K-420.
fn system_mounts(root: &Root, spec: &RootSpec) -> Result<(), Failure> {
    let stage = Stage::SystemMounts;
    let proc = root.directory("proc").at(stage, "/proc")?;
    let mounted = match &spec.proc {
        None => mount_on(&proc, "proc", SAFE, None),
        Some(pod) => bind(pod, &proc),
    };
    mounted.at(stage, "/proc")?;
    let flags = if spec.privileged {
        SAFE
    } else {
        SAFE | MsFlags::MS_RDONLY
    };
    let sys = root.directory("sys").at(stage, "/sys")?;
    if mount_on(&sys, "sysfs", flags, None).is_err() {
        // A user namespace whose parent hides parts of sysfs may not mount it: an empty one is what is left.
        mount_on(&sys, "tmpfs", SAFE | MsFlags::MS_RDONLY, Some("size=0")).at(stage, "/sys")?;
    }
    if let Ok(cgroup) = root.existing("sys/fs/cgroup") {
        // Without cgroup v2 here there is nothing to show.
        let _ = mount_on(&cgroup, "cgroup2", flags, None);
    }
    device::populate(root, &spec.shm)?;
    if spec.privileged {
        return Ok(());
    }
    for path in MASKED {
        mask(root, path).at(stage, path)?;
    }
    for path in throttles() {
        mask(root, &path).at(stage, &path)?;
    }
    for path in READ_ONLY {
        read_only(root, path).at(stage, path)?;
    }
    Ok(())
}

/// Where each processor counts how often it was too hot (K-420), which tells one container about another.
fn throttles() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir("/sys/devices/system/cpu")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.is_dir())
        .map(|path| relative(&path.to_string_lossy()))
}

fn bind(source: &str, target: &OwnedFd) -> io::Result<()> {
    let target = proc_path(target);
    mount(
        Some(source),
        target.as_str(),
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(())
}

fn mask(root: &Root, path: &str) -> io::Result<()> {
    let target = match root.existing(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if File::from(target.try_clone()?).metadata()?.is_dir() {
        mount_on(&target, "tmpfs", SAFE | MsFlags::MS_RDONLY, Some("size=0"))
    } else {
        // Our own /dev/null, by its path in our root: the image has no say in what it is (CVE-2025-31133).
        bind("/dev/null", &target)
    }
}

fn read_only(root: &Root, path: &str) -> io::Result<()> {
    let target = match root.existing(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let own = proc_path(&target);
    mount(
        Some(own.as_str()),
        own.as_str(),
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?;
    // The descriptor is of what lies beneath the new mount: look it up again.
    remount_read_only(&root.existing(path)?, SAFE)
}

/// mount(2): a bind mount takes its flags from a second call, which must repeat those that are locked.
fn remount_read_only(target: &OwnedFd, flags: MsFlags) -> io::Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | flags;
    mount(
        None::<&str>,
        proc_path(target).as_str(),
        None::<&str>,
        flags,
        None::<&str>,
    )?;
    Ok(())
}

/// A volume or managed file, as a mount that is nowhere yet. A container may have placed links in a volume (K-399).
fn source(bind: &BindSpec) -> Result<OwnedFd, Failure> {
    Beneath::open(Path::new(&bind.source))
        .and_then(|source| match &bind.sub_path {
            Some(sub_path) => source.existing(Path::new(sub_path)),
            // It may be a file.
            None => Ok(source.whole()),
        })
        .and_then(|source| sys::mount::take(&source))
        .at(Stage::Mount, &bind.target)
}

/// Puts it where it belongs.
fn put(root: &Root, bind: &BindSpec, source: &OwnedFd) -> io::Result<()> {
    let target = relative(&bind.target);
    let target = if File::from(source.try_clone()?).metadata()?.is_dir() {
        root.directory(&target)?
    } else {
        root.file(&target)?
    };
    sys::mount::put(source, &target)?;
    let propagation = match bind.propagation {
        Propagation::Private => Some(MsFlags::MS_PRIVATE),
        Propagation::Slave => Some(MsFlags::MS_SLAVE),
        // It is what it was taken from.
        Propagation::Shared => None,
    };
    if let Some(kind) = propagation {
        let flags = MsFlags::MS_REC | kind;
        mount(
            None::<&str>,
            proc_path(source).as_str(),
            None::<&str>,
            flags,
            None::<&str>,
        )?;
    }
    match bind.access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => remount_read_only(source, MsFlags::MS_NODEV),
        Access::RecursiveReadOnly => sys::mount::make_read_only(source),
    }
}

/// pivot_root(2) onto itself, then the old root is let go.
fn pivot(root: &Root, read_only: bool) -> Result<(), Failure> {
    let stage = Stage::Root;
    nix::unistd::fchdir(root.0.as_fd()).at(stage, "fchdir")?;
    nix::unistd::pivot_root(".", ".").at(stage, "pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).at(stage, "let go of the old root")?;
    std::env::set_current_dir("/").at(stage, "chdir")?;
    if read_only {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).at(stage, "read-only root")?;
    }
    Ok(())
}

impl Root {
    /// What is at a path, which must exist.
    pub(super) fn existing(&self, path: &str) -> io::Result<OwnedFd> {
        // In root, as the container will see it: links are followed, but never out of it.
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        Ok(openat2(&self.0, Path::new(path), how)?)
    }

    /// The directory at a path, made with its parents if it is not there.
    pub(super) fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let mut done = String::new();
        let mut directory = self.existing(".")?;
        for part in Path::new(path).components() {
            let Component::Normal(part) = part else { continue };
            if !done.is_empty() {
                done.push('/');
            }
            done.push_str(&part.to_string_lossy());
            directory = match self.existing(&done) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    mkdirat(&directory, part, Mode::from_bits_truncate(0o755))?;
                    self.existing(&done)?
                }
                other => other?,
            };
        }
        if !File::from(directory.try_clone()?).metadata()?.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(directory)
    }

    /// The file at a path, made empty if it is not there.
    pub(super) fn file(&self, path: &str) -> io::Result<OwnedFd> {
        match self.existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(parent)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&parent, name, flags, Mode::from_bits_truncate(0o644))?;
        self.existing(path)
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Mounts a file system on a descriptor.
pub(super) fn mount_on(target: &OwnedFd, kind: &str, flags: MsFlags, data: Option<&str>) -> io::Result<()> {
    mount(Some(kind), proc_path(target).as_str(), Some(kind), flags, data)?;
    Ok(())
}

/// The path that names a descriptor for calls that take only paths. /proc is PID 1's here, not the image's.
pub(super) fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn relative(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}
