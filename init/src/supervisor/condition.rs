//! Conditions of the Pod, in the words of the kubelet's `status/generate.go` (section 9 of the kubelet semantics).

use std::collections::BTreeMap;

use manifest_sync::protocol::GateCondition;
use manifest_sync::status::{Condition, ConditionStatus, Phase};

use super::container::{Container, Role};
use super::pod::Pod;
use super::resizing::Resize;
use super::time::Time;
use super::timestamp::Clock;

const SANDBOX: &str = "PodReadyToStartContainers";
const INITIALIZED: &str = "Initialized";

/// What the conditions were, and since when (K-271).
#[derive(Debug, Default)]
pub(super) struct Conditions {
    since: BTreeMap<String, (ConditionStatus, Time)>,
}

/// What is said of one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    status: ConditionStatus,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Finding {
    fn plain(holds: bool) -> Self {
        let status = if holds {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        };
        Self {
            status,
            reason: None,
            message: None,
        }
    }

    fn because(holds: bool, reason: &'static str, message: Option<String>) -> Self {
        Self {
            reason: Some(reason),
            message,
            ..Self::plain(holds)
        }
    }
}

impl Conditions {
    /// All of them, in the kubelet's order: those of others first (K-270).
    pub(super) fn list(
        &mut self,
        pod: &Pod,
        phase: Phase,
        services_ready: bool,
        now: Time,
        clock: Clock,
    ) -> Vec<Condition> {
        // K-277: once there, it stays until the Pod is over; a service that is started again does not take it away.
        let can_start = services_ready && pod.volumes.are_ready() && pod.plan.kernel_hostname.is_ok();
        let sandbox = (can_start || self.held(SANDBOX)) && !pod.has_ended();
        let containers_ready = containers_ready(phase, pod);
        let own = [
            (SANDBOX, Some(Finding::plain(sandbox))),
            (INITIALIZED, Some(self.initialized(phase, pod))),
            (
                "Ready",
                Some(ready(&containers_ready, &pod.plan.readiness_gates, &pod.gates)),
            ),
            ("ContainersReady", Some(containers_ready)),
            ("PodScheduled", Some(Finding::plain(true))),
            ("AllContainersRestarting", restarting(phase, pod)),
            ("PodResizePending", resize_pending(&pod.resize)),
            ("PodResizeInProgress", resize_in_progress(&pod.resize)),
        ];
        let mut conditions = Vec::with_capacity(own.len() + pod.gates.len());
        for gate in &pod.gates {
            let (status, reason, message) = (gate.status, gate.reason.clone(), gate.message.clone());
            conditions.push(self.condition(&gate.r#type, status, reason, message, now, clock));
        }
        for (kind, finding) in own {
            let Some(finding) = finding else { continue };
            let reason = finding.reason.map(ToOwned::to_owned);
            conditions.push(self.condition(kind, finding.status, reason, finding.message, now, clock));
        }
        conditions
    }

    fn held(&self, kind: &str) -> bool {
        let before = self.since.get(kind);
        before.is_some_and(|(status, _)| *status == ConditionStatus::True)
    }

    /// K-271: reason and message may change without the time.
    fn condition(
        &mut self,
        kind: &str,
        status: ConditionStatus,
        reason: Option<String>,
        message: Option<String>,
        now: Time,
        clock: Clock,
    ) -> Condition {
        let since = match self.since.get(kind) {
            Some((before, since)) if *before == status => *since,
            _ => {
                self.since.insert(kind.to_owned(), (status, now));
                now
            }
        };
        Condition {
            r#type: kind.to_owned(),
            status: status.name().to_owned(),
            reason,
            message,
            last_transition_time: clock.timestamp(since),
        }
    }

    /// K-275, K-276, and K-053 for a Pod whose containers may all be restarted.
    fn initialized(&self, phase: Phase, pod: &Pod) -> Finding {
        let incomplete: Vec<&str> = pod
            .inits()
            .iter()
            .filter(|init| match init.role {
                Role::Init => !init.is_ready(),
                Role::Sidecar | Role::Regular | Role::Ephemeral => !init.is_started(),
            })
            .map(|init| init.name.as_str())
            .collect();
        let was_initialized = pod.may_start_over() && self.held(INITIALIZED);
        if phase == Phase::Succeeded {
            Finding::because(true, "PodCompleted", None)
        } else if incomplete.is_empty() || pod.regular().iter().any(Container::has_run) || was_initialized {
            Finding::plain(true)
        } else {
            let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
            Finding::because(false, "ContainersNotInitialized", Some(message))
        }
    }
}

/// K-272, K-273: sidecars first.
fn containers_ready(phase: Phase, pod: &Pod) -> Finding {
    let lasting = pod.containers().iter();
    let unready: Vec<&str> = lasting
        .filter(|container| matches!(container.role, Role::Sidecar | Role::Regular) && !container.is_ready())
        .map(|container| container.name.as_str())
        .collect();
    match phase {
        Phase::Succeeded => Finding::because(false, "PodCompleted", None),
        Phase::Failed => Finding::because(false, "PodFailed", None),
        Phase::Pending | Phase::Running if unready.is_empty() => Finding::plain(true),
        Phase::Pending | Phase::Running => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            Finding::because(false, "ContainersNotReady", Some(message))
        }
    }
}

/// K-274.
fn ready(containers_ready: &Finding, gates: &[String], set: &[GateCondition]) -> Finding {
    if containers_ready.status != ConditionStatus::True {
        return containers_ready.clone();
    }
    let missing: Vec<String> = gates
        .iter()
        .filter_map(|gate| match set.iter().find(|one| one.r#type == *gate) {
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{gate}\" does not exist."
            )),
            Some(one) if one.status != ConditionStatus::True => Some(format!(
                "the status of pod readiness gate \"{gate}\" is not \"True\", but {}",
                one.status.name()
            )),
            Some(_) => None,
        })
        .collect();
    if missing.is_empty() {
        Finding::plain(true)
    } else {
        Finding::because(false, "ReadinessGatesNotReady", Some(missing.join(", ")))
    }
}

/// K-475.
fn resize_pending(resize: &Resize) -> Option<Finding> {
    match resize {
        Resize::Infeasible { message } => Some(Finding::because(true, "Infeasible", Some(message.clone()))),
        Resize::None | Resize::Asked | Resize::Failed { .. } => None,
    }
}

/// K-474, K-475.
fn resize_in_progress(resize: &Resize) -> Option<Finding> {
    match resize {
        Resize::Asked => Some(Finding::plain(true)),
        Resize::Failed { message, .. } => Some(Finding::because(true, "Error", Some(message.clone()))),
        Resize::None | Resize::Infeasible { .. } => None,
    }
}

/// K-046: only where some container may have all of them restarted.
fn restarting(phase: Phase, pod: &Pod) -> Option<Finding> {
    if !pod.may_start_over() {
        return None;
    }
    Some(match phase {
        Phase::Succeeded => Finding::because(false, "PodCompleted", None),
        Phase::Failed => Finding::because(false, "PodFailed", None),
        Phase::Pending | Phase::Running if pod.restart_all.is_going_on() => {
            let message = "container exited with restart policy rule".to_owned();
            Finding::because(true, "RestartAllContainersStarted", Some(message))
        }
        Phase::Pending | Phase::Running => Finding::plain(false),
    })
}
