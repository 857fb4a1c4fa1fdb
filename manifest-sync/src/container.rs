//! One container of a Pod: decoding, validation, defaults. Errors carry the exact path.

use crate::container_env::{env, env_from};
use crate::decode::Node;
use crate::digest::Digest;
use crate::plan::{
    ContainerPlan, PortPlan, Protocol, RestartPolicy, RestartRule, RuleAction, RuleOperator, VolumePlan,
};
use crate::pod::{label, named, policy, unique};
use crate::volume_mount::{Privilege, mount};
use crate::{lifecycle, probe, resize, resources, security};

/// Reads one entry of a list of containers: the entry, the Pod's `securityContext`, its `fsGroup`, its volumes.
pub(crate) type Read = fn(&Node<'_>, Option<&Node<'_>>, Option<u32>, &[VolumePlan]) -> Option<ContainerPlan>;

/// An init container. One that runs to its end has no probes and no hooks (K-081); a sidecar may have them.
pub(crate) fn init_container(
    node: &Node<'_>,
    pod: Option<&Node<'_>>,
    fs_group: Option<u32>,
    volumes: &[VolumePlan],
) -> Option<ContainerPlan> {
    let plan = container(node, pod, fs_group, volumes)?;
    if plan.restart_policy != Some(RestartPolicy::Always) {
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if node.get(field).is_some() {
                node.error_at(
                    field,
                    "must not be set for init containers without restartPolicy Always",
                );
            }
        }
    }
    Some(plan)
}

/// An ephemeral container: run once (K-015, K-030).
pub(crate) fn ephemeral_container(
    node: &Node<'_>,
    pod: Option<&Node<'_>>,
    fs_group: Option<u32>,
    volumes: &[VolumePlan],
) -> Option<ContainerPlan> {
    for field in [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        if node.get(field).is_some() {
            node.error_at(field, "cannot be set for an Ephemeral Container");
        }
    }
    container(node, pod, fs_group, volumes)
}

