//! `spec.logs` of an EnclavePolicy: what becomes of what containers write. The trust policy has the last word on clear text.

use std::collections::BTreeMap;

use crate::decode::Node;
use crate::pem;
use crate::plan::Plan;
use crate::reject::{Finding, Rejection};

/// An X25519 key as a SubjectPublicKeyInfo (RFC 8410 section 4) is this and the key's 32 bytes.
const X25519_INFO: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00,
];

/// What becomes of a container's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPolicy {
    /// The host may read it, where the trust policy says `allowClearLogs`.
    Host,
    /// It leaves the enclave encrypted to the log back-end.
    Sealed,
    /// It is counted and forgotten.
    None,
}

/// The logs of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPlan {
    /// `default`: of containers that are not named. Without one, [`LogPolicy::Host`].
    pub default: Option<LogPolicy>,
    /// `containers`, by name.
    pub containers: BTreeMap<String, LogPolicy>,
    /// `sealTo`: the log back-end's X25519 key. There is one when anything is sealed.
    pub seal_to: Option<[u8; 32]>,
}

impl LogPlan {
    /// What the bundle says of this container.
    pub fn policy_of(&self, container: &str) -> LogPolicy {
        let own = self.containers.get(container).copied();
        own.or(self.default).unwrap_or(LogPolicy::Host)
    }
}

/// Reads `spec.logs`.
pub(crate) fn read(logs: &Node<'_>) -> LogPlan {
    logs.fields(&["default", "containers", "sealTo"], &[], &[]);
    let mut plan = LogPlan {
        default: logs.get("default").and_then(|node| policy(&node)),
        ..LogPlan::default()
    };
    for item in logs.list_of("containers", 4096) {
        item.fields(&["name", "policy"], &[], &[]);
        let name = item.required("name");
        let policy = match item.get("policy") {
            Some(node) => policy(&node),
            None => {
                item.error_at("policy", "is required: Host, Sealed or None");
                None
            }
        };
        if let (Some(name), Some(policy)) = (name, policy)
            && plan.containers.insert(name, policy).is_some()
        {
            item.error_at("name", "appears twice");
        }
    }
    plan.seal_to = logs.get("sealTo").and_then(|node| key(&node));
    let sealed = plan.default == Some(LogPolicy::Sealed)
        || plan
            .containers
            .values()
            .any(|policy| *policy == LogPolicy::Sealed);
    if sealed && logs.get("sealTo").is_none() {
        logs.error_at(
            "sealTo",
            "is required for Sealed: the public key of whoever may read the logs (X25519, PEM)",
        );
    }
    plan
}

/// Says which containers the Pod does not have.
pub(crate) fn check(logs: &Node<'_>, plan: &Plan) {
    for item in logs.list_of("containers", 4096) {
        if let Some(name) = item.text_of("name")
            && !plan.all_containers().any(|container| container.name == name)
        {
            item.error_at("name", format!("the Pod has no container `{name}`"));
        }
    }
}

fn policy(node: &Node<'_>) -> Option<LogPolicy> {
    match node.text()?.as_str() {
        "Host" => Some(LogPolicy::Host),
        "Sealed" => Some(LogPolicy::Sealed),
        "None" => Some(LogPolicy::None),
        other => {
            node.error(format!("expected Host, Sealed or None, found `{other}`"));
            None
        }
    }
}

fn key(node: &Node<'_>) -> Option<[u8; 32]> {
    let text = node.text()?;
    let key = public_key(&text);
    if key.is_none() {
        node.error(
            "expected an X25519 public key in PEM; make one with `openssl genpkey -algorithm X25519 -out logs.key` and \
             `openssl pkey -in logs.key -pubout`",
        );
    }
    key
}

/// The X25519 public key in a PEM text, as OpenSSL writes it.
pub fn public_key(text: &str) -> Option<[u8; 32]> {
    let blocks = pem::blocks(text).ok()?;
    let [block] = blocks.as_slice() else { return None };
    let bytes = block.bytes.strip_prefix(&X25519_INFO)?;
    (block.label == "PUBLIC KEY").then_some(())?;
    bytes.try_into().ok()
}

