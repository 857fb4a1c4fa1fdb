//! What users see: the states projected to `v1/PodStatus` (sections 9 to 11 of the kubelet semantics). A report is
//! published only when it differs from the one before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use manifest_sync::plan::Plan;
use manifest_sync::status::{
    Condition, ContainerState, ContainerStatus, Phase, PodReport, PodStatus, ReportedPort,
};

use super::Identity;
use super::container::{Container, Role};
use super::phase::phase;
use super::pod::Pod;
use super::state::{Live, Program, Reason, State, Termination};
use super::time::Time;

const SANDBOX: &str = "PodReadyToStartContainers";

/// Makes reports and remembers the last.
#[derive(Debug)]
pub(super) struct Publisher {
    boot_unix_ms: u64,
    report: Option<PodReport>,
    /// K-271: since when a condition has its status.
    since: BTreeMap<&'static str, (bool, Time)>,
}

impl Publisher {
    pub(super) fn new(boot_unix_ms: u64) -> Self {
        Self {
            boot_unix_ms,
            report: None,
            since: BTreeMap::new(),
        }
    }

    pub(super) fn report(&self) -> Option<&PodReport> {
        self.report.as_ref()
    }

    pub(super) fn timestamp(&self, time: Time) -> String {
        rfc3339((self.boot_unix_ms + time.as_millis()) / 1000)
    }

    /// Whether the report has changed.
    pub(super) fn update(&mut self, pod: &Pod, identity: &Identity, services_ready: bool, now: Time) -> bool {
        let uid = pod.plan.uid.clone().unwrap_or_else(|| identity.uid.clone());
        let phase = self.phase(pod);
        let verdict = pod.verdict.filter(|_| phase == Phase::Failed);
        // K-083.
        let creating = if pod.inits().is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        let statuses = |containers: &[Container]| -> Vec<ContainerStatus> {
            containers
                .iter()
                .map(|container| self.container(container, creating, &uid))
                .collect()
        };
        let init_container_statuses = statuses(pod.inits());
        let mut container_statuses = statuses(pod.regular());
        // K-300.
        container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
        let conditions = self.conditions(pod, phase, services_ready, now);
        let report = PodReport {
            name: pod.plan.name.clone(),
            namespace: pod.plan.namespace.clone(),
            uid,
            bundle_digest: pod.plan.digest.to_string(),
            ports: ports(&pod.plan),
            status: PodStatus {
                phase,
                reason: verdict.map(|verdict| verdict.reason.to_owned()),
                message: verdict.map(|verdict| verdict.message.to_owned()),
                start_time: self.timestamp(pod.accepted),
                pod_ip: identity.pod_ip.clone(),
                conditions,
                init_container_statuses,
                container_statuses,
            },
        };
        let changed = self.report.as_ref() != Some(&report);
        self.report = Some(report);
        changed
    }

    /// K-169: the Pod is not over while a process of it lives.
    fn phase(&self, pod: &Pod) -> Phase {
        let phase = phase(pod);
        let is_over = matches!(phase, Phase::Succeeded | Phase::Failed);
        if is_over
            && pod
                .containers()
                .iter()
                .any(|container| container.live().is_some())
        {
            let before = self.report.as_ref().map(|report| report.status.phase);
            return before.unwrap_or_default();
        }
        phase
    }

    fn container(&self, container: &Container, creating: &str, uid: &str) -> ContainerStatus {
        let id = |attempt: u32| format!("cloister://{uid}/{}/{attempt}", container.name);
        let terminated = |ended: &Termination| self.terminated(ended, id(ended.attempt));
        let newest = container.newest.as_ref().map(terminated);
        let (state, last_state) = match &container.state {
            State::Live(live) if live.program == Program::Running => (
                ContainerState::Running {
                    started_at: self.timestamp(live.since),
                },
                newest,
            ),
            State::Live(Live {
                program: Program::HookFailed(error),
                ..
            }) => (waiting("PostStartHookError", Some(error.clone())), newest),
            State::Terminated => match newest {
                Some(newest) => (newest, container.previous.as_ref().map(terminated)),
                None => (waiting(creating, None), None),
            },
            State::Waiting {
                reason: Reason::Because(reason, message),
                ..
            } => (waiting(reason, Some(message.clone())), newest),
            State::Waiting {
                reason: Reason::Creating,
                ..
            }
            | State::Pending
            | State::Pulling
            | State::Spawning
            | State::Live(_) => (waiting(creating, None), newest),
        };
        let made_from = container.made_from.as_ref().unwrap_or(&container.definition);
        ContainerStatus {
            name: container.name.clone(),
            image: made_from.image.clone(),
            image_id: made_from.digest.clone(),
            container_id: container.instances.checked_sub(1).map(id).unwrap_or_default(),
            ready: container.is_ready(),
            started: match container.role {
                Role::Init => container.is_running(),
                Role::Sidecar | Role::Regular => container.is_started(),
            },
            // K-051: a removed instance counts at once.
            restart_count: (container.instances + u32::from(container.removed)).saturating_sub(1),
            state,
            last_state,
        }
    }

