//! The volumes of the Pod as a whole: they are set up before anything else of it happens (K-012, K-390), and what cannot be
//! set up is tried again, without end.

use std::time::Duration;

use manifest_sync::plan::Plan;
use manifest_sync::status::EventType;

use super::Output;
use super::action::Action;
use super::backoff::Doubling;
use super::time::Time;

/// K-390.
const PAUSE: Doubling = Doubling::new(Duration::from_millis(500), Duration::from_secs(122));

#[derive(Debug)]
pub(super) struct Volumes {
    state: State,
    pause: Doubling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Secrets that they hold have not been released.
    Secrets,
    /// To be set up at this time.
    Due(Time),
    /// The shell has been asked.
    Asked,
    Ready,
}

impl Volumes {
    pub(super) fn new(plan: &Plan, now: Time) -> Self {
        let state = if !plan.secret_classes.is_empty() {
            State::Secrets
        } else if plan.volumes.is_empty() {
            State::Ready
        } else {
            State::Due(now)
        };
        Self { state, pause: PAUSE }
    }

    /// Whether containers can be started.
    pub(super) fn are_ready(&self) -> bool {
        self.state == State::Ready
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Due(at) => Some(at),
            State::Secrets | State::Asked | State::Ready => None,
        }
    }

    /// Every secret has been released.
    pub(super) fn secrets_released(&mut self, now: Time) {
        if self.state == State::Secrets {
            self.state = State::Due(now);
        }
    }

    /// What they are made of may have changed: worth a try at once.
    pub(super) fn objects_changed(&mut self, now: Time) {
        if let State::Due(at) = &mut self.state {
            *at = now;
        }
    }

    /// Asks for what is due.
    pub(super) fn advance(&mut self, out: &mut Output<'_>) {
        if self.deadline().is_some_and(|at| at <= out.now) {
            self.state = State::Asked;
            out.actions.push(Action::SetUpVolumes);
        }
    }

    /// The shell's answer.
    pub(super) fn set_up(&mut self, result: Result<(), String>, out: &mut Output<'_>) {
        if self.state != State::Asked {
            return;
        }
        match result {
            Ok(()) => self.state = State::Ready,
            Err(message) => {
                out.actions.push(Action::Emit {
                    container: None,
                    r#type: EventType::Warning,
                    reason: "FailedMount",
                    message,
                });
                self.state = State::Due(out.now + self.pause.next());
            }
        }
    }
}
