//! The Pod of a bundle, field by field, into a [`Plan`].

use std::collections::{BTreeMap, BTreeSet};

use crate::container::{Read, container, ephemeral_container, init_container};
use crate::decode::Node;
use crate::digest::BundleDigest;
use crate::plan::{Plan, RestartPolicy};
use crate::pod_volume::volume;
use crate::{names, pod_resources, resize, security};

/// Most containers in one list of a Pod. Kubernetes has no limit but the size of an object; every container costs PID 1 a ring
/// for its log.
const MAX_CONTAINERS: usize = 256;

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
    subdomain(node, "name");
    (texts(node, "labels"), texts(node, "annotations"))
}

/// The name of an object.
pub(crate) fn subdomain(node: &Node<'_>, field: &str) -> Option<String> {
    let name = node.required(field)?;
    if name.len() > 253 || !name.split('.').all(label) {
        node.error_at(
            field,
            "must be a DNS subdomain: lower-case letters, digits, `-` and `.`, at most 253",
        );
    }
    Some(name)
}

/// A map of texts, such as labels.
pub(crate) fn texts(node: &Node<'_>, field: &str) -> BTreeMap<String, String> {
    let entries = node.get(field).map(|node| node.entries()).unwrap_or_default();
    let entries = entries.into_iter();
    entries
        .filter_map(|(key, node)| Some((key, node.text()?)))
        .collect()
}

pub(crate) fn label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = text.as_bytes();
    text.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

pub(crate) fn named(node: &Node<'_>, field: &str) -> Option<String> {
    let text = node.required(field)?;
    if !label(&text) {
        node.error_at(
            field,
            "must be a DNS label: lower-case letters, digits and `-`, at most 63",
        );
    }
    Some(text)
}

/// Fields of a Pod's `spec` that mean nothing without a scheduler and a node.
pub(crate) const POD_HARMLESS: &[&str] = &[
    "nodeSelector",
    "affinity",
    "tolerations",
    "schedulerName",
    "priorityClassName",
    "priority",
    "topologySpreadConstraints",
    "preemptionPolicy",
    "schedulingGates",
    "enableServiceLinks",
    "serviceAccount",
    "runtimeClassName",
    "imagePullSecrets",
];
const POD_UNSUPPORTED: &[&str] = &["overhead", "resourceClaims"];

/// Fields that have one value only here, the other one, and why.
const REFUSED: &[(&str, bool, &str)] = &[
    (
        "hostNetwork",
        true,
        "an enclave has no network but the Pod's own, and none of the node's reaches into it. Publish ports; remove it",
    ),
    (
        "hostPID",
        true,
        "the enclave's own processes are what the Pod is guarded by. For one namespace for all containers, use \
         shareProcessNamespace",
    ),
    (
        "hostIPC",
        true,
        "there is no IPC namespace but the Pod's, which all its containers share. Remove it",
    ),
    (
        "hostUsers",
        false,
        "the enclave is the Pod's alone: there are no users of a node to be kept apart from. Remove it",
    ),
    (
        "automountServiceAccountToken",
        true,
        "there is no API server for it. Remove it",
    ),
];

