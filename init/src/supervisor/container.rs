//! One container: its state, and what each event makes of it. What users see of it is projected in `status`.

use std::time::Duration;

use manifest_sync::plan::Plan;
use manifest_sync::status::EventType::{Normal, Warning};

use super::Output;
use super::action::Action;
use super::backoff::{CrashLoop, Doubling};
use super::event::{ExitStatus, Pid, SpawnError};
use super::restart::Policies;
use super::time::Time;
use super::unit::UnitId;

/// K-142: what is left of a grace period is never less.
const MINIMUM_GRACE_SECONDS: u32 = 2;
/// K-006, K-025: flat retry of a container that could not be created.
const CONFIG_RETRY: Duration = Duration::from_secs(10);
/// K-200.
const PULL: Doubling = Doubling::new(Duration::from_secs(10), Duration::from_secs(300));
/// K-390.
const MOUNT: Doubling = Doubling::new(Duration::from_millis(500), Duration::from_secs(122));
/// K-026: exit code of a process that never became the container's.
const START_ERROR: i32 = 128;
/// K-172.
const UNKNOWN: i32 = 137;

#[derive(Debug)]
pub(super) struct Container {
    unit: UnitId,
    pub(super) name: String,
    pub(super) image: String,
    /// `NAME_NS(UID)` with the Pod's name, as the kubelet's messages have it.
    pod: String,
    policies: Policies,
    pub(super) state: State,
    /// Instances that were created.
    pub(super) instances: u32,
    /// The newest that ended, and the one before.
    pub(super) newest: Option<Termination>,
    pub(super) previous: Option<Termination>,
    crash_loop: CrashLoop,
    pull: Doubling,
    mount: Doubling,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// The base services are not ready.
    Pending,
    Pulling,
    /// Waiting for another try: to pull, to create, or to start again.
    Waiting {
        until: Time,
        next: Next,
        reason: Reason,
    },
    Spawning,
    /// The process exists and has not executed the program.
    Starting {
        pid: Pid,
        since: Time,
        error: Option<String>,
        kill_at: Option<Time>,
    },
    Running {
        pid: Pid,
        since: Time,
    },
    Stopping {
        pid: Pid,
        since: Time,
        kill_at: Option<Time>,
    },
    /// For good.
    Terminated,
}

/// What is tried when the wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Pull,
    Spawn,
}

/// The waiting reason that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// `ContainerCreating`.
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

impl Container {
    pub(super) fn new(plan: &Plan, index: usize, uid: &str) -> Self {
        let container = &plan.containers[index];
        Self {
            unit: UnitId::Container(index),
            name: container.name.clone(),
            image: container.image.clone(),
            pod: format!("{}_{}({uid})", plan.name, plan.namespace),
            policies: Policies {
                pod: plan.restart_policy,
                container: container.restart_policy,
                rules: container.restart_rules.clone(),
            },
            state: State::Pending,
            instances: 0,
            newest: None,
            previous: None,
            crash_loop: CrashLoop::default(),
            pull: PULL,
            mount: MOUNT,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Starting { pid, .. } | State::Running { pid, .. } | State::Stopping { pid, .. } => {
                Some(pid)
            }
            State::Pending | State::Pulling | State::Waiting { .. } | State::Spawning | State::Terminated => {
                None
            }
        }
    }

