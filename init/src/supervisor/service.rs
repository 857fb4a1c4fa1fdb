//! A base service: part of the enclave, not of the Pod. It is always started again, and soon: without `net` the Pod
//! is cut off.

use std::time::Duration;

use super::Output;
use super::action::Action;
use super::backoff::Doubling;
use super::event::{Pid, Readiness};
use super::time::Time;
use super::unit::UnitId;

/// First delay after the free restart, and the longest.
const INITIAL: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(10);
/// A service that ran this long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);
/// How long a service may take to end at SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Service {
    unit: UnitId,
    name: String,
    readiness: Readiness,
    state: State,
    backoff: Doubling,
    failed_before: bool,
    stopping: bool,
}

#[derive(Debug)]
enum State {
    Waiting { until: Time },
    Spawning,
    Running { pid: Pid, since: Time, ready: bool },
    Stopping { pid: Pid, kill_at: Option<Time> },
    Done,
}

impl Service {
    pub(super) fn new(index: usize, name: String, readiness: Readiness, now: Time) -> Self {
        Self {
            unit: UnitId::Service(index),
            name,
            readiness,
            state: State::Waiting { until: now },
            backoff: Doubling::new(INITIAL, CAP),
            failed_before: false,
            stopping: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running { pid, .. } | State::Stopping { pid, .. } => Some(pid),
            State::Waiting { .. } | State::Spawning | State::Done => None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Running { ready: true, .. })
    }

    /// Whether it is not to be started again.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopping
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Stopping { kill_at, .. } => kill_at,
            State::Spawning | State::Running { .. } | State::Done => None,
        }
    }

    pub(super) fn spawned(&mut self, pid: Pid, now: Time) {
        self.state = State::Running {
            pid,
            since: now,
            ready: false,
        };
    }

    /// It executes: ready, unless it says so itself.
    pub(super) fn started(&mut self, now: Time) {
        if let State::Running { pid, ready, .. } = self.state {
            self.state = State::Running {
                pid,
                since: now,
                ready: ready || self.readiness == Readiness::Exec,
            };
        }
    }

    pub(super) fn ready(&mut self) {
        if let State::Running { ready, .. } = &mut self.state {
            *ready = true;
        }
    }

    /// Its process has ended, or could not be made.
    pub(super) fn ended(&mut self, now: Time) {
        if self.stopping {
            self.state = State::Done;
            return;
        }
        if let State::Running { since, .. } = self.state
            && now - since >= RECOVERED
        {
            self.backoff.reset();
            self.failed_before = false;
        }
        // The first failure may be an accident: it costs no delay.
        let delay = if self.failed_before {
            self.backoff.next()
        } else {
            Duration::ZERO
        };
        self.failed_before = true;
        self.state = State::Waiting { until: now + delay };
    }

    /// The Pod has ended.
    pub(super) fn stop(&mut self, out: &mut Output<'_>) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        match self.state {
            State::Running { pid, .. } => {
                out.actions.push(Action::Terminate(pid));
                self.state = State::Stopping {
                    pid,
                    kill_at: Some(out.now + GRACE),
                };
            }
            State::Waiting { .. } => self.state = State::Done,
            State::Spawning | State::Stopping { .. } | State::Done => {}
        }
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, out: &mut Output<'_>) {
        match self.state {
            State::Waiting { until } if until <= out.now => {
                self.state = State::Spawning;
                out.actions.push(Action::Spawn {
                    unit: self.unit,
                    attempt: 0,
                });
            }
            State::Running { pid, .. } if self.stopping => {
                out.actions.push(Action::Terminate(pid));
                self.state = State::Stopping {
                    pid,
                    kill_at: Some(out.now + GRACE),
                };
            }
            State::Stopping {
                pid,
                kill_at: Some(kill_at),
            } if kill_at <= out.now => {
                out.actions.push(Action::Kill(pid));
                self.state = State::Stopping { pid, kill_at: None };
            }
            _ => {}
        }
    }
}
