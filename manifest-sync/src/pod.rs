//! The Pod of a bundle, field by field, into a [`Plan`].

use std::collections::{BTreeMap, BTreeSet};

use crate::decode::Node;
use crate::digest::{BundleDigest, Digest};
use crate::plan::{
    ContainerPlan, DnsPlan, EnvFrom, EnvValue, EnvVar, KeyToPath, MountPlan, ObjectRef, Plan, PortPlan,
    RestartPolicy, RestartRule, RuleOperator, SecurityPlan, VolumePlan, VolumeSource,
};

/// Checks ObjectMeta; returns its labels and annotations.
pub(crate) fn metadata(node: &Node<'_>) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    node.fields(
        &["name", "namespace", "uid", "labels", "annotations"],
        &[
            "creationTimestamp",
            "managedFields",
            "generation",
            "resourceVersion",
            "ownerReferences",
            "finalizers",
            "selfLink",
            "generateName",
        ],
        &["deletionTimestamp", "deletionGracePeriodSeconds"],
    );
    if let Some(name) = node.required("name")
        && (name.len() > 253 || !name.split('.').all(label))
    {
        node.error_at(
            "name",
            "must be a DNS subdomain: lower-case letters, digits, `-` and `.`, at most 253",
        );
    }
    let map = |field| {
        node.get(field)
            .map(|n| n.entries())
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(k, v)| Some((k, v.text()?)))
            .collect()
    };
    (map("labels"), map("annotations"))
}

fn label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = text.as_bytes();
    text.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn named(node: &Node<'_>, field: &str) -> Option<String> {
    let text = node.required(field)?;
    if !label(&text) {
        node.error_at(
            field,
            "must be a DNS label: lower-case letters, digits and `-`, at most 63",
        );
    }
    Some(text)
}

const POD_HARMLESS: &[&str] = &[
    "nodeSelector",
    "affinity",
    "tolerations",
    "nodeName",
    "schedulerName",
    "priorityClassName",
    "priority",
    "topologySpreadConstraints",
    "preemptionPolicy",
    "schedulingGates",
    "enableServiceLinks",
    "serviceAccountName",
    "serviceAccount",
    "runtimeClassName",
    "imagePullSecrets",
];
const POD_UNSUPPORTED: &[&str] = &[
    "initContainers",
    "ephemeralContainers",
    "shareProcessNamespace",
    "activeDeadlineSeconds",
    "hostUsers",
    "overhead",
    "os",
    "readinessGates",
    "resourceClaims",
    "resources",
    "setHostnameAsFQDN",
    "hostnameOverride",
];

