//! What a verified bundle becomes: validated, defaulted, ordered. The only description of work that
//! `cloister-init` accepts. Names are Kubernetes'; nothing optional is left that a default decides.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::byte_quantity::ByteQuantity;
use crate::data::Data;
use crate::digest::{BundleDigest, Digest};
use crate::downward::Fact;
use crate::egress::EgressPolicy;
use crate::lifecycle::Hooks;
use crate::log_plan::LogPlan;
use crate::probe::Probes;
use crate::resize::ResizePlan;
use crate::resources::ResourcesPlan;
use crate::secret_class::SecretClassPlan;

/// One Pod, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// SHA-384 of the exact bundle bytes.
    pub digest: BundleDigest,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, default `default`.
    pub namespace: String,
    /// `metadata.uid`; `None`: the enclave makes one.
    pub uid: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Short host name (K-485, K-487).
    pub hostname: String,
    /// Domain after the host name in /etc/hosts, when `subdomain` is set (K-485).
    pub domain: Option<String>,
    /// What the kernel is told, or why the Pod's sandbox cannot be made, so that nothing of it starts (K-486).
    pub kernel_hostname: Result<String, String>,
    /// Pod-level policy, default Always (K-020).
    pub restart_policy: RestartPolicy,
    /// `terminationGracePeriodSeconds`, default 30 (K-130).
    pub grace_seconds: u32,
    /// `activeDeadlineSeconds`: how long the Pod may take, from its acceptance (K-321).
    pub active_deadline_seconds: Option<u32>,
    /// `readinessGates[].conditionType`: conditions that have to be True before the Pod is ready (K-274).
    pub readiness_gates: Vec<String>,
    /// Init containers in spec order; one whose own `restart_policy` is `Always` is a sidecar.
    pub init_containers: Vec<ContainerPlan>,
    /// Regular containers in spec order.
    pub containers: Vec<ContainerPlan>,
    /// Ephemeral containers, in the order in which they were added: run once, beside all others.
    pub ephemeral_containers: Vec<ContainerPlan>,
    /// `resources` of the Pod as a whole, with defaults; all absent where it has none.
    pub resources: ResourcesPlan,
    /// Volumes of the Pod.
    pub volumes: Vec<VolumePlan>,
    /// `hostAliases`: address and names (K-491).
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// `dnsPolicy` and `dnsConfig`.
    pub dns: DnsPlan,
    /// `securityContext.fsGroup`.
    pub fs_group: Option<u32>,
    /// `shareProcessNamespace` (K-480).
    pub share_process_namespace: bool,
    /// `securityContext.sysctls`: names with dots, values (K-422).
    pub sysctls: Vec<(String, String)>,
    /// `serviceAccountName`, default `default`; only for the downward API.
    pub service_account: String,
    /// `nodeName`; only for the downward API.
    pub node_name: Option<String>,
    /// ConfigMaps of the bundle by name, for environment and volumes.
    pub config_maps: BTreeMap<String, Data>,
    /// Secrets of the bundle by name.
    pub secrets: BTreeMap<String, Data>,
    /// Classes of released secrets by name; only those that a volume of the Pod mounts. Their values are never here.
    pub secret_classes: BTreeMap<String, SecretClassPlan>,
    /// What becomes of what containers write.
    pub logs: LogPlan,
    /// `spec.egress` of the EnclavePolicy; `None`: it has none, and nothing outside can be reached.
    pub egress: Option<EgressPolicy>,
}

impl Plan {
    /// What the Pod is called where it asks: the kernel's host name, /etc/hostname, `HOSTNAME` (K-486, K-488).
    pub fn name_inside(&self) -> &str {
        self.kernel_hostname.as_ref().unwrap_or(&self.hostname)
    }

    /// Every container but the ephemeral ones: init containers, then regular ones.
    pub fn all_containers(&self) -> impl Iterator<Item = &ContainerPlan> + Clone {
        self.init_containers.iter().chain(&self.containers)
    }

    /// Those that run for as long as the Pod does: sidecars, then regular containers.
    pub fn lasting_containers(&self) -> impl Iterator<Item = &ContainerPlan> + Clone {
        let sidecars = self
            .init_containers
            .iter()
            .filter(|container| container.restart_policy == Some(RestartPolicy::Always));
        sidecars.chain(&self.containers)
    }
}

/// `restartPolicy` of a Pod or a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Restart whatever the exit code.
    Always,
    /// Restart when the exit code is not 0.
    OnFailure,
    /// Never restart.
    Never,
}

