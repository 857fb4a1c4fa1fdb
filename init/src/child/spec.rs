//! What the `child` applet is told: a resolved description of one process, as JSON on an inherited descriptor.
//! Written by PID 1, read once by `child`; nothing in it comes from the host unverified.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::seccomp::Profile;

/// One process to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildSpec {
    /// `None`: stay in PID 1's root (base services), or that of [`Self::join`].
    pub(crate) root: Option<RootSpec>,
    /// Whose namespaces are entered.
    pub(crate) join: Option<Join>,
    /// Volume and file mounts, applied in this order (by path depth) inside the root.
    pub(crate) mounts: Vec<BindSpec>,
    /// Program and arguments; the program is searched in PATH of `env` when it has no slash.
    pub(crate) argv: Vec<String>,
    /// The whole environment; `HOME` is added from the container's passwd file when it is absent.
    pub(crate) env: Vec<(String, String)>,
    /// Working directory; created when missing (K-344).
    pub(crate) cwd: String,
    /// User and groups.
    pub(crate) user: UserSpec,
    /// Capabilities for bounding, effective and permitted, by name with `CAP_` (K-416).
    pub(crate) capabilities: Vec<String>,
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    pub(crate) no_new_privileges: bool,
    /// Which system calls there are; `None`: all.
    pub(crate) seccomp: Option<Profile>,
    /// File mode creation mask.
    pub(crate) umask: u32,
    /// Resource limits: name as in `getrlimit(2)` (`RLIMIT_NOFILE`), soft, hard.
    pub(crate) rlimits: Vec<(String, u64, u64)>,
    /// The cgroup to join, in PID 1's root.
    pub(crate) cgroup: Option<PathBuf>,
    /// `oom_score_adj`, when it is to be changed.
    pub(crate) oom_score_adj: Option<i32>,
    /// Descriptors that stay open, as (number at entry, number for the program). 0, 1, 2 always stay.
    pub(crate) keep_fds: Vec<(i32, i32)>,
}

impl ChildSpec {
    /// Another program beside this one, in the container whose process is behind the descriptor `join`.
    pub(crate) fn beside(&self, argv: Vec<String>, join: i32, leftovers: Leftovers) -> Self {
        let mut other = self.clone();
        other.argv.iter_mut().for_each(attest::wipe);
        other.argv = argv;
        other.root = None;
        other.join = Some(Join::Container {
            process: join,
            leftovers,
        });
        other.mounts.clear();
        other
    }
}

impl Drop for ChildSpec {
    /// Variables and arguments may be secrets.
    fn drop(&mut self) {
        self.env.iter_mut().for_each(|(_, value)| attest::wipe(value));
        self.argv.iter_mut().for_each(attest::wipe);
    }
}

/// Descriptors at entry of what is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Join {
    /// All namespaces of a container.
    Container {
        /// A process of it (pidfd).
        process: i32,
        /// What becomes of processes that the program leaves behind.
        leftovers: Leftovers,
    },
    /// The PID namespace of the Pod (K-480). Everything else is the process's own.
    Pod {
        /// Its first process (pidfd).
        process: i32,
        /// Where the number goes that PID 1 has to know: the process that executes is another than the one it started.
        number: i32,
    },
}

/// What becomes of processes that a command leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Leftovers {
    /// They belong to the container and end with it, as on a node.
    Stay,
    /// They end with the command.
    End,
}

/// The container's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootSpec {
    /// Layer directories, lowest first; each an absolute path of PID 1's root.
    pub(crate) lower: Vec<String>,
    /// Directory for this instance: `upper`, `work` and `merged` are made beneath it.
    pub(crate) scratch: String,
    /// Files that it may have.
    pub(crate) scratch_inodes: u64,
    /// Whether the root is mounted read-only in the end (K-419).
    pub(crate) read_only: bool,
    /// Overlay extended attributes are in the `user.` name space (`userxattr`): we are in a user namespace.
    pub(crate) user_xattr: bool,
    /// Directory mounted at /dev/shm, shared by the Pod's containers (K-403).
    pub(crate) shm: String,
    /// /proc of the Pod's PID namespace; `None`: it is made for that of the process.
    pub(crate) proc: Option<String>,
    /// Nothing is masked and nothing read-only (K-418).
    pub(crate) privileged: bool,
}

/// One bind mount: a file or directory of PID 1's root, placed at a path of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BindSpec {
    /// Absolute path in PID 1's root.
    pub(crate) source: String,
    /// Path beneath `source`, resolved without leaving it; PID 1 has seen to it that something is there (K-399).
    pub(crate) sub_path: Option<String>,
    /// Absolute path in the container, resolved inside its root; made when missing.
    pub(crate) target: String,
    /// Who may write.
    pub(crate) access: Access,
    /// Which mounts are seen on the other side.
    pub(crate) propagation: Propagation,
}

/// Who may write through a mount (K-397).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Whom the files let.
    ReadWrite,
    /// Nobody.
    ReadOnly,
    /// Nobody, and nobody through the mounts beneath it.
    RecursiveReadOnly,
}

/// mount_namespaces(7), K-398.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Propagation {
    /// None at all.
    Private,
    /// Those made outside are seen inside.
    Slave,
    /// In both directions.
    Shared,
}

/// Identity of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct UserSpec {
    /// `runAsUser`.
    pub(crate) run_as_user: Option<u32>,
    /// `runAsGroup`.
    pub(crate) run_as_group: Option<u32>,
    /// The image's USER: `uid`, `name`, `uid:gid`, `name:group`; resolved in the container's own files (K-411).
    pub(crate) image_user: String,
    /// fsGroup and supplementalGroups (K-412).
    pub(crate) supplemental_groups: Vec<u32>,
    /// Whether groups of the user in /etc/group do not count (`supplementalGroupsPolicy: Strict`).
    pub(crate) strict_groups: bool,
}
