//! Secrets released by attestation: the `SecretProviderClass`es of a bundle, as the Secrets Store CSI driver writes them
//! (<https://secrets-store-csi-driver.sigs.k8s.io/>). What is asked for is here; values exist at run time only.

mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::data::{Content, Data, Released};
use crate::decode::Node;
use crate::plan::{Plan, VolumeSource};

pub(crate) use read::read;

/// `apiVersion` of a class.
pub const API_VERSION: &str = "secrets-store.csi.x-k8s.io/v1";
/// `kind` of a class.
pub const KIND: &str = "SecretProviderClass";
/// Most objects of a class: what one request to a broker may ask for.
pub const MAX_OBJECTS: usize = 64;
/// Shortest `rotationPollInterval` in seconds: every rotation is an attestation document and a question to the broker.
pub const MIN_ROTATION_SECONDS: u32 = 10;
/// Longest `rotationPollInterval` in seconds: a year.
pub const MAX_ROTATION_SECONDS: u32 = 365 * 24 * 3600;

/// One class that the Pod mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretClassPlan {
    /// The broker's Ed25519 public key, a usable point: only what it signs is an answer.
    pub broker_key: [u8; 32],
    /// What to ask for, in this order: 1 to [`MAX_OBJECTS`], no name and no file twice.
    pub objects: Vec<SecretObjectPlan>,
    /// Secrets made of released values, for variables and `secret` volumes.
    pub secrets: Vec<SyncedSecretPlan>,
    /// Seconds between two releases; `None`: once.
    pub rotation_seconds: Option<u32>,
}

/// One secret of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretObjectPlan {
    /// What the broker calls it.
    pub name: String,
    /// Its file beneath the volume: relative, of letters, digits, `-`, `_`, `.` and `/`, never inside another's.
    pub file: String,
    /// Mode of the file.
    pub mode: u32,
}

/// One entry of `secretObjects`: a Secret that exists once the class has been released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedSecretPlan {
    /// Name, which no Secret of the bundle and of other classes has.
    pub name: String,
    /// Each key, and whose value it has: an index into [`SecretClassPlan::objects`].
    pub data: Vec<(String, usize)>,
}

impl SecretClassPlan {
    /// The files of a volume: relative path → content and mode. `values` are those of the objects, in their order; an
    /// object without a value has no file.
    pub fn files(&self, values: &[Content]) -> BTreeMap<String, (Content, u32)> {
        self.objects
            .iter()
            .zip(values)
            .map(|(object, value)| (object.file.clone(), (value.clone(), object.mode)))
            .collect()
    }
}

impl Released {
    /// Makes, or makes anew, the Secrets of `class`. `values` are those of its objects, in their order; a key whose object
    /// has no value is left out.
    pub fn put(&mut self, class: &SecretClassPlan, values: &[Content]) {
        for secret in &class.secrets {
            let mut data = Data::default();
            for (key, index) in &secret.data {
                if let Some(value) = values.get(*index) {
                    data.data.insert(key.clone(), value.clone());
                }
            }
            self.0.insert(secret.name.clone(), data);
        }
    }
}

/// A class as it was found in the bundle, with its document; `None` when something is wrong with it.
pub(crate) type Classes<'a> = BTreeMap<String, (Option<SecretClassPlan>, Node<'a>)>;

/// Checks the classes against everything else, and leaves those that `plan` mounts.
pub(crate) fn mounted(classes: Classes<'_>, plan: &Plan) -> BTreeMap<String, SecretClassPlan> {
    let used: BTreeSet<&str> = plan
        .volumes
        .iter()
        .filter_map(|volume| match &volume.source {
            VolumeSource::SecretProvider { class } => Some(class.as_str()),
            _ => None,
        })
        .collect();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut mounted = BTreeMap::new();
    for (name, (class, node)) in classes {
        let Some(class) = class else { continue };
        for (index, secret) in class.secrets.iter().enumerate() {
            let path = format!("spec.secretObjects[{index}].secretName");
            if plan.secrets.contains_key(&secret.name) {
                node.error_at(&path, format!("the bundle holds a Secret `{}`", secret.name));
            }
            if let Some(other) = owners.insert(secret.name.clone(), name.clone()) {
                let message = match other == name {
                    true => format!("`{}` is made twice", secret.name),
                    false => format!(
                        "SecretProviderClass `{other}` makes a Secret `{}` too",
                        secret.name
                    ),
                };
                node.error_at(&path, message);
            }
        }
        if used.contains(name.as_str()) {
            mounted.insert(name, class);
        } else {
            node.warn("no volume of the Pod mounts it: none of its secrets will exist");
        }
    }
    mounted
}