pub(crate) fn container(
    node: &Node<'_>,
    pod: Option<&Node<'_>>,
    fs_group: Option<u32>,
    volumes: &[VolumePlan],
) -> Option<ContainerPlan> {
    node.fields(
        &[
            "name",
            "image",
            "command",
            "args",
            "workingDir",
            "env",
            "envFrom",
            "ports",
            "volumeMounts",
            "restartPolicy",
            "restartPolicyRules",
            "securityContext",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "resources",
            "resizePolicy",
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
        ],
        &["imagePullPolicy"],
        &["volumeDevices", "targetContainerName"],
    );
    // K-346.
    for field in ["stdin", "stdinOnce", "tty"] {
        if node.flag_of(field) == Some(true) {
            node.error_at(field, "nobody can attach to a container of an enclave: remove it");
        }
    }
    let resources = node
        .get("resources")
        .map(|node| resources::read(&node))
        .unwrap_or_default();
    let image = node.required("image");
    let image_digest = image
        .as_deref()
        .and_then(|i| i.rsplit_once('@'))
        .and_then(|(n, d)| {
            if n.is_empty() {
                None
            } else {
                d.parse::<Digest>().ok()
            }
        });
    if image.is_some() && image_digest.is_none() {
        node.error_at(
            "image",
            "must name a digest (name@sha256:…), or let host-proxy resolve it",
        );
    }
    let security_context = node.get("securityContext");
    let privileged = security_context.and_then(|own| own.get("privileged")?.value.as_bool());
    let privilege = if privileged == Some(true) {
        Privilege::Privileged
    } else {
        Privilege::Ordinary
    };
    let mounts: Vec<_> = node
        .list_of("volumeMounts", 256)
        .iter()
        .filter_map(|n| mount(n, volumes, privilege))
        .collect();
    unique(
        node,
        "volumeMounts",
        "mountPath",
        mounts.iter().map(|m| m.path.clone()),
    );
    let restart_policy = policy(node);
    let restart_rules: Vec<_> = node
        .list_of("restartPolicyRules", 20)
        .iter()
        .filter_map(rule)
        .collect();
    if !restart_rules.is_empty() && restart_policy.is_none() {
        node.error_at(
            "restartPolicy",
            "must specify restartPolicy when restart rules are used",
        );
    }
    let texts = |field| node.get(field).map(|n: Node<'_>| n.texts(4096));
    let fallback = match node.text_of("terminationMessagePolicy").as_deref() {
        None | Some("File") => false,
        Some("FallbackToLogsOnError") => true,
        _ => {
            node.error_at(
                "terminationMessagePolicy",
                "must be File or FallbackToLogsOnError",
            );
            false
        }
    };
    Some(ContainerPlan {
        name: named(node, "name")?,
        command: texts("command"),
        args: texts("args"),
        working_dir: node.text_of("workingDir"),
        env_from: node
            .list_of("envFrom", 4096)
            .iter()
            .filter_map(env_from)
            .collect(),
        env: node
            .list_of("env", 4096)
            .iter()
            .filter_map(|n| env(n, volumes))
            .collect(),
        ports: node.list_of("ports", 256).iter().filter_map(port).collect(),
        mounts,
        restart_policy,
        restart_rules,
        security: security::container(node.get("securityContext").as_ref(), pod, fs_group),
        termination_message_path: node
            .text_of("terminationMessagePath")
            .filter(|p| !p.is_empty())
            .unwrap_or_else(|| "/dev/termination-log".into()),
        termination_message_from_logs: fallback,
        resources,
        resize: resize::read(node),
        probes: probe::probes(node),
        hooks: lifecycle::hooks(node),
        image: image?,
        image_digest: image_digest?,
    })
}

fn rule(node: &Node<'_>) -> Option<RestartRule> {
    node.fields(&["action", "exitCodes"], &[], &[]);
    let action = match node.required("action")?.as_str() {
        "Restart" => RuleAction::Restart,
        "RestartAllContainers" => RuleAction::RestartAllContainers,
        _ => {
            node.error_at("action", "must be Restart or RestartAllContainers");
            return None;
        }
    };
    let Some(codes) = node.get("exitCodes") else {
        node.error_at("exitCodes", "is required");
        return None;
    };
    codes.fields(&["operator", "values"], &[], &[]);
    let operator = match codes.required("operator")?.as_str() {
        "In" => RuleOperator::In,
        "NotIn" => RuleOperator::NotIn,
        _ => {
            codes.error_at("operator", "must be In or NotIn");
            return None;
        }
    };
    Some(RestartRule {
        action,
        operator,
        values: codes
            .list_of("values", 255)
            .iter()
            .filter_map(|n| n.int(i32::MIN.into(), i32::MAX.into()))
            .filter_map(|n| i32::try_from(n).ok())
            .collect(),
    })
}

fn port(node: &Node<'_>) -> Option<PortPlan> {
    node.fields(
        &["name", "containerPort", "hostPort", "protocol"],
        &[],
        &["hostIP"],
    );
    let protocol = match node.text_of("protocol").as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some(_) => {
            node.error_at(
                "protocol",
                "must be TCP or UDP: the link carries neither SCTP nor others",
            );
            Protocol::Tcp
        }
    };
    let number = |field| {
        node.get(field)
            .and_then(|n| n.int(1, 65535))
            .and_then(|n| u16::try_from(n).ok())
    };
    let name = node.text_of("name");
    if name.as_deref().is_some_and(|n| {
        n.len() > 15 || !label(n) || n.contains("--") || !n.contains(|c: char| c.is_ascii_lowercase())
    }) {
        node.error_at("name", "must be at most 15 lower-case letters, digits and `-`");
    }
    if node.get("containerPort").is_none() {
        node.error_at("containerPort", "is required");
    }
    Some(PortPlan {
        name,
        container_port: number("containerPort")?,
        host_port: number("hostPort"),
        protocol,
        proxy_protocol: false,
    })
}
