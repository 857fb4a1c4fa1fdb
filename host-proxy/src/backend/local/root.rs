//! PID 1 of the new namespaces, before it is `cloister-init`: builds a root of memory, enters it, executes `/init`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::ExitCode;

use manifest_sync::config;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};

use super::{INSIDE_LINK, INSIDE_MODULE, LINK, POLICY, configuration, security_module};

/// Devices that containers may have; bound, because mknod(2) needs privileges.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const SAFE: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Becomes the enclave; returns only if that failed.
pub(super) fn main(state: &Path, init: &Path) -> ExitCode {
    let Err(error) = become_enclave(state, init);
    println!("error {error}");
    ExitCode::FAILURE
}

fn become_enclave(state: &Path, init: &Path) -> Result<std::convert::Infallible, String> {
    umask(Mode::from_bits_truncate(0o022));
    let root = state.join("root");
    stage("make the mounts private", || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        Ok(mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )?)
    })?;
    stage("mount a root of memory", || {
        fs::create_dir_all(&root)?;
        Ok(mount(
            Some("tmpfs"),
            &root,
            Some("tmpfs"),
            MsFlags::MS_NODEV,
            Some("mode=0755"),
        )?)
    })?;
    stage("fill it", || fill(&root, state, init))?;
    stage(
        "mount /proc (the machine may hide parts of its own, see mount_namespaces(7))",
        || {
            Ok(mount(
                Some("proc"),
                &root.join("proc"),
                Some("proc"),
                SAFE,
                None::<&str>,
            )?)
        },
    )?;
    // Without it containers have an empty /sys.
    let _ = mount(
        Some("sysfs"),
        &root.join("sys"),
        Some("sysfs"),
        SAFE,
        None::<&str>,
    );
    for name in DEVICES {
        stage(&format!("bind /dev/{name}"), || {
            bind(&Path::new("/dev").join(name), &root.join("dev").join(name))
        })?;
    }
    stage("bind the link", || {
        bind(&state.join(LINK), &root.join(INSIDE_LINK))
    })?;
    stage("bind the security module", || {
        bind(&state.join(security_module::SOCKET), &root.join(INSIDE_MODULE))
    })?;
    stage("enter the root", || enter(&root))?;
    // The pipe to host-proxy ends here: silence means success.
    stage("let go of the pipe", || {
        Ok(nix::unistd::dup2_stdout(io::stderr())?)
    })?;
    let (program, none): (CString, [CString; 0]) = (c"/init".to_owned(), []);
    let Err(error) = nix::unistd::execve(&program, &[c"cloister-init"], &none);
    eprintln!("local enclave: cannot execute /init: {error}");
    Err(format!("cannot execute {}: {error}", init.display()))
}

fn stage(what: &str, act: impl FnOnce() -> io::Result<()>) -> Result<(), String> {
    act().map_err(|error| format!("cannot {what}: {error}"))
}

fn fill(root: &Path, state: &Path, init: &Path) -> io::Result<()> {
    for name in ["proc", "sys", "dev", "etc/cloister", INSIDE_LINK, "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    symlink("/proc/self/fd", root.join("dev/fd"))?;
    let copy = root.join("init");
    fs::copy(init, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o555))?;
    let place = |path: &str| root.join(path.trim_start_matches('/'));
    fs::write(place(config::PATH), configuration()?)?;
    fs::copy(state.join(POLICY), place(config::POLICY_PATH))?;
    Ok(())
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    if !target.exists() {
        fs::File::create(target)?;
    }
    Ok(mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?)
}

/// pivot_root(2) onto itself, then the old root is let go.
fn enter(root: &Path) -> io::Result<()> {
    std::env::set_current_dir(root)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")
}
