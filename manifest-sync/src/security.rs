//! `securityContext` of Pod and container: which user a process is, what it may do, and what guards it (K-410 to K-423).
//! What has no meaning without a node is refused with the reason, or ignored with a warning where a node without that
//! facility would ignore it, too.

use crate::decode::Node;
use crate::plan::{SeccompProfile, SecurityPlan};

/// K-423.
const MAX_ID: u32 = i32::MAX as u32;

/// Names of capabilities(7), without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// Checks what only the Pod's `securityContext` has, once for all containers; returns its sysctls.
pub(crate) fn pod(node: &Node<'_>) -> Vec<(String, String)> {
    node.fields(
        &[
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "fsGroup",
            "fsGroupChangePolicy",
            "sysctls",
            "seLinuxOptions",
            "seLinuxChangePolicy",
            "seccompProfile",
            "appArmorProfile",
        ],
        &[],
        &["windowsOptions"],
    );
    one_of(node, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    // Volumes are made for this Pod, so their owners are right from the start whatever it says.
    one_of(node, "fsGroupChangePolicy", &["OnRootMismatch", "Always"]);
    one_of(node, "seLinuxChangePolicy", &["MountOption", "Recursive"]);
    modules(node);
    seccomp(node);
    crate::sysctl::read(node)
}

/// The effective context of a container: its own over the Pod's, field by field (K-410).
pub(crate) fn container(
    own: Option<&Node<'_>>,
    pod: Option<&Node<'_>>,
    fs_group: Option<u32>,
) -> SecurityPlan {
    if let Some(own) = own {
        check(own);
    }
    let both = |field: &str| {
        own.and_then(|node| node.get(field))
            .or_else(|| pod.and_then(|node| node.get(field)))
    };
    let id = |field: &str| both(field).and_then(|node| node.unsigned(0, MAX_ID));
    let groups = pod.map(|node| node.list_of("supplementalGroups", 256));
    let groups = groups.unwrap_or_default();
    let own_flag = |field: &str| own.and_then(|node| node.flag_of(field));
    let capabilities = own.and_then(|node| node.get("capabilities"));
    let list = |field: &str| {
        capabilities
            .as_ref()
            .map(|node| names(node, field))
            .unwrap_or_default()
    };
    let privileged = own_flag("privileged") == Some(true);
    let profile = own.and_then(seccomp).or_else(|| pod.and_then(quiet_seccomp));
    SecurityPlan {
        run_as_user: id("runAsUser"),
        run_as_group: id("runAsGroup"),
        run_as_non_root: both("runAsNonRoot").and_then(|node| node.flag()).unwrap_or(false),
        supplemental_groups: fs_group
            .into_iter()
            .chain(groups.iter().filter_map(|node| node.unsigned(0, MAX_ID)))
            .collect(),
        strict_groups: pod
            .and_then(|node| node.get("supplementalGroupsPolicy"))
            .is_some_and(|node| *node.value == "Strict"),
        add: list("add"),
        drop: list("drop"),
        privileged,
        no_new_privileges: own_flag("allowPrivilegeEscalation") == Some(false),
        read_only_root: own_flag("readOnlyRootFilesystem") == Some(true),
        // As in containerd: who is privileged has no profile, whatever it asks for.
        seccomp: match profile {
            _ if privileged => SeccompProfile::Unconfined,
            Some(profile) => profile,
            None => SeccompProfile::RuntimeDefault,
        },
    }
}

fn check(own: &Node<'_>) {
    own.fields(
        &[
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "capabilities",
            "allowPrivilegeEscalation",
            "readOnlyRootFilesystem",
            "privileged",
            "procMount",
            "seLinuxOptions",
            "seccompProfile",
            "appArmorProfile",
        ],
        &[],
        &["windowsOptions"],
    );
    if let Some(capabilities) = own.get("capabilities") {
        capabilities.fields(&["add", "drop"], &[], &[]);
    }
    modules(own);
    match own.text_of("procMount").as_deref() {
        None | Some("Default") => {}
        // K-420.
        Some("Unmasked") => own.error_at(
            "procMount",
            "Unmasked needs `hostUsers: false`, which is not supported in an enclave: use Default",
        ),
        Some(_) => own.error_at("procMount", "must be Default or Unmasked"),
    }
    // K-415.
    if own
        .get("allowPrivilegeEscalation")
        .is_some_and(|node| *node.value == false)
    {
        let message = |what: &str| format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        if own.get("privileged").is_some_and(|node| *node.value == true) {
            own.error_at("allowPrivilegeEscalation", message("`privileged` to true"));
        }
        let added = own
            .value
            .pointer("/capabilities/add")
            .and_then(|add| add.as_array());
        if added.is_some_and(|add| add.iter().any(|name| *name == "CAP_SYS_ADMIN")) {
            own.error_at(
                "allowPrivilegeEscalation",
                message("`capabilities.Add` CAP_SYS_ADMIN"),
            );
        }
    }
}

/// K-416. `ALL` stays as it is.
fn names(capabilities: &Node<'_>, field: &str) -> Vec<String> {
    let nodes = capabilities.list_of(field, 64);
    let names = nodes.iter().filter_map(|node| {
        let text = node.text()?.to_ascii_uppercase();
        let name = text.strip_prefix("CAP_").unwrap_or(&text);
        if name != "ALL" && !CAPABILITIES.contains(&name) {
            node.error(format!("unknown capability `{text}`: capabilities(7) lists them"));
        }
        Some(name.to_owned())
    });
    names.collect()
}

/// K-421.
fn seccomp(context: &Node<'_>) -> Option<SeccompProfile> {
    let node = context.get("seccompProfile")?;
    node.fields(&["type", "localhostProfile"], &[], &[]);
    let kind = node.required("type")?;
    if kind != "Localhost" && node.get("localhostProfile").is_some() {
        node.error_at(
            "localhostProfile",
            "can only be set when seccomp type is Localhost",
        );
    }
    match kind.as_str() {
        "RuntimeDefault" => Some(SeccompProfile::RuntimeDefault),
        "Unconfined" => Some(SeccompProfile::Unconfined),
        "Localhost" => {
            node.error_at(
                "type",
                "Localhost is not supported: an enclave has no node with a directory of profiles. Use RuntimeDefault",
            );
            None
        }
        _ => {
            node.error_at("type", "must be RuntimeDefault, Unconfined or Localhost");
            None
        }
    }
}

/// The same, of a context whose mistakes have been reported.
fn quiet_seccomp(context: &Node<'_>) -> Option<SeccompProfile> {
    match context.value.pointer("/seccompProfile/type")?.as_str()? {
        "RuntimeDefault" => Some(SeccompProfile::RuntimeDefault),
        "Unconfined" => Some(SeccompProfile::Unconfined),
        _ => None,
    }
}

/// Security modules of the kernel that an enclave's does not have.
fn modules(context: &Node<'_>) {
    if let Some(node) = context.get("seLinuxOptions") {
        node.fields(&["user", "role", "type", "level"], &[], &[]);
        node.warn("has no effect: the enclave's kernel has no SELinux, as on a node without it");
    }
    let Some(node) = context.get("appArmorProfile") else {
        return;
    };
    node.fields(&["type", "localhostProfile"], &[], &[]);
    match node.required("type").as_deref() {
        None | Some("Unconfined") => {}
        // A kubelet's words on a node without it.
        Some("RuntimeDefault" | "Localhost") => node.error(
            "Cannot enforce AppArmor: AppArmor is not enabled on the host. The enclave's kernel has none: remove it",
        ),
        Some(_) => node.error_at("type", "must be RuntimeDefault, Unconfined or Localhost"),
    }
}

fn one_of(node: &Node<'_>, field: &str, values: &[&str]) {
    if let Some(text) = node.text_of(field)
        && !values.contains(&text.as_str())
    {
        node.error_at(field, format!("must be {}", values.join(" or ")));
    }
}
