//! A bundle: one `v1/List` with a Pod and the objects it uses, decoded, validated and turned into a [`Plan`].

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::decode::{Node, Report};
use crate::digest::BundleDigest;
use crate::egress::{self, EgressPolicy};
use crate::plan::Plan;
use crate::reject::{Finding, Rejection};
use crate::{data, ingress, json, log_plan, missing, pod, secret_class};

/// Largest bundle in bytes: a few ConfigMaps and Secrets of a Kubernetes object's size (1 MiB each).
pub const MAX_BYTES: usize = 4 << 20;

/// A bundle in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    plan: Plan,
    /// The Pod as it was written.
    pod: Value,
    policy: EnclavePolicy,
}

/// What the EnclavePolicy of a bundle says; without one, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct EnclavePolicy {
    generation: Option<u64>,
    application: Option<String>,
    egress: Option<EgressPolicy>,
}

impl Bundle {
    /// Reads the exact bytes of a bundle. Beside the bundle: warnings. On refusal: every error found.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<Finding>), Rejection> {
        let tree = json::parse(bytes, MAX_BYTES, "the bundle").map_err(refuse)?;
        Self::of_tree(&tree, BundleDigest::of(bytes))
    }

    /// The bundle in `tree`, which was read from the bytes that `digest` is of.
    pub(crate) fn of_tree(tree: &Value, digest: BundleDigest) -> Result<(Self, Vec<Finding>), Rejection> {
        let report = RefCell::new(Report::default());
        let root = Node {
            report: &report,
            object: "bundle".to_owned(),
            path: String::new(),
            value: tree,
        };
        let bundle = read(&root, digest);
        let Report { errors, warnings } = report.take();
        match bundle {
            Some(bundle) if errors.is_empty() => Ok((bundle, warnings)),
            _ if errors.is_empty() => Err(refuse("the bundle holds no usable Pod".to_owned())),
            _ => Err(Rejection { errors }),
        }
    }

    /// `spec.generation` of the EnclavePolicy.
    pub fn generation(&self) -> Option<u64> {
        self.policy.generation
    }

    /// `spec.application` of the EnclavePolicy: which application this is a release of.
    pub fn application(&self) -> Option<&str> {
        self.policy.application.as_deref()
    }

    /// The Pod as it was written.
    pub(crate) fn pod(&self) -> &Value {
        &self.pod
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan, with the digest of the bytes that were parsed.
    pub fn into_plan(self) -> Plan {
        self.plan
    }
}

impl Plan {
    /// Hashes and parses the same buffer.
    pub fn from_bundle_bytes(bytes: &[u8]) -> Result<(Self, Vec<Finding>), Rejection> {
        Bundle::parse(bytes).map(|(bundle, warnings)| (bundle.into_plan(), warnings))
    }
}

/// A refusal of the whole.
fn refuse(message: String) -> Rejection {
    Rejection::of("bundle", message)
}

fn read(root: &Node<'_>, digest: BundleDigest) -> Option<Bundle> {
    root.fields(&["apiVersion", "kind", "items"], &["metadata"], &[]);
    if root.text_of("apiVersion").as_deref() != Some("v1") || root.text_of("kind").as_deref() != Some("List")
    {
        root.error("expected apiVersion v1 and kind List");
        return None;
    }
    let (mut pods, mut policies) = (Vec::new(), Vec::new());
    let (mut maps, mut secrets, mut classes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for mut item in root.list_of("items", 4096) {
        let name = item
            .value
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or(&item.path)
            .to_owned();
        let version = item.required("apiVersion").unwrap_or_default();
        let kind = item.required("kind").unwrap_or_default();
        let known = matches!(
            (version.as_str(), kind.as_str()),
            ("v1", "Pod" | "ConfigMap" | "Secret")
                | (secret_class::API_VERSION, secret_class::KIND)
                | ("cloister.dev/v1", "EnclavePolicy")
        );
        if !known {
            item.error(format!(
                "{version}/{kind} is not supported: expected v1 Pod, ConfigMap or Secret, {} {}, or cloister.dev/v1 \
                 EnclavePolicy",
                secret_class::API_VERSION,
                secret_class::KIND
            ));
            continue;
        }
        item.object = format!("{kind}/{name}");
        item.path = String::new();
        match kind.as_str() {
            "Pod" => pods.push(item),
            "EnclavePolicy" => policies.push(item),
            secret_class::KIND => {
                if classes.contains_key(&name) {
                    item.error("appears twice in the bundle");
                }
                classes.insert(name, (secret_class::read(&item), item));
            }
            _ => {
                let data = data::read(&item, kind == "Secret");
                let all = if kind == "Secret" { &mut secrets } else { &mut maps };
                if all.insert(name, data).is_some() {
                    item.error("appears twice in the bundle");
                }
            }
        }
    }
    if policies.len() > 1 {
        root.error("more than one EnclavePolicy");
    }
    let mut policy = policies.first().map(policy).unwrap_or_default();
    let [pod] = pods.as_slice() else {
        root.error(format!("expected exactly one Pod, found {}", pods.len()));
        return None;
    };
    let mut plan = pod::plan(pod, digest, &|name| classes.contains_key(name))?;
    plan.config_maps = maps;
    plan.secrets = secrets;
    plan.secret_classes = secret_class::mounted(classes, &plan);
    if let Some(spec) = policies.first().and_then(|policy| policy.get("spec")) {
        ingress::apply(&spec, &mut plan);
        if let Some(logs) = spec.get("logs") {
            plan.logs = log_plan::read(&logs);
            log_plan::check(&logs, &plan);
        }
    }
    plan.egress = policy.egress.take();
    egress::check_ports(pod, &plan);
    missing::warn(pod, &plan);
    missing::refuse(pod, &plan);
    Some(Bundle {
        plan,
        pod: pod.value.clone(),
        policy,
    })
}

fn policy(item: &Node<'_>) -> EnclavePolicy {
    item.fields(&["apiVersion", "kind", "metadata", "spec"], &[], &[]);
    let Some(spec) = item.get("spec") else {
        return EnclavePolicy::default();
    };
    spec.fields(
        &["generation", "application", "ingress", "egress", "logs"],
        &[],
        &[],
    );
    let generation = spec.get("generation").and_then(|node| node.int(0, i64::MAX));
    EnclavePolicy {
        generation: generation.and_then(|number| u64::try_from(number).ok()),
        application: spec.get("application").and_then(|node| application(&node)),
        egress: spec.get("egress").map(|node| egress::read(&node)),
    }
}

/// Name of an application, as bundles and trust policies write it.
pub(crate) fn application(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if bytes.len() <= 253 && bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last()) {
        return Some(text);
    }
    node.error("must be at most 253 characters a-z, 0-9, `-` and `.`, with a letter or digit at both ends");
    None
}
