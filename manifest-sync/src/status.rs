//! Status of the Pod and events, shaped as the Kubernetes API shapes them, so that tools and people can read
//! them as they read `kubectl get pod -o json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Protocol;

/// What the enclave reports: identity, `v1/PodStatus`, and the latest events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// SHA-384 of the accepted bundle, `sha384:…`.
    pub bundle_digest: String,
    /// Ports to listen on outside.
    pub ports: Vec<ReportedPort>,
    /// Init containers that are sidecars: they count like containers.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sidecars: Vec<String>,
    /// `status`.
    pub status: PodStatus,
}

/// One port that the Pod declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedPort {
    /// Name of the container that declares it.
    pub container: String,
    /// `containerPort`.
    pub container_port: u16,
    /// `hostPort`, default the container port.
    pub host_port: u16,
    /// `protocol`.
    #[serde(default)]
    pub protocol: Protocol,
}

/// `v1/PodStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Phase (K-290).
    pub phase: Phase,
    /// Why the Pod failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// RFC 3339, whole seconds (K-280, K-309).
    pub start_time: String,
    /// Address of the host as the Pod sees it: the enclave's own.
    #[serde(rename = "hostIP", default)]
    pub host_ip: String,
    /// The same, as a list.
    #[serde(rename = "hostIPs", default)]
    pub host_ips: Vec<Address>,
    /// Address of the Pod inside the enclave.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// The same, as a list.
    #[serde(rename = "podIPs", default)]
    pub pod_ips: Vec<Address>,
    /// Quality of service (K-437).
    #[serde(default)]
    pub qos_class: String,
    /// Requests of the Pod as a whole; empty: `spec.resources` says none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub allocated_resources: BTreeMap<String, String>,
    /// Requests and limits of the Pod as a whole, as far as they are enforced.
    #[serde(skip_serializing_if = "ReportedResources::is_empty", default)]
    pub resources: ReportedResources,
    /// In the kubelet's order (K-270).
    pub conditions: Vec<Condition>,
    /// In spec order (K-300); empty: the Pod has no init containers.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Sorted by name (K-300).
    pub container_statuses: Vec<ContainerStatus>,
    /// In spec order; empty: the Pod has no ephemeral containers.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

impl PodStatus {
    /// Every container: init containers, regular ones, ephemeral ones.
    pub fn all_containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.init_container_statuses
            .iter()
            .chain(&self.container_statuses)
            .chain(&self.ephemeral_container_statuses)
    }
}

/// An entry of `podIPs` or `hostIPs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: String,
}

/// Phase of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Something has not started yet.
    #[default]
    Pending,
    /// Running, or to be restarted.
    Running,
    /// All containers ended with 0 for good.
    Succeeded,
    /// All containers ended, at least one badly.
    Failed,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Initialized`, …
    pub r#type: String,
    /// `True`, `False`.
    pub status: String,
    /// CamelCase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Changes only when `status` does (K-271).
    pub last_transition_time: String,
}

/// Status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    /// As in `conditions[].status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Resources of a container, in quantities as Kubernetes writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportedResources {
    /// By name: `cpu`, `memory`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub limits: BTreeMap<String, String>,
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub requests: BTreeMap<String, String>,
}

impl ReportedResources {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.requests.is_empty()
    }
}

/// A volume mount of a container (K-314).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedMount {
    /// Name of the volume.
    pub name: String,
    /// Path in the container.
    pub mount_path: String,
    /// Whether it cannot be written to.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub read_only: bool,
    /// Of a mount that cannot be written to: `Enabled` or `Disabled` (K-397).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recursive_read_only: Option<String>,
}

/// Status of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// Image as written.
    pub image: String,
    /// Digest of the image.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// `cloister://…`, empty before the first start.
    #[serde(rename = "containerID", default)]
    pub container_id: String,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it has started.
    pub started: bool,
    /// Starts after the first (K-306).
    pub restart_count: u32,
    /// The newest instance.
    pub state: ContainerState,
    /// The instance before (K-307).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_state: Option<ContainerState>,
    /// The signal that stops it, where the Pod chooses one (K-150).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop_signal: Option<String>,
    /// Its requests (K-314).
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub allocated_resources: BTreeMap<String, String>,
    /// Its requests and limits, as far as they are enforced (K-314).
    #[serde(skip_serializing_if = "ReportedResources::is_empty", default)]
    pub resources: ReportedResources,
    /// Its volume mounts (K-314).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub volume_mounts: Vec<ReportedMount>,
}

/// Exactly one of three (K-301).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainerState {
    /// Not running yet, or not again yet.
    Waiting {
        /// K-302.
        reason: String,
        /// In words.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        message: Option<String>,
    },
    /// Running.
    #[serde(rename_all = "camelCase")]
    Running {
        /// RFC 3339.
        started_at: String,
    },
    /// Ended.
    #[serde(rename_all = "camelCase")]
    Terminated {
        /// 128 + signal for a kill (K-146).
        exit_code: i32,
        /// The signal, when one killed it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        signal: Option<i32>,
        /// K-304.
        reason: String,
        /// Termination message (K-330).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        message: Option<String>,
        /// RFC 3339.
        started_at: String,
        /// RFC 3339.
        finished_at: String,
        /// `cloister://…`.
        #[serde(rename = "containerID", default)]
        container_id: String,
    },
}

impl Default for ContainerState {
    /// Of a container that nothing has happened to (K-301).
    fn default() -> Self {
        Self::Waiting {
            reason: "ContainerCreating".to_owned(),
            message: None,
        }
    }
}

/// One event (section 21 of the kubelet semantics).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Grows by one with each event of this boot, repetitions included.
    pub sequence: u64,
    /// Replaces an earlier event with the same id: it has happened again.
    #[serde(default)]
    pub id: u64,
    /// How often it has happened.
    #[serde(default)]
    pub count: u32,
    /// RFC 3339, of its first occurrence.
    #[serde(default)]
    pub first_time: String,
    /// RFC 3339, of its last occurrence.
    pub time: String,
    /// `Normal` or `Warning`.
    pub r#type: EventType,
    /// CamelCase.
    pub reason: String,
    /// In words.
    pub message: String,
    /// `spec.containers{NAME}` or `spec.initContainers{NAME}`; absent for the Pod.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field_path: Option<String>,
}

/// Type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum EventType {
    /// As it should be.
    #[default]
    Normal,
    /// Somebody should look.
    Warning,
}
