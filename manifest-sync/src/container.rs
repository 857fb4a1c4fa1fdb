//! One container of a Pod: decoding, validation, defaults. Errors carry the exact path.

use crate::decode::Node;
use crate::digest::Digest;
use crate::plan::{
    ContainerPlan, EnvFrom, EnvValue, EnvVar, MountPlan, ObjectRef, PortPlan, Protocol, RestartPolicy,
    RestartRule, RuleAction, RuleOperator, SecurityPlan, VolumePlan, VolumeSource,
};
use crate::pod::{label, named, policy, relative, unique};
use crate::{lifecycle, probe, resize, resources};

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
        &["stdin", "stdinOnce", "tty", "volumeDevices"],
    );
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
    let mounts: Vec<_> = node
        .list_of("volumeMounts", 256)
        .iter()
        .filter_map(|n| mount(n, volumes))
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
        env: node.list_of("env", 4096).iter().filter_map(env).collect(),
        ports: node.list_of("ports", 256).iter().filter_map(port).collect(),
        mounts,
        restart_policy,
        restart_rules,
        security: security(node.get("securityContext").as_ref(), pod, fs_group),
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

fn mount(node: &Node<'_>, volumes: &[VolumePlan]) -> Option<MountPlan> {
    node.fields(
        &["name", "mountPath", "readOnly", "subPath"],
        &[],
        &["subPathExpr", "mountPropagation", "recursiveReadOnly"],
    );
    let (volume, path) = (node.required("name")?, node.required("mountPath")?);
    if !volumes.iter().any(|v| v.name == volume) {
        node.error_at("name", format!("no volume is named `{volume}`"));
    }
    if !path.starts_with('/') || path.contains(':') || path.split('/').any(|p| p == "..") {
        node.error_at("mountPath", "must be absolute, without `:` and `..`");
    }
    let sub_path = node.text_of("subPath").filter(|p| !p.is_empty());
    if let Some(sub) = &sub_path {
        relative(node, sub);
    }
    let attestation = |one: &VolumePlan| one.name == volume && one.source == VolumeSource::Attestation;
    if sub_path.is_some() && volumes.iter().any(attestation) {
        node.error_at(
            "subPath",
            "an attestation volume is mounted as a whole: remove it",
        );
    }
    Some(MountPlan {
        volume,
        path,
        read_only: node.flag_of("readOnly").unwrap_or(false),
        sub_path,
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

fn env_from(node: &Node<'_>) -> Option<EnvFrom> {
    node.fields(&["prefix", "configMapRef", "secretRef"], &[], &[]);
    let prefix = node.text_of("prefix").unwrap_or_default();
    if !prefix.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        node.error_at("prefix", "must be printable ASCII without `=`");
    }
    let (n, make): (_, fn(String) -> ObjectRef) = match (node.get("configMapRef"), node.get("secretRef")) {
        (Some(n), None) => (n, ObjectRef::ConfigMap),
        (None, Some(n)) => (n, ObjectRef::Secret),
        _ => {
            node.error("expected exactly one of configMapRef and secretRef");
            return None;
        }
    };
    n.fields(&["name", "optional"], &[], &[]);
    Some(EnvFrom {
        prefix,
        source: make(n.required("name")?),
        optional: n.flag_of("optional").unwrap_or(false),
    })
}

fn env(node: &Node<'_>) -> Option<EnvVar> {
    node.fields(&["name", "value", "valueFrom"], &[], &[]);
    let name = node.required("name")?;
    if name.is_empty() || !name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        node.error_at("name", "must be printable ASCII without `=` and not empty");
    }
    let literal = node.text_of("value").unwrap_or_default();
    let Some(from) = node.get("valueFrom") else {
        return Some(EnvVar {
            name,
            value: EnvValue::Literal(literal),
        });
    };
    if !literal.is_empty() {
        node.error("`value` and `valueFrom` exclude each other");
    }
    from.fields(
        &["configMapKeyRef", "secretKeyRef", "fieldRef"],
        &[],
        &["resourceFieldRef", "fileKeyRef"],
    );
    let key = |n: Node<'_>, make: fn(String) -> ObjectRef| {
        n.fields(&["name", "key", "optional"], &[], &[]);
        Some(EnvValue::Key {
            source: make(n.required("name")?),
            key: n.required("key")?,
            optional: n.flag_of("optional").unwrap_or(false),
        })
    };
    let value = match (
        from.get("configMapKeyRef"),
        from.get("secretKeyRef"),
        from.get("fieldRef"),
    ) {
        (Some(n), None, None) => key(n, ObjectRef::ConfigMap)?,
        (None, Some(n), None) => key(n, ObjectRef::Secret)?,
        (None, None, Some(n)) => {
            n.fields(&["apiVersion", "fieldPath"], &[], &[]);
            let path = n.required("fieldPath")?;
            let plain = [
                "metadata.name",
                "metadata.namespace",
                "metadata.uid",
                "spec.nodeName",
                "spec.serviceAccountName",
                "status.hostIP",
                "status.hostIPs",
                "status.podIP",
                "status.podIPs",
            ];
            if !plain.contains(&path.as_str()) && crate::env::subscript(&path).is_none() {
                n.error(format!("`{path}` is not a field that the environment can take"));
            }
            EnvValue::Field(path)
        }
        _ => {
            from.error("expected exactly one of configMapKeyRef, secretKeyRef and fieldRef");
            return None;
        }
    };
    Some(EnvVar { name, value })
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

fn security(own: Option<&Node<'_>>, pod: Option<&Node<'_>>, fs_group: Option<u32>) -> SecurityPlan {
    if let Some(pod) = pod {
        pod.fields(
            &[
                "runAsUser",
                "runAsGroup",
                "runAsNonRoot",
                "supplementalGroups",
                "fsGroup",
            ],
            &[],
            &[
                "sysctls",
                "seLinuxOptions",
                "seccompProfile",
                "appArmorProfile",
                "fsGroupChangePolicy",
                "supplementalGroupsPolicy",
                "windowsOptions",
            ],
        );
    }
    if let Some(own) = own {
        own.fields(
            &[
                "runAsUser",
                "runAsGroup",
                "runAsNonRoot",
                "capabilities",
                "allowPrivilegeEscalation",
                "readOnlyRootFilesystem",
                "privileged",
            ],
            &[],
            &[
                "procMount",
                "seLinuxOptions",
                "seccompProfile",
                "appArmorProfile",
                "windowsOptions",
            ],
        );
        if own.flag_of("privileged") == Some(true) {
            own.error_at("privileged", "is not supported by this release");
        }
    }
    let both = |field: &str| {
        own.and_then(|n| n.get(field))
            .or_else(|| pod.and_then(|n| n.get(field)))
    };
    let id = |field: &str| both(field).and_then(|n| n.unsigned(0, i32::MAX as u32));
    let caps = own.and_then(|n| n.get("capabilities"));
    if let Some(caps) = &caps {
        caps.fields(&["add", "drop"], &[], &[]);
    }
    let list = |field: &str| {
        caps.as_ref()
            .and_then(|n| n.get(field))
            .map(|n| n.texts(64))
            .unwrap_or_default()
            .into_iter()
            .map(|c| c.trim_start_matches("CAP_").to_owned())
            .collect()
    };
    let groups = pod
        .map(|n| n.list_of("supplementalGroups", 256))
        .unwrap_or_default();
    let own_flag = |field: &str| own.and_then(|n| n.flag_of(field));
    SecurityPlan {
        run_as_user: id("runAsUser"),
        run_as_group: id("runAsGroup"),
        run_as_non_root: both("runAsNonRoot").and_then(|n| n.flag()).unwrap_or(false),
        supplemental_groups: fs_group
            .into_iter()
            .chain(groups.iter().filter_map(|n| n.unsigned(0, i32::MAX as u32)))
            .collect(),
        add: list("add"),
        drop: list("drop"),
        no_new_privileges: own_flag("allowPrivilegeEscalation") == Some(false),
        read_only_root: own_flag("readOnlyRootFilesystem") == Some(true),
    }
}
