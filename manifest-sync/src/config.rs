//! The enclave's configuration: the measured file that the image builder (or the local back-end) places at
//! [`PATH`]. Both sides know the type; only the image decides its content.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::link::Address;

/// Where the enclave finds its configuration.
pub const PATH: &str = "/etc/cloister/config.json";

/// Where the enclave finds its trust policy ([`crate::trust::TrustPolicy`]), measured like the configuration.
pub const POLICY_PATH: &str = "/etc/cloister/policy.json";

/// Port of the control listener (PID 1): control, log and blob streams.
pub const CONTROL_PORT: u32 = 7000;
/// Port of the data listener (`net`): ingress streams.
pub const DATA_PORT: u32 = 7001;

/// Configuration of one enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnclaveConfig {
    /// What to listen on; `vsock:` with any CID in a VM, a directory of Unix sockets for the local back-end.
    pub listen: Address,
    /// Whether a controller without the session key may take over.
    #[serde(default)]
    pub takeover: Takeover,
    /// Bytes of log kept for each container while no host reads them.
    #[serde(default = "default_log_ring_bytes")]
    pub log_ring_bytes: u32,
    /// Base services beside the built-in `net`: each is a program of the image.
    #[serde(default)]
    pub services: Vec<ServiceConfig>,
    /// What PID 1 does when the Pod has ended: power off (a VM) or exit with the code (the local back-end).
    #[serde(default)]
    pub end: End,
    /// vsock CIDs at which the parent may be, asked all at once: 3 on Nitro, 2 (`VMADDR_CID_HOST`) elsewhere.
    #[serde(default = "default_parent_cids")]
    pub parent_cids: Vec<u32>,
    /// Whether the parent is told that the enclave has booted. `nitro-cli` waits for that and ends an enclave that is
    /// silent.
    #[serde(default)]
    pub heartbeat: bool,
    /// Where the security module is.
    #[serde(default)]
    pub security_module: SecurityModule,
}

impl EnclaveConfig {
    /// The configuration of an enclave image when the user has none of their own: vsock, heartbeat, power-off.
    pub fn machine() -> Self {
        Self {
            listen: Address::Vsock { cid: None },
            takeover: Takeover::Never,
            log_ring_bytes: default_log_ring_bytes(),
            services: Vec::new(),
            end: End::PowerOff,
            parent_cids: default_parent_cids(),
            heartbeat: true,
            security_module: SecurityModule::default(),
        }
    }
}

/// What vouches for the enclave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecurityModule {
    /// The platform's, at `/dev/nsm`. An enclave on a machine without one cannot attest.
    #[default]
    Device,
    /// One that another process stands in for, at this Unix socket (the local back-end). No verifier believes it who was
    /// not given its root.
    Socket(PathBuf),
}

/// Whether a controller may take over without the session key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Takeover {
    /// The session key is always needed.
    #[default]
    Never,
    /// Without the key, but only while no controller is connected.
    AfterDisconnect,
}

/// How an enclave ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum End {
    /// `reboot(2)` with power-off.
    #[default]
    PowerOff,
    /// `exit(2)` with the documented code.
    Exit,
}

/// One additional base service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConfig {
    /// Unique name, a DNS label.
    pub name: String,
    /// Program and arguments; the program is an absolute path in the image.
    pub command: Vec<String>,
    /// User and group the service runs as.
    pub uid: u32,
    /// Whether the service tells its readiness by writing a byte to the descriptor named in `NOTIFY_FD`.
    #[serde(default)]
    pub notify: bool,
}

fn default_log_ring_bytes() -> u32 {
    1 << 20
}

fn default_parent_cids() -> Vec<u32> {
    vec![3, 2]
}