/// One entry of `restartPolicyRules` (K-032, K-033).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRule {
    /// What follows when the exit code matches.
    pub action: RuleAction,
    /// `In` or `NotIn`.
    pub operator: RuleOperator,
    /// Exit codes.
    pub values: Vec<i32>,
}

/// Action of a [`RestartRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    /// The container is started again.
    Restart,
    /// Every container of the Pod is removed, and the Pod starts over from its first init container (K-045).
    RestartAllContainers,
}

/// Operator of a [`RestartRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOperator {
    /// The exit code is listed.
    In,
    /// The exit code is not listed.
    NotIn,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlan {
    /// Name, a DNS label, unique in the Pod.
    pub name: String,
    /// The image as written.
    pub image: String,
    /// Digest of the image manifest or index, from the reference.
    pub image_digest: Digest,
    /// `command`, unexpanded.
    pub command: Option<Vec<String>>,
    /// `args`, unexpanded.
    pub args: Option<Vec<String>>,
    /// `workingDir`.
    pub working_dir: Option<String>,
    /// `envFrom`, in order.
    pub env_from: Vec<EnvFrom>,
    /// `env`, in order.
    pub env: Vec<EnvVar>,
    /// `ports`.
    pub ports: Vec<PortPlan>,
    /// `volumeMounts`.
    pub mounts: Vec<MountPlan>,
    /// Container-level `restartPolicy`.
    pub restart_policy: Option<RestartPolicy>,
    /// Container-level `restartPolicyRules`.
    pub restart_rules: Vec<RestartRule>,
    /// Effective `securityContext`: the container's over the Pod's, field by field (K-410).
    pub security: SecurityPlan,
    /// `terminationMessagePath`, default `/dev/termination-log`.
    pub termination_message_path: String,
    /// `terminationMessagePolicy` is `FallbackToLogsOnError`.
    pub termination_message_from_logs: bool,
    /// `resources`.
    pub resources: ResourcesPlan,
    /// `resizePolicy`.
    pub resize: ResizePlan,
    /// `startupProbe`, `livenessProbe`, `readinessProbe`.
    pub probes: Probes,
    /// `lifecycle`.
    pub hooks: Hooks,
}

/// One `envFrom` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFrom {
    /// Put before every key.
    pub prefix: String,
    /// The object.
    pub source: ObjectRef,
    /// Whether its absence is forgiven (K-356).
    pub optional: bool,
}

/// A reference to an object of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectRef {
    /// A `v1/ConfigMap` by name.
    ConfigMap(String),
    /// A `v1/Secret` by name.
    Secret(String),
}

/// One `env` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// Name (K-355).
    pub name: String,
    /// Where its value comes from.
    pub value: EnvValue,
}

/// Where the value of an environment variable comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// `value`, to be expanded (K-365).
    Literal(String),
    /// `configMapKeyRef` or `secretKeyRef` (K-357).
    Key {
        /// The object.
        source: ObjectRef,
        /// Its key.
        key: String,
        /// Whether a missing object or key is forgiven.
        optional: bool,
    },
    /// `fieldRef` or `resourceFieldRef` (K-372, K-375).
    Fact(Fact),
    /// `fileKeyRef` (K-360).
    File {
        /// Name of an emptyDir volume.
        volume: String,
        /// Path of the file in it, relative, without `..`.
        path: String,
        /// Name of the variable in the file.
        key: String,
        /// Whether a missing key is forgiven.
        optional: bool,
    },
}

/// One `containerPorts` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    /// `name`.
    pub name: Option<String>,
    /// `containerPort`.
    pub container_port: u16,
    /// `hostPort`: the port to listen on outside, default the container port.
    pub host_port: Option<u16>,
    /// `protocol`.
    pub protocol: Protocol,
    /// Each connection begins with a PROXY protocol header, version 2, that names its client.
    pub proxy_protocol: bool,
}

/// `protocol` of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Name, a DNS label, unique in the Pod.
    pub name: String,
    /// What it holds.
    pub source: VolumeSource,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// Empty, shared by the Pod's containers (K-380).
    EmptyDir {
        /// `medium`.
        medium: Medium,
        /// `sizeLimit`; never 0.
        size_limit: Option<ByteQuantity>,
    },
    /// Files that are made of objects and facts: `configMap`, `secret`, `downwardAPI` and `projected` volumes (K-386 to
    /// K-394).
    Files {
        /// In order: a later one replaces files of an earlier one.
        sources: Vec<Projection>,
        /// `defaultMode`.
        default_mode: u32,
    },
    /// Released secrets as files (`csi`, driver `secrets-store.csi.k8s.io`).
    SecretProvider {
        /// A key of [`Plan::secret_classes`].
        class: String,
    },
    /// The socket [`crate::volume::ATTESTATION_SOCKET`] (`csi`, driver `attestation.cloister.dev`): each container that
    /// mounts it has its own.
    Attestation,
}

