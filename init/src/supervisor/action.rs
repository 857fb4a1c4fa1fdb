//! What the supervisor wants done. Each action names a unit or a pid that the shell has told it of.

use manifest_sync::status::EventType;

use super::event::{HookKind, Pid, ProbeKind};
use super::unit::UnitId;

/// One effect for the shell to perform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the image of this container available; answered by `ImageReady` or `ImageFailed`.
    PullImage(UnitId),
    /// Make the Pod's volumes; answered by `VolumesSetUp`, before any other event.
    SetUpVolumes,
    /// Start the process; answered by `Spawned` or `SpawnFailed`, before any other event.
    Spawn {
        /// Which unit.
        unit: UnitId,
        /// 0 for the first instance (becomes `restartCount`).
        attempt: u32,
    },
    /// Send the unit's stop signal (the image's STOPSIGNAL or SIGTERM) to its process.
    Terminate(Pid),
    /// Send SIGKILL.
    Kill(Pid),
    /// Ask a container; answered by `Probed`, unless its process has ended by then.
    Probe {
        /// Whom.
        unit: UnitId,
        /// Its process.
        pid: Pid,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Run a hook; answered by `HookEnded`, unless the container's process has ended by then.
    Hook {
        /// Whose.
        unit: UnitId,
        /// Its process.
        pid: Pid,
        /// Which hook.
        kind: HookKind,
    },
    /// Give the Pod and its containers the resources of the plan; answered by `Resized`, before any other event.
    Resize,
    /// Record an event for the host.
    Emit {
        /// The container it is about; `None`: the Pod.
        container: Option<UnitId>,
        /// Normal or Warning.
        r#type: EventType,
        /// CamelCase reason.
        reason: &'static str,
        /// In words.
        message: String,
    },
    /// The published status has changed: read it with `Supervisor::status`.
    StatusChanged,
    /// Everything has ended: report and end the enclave.
    Finish {
        /// Exit code for the launcher.
        exit_code: u8,
    },
}
