//! The control conversation: its messages here, both of its ends (sans-IO) in [`enclave`] and [`host`], and who may
//! hold it in [`session`].
//!
//! ```text
//! host                          enclave
//! Hello{version, session?}  ──►
//!                           ◄──  Welcome{session, …}   or  Refused, close
//! Apply{size}, raw frame    ──►
//!                           ◄──  Applied  or  Rejected
//!                           ◄──  NeedBlob, Status, Event, …
//! Stop                      ──►
//!                           ◄──  Finished
//! FinishedAck               ──►
//! ```

pub mod enclave;
pub mod host;
pub mod session;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::reject::{Finding, Rejection};
use crate::status::{ConditionStatus, Event, PodReport};

/// The only version there is.
pub const VERSION: u32 = 1;

/// Host → enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum ToEnclave {
    /// First message. `session` is absent for the first controller (or a take-over).
    Hello {
        /// [`VERSION`].
        version: u32,
        /// The session key, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// Events with a greater sequence are wanted.
        #[serde(default)]
        events_after: u64,
    },
    /// A bundle, or a signed envelope around one, follows as one raw frame of `size` bytes. Which of the two it is, its
    /// content says (see [`crate::trust::envelope::Delivery`]): the host's word for it would be worth nothing.
    Apply {
        /// Exact size in bytes, at most [`crate::frame::MAX_BUNDLE_BYTES`].
        size: u32,
    },
    /// The blob of request `request` cannot be served.
    BlobUnavailable {
        /// As in [`FromEnclave::NeedBlob`].
        request: u64,
        /// Why, in words.
        message: String,
    },
    /// No connection to the secret service can be made for request `request`.
    BrokerUnavailable {
        /// As in [`FromEnclave::NeedBroker`].
        request: u64,
        /// Why, in words.
        message: String,
    },
    /// Stop the Pod. A later Stop can only shorten the grace period.
    Stop {
        /// Overrides `terminationGracePeriodSeconds`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_seconds: Option<u32>,
    },
    /// Set a condition that the Pod has a readiness gate for (K-274); answered by [`FromEnclave::ConditionSet`]. Readiness is
    /// what the host makes of it anyway, so the host may say it.
    SetCondition {
        /// Returned.
        request: u64,
        /// The condition.
        condition: GateCondition,
    },
    /// The final status has arrived; the enclave may end.
    FinishedAck {},
    /// Answered by [`FromEnclave::Pong`].
    Ping {
        /// Returned.
        nonce: u64,
    },
}

/// Enclave → host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum FromEnclave {
    /// Answer to Hello: this connection is the controller.
    Welcome {
        /// [`VERSION`].
        version: u32,
        /// The session key, hex: present it on every later connection.
        session: String,
        /// Random identity of this boot, hex.
        boot_id: String,
        /// Digest of the accepted bundle, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bundle: Option<String>,
    },
    /// The conversation is over; the connection is closed after this.
    Refused {
        /// For programs.
        reason: RefusedReason,
        /// For people.
        message: String,
    },
    /// The bundle was accepted.
    Applied {
        /// Its digest.
        digest: String,
        /// What was ignored because it is harmless.
        warnings: Vec<Finding>,
    },
    /// The bundle was refused; nothing of it was used.
    Rejected {
        /// Everything that is wrong.
        rejection: Rejection,
    },
    /// Open a `blob` stream for this request, or answer [`ToEnclave::BlobUnavailable`].
    NeedBlob {
        /// Names the request.
        request: u64,
        /// What is wanted.
        digest: Digest,
    },
    /// Connect to the secret service and open a `broker` stream for this request, or answer
    /// [`ToEnclave::BrokerUnavailable`]. What is said over it is sealed: the host cannot read or change it.
    NeedBroker {
        /// Names the request.
        request: u64,
    },
    /// The state of the Pod changed.
    Status {
        /// Newest state.
        report: Box<PodReport>,
    },
    /// An event happened.
    Event {
        /// The event.
        event: Event,
    },
    /// Answer to [`ToEnclave::SetCondition`].
    ConditionSet {
        /// As sent.
        request: u64,
        /// Why it was not set, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<String>,
    },
    /// The Pod has ended; answer [`ToEnclave::FinishedAck`].
    Finished {
        /// Exit code for the launcher: 0 when the Pod succeeded or was stopped cleanly, else the code of the
        /// first container that failed.
        exit_code: u8,
        /// Final state.
        report: Box<PodReport>,
    },
    /// Answer to Ping.
    Pong {
        /// As sent.
        nonce: u64,
        /// Counters of PID 1.
        counters: Counters,
    },
}

