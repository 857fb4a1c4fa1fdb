//! Where a process belongs: its cgroup, and the namespaces of others that it enters. Other processes of a PID namespace see
//! it from its first moment there, and one with CAP_SYS_PTRACE could make it do what it likes; so it gets there last, when
//! it may no longer do anything that they may not (CVE-2016-9962, CVE-2019-5736).

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};

use super::let_go;
use super::report::{Failure, Stage, StageExt as _};
use super::spec::{ChildSpec, Join};
use crate::sys;

/// What is still to be entered.
pub(super) enum Place {
    /// Nothing.
    Own,
    /// The PID namespace of others.
    Shared {
        process: OwnedFd,
        /// Where the number of who executes goes.
        number: OwnedFd,
        /// A process of a Pod is the first of a session. A command stays in that of who waits for it.
        leads_session: bool,
    },
}

impl Place {
    /// Joins the cgroup, and the namespaces that a running container sees files through. The process that waits for a
    /// command stays behind here, outside of all that.
    pub(super) fn take(spec: &ChildSpec, report: &mut Option<OwnedFd>) -> Result<Self, Failure> {
        let descriptor = |number| {
            sys::fd::inherited(number)
                .ok_or_else(|| Failure::said(Stage::Join, "no descriptor of what is joined".to_owned()))
        };
        match spec.join {
            None => {
                join_cgroup(spec)?;
                Ok(Self::Own)
            }
            Some(Join::Pod { process, number }) => {
                join_cgroup(spec)?;
                Ok(Self::Shared {
                    process: descriptor(process)?,
                    number: descriptor(number)?,
                    leads_session: true,
                })
            }
            Some(Join::Container { process, leftovers }) => {
                let process = descriptor(process)?;
                let number = sys::join::leave_waiter(leftovers, || let_go(report)).at(Stage::Join, "fork")?;
                join_cgroup(spec)?;
                sys::join::enter_namespaces(&process).at(Stage::Join, "mount namespace")?;
                Ok(Self::Shared {
                    process,
                    number,
                    leads_session: false,
                })
            }
        }
    }

    /// Says where children will be, while we may.
    pub(super) fn choose_pid_namespace(&self) -> Result<(), Failure> {
        match self {
            Self::Own => Ok(()),
            Self::Shared { process, .. } => {
                sys::join::enter_pid_namespace(process).at(Stage::Join, "PID namespace")
            }
        }
    }

    /// Goes on where the process belongs.
    pub(super) fn enter(self) -> Result<(), Failure> {
        let Self::Shared {
            number,
            leads_session,
            ..
        } = self
        else {
            return Ok(());
        };
        // Our memory is nobody's business; exec takes it back.
        nix::sys::prctl::set_dumpable(false).at(Stage::Join, "not dumpable")?;
        let tell = |child: i32| File::from(number).write_all(&child.to_ne_bytes());
        sys::join::continue_as_sibling(tell).at(Stage::Join, "clone")?;
        if leads_session {
            // That of the process before this one has ended with it.
            nix::unistd::setsid().at(Stage::Session, "setsid")?;
            return Ok(());
        }
        // Whoever gives up on it kills the process that waits for it.
        sys::join::die_with_parent().at(Stage::Join, "parent-death signal")
    }
}

/// Joins the cgroup; a container sees its own as the root of all (cgroup_namespaces(7)). One without a cgroup of its own sees
/// PID 1's so: what is above is nobody's business, and mounting the hierarchy from the first cgroup namespace, which may
/// change its flags, waits for all processors each time (15 ms).
fn join_cgroup(spec: &ChildSpec) -> Result<(), Failure> {
    if let Some(cgroup) = &spec.cgroup {
        sys::proc::join_cgroup(cgroup).at(Stage::Cgroup, "join")?;
    }
    if spec.root.is_none() {
        return Ok(());
    }
    match unshare(CloneFlags::CLONE_NEWCGROUP) {
        // A kernel without cgroups has no namespaces of them.
        Err(_) if spec.cgroup.is_none() => Ok(()),
        unshared => unshared.at(Stage::Cgroup, "namespace"),
    }
}