pub(crate) fn plan(pod: &Node<'_>, digest: BundleDigest) -> Option<Plan> {
    pod.fields(&["apiVersion", "kind", "metadata", "spec"], &["status"], &[]);
    let (Some(meta), Some(spec)) = (pod.get("metadata"), pod.get("spec")) else {
        pod.error("a Pod needs `metadata` and `spec`");
        return None;
    };
    let (labels, annotations) = metadata(&meta);
    spec.fields(
        &[
            "containers",
            "restartPolicy",
            "terminationGracePeriodSeconds",
            "volumes",
            "hostname",
            "subdomain",
            "hostAliases",
            "dnsConfig",
            "dnsPolicy",
            "securityContext",
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "automountServiceAccountToken",
        ],
        POD_HARMLESS,
        POD_UNSUPPORTED,
    );
    for field in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "automountServiceAccountToken",
    ] {
        if spec.flag_of(field) == Some(true) {
            spec.error_at(
                field,
                format!("{field}: true is not supported in an enclave; remove it"),
            );
        }
    }
    let name = meta.text_of("name")?;
    let namespace = meta.text_of("namespace").unwrap_or_else(|| "default".into());
    let fs_group = spec
        .get("securityContext")
        .and_then(|s| s.get("fsGroup"))
        .and_then(|n| n.unsigned(0, i32::MAX as u32));
    let volumes: Vec<_> = spec.list_of("volumes", 256).iter().filter_map(volume).collect();
    let nodes = spec.list_of("containers", 64);
    if nodes.is_empty() {
        spec.error_at("containers", "needs at least one entry");
    }
    let containers: Vec<_> = nodes
        .iter()
        .filter_map(|n| container(n, spec.get("securityContext").as_ref(), fs_group, &volumes))
        .collect();
    unique(
        &spec,
        "containers",
        "container name",
        containers.iter().map(|c| c.name.clone()),
    );
    unique(
        &spec,
        "volumes",
        "volume name",
        volumes.iter().map(|v| v.name.clone()),
    );
    unique(
        &spec,
        "containers",
        "hostPort",
        containers
            .iter()
            .flat_map(|c| &c.ports)
            .filter_map(|p| p.host_port)
            .map(|p| p.to_string()),
    );
    if containers.iter().map(|c| c.env.len()).sum::<usize>() > 4096 {
        spec.error("more than 4096 environment entries");
    }
    let hostname = if spec.get("hostname").is_some() {
        named(&spec, "hostname")?
    } else {
        name.chars()
            .take(63)
            .collect::<String>()
            .trim_end_matches(['-', '.'])
            .to_owned()
    };
    let domain = if spec.get("subdomain").is_some() {
        named(&spec, "subdomain").map(|s| format!("{s}.{namespace}.svc.cluster.local"))
    } else {
        None
    };
    let host_aliases = spec
        .list_of("hostAliases", 256)
        .iter()
        .filter_map(|n| {
            n.fields(&["ip", "hostnames"], &[], &[]);
            let ip = n.required("ip")?;
            if ip.parse::<std::net::IpAddr>().is_err() {
                n.error_at("ip", "is not an IP address");
            }
            let names = n.get("hostnames").map(|h| h.texts(256)).unwrap_or_default();
            if !names.iter().all(|h| h.split('.').all(label)) {
                n.error_at("hostnames", "must be DNS names");
            }
            Some((ip, names))
        })
        .collect();
    Some(Plan {
        digest,
        name,
        namespace,
        uid: meta.text_of("uid"),
        labels,
        annotations,
        hostname,
        domain,
        restart_policy: policy(&spec).unwrap_or(RestartPolicy::Always),
        grace_seconds: spec
            .get("terminationGracePeriodSeconds")
            .and_then(|n| n.unsigned(0, i32::MAX as u32))
            .unwrap_or(30),
        containers,
        volumes,
        host_aliases,
        dns: dns(&spec),
        fs_group,
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
    })
}

fn unique(node: &Node<'_>, field: &str, what: &str, names: impl Iterator<Item = String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            node.error_at(field, format!("{what} `{name}` is used twice"));
        }
    }
}

fn policy(node: &Node<'_>) -> Option<RestartPolicy> {
    match node.text_of("restartPolicy")?.as_str() {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        "Never" => Some(RestartPolicy::Never),
        _ => {
            node.error_at("restartPolicy", "must be Always, OnFailure or Never");
            None
        }
    }
}

fn dns(spec: &Node<'_>) -> DnsPlan {
    if spec.text_of("dnsPolicy").is_some_and(|p| {
        !["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"].contains(&p.as_str())
    }) {
        spec.error_at(
            "dnsPolicy",
            "must be ClusterFirst, ClusterFirstWithHostNet, Default or None",
        );
    }
    let Some(config) = spec.get("dnsConfig") else {
        return DnsPlan::default();
    };
    config.fields(&["nameservers", "searches", "options"], &[], &[]);
    let texts = |field, max| -> Vec<String> { config.get(field).map(|n| n.texts(max)).unwrap_or_default() };
    let nameservers = texts("nameservers", 3);
    if !nameservers.iter().all(|n| n.parse::<std::net::IpAddr>().is_ok()) {
        config.error_at("nameservers", "must be IP addresses");
    }
    let searches = texts("searches", 32);
    let options = config
        .list_of("options", 64)
        .iter()
        .filter_map(|o| {
            o.fields(&["name", "value"], &[], &[]);
            let n = o.required("name")?;
            Some(o.text_of("value").map_or(n.clone(), |v| format!("{n}:{v}")))
        })
        .collect::<Vec<_>>();
    if searches
        .iter()
        .chain(&options)
        .any(|t| t.contains(char::is_whitespace))
    {
        config.error("must not contain white space");
    }
    DnsPlan {
        nameservers,
        searches,
        options,
    }
}

