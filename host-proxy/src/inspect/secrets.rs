//! Which secrets a bundle asks for, and where each of them goes: what somebody wants to know before they sign it.

use manifest_sync::plan::{ContainerPlan, EnvValue, ObjectRef, Plan, Projection, SubPath, VolumeSource};
use manifest_sync::secret_class::{SecretClassPlan, SyncedSecretPlan};
use manifest_sync::trust::key::PublicKey;
use serde::Serialize;

/// One class that the Pod mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassReport {
    /// Its name.
    pub class: String,
    /// Of the key whose holder is the broker, as signers' keys are called: `sha256:` and the digest of its DER.
    pub broker_key_id: String,
    /// Seconds between two releases; absent: once.
    pub rotation_seconds: Option<u32>,
    /// What is asked for.
    pub objects: Vec<ObjectReport>,
    /// Secrets made of them.
    pub secret_objects: Vec<SyncedReport>,
    /// Containers that get any of it.
    pub containers: Vec<UseReport>,
}

/// One secret of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// Its name at the broker.
    pub name: String,
    /// Its file in volumes of the class.
    pub file: String,
    /// Mode of the file, octal.
    pub mode: String,
}

/// One Secret made of released values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncedReport {
    /// Its name.
    pub secret_name: String,
    /// `key=OBJECT`, by the broker's name.
    pub keys: Vec<String>,
}

/// One way of secrets into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UseReport {
    /// The container.
    pub container: String,
    /// A path for files, `$NAME` for a variable, `$PREFIX*` for all keys of a Secret.
    pub at: String,
    /// The secrets, by the broker's names.
    pub objects: Vec<String>,
}

/// Every class of `plan`.
pub(super) fn classes(plan: &Plan) -> Vec<ClassReport> {
    let classes = plan.secret_classes.iter();
    classes.map(|(name, class)| report(plan, name, class)).collect()
}

/// `CONTAINER PATH` of every attestation socket.
pub(super) fn attestation(plan: &Plan) -> Vec<String> {
    let mut all = Vec::new();
    for container in plan.all_containers() {
        for mount in &container.mounts {
            if source(plan, &mount.volume) == Some(&VolumeSource::Attestation) {
                let socket = manifest_sync::volume::ATTESTATION_SOCKET;
                let directory = mount.path.trim_end_matches('/');
                all.push(format!("{} {directory}/{socket}", container.name));
            }
        }
    }
    all
}

fn report(plan: &Plan, name: &str, class: &SecretClassPlan) -> ClassReport {
    let objects = class.objects.iter().map(|object| ObjectReport {
        name: object.name.clone(),
        file: object.file.clone(),
        mode: format!("{:04o}", object.mode),
    });
    let secrets = class.secrets.iter().map(|secret| SyncedReport {
        secret_name: secret.name.clone(),
        keys: secret
            .data
            .iter()
            .zip(names(class, secret, |_| true))
            .map(|((key, _), object)| format!("{key}={object}"))
            .collect(),
    });
    ClassReport {
        class: name.to_owned(),
        broker_key_id: PublicKey::Ed25519(class.broker_key).key_id(),
        rotation_seconds: class.rotation_seconds,
        objects: objects.collect(),
        secret_objects: secrets.collect(),
        containers: plan
            .all_containers()
            .flat_map(|container| uses(plan, name, class, container))
            .collect(),
    }
}

fn uses(plan: &Plan, name: &str, class: &SecretClassPlan, container: &ContainerPlan) -> Vec<UseReport> {
    let synced = |source: &ObjectRef| match source {
        ObjectRef::Secret(wanted) => class.secrets.iter().find(|secret| secret.name == *wanted),
        ObjectRef::ConfigMap(_) => None,
    };
    let mut ways: Vec<(String, Vec<String>)> = Vec::new();
    for mount in &container.mounts {
        let objects = match source(plan, &mount.volume) {
            Some(VolumeSource::SecretProvider { class: mounted }) if mounted == name => {
                let all = class.objects.iter();
                // A subPath is a file, or a directory with some.
                let chosen = all.filter(|object| match &mount.sub_path {
                    Some(SubPath::Literal(path)) => beneath(&object.file, path),
                    // Which part it is depends on variables: all is what it may be.
                    Some(SubPath::Expression(_)) | None => true,
                });
                chosen.map(|object| object.name.clone()).collect()
            }
            Some(VolumeSource::Files { sources, .. }) => sources
                .iter()
                .filter_map(|projection| match projection {
                    Projection::Object { source, items, .. } => Some((synced(source)?, items)),
                    Projection::Facts(_) => None,
                })
                .flat_map(|(secret, items)| {
                    names(class, secret, |key| {
                        items.is_empty() || items.iter().any(|item| item.key == key)
                    })
                })
                .collect(),
            _ => continue,
        };
        ways.push((mount.path.clone(), objects));
    }
    for from in &container.env_from {
        if let Some(secret) = synced(&from.source) {
            ways.push((format!("${}*", from.prefix), names(class, secret, |_| true)));
        }
    }
    for variable in &container.env {
        if let EnvValue::Key {
            source, key: wanted, ..
        } = &variable.value
            && let Some(secret) = synced(source)
        {
            ways.push((
                format!("${}", variable.name),
                names(class, secret, |key| key == wanted),
            ));
        }
    }
    let ways = ways.into_iter().filter(|(_, objects)| !objects.is_empty());
    ways.map(|(at, objects)| UseReport {
        container: container.name.clone(),
        at,
        objects,
    })
    .collect()
}

fn source<'a>(plan: &'a Plan, volume: &str) -> Option<&'a VolumeSource> {
    let found = plan.volumes.iter().find(|one| one.name == volume);
    found.map(|one| &one.source)
}

/// The broker's names of the objects in the keys of `secret` that are `wanted`.
fn names(class: &SecretClassPlan, secret: &SyncedSecretPlan, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let keys = secret.data.iter().filter(|(key, _)| wanted(key));
    let objects = keys.filter_map(|(_, index)| class.objects.get(*index));
    objects.map(|object| object.name.clone()).collect()
}

fn beneath(file: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    file.strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
