//! A bundle: one `v1/List` with a Pod and the objects it uses, decoded, validated and turned into a [`Plan`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::decode::{Node, Report};
use crate::digest::BundleDigest;
use crate::plan::{Data, EnvValue, ObjectRef, Plan, VolumeSource};
use crate::reject::{Finding, Rejection};
use crate::{base64, json, pod};

/// Largest bundle in bytes: a few ConfigMaps and Secrets of a Kubernetes object's size (1 MiB each).
pub const MAX_BYTES: usize = 4 << 20;

/// A bundle in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    plan: Plan,
    policy: EnclavePolicy,
}

/// What the EnclavePolicy of a bundle says; without one, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct EnclavePolicy {
    generation: Option<u64>,
    application: Option<String>,
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
    let (mut maps, mut secrets) = (BTreeMap::new(), BTreeMap::new());
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
            ("v1", "Pod" | "ConfigMap" | "Secret") | ("cloister.dev/v1", "EnclavePolicy")
        );
        if !known {
            item.error(format!("{version}/{kind} is not supported: expected v1 Pod, ConfigMap or Secret, or cloister.dev/v1 EnclavePolicy"));
            continue;
        }
        item.object = format!("{kind}/{name}");
        item.path = String::new();
        match kind.as_str() {
            "Pod" => pods.push(item),
            "EnclavePolicy" => policies.push(item),
            _ => {
                let data = data(&item, kind == "Secret");
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
    let policy = policies.first().map(policy).unwrap_or_default();
    let [pod] = pods.as_slice() else {
        root.error(format!("expected exactly one Pod, found {}", pods.len()));
        return None;
    };
    let mut plan = pod::plan(pod, digest)?;
    plan.config_maps = maps;
    plan.secrets = secrets;
    warn_missing(pod, &plan);
    Some(Bundle { plan, policy })
}

fn policy(item: &Node<'_>) -> EnclavePolicy {
    item.fields(&["apiVersion", "kind", "metadata", "spec"], &[], &[]);
    let Some(spec) = item.get("spec") else {
        return EnclavePolicy::default();
    };
    spec.fields(&["generation", "application"], &[], &[]);
    let generation = spec.get("generation").and_then(|node| node.int(0, i64::MAX));
    EnclavePolicy {
        generation: generation.and_then(|number| u64::try_from(number).ok()),
        application: spec.get("application").and_then(|node| application(&node)),
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

fn data(item: &Node<'_>, secret: bool) -> Data {
    let shared = ["apiVersion", "kind", "metadata", "data"];
    let own: &[&str] = if secret {
        &["stringData", "type"]
    } else {
        &["binaryData"]
    };
    item.fields(&[&shared, own].concat(), &["immutable"], &[]);
    if let Some(metadata) = item.get("metadata") {
        pod::metadata(&metadata);
    } else {
        item.required("metadata");
    }
    let mut out = Data::default();
    let entries = |field| item.get(field).map(|node| node.entries()).unwrap_or_default();
    let valid = |key: &str, node: &Node<'_>| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if key.is_empty() || key.len() > 253 || key.starts_with("..") || key == "." || !key.bytes().all(good)
        {
            node.error("the key must be at most 253 letters, digits, `-`, `_` or `.`, and neither `.` nor begin with `..`");
        }
    };
    for (key, node) in entries("data") {
        valid(&key, &node);
        let value = if secret {
            bytes(&node)
        } else {
            node.value
                .as_str()
                .map(|t| t.as_bytes().to_vec())
                .or_else(|| node.text().map(Into::into))
        };
        out.data.insert(key, value.unwrap_or_default());
    }
    for (key, node) in entries("stringData").into_iter().filter(|_| secret) {
        valid(&key, &node);
        out.data.insert(key, node.text().unwrap_or_default().into_bytes());
    }
    for (key, node) in entries("binaryData").into_iter().filter(|_| !secret) {
        valid(&key, &node);
        if out.data.contains_key(&key) {
            node.error("the key is in `data` too");
        }
        out.binary.insert(key, bytes(&node).unwrap_or_default());
    }
    out
}

fn bytes(node: &Node<'_>) -> Option<Vec<u8>> {
    let decoded = base64::decode_lenient(&node.text()?);
    if decoded.is_none() {
        node.error("not valid base64");
    }
    decoded
}

/// Missing objects and keys stop a container at run time (K-025), so they only deserve a warning here.
fn warn_missing(pod: &Node<'_>, plan: &Plan) {
    let mut seen = BTreeSet::new();
    let mut check = |path: String, source: &ObjectRef, key: Option<&str>| {
        let (found, name) = match source {
            ObjectRef::ConfigMap(name) => (plan.config_maps.get(name), format!("ConfigMap `{name}`")),
            ObjectRef::Secret(name) => (plan.secrets.get(name), format!("Secret `{name}`")),
        };
        let message = match (found, key) {
            (None, _) => format!("{name} is not in the bundle: the container will wait for it"),
            (Some(data), Some(key)) if !data.data.contains_key(key) && !data.binary.contains_key(key) => {
                format!("{name} has no key `{key}`: the container will wait for it")
            }
            _ => return,
        };
        if seen.insert((path.clone(), message.clone())) {
            Node { path, ..pod.clone() }.warn(message);
        }
    };
    for (c, container) in plan.containers.iter().enumerate() {
        for (i, from) in container
            .env_from
            .iter()
            .enumerate()
            .filter(|(_, from)| !from.optional)
        {
            check(format!("spec.containers[{c}].envFrom[{i}]"), &from.source, None);
        }
        for (i, var) in container.env.iter().enumerate() {
            if let EnvValue::Key {
                source,
                key,
                optional: false,
            } = &var.value
            {
                check(
                    format!("spec.containers[{c}].env[{i}].valueFrom"),
                    source,
                    Some(key),
                );
            }
        }
    }
    for (i, volume) in plan.volumes.iter().enumerate() {
        if let VolumeSource::Object {
            source,
            items,
            optional: false,
            ..
        } = &volume.source
        {
            check(format!("spec.volumes[{i}]"), source, None);
            items
                .iter()
                .for_each(|item| check(format!("spec.volumes[{i}]"), source, Some(&item.key)));
        }
    }
}