/// What the bundle wants to leave in clear text although the trust policy keeps it in.
pub(crate) fn forbidden(plan: &LogPlan) -> Option<Rejection> {
    let mut paths = Vec::new();
    if plan.default == Some(LogPolicy::Host) {
        paths.push("spec.logs.default".to_owned());
    }
    let named = plan
        .containers
        .iter()
        .filter(|(_, policy)| **policy == LogPolicy::Host);
    paths.extend(named.map(|(name, _)| format!("spec.logs.containers[{name}].policy")));
    let message = "is Host, and the trust policy does not say `allowClearLogs`: say Sealed or None";
    let errors = paths.into_iter().map(|path| Finding {
        object: "EnclavePolicy".to_owned(),
        path,
        message: message.to_owned(),
    });
    let errors: Vec<Finding> = errors.collect();
    (!errors.is_empty()).then_some(Rejection { errors })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::Bundle;
    use crate::trust::{self, TrustError, TrustPolicy};

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAqKZcVP2ziZUdqvXeP5xSMDuGaA8dWBoC3fJfA6yqyHc=\n-----END PUBLIC KEY-----\n";

    fn bundle(logs: &Value) -> Vec<u8> {
        let container = |name: &str| json!({"name": name, "image": format!("i@sha256:{}", "0".repeat(64))});
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
             "spec": {"containers": [container("app"), container("proxy")]}},
            {"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "web"},
             "spec": {"logs": logs}},
        ]})
        .to_string()
        .into_bytes()
    }

    fn errors(logs: &Value) -> Vec<String> {
        let rejection = Bundle::parse(&bundle(logs)).expect_err("refused");
        rejection
            .errors
            .iter()
            .map(|error| format!("{}: {}", error.path, error.message))
            .collect()
    }

    #[test]
    fn each_container_has_a_policy() {
        let logs =
            json!({"default": "Sealed", "containers": [{"name": "proxy", "policy": "None"}], "sealTo": KEY});
        let (bundle, _) = Bundle::parse(&bundle(&logs)).expect("accepted");
        let plan = &bundle.plan().logs;
        assert_eq!(plan.policy_of("app"), LogPolicy::Sealed);
        assert_eq!(plan.policy_of("proxy"), LogPolicy::None);
        assert!(plan.seal_to.is_some());
        assert_eq!(LogPlan::default().policy_of("app"), LogPolicy::Host);
    }

    #[test]
    fn mistakes_are_named_with_their_paths() {
        let found = errors(&json!({"default": "host", "containers": [
            {"name": "app", "policy": "None"}, {"name": "app", "policy": "Sealed"}, {"name": "other", "policy": "None"},
            {"name": "proxy"}]}));
        for expected in [
            "spec.logs.default: expected Host, Sealed or None, found `host`",
            "spec.logs.containers[1].name: appears twice",
            "spec.logs.containers[2].name: the Pod has no container `other`",
            "spec.logs.containers[3].policy: is required",
            "spec.logs.sealTo: is required for Sealed",
        ] {
            assert!(
                found.iter().any(|error| error.starts_with(expected)),
                "{expected}: {found:?}"
            );
        }
        for key in ["", "x", &KEY.replace("MCowBQYDK2Vu", "MCowBQYDK2Vw")] {
            let found = errors(&json!({"default": "Sealed", "sealTo": key}));
            assert!(
                found[0].starts_with("spec.logs.sealTo: expected an X25519 public key"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn clear_text_needs_the_trust_policys_word() {
        let mut policy = TrustPolicy::parse(TrustPolicy::DEVELOPMENT.as_bytes()).expect("a policy");
        let host = bundle(&json!({"containers": [{"name": "app", "policy": "Host"}]}));
        let sealed = bundle(&json!({"default": "Sealed", "sealTo": KEY}));
        trust::verify(&host, &policy).expect("allowed");
        policy.allow_clear_logs = false;
        let refused = trust::verify(&host, &policy).expect_err("refused");
        let TrustError::Bundle(rejection) = refused else {
            panic!("{refused}")
        };
        assert_eq!(rejection.errors[0].path, "spec.logs.containers[app].policy");
        trust::verify(&sealed, &policy).expect("nothing of it is in clear text");
    }
}