fn relative(node: &Node<'_>, path: &str) {
    if path.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.len() > 4096
        || path.split('/').any(|p| p == ".." || p.len() > 255)
    {
        node.error(format!("`{path}` must be a relative path without `..`"));
    }
}

fn volume(node: &Node<'_>) -> Option<VolumePlan> {
    node.fields(
        &["name", "emptyDir", "configMap", "secret"],
        &[],
        &[
            "hostPath",
            "persistentVolumeClaim",
            "projected",
            "downwardAPI",
            "nfs",
            "csi",
            "ephemeral",
            "image",
            "iscsi",
        ],
    );
    let name = named(node, "name")?;
    let source = match (node.get("emptyDir"), node.get("configMap"), node.get("secret")) {
        (Some(dir), None, None) => {
            dir.fields(&["medium", "sizeLimit"], &[], &[]);
            if dir
                .text_of("medium")
                .is_some_and(|m| !m.is_empty() && m != "Memory")
            {
                dir.error_at("medium", "must be empty or Memory");
            }
            VolumeSource::EmptyDir {
                size_limit: dir
                    .get("sizeLimit")
                    .and_then(|n| quantity(&n))
                    .and_then(|v| u64::try_from(v).ok())
                    .filter(|v| *v > 0),
            }
        }
        (None, Some(map), None) => object(&map, "name", ObjectRef::ConfigMap)?,
        (None, None, Some(secret)) => object(&secret, "secretName", ObjectRef::Secret)?,
        _ => {
            node.error("expected exactly one of emptyDir, configMap and secret");
            return None;
        }
    };
    Some(VolumePlan { name, source })
}

fn object(node: &Node<'_>, name: &str, make: fn(String) -> ObjectRef) -> Option<VolumeSource> {
    node.fields(&[name, "items", "defaultMode", "optional"], &[], &[]);
    let items = node
        .list_of("items", 4096)
        .iter()
        .filter_map(|n| {
            n.fields(&["key", "path", "mode"], &[], &[]);
            let path = n.required("path")?;
            relative(n, &path);
            Some(KeyToPath {
                key: n.required("key")?,
                path,
                mode: n.get("mode").and_then(|m| m.unsigned(0, 0o777)),
            })
        })
        .collect();
    Some(VolumeSource::Object {
        source: make(node.required(name)?),
        items,
        default_mode: node
            .get("defaultMode")
            .and_then(|m| m.unsigned(0, 0o777))
            .unwrap_or(0o644),
        optional: node.flag_of("optional").unwrap_or(false),
    })
}

fn quantity(node: &Node<'_>) -> Option<i64> {
    let text = if node.value.is_number() {
        node.value.to_string()
    } else {
        node.text()?
    };
    match text.parse::<crate::quantity::Quantity>() {
        Ok(q) if q.value() >= 0 => Some(q.value()),
        Ok(_) => {
            node.error("must not be negative");
            None
        }
        Err(message) => {
            node.error(message);
            None
        }
    }
}

fn container(
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
        ],
        &["imagePullPolicy"],
        &[
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
            "stdin",
            "stdinOnce",
            "tty",
            "volumeDevices",
            "resizePolicy",
        ],
    );
    if let Some(resources) = node.get("resources") {
        resources.fields(&["limits", "requests"], &[], &["claims"]);
        resources.warn("not enforced by this release");
        for field in ["limits", "requests"] {
            resources
                .get(field)
                .map(|n| n.entries())
                .unwrap_or_default()
                .iter()
                .for_each(|(_, n)| {
                    quantity(n);
                });
        }
    }
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
    Some(MountPlan {
        volume,
        path,
        read_only: node.flag_of("readOnly").unwrap_or(false),
        sub_path,
    })
}

fn rule(node: &Node<'_>) -> Option<RestartRule> {
    node.fields(&["action", "exitCodes"], &[], &[]);
    if node.required("action")? != "Restart" {
        node.error_at("action", "only the action Restart is supported by this release");
    }
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
    if node.text_of("protocol").is_some_and(|p| p != "TCP") {
        node.error_at(
            "protocol",
            "UDP or SCTP is not supported by this release: only TCP",
        );
    }
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