/// `medium` of an emptyDir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// What the enclave has for a disk: `sizeLimit` is watched (K-383).
    Default,
    /// `Memory`: `sizeLimit` is the size (K-382).
    Memory,
}

/// One source of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// A ConfigMap or Secret.
    Object {
        /// The object.
        source: ObjectRef,
        /// `items`: key, relative path, mode; empty: every key.
        items: Vec<KeyToPath>,
        /// Whether a missing object or key is forgiven.
        optional: bool,
    },
    /// `downwardAPI`.
    Facts(Vec<FactFile>),
}

/// One `items` entry of a downwardAPI volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactFile {
    /// Path beneath the volume, relative, without `..`.
    pub path: String,
    /// What it holds.
    pub fact: Fact,
    /// Mode of this file.
    pub mode: Option<u32>,
}

/// One `items` entry of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyToPath {
    /// Key of the object.
    pub key: String,
    /// Path beneath the volume, relative, without `..`.
    pub path: String,
    /// Mode of this file.
    pub mode: Option<u32>,
}

/// One `volumeMounts` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// Name of the volume.
    pub volume: String,
    /// Absolute path in the container.
    pub path: String,
    /// `readOnly`, and what lies beneath.
    pub access: Access,
    /// `subPath` or `subPathExpr`.
    pub sub_path: Option<SubPath>,
    /// `mountPropagation`.
    pub propagation: Propagation,
}

/// Who may write through a mount (K-397).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The container, if the volume may be written at all.
    ReadWrite,
    /// Nobody; what is mounted inside of the volume keeps its own rules.
    ReadOnly,
    /// Nobody, inside of the volume neither.
    RecursiveReadOnly,
}

/// The part of a volume that is mounted (K-399).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubPath {
    /// `subPath`, relative, without `..`.
    Literal(String),
    /// `subPathExpr`, not expanded.
    Expression(String),
}

/// Whether mounts that are made later inside of a volume are seen elsewhere (K-398).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither here nor there.
    None,
    /// Those of others are seen here.
    HostToContainer,
    /// Those made here are seen by others too.
    Bidirectional,
}

/// Effective security context of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityPlan {
    /// `runAsUser`; `None`: the image's USER.
    pub run_as_user: Option<u32>,
    /// `runAsGroup`.
    pub run_as_group: Option<u32>,
    /// `runAsNonRoot` (K-413).
    pub run_as_non_root: bool,
    /// `supplementalGroups`, `fsGroup` first (K-412).
    pub supplemental_groups: Vec<u32>,
    /// `supplementalGroupsPolicy: Strict`: the groups that the image lists for the user do not count.
    pub strict_groups: bool,
    /// `capabilities.add`, in capitals, without `CAP_`.
    pub add: Vec<String>,
    /// `capabilities.drop`.
    pub drop: Vec<String>,
    /// `privileged` (K-418).
    pub privileged: bool,
    /// `allowPrivilegeEscalation: false` (K-414).
    pub no_new_privileges: bool,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `seccompProfile`; without one, and as a kubelet with `seccompDefault` has it: `RuntimeDefault` (K-421).
    pub seccomp: SeccompProfile,
}

/// `seccompProfile.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeccompProfile {
    /// The profile that container runtimes share.
    #[default]
    RuntimeDefault,
    /// None; what leads out of a container stays closed.
    Unconfined,
}

/// Resolver configuration of the Pod (K-495, K-499).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsPlan {
    /// At most three.
    pub nameservers: Vec<String>,
    /// At most 32.
    pub searches: Vec<String>,
    /// `name` or `name:value`.
    pub options: Vec<String>,
    /// `dnsPolicy` is `None`: nothing is added to `nameservers`.
    pub own_only: bool,
    /// Some of `searches` did not fit into a line and are not there (K-497).
    pub search_line_cut: bool,
    /// The `dnsPolicy` that asks for the cluster's DNS, which there is not (K-498).
    pub missing_cluster_dns: Option<String>,
}