/// The plan without the objects that the Pod uses; `is_class` knows the names of the bundle's SecretProviderClasses.
pub(crate) fn plan(pod: &Node<'_>, digest: BundleDigest, is_class: &dyn Fn(&str) -> bool) -> Option<Plan> {
    pod.fields(&["apiVersion", "kind", "metadata", "spec"], &["status"], &[]);
    let (Some(meta), Some(spec)) = (pod.get("metadata"), pod.get("spec")) else {
        pod.error("a Pod needs `metadata` and `spec`");
        return None;
    };
    let (labels, annotations) = metadata(&meta);
    spec.fields(
        &[
            "containers",
            "initContainers",
            "ephemeralContainers",
            "activeDeadlineSeconds",
            "readinessGates",
            "resources",
            "os",
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
            "hostUsers",
            "shareProcessNamespace",
            "setHostnameAsFQDN",
            "hostnameOverride",
            "automountServiceAccountToken",
            // For the downward API only.
            "serviceAccountName",
            "nodeName",
        ],
        POD_HARMLESS,
        POD_UNSUPPORTED,
    );
    for (field, refused, reason) in REFUSED {
        if spec.flag_of(field) == Some(*refused) {
            spec.error_at(field, format!("{refused} is not supported: {reason}"));
        }
    }
    for field in ["serviceAccountName", "nodeName"] {
        if let Some(node) = spec.get(field) {
            node.warn("only the downward API shows it: an enclave has no API server and chooses no node");
        }
    }
    let share_process_namespace = spec.flag_of("shareProcessNamespace") == Some(true);
    if share_process_namespace && spec.get("hostPID").is_some_and(|node| *node.value == true) {
        spec.error_at("shareProcessNamespace", "and hostPID cannot both be enabled");
    }
    let name = meta.text_of("name")?;
    let namespace = meta.text_of("namespace").unwrap_or_else(|| "default".into());
    let grace_seconds = spec
        .get("terminationGracePeriodSeconds")
        // K-130: less than nothing is one second.
        .and_then(|n| n.int(i64::MIN, i32::MAX.into()))
        .map_or(30, |seconds| u32::try_from(seconds).unwrap_or(1));
    let fs_group = spec
        .get("securityContext")
        .and_then(|s| s.get("fsGroup"))
        .and_then(|n| n.unsigned(0, i32::MAX as u32));
    let volumes: Vec<_> = spec
        .list_of("volumes", 256)
        .iter()
        .filter_map(|node| volume(node, is_class))
        .collect();
    let nodes = spec.list_of("containers", MAX_CONTAINERS);
    if nodes.is_empty() {
        spec.error_at("containers", "needs at least one entry");
    }
    let read = |nodes: &[Node<'_>], read: Read| -> Vec<_> {
        let security = spec.get("securityContext");
        nodes
            .iter()
            .filter_map(|n| read(n, security.as_ref(), fs_group, &volumes))
            .collect()
    };
    let init_nodes = spec.list_of("initContainers", MAX_CONTAINERS);
    let init_containers = read(&init_nodes, init_container);
    let containers = read(&nodes, container);
    let ephemeral_containers = read(&spec.list_of("ephemeralContainers", 64), ephemeral_container);
    let restart_policy = policy(&spec).unwrap_or(RestartPolicy::Always);
    for (nodes, plans, is_init) in [
        (&init_nodes, &init_containers, true),
        (&nodes, &containers, false),
    ] {
        for (node, plan) in nodes.iter().zip(plans) {
            resize::check(node, plan, restart_policy, is_init);
        }
    }
    unique(
        &spec,
        "containers",
        "container name",
        init_containers
            .iter()
            .chain(&containers)
            .chain(&ephemeral_containers)
            .map(|c| c.name.clone()),
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
        init_containers
            .iter()
            .filter(|c| c.restart_policy == Some(RestartPolicy::Always))
            .chain(&containers)
            .flat_map(|c| &c.ports)
            .filter_map(|p| Some((p.host_port?, p.protocol)))
            .map(|(port, protocol)| format!("{port}/{protocol}")),
    );
    for container in init_containers.iter().chain(&containers) {
        // K-225.
        if container.hooks.longest_sleep() > grace_seconds {
            spec.error(format!(
                "a sleep of container `{}` is longer than terminationGracePeriodSeconds, {grace_seconds}",
                container.name
            ));
        }
    }
    os(&spec, &nodes, &init_nodes);
    let resources = pod_resources::read(&spec, &init_containers, &containers);
    let all = init_containers.iter().chain(&containers);
    if all.map(|c| c.env.len()).sum::<usize>() > 4096 {
        spec.error("more than 4096 environment entries");
    }
    let names = names::names(&spec, &name, &namespace)?;
    let context = spec.get("securityContext");
    Some(Plan {
        digest,
        name,
        namespace,
        uid: meta.text_of("uid"),
        labels,
        annotations,
        hostname: names.host,
        domain: names.domain,
        kernel_hostname: names.kernel,
        restart_policy,
        grace_seconds,
        active_deadline_seconds: spec
            .get("activeDeadlineSeconds")
            .and_then(|n| n.unsigned(1, i32::MAX as u32)),
        readiness_gates: readiness_gates(&spec),
        init_containers,
        containers,
        ephemeral_containers,
        resources,
        volumes,
        host_aliases: names::host_aliases(&spec),
        dns: names::dns(&spec),
        fs_group,
        share_process_namespace,
        sysctls: context.map(|node| security::pod(&node)).unwrap_or_default(),
        service_account: spec
            .text_of("serviceAccountName")
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
        node_name: spec.text_of("nodeName").filter(|name| !name.is_empty()),
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
        secret_classes: BTreeMap::new(),
        logs: crate::log_plan::LogPlan::default(),
        egress: None,
    })
}

