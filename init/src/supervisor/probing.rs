//! The probes of one container: whom they may ask, and what their answers do to it.

use manifest_sync::probe::Probes;
use manifest_sync::status::EventType::Warning;

use super::Output;
use super::action::Action;
use super::container::{Container, Role};
use super::event::{ProbeKind, ProbeOutcome};
use super::probe::{Answer, Consequence, Worker};
use super::state::State;
use super::time::Time;

/// The workers of these probes.
pub(super) fn workers(probes: &Probes, now: Time) -> Vec<Worker> {
    let all = [
        (ProbeKind::Startup, &probes.startup),
        (ProbeKind::Liveness, &probes.liveness),
        (ProbeKind::Readiness, &probes.readiness),
    ];
    let planned = all
        .into_iter()
        .filter_map(|(kind, plan)| Some((kind, plan.as_ref()?)));
    planned.map(|(kind, plan)| Worker::new(kind, plan, now)).collect()
}

impl Container {
    pub(super) fn probe(&self, kind: ProbeKind) -> Option<&Worker> {
        self.probes.iter().find(|worker| worker.kind() == kind)
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Time> {
        self.live()?;
        self.probes.iter().filter_map(Worker::deadline).min()
    }

    /// Asks what is due.
    pub(super) fn ask(&mut self, out: &mut Output<'_>) {
        if self.probes.is_empty() {
            return;
        }
        let (running, started) = (self.is_running(), self.is_started());
        let Some((pid, since, stopping)) = self
            .live()
            .map(|live| (live.pid, live.since, live.stop.is_some()))
        else {
            return;
        };
        for worker in &mut self.probes {
            // K-167, K-236: only readiness matters while a container is stopped.
            let applies = running
                && match worker.kind() {
                    ProbeKind::Startup => !started && !stopping,
                    ProbeKind::Liveness => started && !stopping,
                    ProbeKind::Readiness => started,
                };
            if worker.advance(applies.then_some(since), out.now) {
                out.actions.push(Action::Probe {
                    unit: self.unit,
                    pid,
                    kind: worker.kind(),
                });
            }
        }
    }

    /// An answer came: the result that it has published, if it has changed that.
    pub(super) fn probed(
        &mut self,
        kind: ProbeKind,
        outcome: &ProbeOutcome,
        out: &mut Output<'_>,
    ) -> Option<Answer> {
        let State::Live(live) = &self.state else {
            return None;
        };
        let (pid, stopping) = (live.pid, live.stop.is_some());
        let worker = self.probes.iter_mut().find(|worker| worker.kind() == kind)?;
        let consequence = worker.answered(outcome)?;
        let published = match consequence {
            Consequence::Published(answer) => Some(answer),
            Consequence::Nothing | Consequence::Retry => None,
        };
        if stopping && kind != ProbeKind::Readiness {
            return published;
        }
        if consequence == Consequence::Retry {
            out.actions.push(Action::Probe {
                unit: self.unit,
                pid,
                kind,
            });
            return None;
        }
        // K-246: each failure is told, not only the one that counts.
        let told = match outcome {
            ProbeOutcome::Success => None,
            ProbeOutcome::Warning(output) => {
                Some(("ProbeWarning", format!("{kind} probe warning: {output}")))
            }
            ProbeOutcome::Failure(output) => Some(("Unhealthy", format!("{kind} probe failed: {output}"))),
            ProbeOutcome::Error(error) => Some((
                "Unhealthy",
                format!("{kind} probe errored and resulted in unknown state: {error}"),
            )),
        };
        if let Some((reason, message)) = told {
            out.emit(self.unit, Warning, reason, message);
        }
        published
    }

    /// K-132, K-148.
    pub(super) fn kill_for_probe(&mut self, kind: ProbeKind, pod_grace_seconds: u32, out: &mut Output<'_>) {
        let what = match kind {
            ProbeKind::Startup => "failed startup probe",
            ProbeKind::Liveness | ProbeKind::Readiness => "failed liveness probe",
        };
        let again = self.is_replaced();
        let message = match self.role {
            Role::Init | Role::Sidecar => format!("Init container {} {what}", self.name),
            Role::Regular | Role::Ephemeral if again => {
                format!("Container {} {what}, will be restarted", self.name)
            }
            Role::Regular | Role::Ephemeral => format!("Container {} {what}", self.name),
        };
        let own_grace = self.probe(kind).and_then(|worker| worker.grace_seconds);
        self.kill(own_grace.unwrap_or(pod_grace_seconds), message, out);
        if let State::Live(live) = &mut self.state {
            live.replaced = again;
        }
    }
}
