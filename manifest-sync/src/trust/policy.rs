//! The trust policy: the measured file of an image that says which bundles may run in it, and what they may do.
//!
//! ```json
//! {"apiVersion": "cloister.dev/v1", "kind": "TrustPolicy",
//!  "signedBy": {"application": "web", "threshold": 2,
//!               "signers": [{"name": "alice", "key": "-----BEGIN PUBLIC KEY-----…"}, …]},
//!  "minGeneration": 7, "updates": "InPlace", "allowClearLogs": true}
//! ```
//!
//! Exactly one of `signedBy`, `pinned` (a list of bundle digests) and `any: true` (development) is there. What is left
//! out is the strict choice: generation 0, `Immutable`, nothing allowed. `null` is a mistake, not an omission.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::key::PublicKey;
use crate::bundle::application;
use crate::decode::{Node, Report};
use crate::digest::BundleDigest;
use crate::json;
use crate::reject::Rejection;

/// Largest policy in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Most signers. An envelope has as many signatures, so that verifying one takes at most 256 operations.
pub const MAX_SIGNERS: usize = super::envelope::MAX_SIGNATURES;
/// Most pinned digests.
pub const MAX_PINNED: usize = 64;

/// Which bundles may run, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy {
    /// Who says what runs.
    pub authority: Authority,
    /// Lowest generation that is taken. A bundle that states none has generation 0.
    pub min_generation: u64,
    /// Whether a running Pod can be changed.
    pub updates: Updates,
    /// Whether a bundle may hold `v1/Secret`s: its bytes have been in the host's hands.
    pub allow_plain_secrets: bool,
    /// Whether the output of containers may leave the enclave in clear text.
    pub allow_clear_logs: bool,
    /// Whether the host may start processes in containers, for debugging.
    pub allow_debug_exec: bool,
    /// Whether containers may be privileged (K-418).
    pub allow_privileged: bool,
}

/// Who says what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The image itself: only these bundles.
    Pinned(BTreeSet<BundleDigest>),
    /// People with keys.
    SignedBy(SignedBy),
    /// Whoever reaches the enclave. For development.
    Any,
}

/// K of N signers of one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// What the bundle's EnclavePolicy has to name: a signer's bundles for another application are not for this image.
    pub application: String,
    /// How many signers have to agree; at least 1, at most all.
    pub threshold: usize,
    /// No two have the same name or key.
    pub signers: Vec<Signer>,
}

/// One who may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// For people: messages and logs.
    pub name: String,
    /// Public key.
    pub key: PublicKey,
    /// [`PublicKey::key_id`] of it.
    pub key_id: String,
}

/// Whether a running Pod can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Updates {
    /// The first bundle is the only one.
    #[default]
    Immutable,
    /// A bundle with a higher generation from the same authority changes what may change.
    InPlace,
}

impl TrustPolicy {
    /// The policy of images that were given none: everything goes. For development.
    pub const DEVELOPMENT: &str = r#"{
  "apiVersion": "cloister.dev/v1",
  "kind": "TrustPolicy",
  "any": true,
  "updates": "InPlace",
  "allowPlainSecrets": true,
  "allowClearLogs": true,
  "allowDebugExec": true,
  "allowPrivileged": true
}
"#;

    /// What [`TrustPolicy::DEVELOPMENT`] says.
    pub fn development() -> Self {
        Self {
            authority: Authority::Any,
            min_generation: 0,
            updates: Updates::InPlace,
            allow_plain_secrets: true,
            allow_clear_logs: true,
            allow_debug_exec: true,
            allow_privileged: true,
        }
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the path of its field.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        let tree =
            json::parse(bytes, MAX_BYTES, "the policy").map_err(|what| Rejection::of("policy", what))?;
        let report = RefCell::new(Report::default());
        let root = Node {
            report: &report,
            object: "policy".to_owned(),
            path: String::new(),
            value: &tree,
        };
        let policy = read(&root);
        let errors = report.take().errors;
        match policy {
            Some(policy) if errors.is_empty() => Ok(policy),
            _ => Err(Rejection { errors }),
        }
    }
}

