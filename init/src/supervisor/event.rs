//! What the supervisor hears. Facts about processes and answers to its own actions; wishes of the host.

use std::fmt;
use std::time::Duration;

use manifest_sync::plan::Plan;
use manifest_sync::protocol::GateCondition;

use super::unit::UnitId;

/// Process id, as the kernel gives it.
pub type Pid = i32;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Boot is complete; start these base services, in this order of declaration.
    Boot {
        /// Their names and whether they report readiness.
        services: Vec<(String, Readiness)>,
    },
    /// A verified plan. At most once; the shell has made the Pod's volumes directory and so on.
    Accept(Box<Plan>),
    /// A verified plan for the Pod that runs, of which only what may change differs. Ignored when the Pod is ending.
    Update {
        /// What is to run now.
        plan: Box<Plan>,
        /// Why its containers have the resources that they had, and not those that were asked for.
        infeasible: Option<String>,
    },
    /// Answer to `Resize`.
    Resized(Resized),
    /// Every secret that the Pod's volumes hold has been released: volumes can be set up (K-390).
    SecretsReady,
    /// Answer to `SetUpVolumes`: all are there, or why one is not, in the kubelet's words.
    VolumesSetUp(Result<(), String>),
    /// The files of the Pod take more than they may (K-383, K-451): why it has to go, in the kubelet's words.
    Evicted {
        /// `status.message`.
        message: String,
    },
    /// Answer to `PullImage`: the image is unpacked.
    ImageReady {
        /// Whose image.
        unit: UnitId,
        /// How long its fetching and unpacking took, without waiting for that of other images.
        took: Duration,
        /// Size of the image in bytes, as it travels.
        bytes: u64,
    },
    /// Answer to `PullImage`: it cannot be had (yet).
    ImageFailed {
        /// Whose image.
        unit: UnitId,
        /// In words, for the waiting message.
        message: String,
    },
    /// Answer to `Spawn`: the process exists; whether it reaches `exec` is told by `Started` or `StartFailed`.
    Spawned {
        /// Which unit.
        unit: UnitId,
        /// Its process.
        pid: Pid,
    },
    /// Answer to `Spawn`: environment, user or volume could not be resolved; no process was made (K-302
    /// `CreateContainerConfigError` or `CreateContainerError`).
    SpawnFailed {
        /// Which unit.
        unit: UnitId,
        /// Which waiting reason.
        reason: SpawnError,
        /// In words.
        message: String,
    },
    /// The child executed the container's program.
    Started {
        /// Its process.
        pid: Pid,
    },
    /// The child could not: it will exit; `Exited` follows and is a `StartError` with code 128 (K-026).
    StartFailed {
        /// Its process.
        pid: Pid,
        /// Stage and errno in words.
        message: String,
    },
    /// A base service said that it is ready.
    ServiceReady {
        /// Its process.
        pid: Pid,
    },
    /// A process of ours ended and was reaped.
    Exited {
        /// Its process.
        pid: Pid,
        /// How.
        status: ExitStatus,
        /// Whether the kernel has killed a process of its cgroup for want of memory (K-305).
        oom_killed: bool,
        /// Content of the termination log or the log tail (K-332, K-333), already cut.
        message: Option<String>,
    },
    /// Answer to `Probe`.
    Probed {
        /// Process of the instance that was asked.
        pid: Pid,
        /// Which probe.
        kind: ProbeKind,
        /// What came of it.
        outcome: ProbeOutcome,
    },
    /// Answer to `Hook`.
    HookEnded {
        /// Process of the instance whose hook it was.
        pid: Pid,
        /// Which hook.
        kind: HookKind,
        /// Why it failed, in the kubelet's words.
        result: Result<(), String>,
    },
    /// Somebody outside has decided about a readiness gate; conditions that the Pod has no gate for are ignored.
    SetCondition(GateCondition),
    /// The host (or SIGTERM) asks to stop the Pod; may be repeated with a shorter grace.
    Stop {
        /// Overrides the Pod's grace period, in seconds.
        grace_seconds: Option<u32>,
    },
    /// Time has passed.
    Tick,
}

/// One of the hooks of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookKind {
    /// Beside the program, right after its start.
    PostStart,
    /// Before the stop signal.
    PreStop,
}

/// One of the probes of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether it has started.
    Startup,
    /// Whether it has to be restarted.
    Liveness,
    /// Whether it serves.
    Readiness,
}

impl fmt::Display for ProbeKind {
    /// As the kubelet's events write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        })
    }
}

/// What came of a probe; texts are for events, already cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// As wanted.
    Success,
    /// As wanted, but somebody should look (K-260).
    Warning(String),
    /// Not as wanted, or not in time.
    Failure(String),
    /// It could not be carried out (K-244).
    Error(String),
}

/// What has come of a resize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resized {
    /// All files are written.
    Done,
    /// Not now.
    Failed {
        /// Why, in the kubelet's words.
        message: String,
    },
}

/// Whether a base service reports readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Ready when executing.
    Exec,
    /// Ready when it writes to its notify descriptor.
    Notify,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// `exit(code)`.
    Code(i32),
    /// Killed by a signal; the exit code is 128 + signal.
    Signal(i32),
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Why a container could not be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnError {
    /// `CreateContainerConfigError`.
    Config,
    /// `CreateContainerError`.
    Create,
}
