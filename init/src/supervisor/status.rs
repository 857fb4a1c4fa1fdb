//! What users see: the states projected to `v1/PodStatus` (sections 9 to 11 of the kubelet semantics). A report is
//! published only when it differs from the one before.

use std::collections::BTreeMap;

use manifest_sync::plan::{Access, ContainerPlan, Plan};
use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status::{
    Address, ContainerState, ContainerStatus, Phase, PodReport, PodStatus, ReportedMount, ReportedPort,
    ReportedResources,
};

use super::condition::Conditions;
use super::container::{Container, Role};
use super::phase::phase;
use super::pod::Pod;
use super::state::{Live, Program, Reason, State, Termination};
use super::time::Time;
use super::timestamp::Clock;
use super::unit::UnitId;
use super::{Identity, Limits, amount, message_share};

/// Makes reports and remembers the last.
#[derive(Debug)]
pub(super) struct Publisher {
    clock: Clock,
    report: Option<PodReport>,
    conditions: Conditions,
}

impl Publisher {
    pub(super) fn new(boot_unix_ms: u64) -> Self {
        Self {
            clock: Clock { boot_unix_ms },
            report: None,
            conditions: Conditions::default(),
        }
    }

    pub(super) fn report(&self) -> Option<&PodReport> {
        self.report.as_ref()
    }

    pub(super) fn timestamp(&self, time: Time) -> String {
        self.clock.timestamp(time)
    }

    /// Whether the report has changed.
    pub(super) fn update(&mut self, pod: &Pod, identity: &Identity, services_ready: bool, now: Time) -> bool {
        let uid = pod.plan.uid.clone().unwrap_or_else(|| identity.uid.clone());
        let phase = self.phase(pod);
        let verdict = pod.verdict.as_ref().filter(|_| phase == Phase::Failed);
        // K-083.
        let creating = if pod.inits().is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        let statuses = |containers: &[Container]| -> Vec<ContainerStatus> {
            containers
                .iter()
                .map(|container| {
                    let plan = planned(&pod.plan, container.unit);
                    let mut status = self.container(container, plan, creating, &uid);
                    status.resources = actual(identity, &container.enforced);
                    status
                })
                .collect()
        };
        let mut init_container_statuses = statuses(pod.inits());
        let mut container_statuses = statuses(pod.regular());
        let mut ephemeral_container_statuses = statuses(pod.ephemeral());
        let all = init_container_statuses.iter_mut().chain(&mut container_statuses);
        let all = all.chain(&mut ephemeral_container_statuses);
        message_share::cut(all, pod.containers().len());
        // K-300.
        container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
        let conditions = self.conditions.list(pod, phase, services_ready, now, self.clock);
        // K-371: the enclave is its own node.
        let address = || {
            let ip = identity.pod_ip.clone();
            vec![Address { ip }]
        };
        let report = PodReport {
            name: pod.plan.name.clone(),
            namespace: pod.plan.namespace.clone(),
            uid,
            bundle_digest: pod.plan.digest.to_string(),
            ports: ports(&pod.plan),
            sidecars: pod
                .inits()
                .iter()
                .filter(|init| init.role == Role::Sidecar)
                .map(|init| init.name.clone())
                .collect(),
            status: PodStatus {
                phase,
                reason: verdict.map(|verdict| verdict.reason.to_owned()),
                message: verdict.map(|verdict| verdict.message.to_string()),
                start_time: self.timestamp(pod.accepted),
                host_ip: identity.pod_ip.clone(),
                host_ips: address(),
                pod_ip: identity.pod_ip.clone(),
                pod_ips: address(),
                qos_class: pod.plan.qos_class().name().to_owned(),
                allocated_resources: resources(&pod.plan.resources).requests,
                resources: actual(identity, &pod.enforced),
                conditions,
                init_container_statuses,
                container_statuses,
                ephemeral_container_statuses,
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

    fn container(
        &self,
        container: &Container,
        plan: Option<&ContainerPlan>,
        creating: &str,
        uid: &str,
    ) -> ContainerStatus {
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
                Role::Init | Role::Ephemeral => container.is_running(),
                Role::Sidecar | Role::Regular => container.is_started(),
            },
            // K-051: a removed instance counts at once.
            restart_count: (container.instances + u32::from(container.removed)).saturating_sub(1),
            state,
            last_state,
            stop_signal: container.hooks.stop_signal.clone(),
            allocated_resources: resources(&container.resources).requests,
            resources: ReportedResources::default(),
            volume_mounts: plan.map(mounts).unwrap_or_default(),
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
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState::Waiting {
        reason: reason.to_owned(),
        message,
    }
}

fn planned(plan: &Plan, unit: UnitId) -> Option<&ContainerPlan> {
    match unit {
        UnitId::Service(_) => None,
        UnitId::Init(index) => plan.init_containers.get(index),
        UnitId::Container(index) => plan.containers.get(index),
        UnitId::Ephemeral(index) => plan.ephemeral_containers.get(index),
    }
}

/// What something really has (K-314): nothing, where nothing limits it.
fn actual(identity: &Identity, plan: &ResourcesPlan) -> ReportedResources {
    match identity.limits {
        Limits::Enforced => resources(plan),
        Limits::Absent => ReportedResources::default(),
    }
}

pub(super) fn resources(plan: &ResourcesPlan) -> ReportedResources {
    let amounts = |cpu: Option<u64>, memory: Option<u64>| -> BTreeMap<String, String> {
        let cpu = cpu.map(|cpu| ("cpu".to_owned(), amount::of_cpu(cpu)));
        let memory = memory.map(|memory| ("memory".to_owned(), amount::of_memory(memory)));
        cpu.into_iter().chain(memory).collect()
    };
    ReportedResources {
        limits: amounts(plan.cpu_limit, plan.memory_limit),
        requests: amounts(plan.cpu_request, plan.memory_request),
    }
}

fn mounts(plan: &ContainerPlan) -> Vec<ReportedMount> {
    let mounts = plan.mounts.iter().map(|mount| ReportedMount {
        name: mount.volume.clone(),
        mount_path: mount.path.clone(),
        read_only: mount.access != Access::ReadWrite,
        recursive_read_only: match mount.access {
            Access::ReadWrite => None,
            Access::ReadOnly => Some("Disabled".to_owned()),
            Access::RecursiveReadOnly => Some("Enabled".to_owned()),
        },
    });
    mounts.collect()
}

fn ports(plan: &Plan) -> Vec<ReportedPort> {
    plan.lasting_containers()
        .flat_map(|container| container.ports.iter().map(move |port| (container, port)))
        .map(|(container, port)| ReportedPort {
            container: container.name.clone(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(port.container_port),
            protocol: port.protocol,
        })
        .collect()
}