fn read(root: &Node<'_>) -> Option<TrustPolicy> {
    let known = [
        "apiVersion",
        "kind",
        "pinned",
        "signedBy",
        "any",
        "minGeneration",
        "updates",
        "allowPlainSecrets",
        "allowClearLogs",
        "allowDebugExec",
        "allowPrivileged",
    ];
    fields(root, &known);
    for (field, expected) in [("apiVersion", "cloister.dev/v1"), ("kind", "TrustPolicy")] {
        if root.required(field).is_some_and(|found| found != expected) {
            root.error_at(field, format!("expected `{expected}`"));
        }
    }
    let updates = match root.get("updates") {
        None => Updates::default(),
        Some(node) => match node.text().as_deref() {
            Some("Immutable") => Updates::Immutable,
            Some("InPlace") => Updates::InPlace,
            Some(_) => {
                node.error("expected `Immutable` or `InPlace`");
                Updates::default()
            }
            None => Updates::default(),
        },
    };
    let min_generation = root.get("minGeneration").and_then(|node| node.int(0, i64::MAX));
    let allowed = |field| root.flag_of(field).unwrap_or_default();
    let (allow_plain_secrets, allow_clear_logs) = (allowed("allowPlainSecrets"), allowed("allowClearLogs"));
    let (allow_debug_exec, allow_privileged) = (allowed("allowDebugExec"), allowed("allowPrivileged"));
    Some(TrustPolicy {
        // Last: without one there is no policy, but all other mistakes have been found.
        authority: authority(root)?,
        min_generation: min_generation
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or_default(),
        updates,
        allow_plain_secrets,
        allow_clear_logs,
        allow_debug_exec,
        allow_privileged,
    })
}

/// Unknown fields are mistakes, and so is null: in a bundle it means "as if it were not there", here somebody forgot to
/// fill it in.
fn fields(node: &Node<'_>, known: &[&str]) {
    node.fields(known, &[], &[]);
    for (field, value) in node.value.as_object().into_iter().flatten() {
        if value.is_null() {
            node.error_at(field, "is null: give it a value or remove it");
        }
    }
}

fn authority(root: &Node<'_>) -> Option<Authority> {
    let (pinned, signed, any) = (root.get("pinned"), root.get("signedBy"), root.get("any"));
    match (pinned, signed, any) {
        (Some(node), None, None) => Some(Authority::Pinned(pinned_digests(&node))),
        (None, Some(node), None) => signed_by(&node).map(Authority::SignedBy),
        (None, None, Some(node)) => {
            if node.flag() == Some(false) {
                node.error("must be true: without it, use `pinned` or `signedBy`");
            }
            Some(Authority::Any)
        }
        _ => {
            root.error("exactly one of `pinned`, `signedBy` and `any` must say which bundles may run");
            None
        }
    }
}

fn pinned_digests(node: &Node<'_>) -> BTreeSet<BundleDigest> {
    let mut digests = BTreeSet::new();
    let nodes = node.list(MAX_PINNED);
    for one in &nodes {
        let Some(text) = one.text() else { continue };
        match text.parse() {
            Ok(digest) if !digests.insert(digest) => one.error("is there twice"),
            Ok(_) => {}
            Err(_) => one.error(
                "expected `sha384:` and 96 lower-case hexadecimal digits (`host-proxy inspect` prints it)",
            ),
        }
    }
    if nodes.is_empty() && node.value.as_array().is_some_and(Vec::is_empty) {
        node.error("must name at least one digest: no bundle could run");
    }
    digests
}

fn signed_by(node: &Node<'_>) -> Option<SignedBy> {
    fields(node, &["application", "threshold", "signers"]);
    for field in ["application", "threshold", "signers"] {
        if node.value.get(field).is_none_or(Value::is_null) && node.value.is_object() {
            node.error_at(field, "is required");
        }
    }
    let mut signers: Vec<Signer> = Vec::new();
    let entries = node.list_of("signers", MAX_SIGNERS);
    for entry in &entries {
        let Some(one) = signer(entry) else { continue };
        if signers.iter().any(|other| other.name == one.name) {
            entry.error_at("name", format!("`{}` is there twice", one.name));
        }
        // One person with two entries would count twice.
        if let Some(other) = signers.iter().find(|other| other.key == one.key) {
            entry.error_at("key", format!("is the key of `{}` too", other.name));
        }
        signers.push(one);
    }
    let most = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    let threshold = node.get("threshold").and_then(|node| match most {
        0 => None,
        _ => node.int(1, most),
    });
    if most == 0 && node.value.get("signers").is_some_and(Value::is_array) {
        node.error_at("signers", "must name 1 to 16 signers");
    }
    Some(SignedBy {
        application: node.get("application").and_then(|node| application(&node))?,
        threshold: usize::try_from(threshold?).ok()?,
        signers,
    })
}

fn signer(node: &Node<'_>) -> Option<Signer> {
    fields(node, &["name", "key"]);
    let name = node.required("name");
    let key = node.required("key");
    let name = name.filter(|name| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
        let good = (1..=64).contains(&name.len()) && name.bytes().all(inner);
        if !good {
            node.error_at("name", "must be 1 to 64 letters, digits, `.`, `_`, `@` or `-`");
        }
        good
    });
    let key = PublicKey::from_text(&key?)
        .map_err(|error| node.error_at("key", error.to_string()))
        .ok();
    let (name, key) = (name?, key?);
    let key_id = key.key_id();
    Some(Signer { name, key, key_id })
}
