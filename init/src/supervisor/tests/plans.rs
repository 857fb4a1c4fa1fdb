//! Plans of Pods and their containers, for transcripts and histories.

use std::collections::BTreeMap;

use manifest_sync::digest::{BundleDigest, Digest};
use manifest_sync::lifecycle::Hooks;
use manifest_sync::plan::{
    ContainerPlan, DnsPlan, Medium, Plan, RestartPolicy, SecurityPlan, VolumePlan, VolumeSource,
};
use manifest_sync::probe::{ProbeHandler, ProbePlan, Probes};
use manifest_sync::resize::ResizePlan;
use manifest_sync::resources::ResourcesPlan;

use crate::supervisor::event::{ProbeKind, ProbeOutcome};

pub(super) fn container(name: &str) -> ContainerPlan {
    ContainerPlan {
        name: name.to_owned(),
        image: format!("{name}:1"),
        image_digest: Digest::sha256(name.as_bytes()),
        command: None,
        args: None,
        working_dir: None,
        env_from: Vec::new(),
        env: Vec::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        restart_policy: None,
        restart_rules: Vec::new(),
        security: SecurityPlan::default(),
        termination_message_path: "/dev/termination-log".to_owned(),
        termination_message_from_logs: false,
        resources: ResourcesPlan::default(),
        resize: ResizePlan::default(),
        probes: Probes::default(),
        hooks: Hooks::default(),
    }
}

pub(super) fn probe(settings: &str) -> ProbePlan {
    let mut plan = ProbePlan {
        handler: ProbeHandler::Exec {
            command: vec!["true".to_owned()],
        },
        initial_delay_seconds: 0,
        timeout_seconds: 1,
        period_seconds: 10,
        success_threshold: 1,
        failure_threshold: 3,
        grace_seconds: None,
    };
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').expect("name=value");
        let value = value.parse().expect("a number");
        match name {
            "delay" => plan.initial_delay_seconds = value,
            "period" => plan.period_seconds = value,
            "success" => plan.success_threshold = value,
            "failure" => plan.failure_threshold = value,
            "grace" => plan.grace_seconds = Some(value),
            other => panic!("no setting {other} of a probe"),
        }
    }
    plan
}

/// `startup`, `liveness`, `readiness`.
pub(super) fn probe_kind(name: &str) -> ProbeKind {
    [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness]
        .into_iter()
        .find(|kind| kind.to_string().to_lowercase() == name)
        .unwrap_or_else(|| panic!("no probe {name}"))
}

pub(super) fn outcome(name: &str) -> ProbeOutcome {
    match name {
        "success" => ProbeOutcome::Success,
        "warning" => ProbeOutcome::Warning("redirected".to_owned()),
        "failure" => ProbeOutcome::Failure("no".to_owned()),
        "error" => ProbeOutcome::Error("no such program".to_owned()),
        other => panic!("no outcome {other}"),
    }
}

/// An emptyDir.
pub(super) fn scratch() -> VolumePlan {
    VolumePlan {
        name: "scratch".to_owned(),
        source: VolumeSource::EmptyDir {
            medium: Medium::Default,
            size_limit: None,
        },
    }
}

pub(super) fn plan(policy: RestartPolicy, grace_seconds: u32, containers: Vec<ContainerPlan>) -> Plan {
    Plan {
        digest: BundleDigest::of(b""),
        name: "pod".to_owned(),
        namespace: "default".to_owned(),
        uid: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        hostname: "pod".to_owned(),
        domain: None,
        restart_policy: policy,
        grace_seconds,
        active_deadline_seconds: None,
        readiness_gates: Vec::new(),
        init_containers: Vec::new(),
        containers,
        ephemeral_containers: Vec::new(),
        resources: ResourcesPlan::default(),
        volumes: Vec::new(),
        host_aliases: Vec::new(),
        dns: DnsPlan::default(),
        kernel_hostname: Ok("web".to_owned()),
        share_process_namespace: false,
        sysctls: Vec::new(),
        fs_group: None,
        service_account: "default".to_owned(),
        node_name: None,
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
        secret_classes: BTreeMap::new(),
        logs: manifest_sync::log_plan::LogPlan::default(),
        egress: None,
    }
}