    /// Whether it has ended for good.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Terminated
    }

    /// Whether an end with this code would be followed by a start.
    pub(super) fn restarts(&self, exit_code: i32) -> bool {
        self.policies.restarts(exit_code)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Waiting { until, .. } => Some(until),
            State::Starting { kill_at, .. } | State::Stopping { kill_at, .. } => kill_at,
            _ => None,
        }
    }

    pub(super) fn image_ready(&mut self, out: &mut Output<'_>) {
        if self.state != State::Pulling {
            return;
        }
        self.pull.reset();
        out.emit(
            self.unit,
            Normal,
            "Pulled",
            format!("Successfully pulled image \"{}\"", self.image),
        );
        self.spawn(out);
    }

    /// K-200, K-513, K-514.
    pub(super) fn image_failed(&mut self, error: &str, out: &mut Output<'_>) {
        if self.state != State::Pulling {
            return;
        }
        let image = &self.image;
        let (reason, message) = if self.pull.is_fresh() {
            ("ErrImagePull", error.to_owned())
        } else {
            (
                "ImagePullBackOff",
                format!("Back-off pulling image \"{image}\": {error}"),
            )
        };
        out.emit(
            self.unit,
            Warning,
            "Failed",
            format!("Failed to pull image \"{image}\": {error}"),
        );
        if reason == "ImagePullBackOff" {
            out.emit(
                self.unit,
                Normal,
                "BackOff",
                format!("Back-off pulling image \"{image}\""),
            );
        }
        out.emit(self.unit, Warning, "Failed", format!("Error: {reason}"));
        let until = out.now + self.pull.next();
        self.state = State::Waiting {
            until,
            next: Next::Pull,
            reason: Reason::Because(reason, message),
        };
    }

    pub(super) fn spawned(&mut self, pid: Pid, out: &mut Output<'_>) {
        self.mount.reset();
        self.instances += 1;
        out.emit(self.unit, Normal, "Created", "Container created".to_owned());
        if self.state == State::Terminated {
            // Stopped while it was being made.
            out.actions.push(Action::Kill(pid));
            self.state = State::Stopping {
                pid,
                since: out.now,
                kill_at: None,
            };
            return;
        }
        self.state = State::Starting {
            pid,
            since: out.now,
            error: None,
            kill_at: None,
        };
    }

    /// No process was made: not an exit (K-025).
    pub(super) fn spawn_failed(&mut self, reason: SpawnError, error: &str, out: &mut Output<'_>) {
        if self.state != State::Spawning {
            return;
        }
        let (delay, reason) = match reason {
            SpawnError::Volume => {
                out.actions.push(Action::Emit {
                    container: None,
                    r#type: Warning,
                    reason: "FailedMount",
                    message: error.to_owned(),
                });
                (self.mount.next(), Reason::Creating)
            }
            SpawnError::Config | SpawnError::Create => {
                out.emit(self.unit, Warning, "Failed", format!("Error: {error}"));
                let reason = if reason == SpawnError::Config {
                    "CreateContainerConfigError"
                } else {
                    "CreateContainerError"
                };
                (CONFIG_RETRY, Reason::Because(reason, error.to_owned()))
            }
        };
        self.state = State::Waiting {
            until: out.now + delay,
            next: Next::Spawn,
            reason,
        };
    }

    pub(super) fn started(&mut self, out: &mut Output<'_>) {
        let State::Starting { pid, kill_at, .. } = self.state else {
            return;
        };
        out.emit(self.unit, Normal, "Started", "Container started".to_owned());
        self.state = match kill_at {
            None => State::Running { pid, since: out.now },
            kill_at => State::Stopping {
                pid,
                since: out.now,
                kill_at,
            },
        };
    }

    /// Its exit follows (K-026).
    pub(super) fn start_failed(&mut self, message: String) {
        if let State::Starting { error, .. } = &mut self.state {
            *error = Some(message);
        }
    }

    /// The instance ended. Returns its code if that is a failure for good.
    pub(super) fn exited(&mut self, end: End, stopping: bool, out: &mut Output<'_>) -> Option<i32> {
        let termination = self.termination(end, out.now);
        if let State::Starting {
            error: Some(error), ..
        } = &self.state
        {
            out.emit(self.unit, Warning, "Failed", format!("Error: {error}"));
        }
        let exit_code = termination.exit_code;
        self.previous = self.newest.replace(termination);
        if stopping || !self.policies.restarts(exit_code) {
            self.state = State::Terminated;
            return (exit_code != 0).then_some(exit_code);
        }
        self.restart(out);
        None
    }

    fn termination(&self, end: End, now: Time) -> Termination {
        let attempt = self.instances.saturating_sub(1);
        let (exit_code, signal, reason) = match end.status {
            ExitStatus::Code(0) => (0, None, "Completed"),
            ExitStatus::Code(code) => (code, None, "Error"),
            ExitStatus::Signal(signal) => (128 + signal, Some(signal), "Error"),
        };
        // K-305: whatever the code.
        let reason = if end.oom_killed { "OOMKilled" } else { reason };
        let ended = |started| Termination {
            exit_code,
            signal,
            reason,
            message: end.message,
            started,
            finished: now,
            attempt,
        };
        match &self.state {
            State::Starting {
                error: Some(error), ..
            } => Termination {
                exit_code: START_ERROR,
                signal: None,
                reason: "StartError",
                message: Some(error.clone()),
                started: None,
                finished: now,
                attempt,
            },
            State::Starting { since, .. } | State::Running { since, .. } | State::Stopping { since, .. } => {
                ended(Some(*since))
            }
            _ => ended(None),
        }
    }

    /// K-186 to K-196.
    fn restart(&mut self, out: &mut Output<'_>) {
        match self.crash_loop.wait(out.now) {
            Some((until, delay)) if until > out.now => {
                let what = format!("restarting failed container {} in pod {}", self.name, self.pod);
                out.emit(self.unit, Warning, "BackOff", format!("Back-off {what}"));
                let message = format!(
                    "back-off {} restarting failed container={} pod={}",
                    go_duration(delay),
                    self.name,
                    self.pod
                );
                let reason = Reason::Because("CrashLoopBackOff", message);
                self.state = State::Waiting {
                    until,
                    next: Next::Spawn,
                    reason,
                };
            }
            _ => self.spawn_again(out),
        }
    }

    fn spawn_again(&mut self, out: &mut Output<'_>) {
        if let Some(newest) = &self.newest {
            self.crash_loop.advance(newest.finished, out.now);
        }
        // K-512.
        let image = &self.image;
        let message =
            format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
        out.emit(self.unit, Normal, "Pulled", message);
        self.spawn(out);
    }

    fn spawn(&mut self, out: &mut Output<'_>) {
        self.state = State::Spawning;
        out.actions.push(Action::Spawn {
            unit: self.unit,
            attempt: self.instances,
        });
    }

    /// K-140 to K-142: signalled, then killed. What does not run ends where it is.
    pub(super) fn stop(&mut self, grace_seconds: u32, out: &mut Output<'_>) {
        let deadline = out.now + Duration::from_secs(u64::from(grace_seconds.max(MINIMUM_GRACE_SECONDS)));
        match &mut self.state {
            State::Running { pid, since } => {
                let (pid, since) = (*pid, *since);
                self.state = State::Stopping {
                    pid,
                    since,
                    kill_at: Some(deadline),
                };
                self.terminate(pid, out);
            }
            State::Starting {
                error: None,
                pid,
                kill_at: kill_at @ None,
                ..
            } => {
                *kill_at = Some(deadline);
                let pid = *pid;
                self.terminate(pid, out);
            }
            State::Starting { kill_at, .. } | State::Stopping { kill_at, .. } => {
                *kill_at = kill_at.map(|earlier| earlier.min(deadline));
            }
            State::Pending | State::Pulling | State::Waiting { .. } | State::Spawning => {
                self.state = State::Terminated;
            }
            State::Terminated => {}
        }
    }

    fn terminate(&self, pid: Pid, out: &mut Output<'_>) {
        out.emit(
            self.unit,
            Normal,
            "Killing",
            format!("Stopping container {}", self.name),
        );
        out.actions.push(Action::Terminate(pid));
    }

    /// K-172: a container that never ran is recorded as lost.
    pub(super) fn finalise(&mut self, now: Time) {
        if self.newest.is_none() {
            self.newest = Some(Termination {
                exit_code: UNKNOWN,
                signal: None,
                reason: "ContainerStatusUnknown",
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                started: None,
                finished: now,
                attempt: 0,
            });
        }
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, services_ready: bool, out: &mut Output<'_>) {
        match &self.state {
            State::Pending if services_ready => self.start_pull(out),
            State::Waiting { until, next, reason } if *until <= out.now => {
                let crashed = matches!(reason, Reason::Because("CrashLoopBackOff", _));
                match next {
                    Next::Pull => self.start_pull(out),
                    Next::Spawn if crashed => self.spawn_again(out),
                    Next::Spawn => self.spawn(out),
                }
            }
            State::Starting {
                pid,
                since,
                kill_at: Some(kill_at),
                ..
            } if *kill_at <= out.now => {
                out.actions.push(Action::Kill(*pid));
                let error = Some("killed before its program was executed".to_owned());
                self.state = State::Starting {
                    pid: *pid,
                    since: *since,
                    error,
                    kill_at: None,
                };
            }
            State::Stopping {
                pid,
                since,
                kill_at: Some(kill_at),
            } if *kill_at <= out.now => {
                out.actions.push(Action::Kill(*pid));
                self.state = State::Stopping {
                    pid: *pid,
                    since: *since,
                    kill_at: None,
                };
            }
            _ => {}
        }
    }

    fn start_pull(&mut self, out: &mut Output<'_>) {
        self.state = State::Pulling;
        out.emit(
            self.unit,
            Normal,
            "Pulling",
            format!("Pulling image \"{}\"", self.image),
        );
        out.actions.push(Action::PullImage(self.unit));
    }
}

/// Go's way to write a duration of whole seconds: `10s`, `1m20s`, `5m0s` (K-194).
fn go_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}
