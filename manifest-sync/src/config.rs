//! The enclave's configuration: the measured file that the image builder (or the local back-end) places at
//! [`PATH`]. Both sides know the type; only the image decides its content.

use std::path::PathBuf;
use std::time::Duration;

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
    /// How containers that end again and again are restarted.
    #[serde(default)]
    pub crash_loop_back_off: CrashLoopBackOff,
    /// `singleProcessOOMKill` of the kubelet's configuration: a process that exceeds its container's memory limit is killed
    /// alone. Otherwise its whole container is (K-442).
    #[serde(default, rename = "singleProcessOOMKill")]
    pub single_process_oom_kill: bool,
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
            crash_loop_back_off: CrashLoopBackOff::default(),
            single_process_oom_kill: false,
        }
    }
}

/// `crashLoopBackOff` of the kubelet's configuration (K-180, KEP-4603).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CrashLoopBackOff {
    /// The longest delay before a restart, [`MIN_RESTART_PERIOD`] to [`MAX_RESTART_PERIOD`]. One that is shorter than the
    /// first delay shortens that, too (K-181).
    #[serde(with = "restart_period")]
    pub max_container_restart_period: Duration,
}

/// The shortest longest delay of a crash loop.
pub const MIN_RESTART_PERIOD: Duration = Duration::from_secs(1);
/// The longest delay of a crash loop, and the default.
pub const MAX_RESTART_PERIOD: Duration = Duration::from_secs(300);

impl Default for CrashLoopBackOff {
    fn default() -> Self {
        Self {
            max_container_restart_period: MAX_RESTART_PERIOD,
        }
    }
}

/// A duration as the kubelet's configuration has it: `30s`, `1m30s`.
mod restart_period {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{MAX_RESTART_PERIOD, MIN_RESTART_PERIOD};
    use crate::duration;

    pub(super) fn serialize<S: Serializer>(period: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        match period.subsec_millis() {
            0 => serializer.collect_str(&format_args!("{}s", period.as_secs())),
            _ => serializer.collect_str(&format_args!("{}ms", period.as_millis())),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration::parse(&text)
            .filter(|period| (MIN_RESTART_PERIOD..=MAX_RESTART_PERIOD).contains(period))
            .ok_or_else(|| {
                let what = "crashLoopBackOff.maxContainerRestartPeriod";
                D::Error::custom(format!(
                    "{what} is {text:?}: it must be a duration from 1s to 300s"
                ))
            })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_delay_of_a_crash_loop_is_bounded_as_the_kubelet_bounds_it() {
        let read = |period: &str| {
            let text = format!(r#"{{"maxContainerRestartPeriod":"{period}"}}"#);
            serde_json::from_str::<CrashLoopBackOff>(&text)
        };
        for (text, seconds) in [("1s", 1), ("30s", 30), ("1m30s", 90), ("5m", 300)] {
            let read = read(text).expect("in bounds").max_container_restart_period;
            assert_eq!(read, Duration::from_secs(seconds), "{text}");
        }
        for text in ["0s", "999ms", "301s", "-1s", "soon", ""] {
            let error = read(text).expect_err("out of bounds").to_string();
            assert!(error.contains("from 1s to 300s"), "{text}: {error}");
        }
        let default = EnclaveConfig::machine();
        let text = serde_json::to_string(&default).expect("JSON");
        assert!(text.contains(r#"{"maxContainerRestartPeriod":"300s"}"#), "{text}");
        assert_eq!(
            serde_json::from_str::<EnclaveConfig>(&text).expect("its own"),
            default
        );
    }
}
