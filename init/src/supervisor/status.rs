//! What users see: the states projected to `v1/PodStatus` (sections 9 to 11 of the kubelet semantics). A report is
//! published only when it differs from the one before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use manifest_sync::plan::Plan;
use manifest_sync::status::{
    Condition, ContainerState, ContainerStatus, Phase, PodReport, PodStatus, ReportedPort,
};

use super::container::{Container, Reason, State, Termination};
use super::time::Time;
use super::{Identity, Pod, PodEnd};

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
        let phase = phase(pod);
        let mut container_statuses: Vec<ContainerStatus> = pod
            .containers
            .iter()
            .zip(&pod.plan.containers)
            .map(|(container, plan)| self.container(container, plan.image_digest.as_str(), &uid))
            .collect();
        let conditions = self.conditions(pod, phase, services_ready, now);
        // K-300.
        container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
        let report = PodReport {
            name: pod.plan.name.clone(),
            namespace: pod.plan.namespace.clone(),
            uid,
            bundle_digest: pod.plan.digest.to_string(),
            ports: ports(&pod.plan),
            status: PodStatus {
                phase,
                reason: None,
                message: None,
                start_time: self.timestamp(pod.accepted),
                pod_ip: identity.pod_ip.clone(),
                conditions,
                container_statuses,
            },
        };
        let changed = self.report.as_ref() != Some(&report);
        self.report = Some(report);
        changed
    }

    fn container(&self, container: &Container, image_id: &str, uid: &str) -> ContainerStatus {
        let id = |attempt: u32| format!("cloister://{uid}/{}/{attempt}", container.name);
        let terminated = |ended: &Termination| self.terminated(ended, id(ended.attempt));
        let newest = container.newest.as_ref().map(terminated);
        let (state, last_state) = match &container.state {
            State::Running { since, .. } | State::Stopping { since, .. } => (
                ContainerState::Running {
                    started_at: self.timestamp(*since),
                },
                newest,
            ),
            State::Terminated => match newest {
                Some(newest) => (newest, container.previous.as_ref().map(terminated)),
                None => (waiting("ContainerCreating", None), None),
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
            | State::Starting { .. } => (waiting("ContainerCreating", None), newest),
        };
        let running = is_up(container);
        ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone(),
            image_id: image_id.to_owned(),
            container_id: container.instances.checked_sub(1).map(id).unwrap_or_default(),
            ready: running,
            started: running,
            restart_count: container.instances.saturating_sub(1),
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
        let unready: Vec<&str> = pod
            .containers
            .iter()
            .filter(|container| !is_up(container))
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
        let initialized = (phase == Phase::Succeeded).then_some("PodCompleted");
        // K-277: once there, it stays until the Pod is over; a service that is started again does not take it away.
        let was_ready = self.since.get(SANDBOX).is_some_and(|(held, _)| *held);
        let sandbox = (services_ready || was_ready) && pod.phase == PodEnd::Running;
        vec![
            self.condition(SANDBOX, sandbox, None, None, now),
            self.condition("Initialized", true, initialized, None, now),
            self.condition("Ready", ready, reason, message.clone(), now),
            self.condition("ContainersReady", ready, reason, message, now),
            self.condition("PodScheduled", true, None, None, now),
        ]
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

/// Running and not being stopped for good; readiness probes will have a say here.
fn is_up(container: &Container) -> bool {
    matches!(container.state, State::Running { .. } | State::Stopping { .. })
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState::Waiting {
        reason: reason.to_owned(),
        message,
    }
}

fn ports(plan: &Plan) -> Vec<ReportedPort> {
    plan.containers
        .iter()
        .flat_map(|container| container.ports.iter().map(move |port| (container, port)))
        .map(|(container, port)| ReportedPort {
            container: container.name.clone(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(port.container_port),
        })
        .collect()
}

/// K-290, for regular containers.
fn phase(pod: &Pod) -> Phase {
    let mut waiting = 0;
    let mut running = 0;
    let (mut stopped, mut for_good, mut succeeded) = (0, 0, 0);
    for container in &pod.containers {
        match (&container.state, &container.newest) {
            (State::Running { .. } | State::Stopping { .. }, _) => running += 1,
            (State::Terminated, Some(ended)) => {
                stopped += 1;
                succeeded += usize::from(ended.exit_code == 0);
                for_good += usize::from(!container.restarts(ended.exit_code));
            }
            (_, Some(ended)) => {
                stopped += 1;
                for_good += usize::from(!container.restarts(ended.exit_code));
            }
            (_, None) => waiting += 1,
        }
    }
    match () {
        () if waiting > 0 => Phase::Pending,
        () if running > 0 => Phase::Running,
        () if pod.phase == PodEnd::Running && stopped != for_good => Phase::Running,
        () if succeeded == stopped => Phase::Succeeded,
        () => Phase::Failed,
    }
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
