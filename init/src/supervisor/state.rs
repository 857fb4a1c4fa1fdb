//! What a container can be doing, and how an instance of it can have ended.

use std::time::Duration;

use super::event::{ExitStatus, Pid};
use super::stopping::Stopping;
use super::time::Time;

/// K-026: exit code of a process that never became the container's.
const START_ERROR: i32 = 128;
/// K-172.
const UNKNOWN: i32 = 137;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It is not its turn yet.
    Pending,
    Pulling,
    /// Waiting for another try: to pull, to create, or to start again.
    Waiting {
        until: Time,
        next: Next,
        reason: Reason,
    },
    Spawning,
    /// A process exists.
    Live(Live),
    /// For good.
    Terminated,
}

/// One instance with a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) pid: Pid,
    /// When the program was executed; until then, when the process was made.
    pub(super) since: Time,
    pub(super) program: Program,
    pub(super) stop: Option<Stopping>,
    /// It is stopped so that another takes its place (K-029).
    pub(super) replaced: bool,
}

/// Whether the process is the container's program yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    Starting,
    /// It is, and its postStart hook runs (K-210).
    Hooked,
    /// The hook has failed, so that the container is stopped; why, in words.
    HookFailed(String),
    /// It never will be; the process is about to end.
    Failed(String),
    Running,
}

/// What is tried when the wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Pull,
    /// To pull at this time; the failure has been shown for long enough before.
    HoldPull(Time),
    Spawn,
    /// Start again after an exit.
    Again,
    /// The same, and the back-off has been advanced already.
    AgainAtOnce,
    /// The same, in place of an instance that was killed for it (K-029): whatever else goes on in the Pod.
    Replacement,
}

/// The waiting reason that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// `ContainerCreating` or `PodInitializing`.
    Creating,
    /// A reason of K-302 with its message.
    Because(&'static str, String),
}

/// What is known of the end of an instance's process.
pub(super) struct End {
    pub(super) status: ExitStatus,
    pub(super) oom_killed: bool,
    pub(super) message: Option<String>,
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Termination {
    pub(super) exit_code: i32,
    pub(super) signal: Option<i32>,
    pub(super) reason: &'static str,
    pub(super) message: Option<String>,
    pub(super) started: Option<Time>,
    pub(super) finished: Time,
    pub(super) attempt: u32,
}

impl Termination {
    /// The end of an instance that was in `state`.
    pub(super) fn of(state: &State, end: End, attempt: u32, now: Time) -> Self {
        let started = match state {
            State::Live(Live {
                program: Program::Failed(error),
                ..
            }) => {
                return Self {
                    exit_code: START_ERROR,
                    signal: None,
                    reason: "StartError",
                    message: Some(error.clone()),
                    started: None,
                    finished: now,
                    attempt,
                };
            }
            State::Live(live) => Some(live.since),
            _ => None,
        };
        let (exit_code, signal, reason) = match end.status {
            ExitStatus::Code(0) => (0, None, "Completed"),
            ExitStatus::Code(code) => (code, None, "Error"),
            ExitStatus::Signal(signal) => (128 + signal, Some(signal), "Error"),
        };
        Self {
            exit_code,
            signal,
            // K-305: whatever the code.
            reason: if end.oom_killed { "OOMKilled" } else { reason },
            message: end.message,
            started,
            finished: now,
            attempt,
        }
    }

    /// K-172: of a container that never ran when its Pod had ended.
    pub(super) fn unknown(now: Time) -> Self {
        Self {
            exit_code: UNKNOWN,
            signal: None,
            reason: "ContainerStatusUnknown",
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            started: None,
            finished: now,
            attempt: 0,
        }
    }

    /// K-071: an init container that was short of memory has failed, whatever its code.
    pub(super) fn is_success(&self) -> bool {
        self.exit_code == 0 && self.reason != "OOMKilled"
    }
}

/// Go's way to write a duration, cut to milliseconds: `0s`, `250ms`, `1.5s`, `10s`, `1m20s`, `5m0s` (K-194, K-511).
pub(super) fn go_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if seconds == 0 && millis > 0 {
        return format!("{millis}ms");
    }
    let fraction = format!("{millis:03}");
    let fraction = match fraction.trim_end_matches('0') {
        "" => String::new(),
        fraction => format!(".{fraction}"),
    };
    match seconds {
        0..60 => format!("{seconds}{fraction}s"),
        60..3600 => format!("{}m{}{fraction}s", seconds / 60, seconds % 60),
        _ => format!(
            "{}h{}m{}{fraction}s",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (5, "5ms"),
            (250, "250ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (1_234, "1.234s"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (61_050, "1m1.05s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