    fn terminated(&self, ended: &Termination, container_id: String) -> ContainerState {
        ContainerState::Terminated {
            exit_code: ended.exit_code,
            signal: ended.signal,
            reason: ended.reason.to_owned(),
            message: ended.message.clone(),
            started_at: self.timestamp(ended.started.unwrap_or(ended.finished)),
            finished_at: self.timestamp(ended.finished),
            container_id,
        }
    }

    /// K-270 to K-277.
    fn conditions(&mut self, pod: &Pod, phase: Phase, services_ready: bool, now: Time) -> Vec<Condition> {
        // K-272: sidecars first.
        let unready: Vec<&str> = pod
            .containers()
            .iter()
            .filter(|container| container.role != Role::Init && !container.is_ready())
            .map(|container| container.name.as_str())
            .collect();
        let (ready, reason, message) = match phase {
            Phase::Succeeded => (false, Some("PodCompleted"), None),
            Phase::Failed => (false, Some("PodFailed"), None),
            _ if unready.is_empty() => (true, None, None),
            _ => {
                let message = format!("containers with unready status: [{}]", unready.join(" "));
                (false, Some("ContainersNotReady"), Some(message))
            }
        };
        // K-277: once there, it stays until the Pod is over; a service that is started again does not take it away.
        let was_ready = self.since.get(SANDBOX).is_some_and(|(held, _)| *held);
        let sandbox = (services_ready || was_ready) && !pod.has_ended();
        let mut conditions = vec![
            self.condition(SANDBOX, sandbox, None, None, now),
            self.initialized(pod, phase, now),
            self.condition("Ready", ready, reason, message.clone(), now),
            self.condition("ContainersReady", ready, reason, message, now),
            self.condition("PodScheduled", true, None, None, now),
        ];
        conditions.extend(self.restarting(pod, phase, now));
        conditions
    }

    /// K-046.
    fn restarting(&mut self, pod: &Pod, phase: Phase, now: Time) -> Option<Condition> {
        if !pod.may_start_over() {
            return None;
        }
        let (holds, reason, message) = match phase {
            Phase::Succeeded => (false, Some("PodCompleted"), None),
            Phase::Failed => (false, Some("PodFailed"), None),
            _ if pod.restart_all.is_going_on() => {
                let message = "container exited with restart policy rule".to_owned();
                (true, Some("RestartAllContainersStarted"), Some(message))
            }
            _ => (false, None, None),
        };
        Some(self.condition("AllContainersRestarting", holds, reason, message, now))
    }

    /// K-275, K-276.
    fn initialized(&mut self, pod: &Pod, phase: Phase, now: Time) -> Condition {
        let incomplete: Vec<&str> = pod
            .inits()
            .iter()
            .filter(|init| match init.role {
                Role::Init => !init.is_ready(),
                Role::Sidecar | Role::Regular => !init.is_started(),
            })
            .map(|init| init.name.as_str())
            .collect();
        // K-053.
        let held = self.since.get("Initialized").is_some_and(|(held, _)| *held);
        let was_initialized = held && pod.may_start_over();
        let (holds, reason, message) = if phase == Phase::Succeeded {
            (true, Some("PodCompleted"), None)
        } else if incomplete.is_empty() || pod.regular().iter().any(Container::has_run) || was_initialized {
            (true, None, None)
        } else {
            let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
            (false, Some("ContainersNotInitialized"), Some(message))
        };
        self.condition("Initialized", holds, reason, message, now)
    }

    fn condition(
        &mut self,
        kind: &'static str,
        holds: bool,
        reason: Option<&str>,
        message: Option<String>,
        now: Time,
    ) -> Condition {
        let (status, since) = self.since.entry(kind).or_insert((holds, now));
        if *status != holds {
            (*status, *since) = (holds, now);
        }
        let since = *since;
        Condition {
            r#type: kind.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            reason: reason.map(ToOwned::to_owned),
            message,
            last_transition_time: self.timestamp(since),
        }
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState::Waiting {
        reason: reason.to_owned(),
        message,
    }
}

fn ports(plan: &Plan) -> Vec<ReportedPort> {
    plan.lasting_containers()
        .flat_map(|container| container.ports.iter().map(move |port| (container, port)))
        .map(|(container, port)| ReportedPort {
            container: container.name.clone(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(port.container_port),
        })
        .collect()
}

/// RFC 3339 in UTC; days to a civil date by Howard Hinnant's algorithm.
fn rfc3339(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let mut text = String::with_capacity(20);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_civil() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