/// `os`; signals have names only where the system is named (K-150).
fn os(spec: &Node<'_>, containers: &[Node<'_>], init_containers: &[Node<'_>]) {
    let os = spec.get("os");
    if let Some(os) = &os {
        os.fields(&["name"], &[], &[]);
        if os.required("name").is_some_and(|name| name != "linux") {
            os.error_at("name", "must be linux: nothing else runs in an enclave");
        }
        return;
    }
    for container in init_containers.iter().chain(containers) {
        let lifecycle = container.get("lifecycle");
        if let Some(signal) = lifecycle.and_then(|lifecycle| lifecycle.get("stopSignal")) {
            signal.error("needs spec.os.name: add `os: {name: linux}` to the Pod's spec");
        }
    }
}

pub(crate) fn unique(node: &Node<'_>, field: &str, what: &str, names: impl Iterator<Item = String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            node.error_at(field, format!("{what} `{name}` is used twice"));
        }
    }
}

pub(crate) fn policy(node: &Node<'_>) -> Option<RestartPolicy> {
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

/// Conditions that the enclave sets by itself cannot be gates: nobody outside may set them.
const OWN_CONDITIONS: [&str; 6] = [
    "AllContainersRestarting",
    "ContainersReady",
    "Initialized",
    "PodReadyToStartContainers",
    "PodScheduled",
    "Ready",
];

fn readiness_gates(spec: &Node<'_>) -> Vec<String> {
    spec.list_of("readinessGates", 64)
        .iter()
        .filter_map(|gate| {
            gate.fields(&["conditionType"], &[], &[]);
            let kind = gate.required("conditionType")?;
            if !is_qualified_name(&kind) {
                gate.error_at(
                    "conditionType",
                    "must be a name such as example.com/ready: letters, digits, `-`, `_` and `.`, at most 63, after an \
                     optional DNS subdomain and `/`",
                );
            }
            if OWN_CONDITIONS.contains(&kind.as_str()) {
                gate.error_at("conditionType", format!("`{kind}` is set by the enclave itself; name another"));
            }
            Some(kind)
        })
        .collect()
}

/// As Kubernetes' `IsQualifiedName`: `name` or `subdomain/name`.
fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(label))
        && name.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(inside)
}

/// A path of a file beneath a volume (K-389), without superfluous slashes. Names that begin with `..` are the volume's own.
pub(crate) fn file_path(node: &Node<'_>, field: &str) -> Option<String> {
    let path = node.required(field)?;
    let clean: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if clean.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.len() > 4096
        || clean.iter().any(|part| *part == ".." || part.len() > 255)
    {
        node.error_at(
            field,
            format!(
                "must be a relative path without `..` that does not begin with `..`, of at most 4096 bytes, 255 for \
                 each name; it is `{path}`"
            ),
        );
    }
    Some(clean.join("/"))
}
