//! The worker of one probe: when it asks, and what the answers make of the published result (section 8.2 of the kubelet
//! semantics). It lives as long as the Pod does; instances of the container come and go.
//!
//! It asks on a ticker of its own that is not aligned with the container's start (K-234), one question at a time. The
//! published result changes when enough equal answers came in a row; the run of answers survives a restart of the
//! container (K-243), the result does not.

use std::time::Duration;

use manifest_sync::probe::ProbePlan;

use super::event::{ProbeKind, ProbeOutcome};
use super::time::Time;

/// K-244: a probe that could not be carried out is tried this often within a tick.
const ATTEMPTS: u32 = 3;

#[derive(Debug)]
pub(super) struct Worker {
    kind: ProbeKind,
    period: Duration,
    initial_delay: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    /// K-132: grace of a container that this probe kills.
    pub(super) grace_seconds: Option<u32>,
    /// A tick of the ticker; all others are whole periods before and after.
    anchor: Time,
    /// The next tick that counts; `None` while there is nothing to ask.
    next: Option<Time>,
    /// How often the question that is not answered yet was asked.
    asked: Option<u32>,
    /// `None` before a startup probe's verdict.
    published: Option<Answer>,
    last: Option<Answer>,
    run: u32,
    /// K-245: until there is another instance.
    on_hold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Success,
    Failure,
}

/// What is to be done about an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Nothing but an event.
    Nothing,
    /// Ask again at once.
    Retry,
    /// The published result has become this.
    Published(Answer),
}

impl Worker {
    pub(super) fn new(kind: ProbeKind, plan: &ProbePlan, now: Time) -> Self {
        let seconds = |count: u32| Duration::from_secs(count.into());
        Self {
            kind,
            period: seconds(plan.period_seconds.max(1)),
            initial_delay: seconds(plan.initial_delay_seconds),
            success_threshold: plan.success_threshold,
            failure_threshold: plan.failure_threshold,
            grace_seconds: plan.grace_seconds,
            anchor: now,
            next: None,
            asked: None,
            published: initial(kind),
            last: None,
            run: 0,
            on_hold: false,
        }
    }

    pub(super) fn kind(&self) -> ProbeKind {
        self.kind
    }

    pub(super) fn result(&self) -> Option<Answer> {
        self.published
    }

    /// K-233: another instance starts with nothing known of it.
    pub(super) fn new_instance(&mut self) {
        self.published = initial(self.kind);
        self.on_hold = false;
        self.asked = None;
        self.next = None;
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.next.filter(|_| self.asked.is_none())
    }

    /// Whether to ask now. `running_since`: start of an instance that may be asked; `None`: there is none.
    pub(super) fn advance(&mut self, running_since: Option<Time>, now: Time) -> bool {
        let Some(since) = running_since.filter(|_| !self.on_hold) else {
            self.next = None;
            return false;
        };
        if self.next.is_none() {
            if self.kind == ProbeKind::Readiness {
                // K-241: an unready container is asked as soon as it can be.
                self.anchor = now;
            }
            self.next = Some(self.tick_from((since + self.initial_delay).max(now)));
        }
        if self.asked.is_some() || self.next.is_none_or(|next| next > now) {
            return false;
        }
        self.next = Some(self.tick_from(now + Duration::from_millis(1)));
        self.asked = Some(1);
        true
    }

    /// The answer to the question that was asked; `None` if none was.
    pub(super) fn answered(&mut self, outcome: &ProbeOutcome) -> Option<Consequence> {
        let asked = self.asked.take()?;
        let answer = match outcome {
            ProbeOutcome::Success | ProbeOutcome::Warning(_) => Answer::Success,
            ProbeOutcome::Failure(_) => Answer::Failure,
            ProbeOutcome::Error(_) if asked < ATTEMPTS => {
                self.asked = Some(asked + 1);
                return Some(Consequence::Retry);
            }
            ProbeOutcome::Error(_) => return Some(Consequence::Nothing),
        };
        if self.last == Some(answer) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(answer);
            self.run = 1;
        }
        let threshold = match answer {
            Answer::Success => self.success_threshold,
            Answer::Failure => self.failure_threshold,
        };
        if self.run < threshold {
            return Some(Consequence::Nothing);
        }
        let verdict = match self.kind {
            ProbeKind::Startup => true,
            ProbeKind::Liveness => answer == Answer::Failure,
            ProbeKind::Readiness => false,
        };
        if verdict {
            self.run = 0;
            self.on_hold = true;
        }
        if self.published.replace(answer) == Some(answer) {
            return Some(Consequence::Nothing);
        }
        Some(Consequence::Published(answer))
    }

    /// The first tick that is not before `time`.
    fn tick_from(&self, time: Time) -> Time {
        let period = u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX);
        let past = (time.as_millis() - self.anchor.as_millis().min(time.as_millis())) % period;
        let wait = if past == 0 { 0 } else { period - past };
        time + Duration::from_millis(wait)
    }
}

/// K-233.
fn initial(kind: ProbeKind) -> Option<Answer> {
    match kind {
        ProbeKind::Startup => None,
        ProbeKind::Liveness => Some(Answer::Success),
        ProbeKind::Readiness => Some(Answer::Failure),
    }
}
