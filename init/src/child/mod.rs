//! The `child` applet: becomes one process of a unit. It is PID 1 of its namespaces, single-threaded, reads its
//! description once and reports where it failed. The order matters and is this:
//!
//! session → limits, OOM score → cgroup and its namespace → a running container's namespaces, or mounts (private, overlay,
//! /proc, /dev, /sys, masks, binds) → pivot_root → read-only root → umask → user and groups resolved in the container's own
//! files → working directory → filter of system calls → bounding set → groups, ids → capability sets → PID namespace of
//! others → of a command without a cgroup, a process that adopts → no_new_privs → descriptors → exec.
//!
//! Nothing of the host reaches it but through the verified plan; the image's files are hostile.

pub(crate) mod capability;
mod command;
mod credential;
mod device;
mod place;
pub(crate) mod report;
mod root;
pub(crate) mod spec;

use std::ffi::CString;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use self::place::Place;
use self::report::{Failure, Report, Stage, StageExt as _};
use self::spec::{ChildSpec, Join};
use crate::{seccomp, sys};

/// Descriptor of the description.
const SPEC_FD: i32 = 3;
/// Descriptor of the report pipe.
const REPORT_FD: i32 = 4;
/// K-026: exit code of a process that never became the container's.
const START_ERROR: u8 = 128;

/// Becomes the process; returns only if that failed.
pub(crate) fn main() -> ExitCode {
    let (Some(spec), Some(report)) = (sys::fd::inherited(SPEC_FD), sys::fd::inherited(REPORT_FD)) else {
        eprintln!("cloister-init child: started by hand; only PID 1 can start this applet");
        return ExitCode::from(START_ERROR);
    };
    // The report must not be where the program wants its own descriptors, and there only once: whoever stays behind and
    // waits must be able to let it go.
    let Ok(moved) = sys::fd::move_up(&report) else {
        return ExitCode::from(START_ERROR);
    };
    drop(report);
    let mut report = Some(moved);
    let Err(failure) = become_process(spec, &mut report);
    if let Some(report) = report {
        Report::from(failure).send(&report);
    }
    ExitCode::from(START_ERROR)
}

/// `report` is let go by a process that only waits for another: an open report pipe means that exec is still to come.
fn become_process(spec: OwnedFd, report: &mut Option<OwnedFd>) -> Result<std::convert::Infallible, Failure> {
    let spec = read_spec(spec)?;
    nix::unistd::setsid().at(Stage::Session, "setsid")?;
    // While /proc is PID 1's.
    set_limits(&spec)?;
    let place = Place::take(&spec, report)?;
    if let Some(root) = &spec.root {
        root::enter(root, &spec.mounts)?;
    }
    umask(Mode::from_bits_truncate(spec.umask));
    let user = credential::resolve(&spec.user)?;
    enter_directory(&spec.cwd)?;
    place.choose_pid_namespace()?;
    if let Some(profile) = spec.seccomp {
        // While we still may, and before anybody in the container can see this process: what could be done with it is no
        // more than the container can do anyway.
        let program = seccomp::program(profile, &spec.capabilities);
        sys::seccomp::install(&program).at(Stage::Filter, "system calls")?;
    }
    credential::apply(&user, &spec.capabilities)?;
    place.enter()?;
    if let Some(Join::Container { leftovers, .. }) = spec.join
        && spec.cgroup.is_none()
    {
        // No cgroup holds what the command starts: somebody has to stay its ancestor. It is what the command is, so
        // that the container gains nothing by reaching it.
        sys::descendant::leave_adopter(leftovers, || let_go(report)).at(Stage::Join, "adopter")?;
    }
    if spec.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().at(Stage::Capabilities, "no_new_privs")?;
    }
    sys::fd::arrange(&spec.keep_fds).at(Stage::Descriptors, "close_range")?;
    sys::signal::restore_defaults();
    command::execute(&spec.argv, &command::environment(&spec.env, &user.home))
}

fn read_spec(fd: OwnedFd) -> Result<ChildSpec, Failure> {
    let mut bytes = Vec::new();
    std::fs::File::from(fd)
        .read_to_end(&mut bytes)
        .at(Stage::Description, "read")?;
    serde_json::from_slice(&bytes)
        .map_err(std::io::Error::from)
        .at(Stage::Description, "parse")
}

/// A process that only waits for another.
fn let_go(report: &mut Option<OwnedFd>) {
    *report = None;
    // Its output is over when the program's is.
    sys::fd::close_standard();
}

fn set_limits(spec: &ChildSpec) -> Result<(), Failure> {
    for (name, soft, hard) in &spec.rlimits {
        let resource = match name.as_str() {
            "RLIMIT_CORE" => Resource::RLIMIT_CORE,
            "RLIMIT_NOFILE" => Resource::RLIMIT_NOFILE,
            "RLIMIT_NPROC" => Resource::RLIMIT_NPROC,
            "RLIMIT_MEMLOCK" => Resource::RLIMIT_MEMLOCK,
            _ => return Err(Failure::said(Stage::Limits, format!("unknown limit {name}"))),
        };
        let set = match setrlimit(resource, *soft, *hard) {
            // Without privileges (the local back-end in a user namespace) a limit cannot be raised above our own.
            Err(Errno::EPERM) => getrlimit(resource)
                .and_then(|(_, ours)| setrlimit(resource, (*soft).min(ours), (*hard).min(ours))),
            set => set,
        };
        set.at(Stage::Limits, name)?;
    }
    if let Some(score) = spec.oom_score_adj {
        sys::proc::set_oom_score_adj(score).at(Stage::Limits, "oom_score_adj")?;
    }
    Ok(())
}

/// K-344: made when missing. A path that leads out of the root through a leaked descriptor shows in getcwd(2)
/// (CVE-2024-21626).
fn enter_directory(path: &str) -> Result<(), Failure> {
    if std::fs::metadata(path).is_err() {
        std::fs::create_dir_all(path).at(Stage::Directory, path)?;
    }
    std::env::set_current_dir(path).at(Stage::Directory, path)?;
    let real = nix::unistd::getcwd().at(Stage::Directory, path)?;
    if !real.is_absolute() {
        return Err(Failure::said(
            Stage::Directory,
            format!("{path} is outside of the container"),
        ));
    }
    Ok(())
}

/// A path or argument as the kernel takes it.
fn c_string(text: &str, stage: Stage) -> Result<CString, Failure> {
    CString::new(text).map_err(|_nul| Failure::said(stage, "a NUL character is not allowed".to_owned()))
}