/// A condition that somebody outside of the enclave decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateCondition {
    /// One of `spec.readinessGates[].conditionType`.
    pub r#type: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// CamelCase, at most [`MAX_CONDITION_REASON_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In words, at most [`MAX_CONDITION_MESSAGE_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// As for conditions of the Kubernetes API (`metav1.Condition`).
pub const MAX_CONDITION_REASON_BYTES: usize = 1024;
/// Less than the Kubernetes API takes: every status carries it.
pub const MAX_CONDITION_MESSAGE_BYTES: usize = 4096;

impl GateCondition {
    /// What is wrong with it, whatever the Pod.
    ///
    /// # Errors
    /// In words that name the field.
    pub fn check(&self) -> Result<(), String> {
        for (field, text, maximum) in [
            ("reason", &self.reason, MAX_CONDITION_REASON_BYTES),
            ("message", &self.message, MAX_CONDITION_MESSAGE_BYTES),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > maximum) {
                return Err(format!("{field}: at most {maximum} bytes"));
            }
        }
        Ok(())
    }
}

/// Why a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusedReason {
    /// The version is not spoken here.
    Version,
    /// Another controller holds the enclave, or the key is wrong.
    NotYourSession,
    /// A controller with the key has taken over.
    Superseded,
    /// A message that makes no sense, or not now.
    Malformed,
    /// A Pod is already there.
    AlreadyApplied,
}

/// Counters of PID 1, for the host's metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Resident memory of PID 1 in bytes.
    pub resident_bytes: u64,
    /// Processes reaped, orphans included.
    pub reaped: u64,
    /// Log bytes taken from containers.
    pub log_bytes: u64,
    /// Log bytes dropped because no host read them in time.
    pub log_dropped_bytes: u64,
    /// Connections refused for a bad header or key.
    pub refused_connections: u64,
    /// Denied attempts to reach something outside, by container; an empty name where it is not known which.
    #[serde(default)]
    pub egress_denied: std::collections::BTreeMap<String, u64>,
    /// Bytes that the log ring of one container may have.
    #[serde(default)]
    pub log_ring_limit_bytes: u64,
    /// What became of each container's output.
    #[serde(default)]
    pub logs: Vec<LogCounters>,
    /// What each container uses; empty where there are no cgroups.
    #[serde(default)]
    pub usage: Vec<UsageCounters>,
    /// What probes answered.
    #[serde(default)]
    pub probes: Vec<ProbeCounters>,
}

/// How often a probe of a container had one result since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeCounters {
    /// Name of the container.
    pub container: String,
    /// `Startup`, `Liveness` or `Readiness`.
    pub probe: String,
    /// `successful`, `failed` or `unknown`.
    pub result: String,
    /// How often.
    pub count: u64,
}

/// The output of one container since boot, all its instances together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogCounters {
    /// Name.
    pub container: String,
    /// Records taken from it.
    pub records: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Records dropped because its ring was full.
    pub dropped_records: u64,
    /// Bytes of their text.
    pub dropped_bytes: u64,
    /// Records that must not leave the enclave.
    pub withheld_records: u64,
    /// Bytes in its ring.
    pub ring_bytes: u64,
}

/// The cgroup of a container's running instance, and sums over all instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageCounters {
    /// Name.
    pub container: String,
    /// CPU time in microseconds, of all instances.
    pub cpu_us: u64,
    /// Microseconds in which it was not allowed to run, of all instances.
    pub throttled_us: u64,
    /// Memory in bytes, now.
    pub memory_bytes: u64,
    /// Its limit, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
}

/// A message as JSON. Our own messages have string keys only, so this cannot fail.
fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests;
