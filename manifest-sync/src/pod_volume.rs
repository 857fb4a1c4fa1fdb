//! The volumes of a Pod, field by field.

use std::collections::BTreeSet;

use crate::byte_quantity::ByteQuantity;
use crate::decode::Node;
use crate::downward::{self, Place};
use crate::plan::{FactFile, KeyToPath, Medium, ObjectRef, Projection, VolumePlan, VolumeSource};
use crate::pod::{file_path, named};
use crate::resources::{quantity, written};

/// `csi.driver` of released secrets: the Secrets Store CSI driver's, so that manifests need not change.
const SECRETS_STORE: &str = "secrets-store.csi.k8s.io";
/// `csi.driver` of the socket that gives attestation documents.
const ATTESTATION: &str = "attestation.cloister.dev";

const SOURCES: [&str; 6] = [
    "emptyDir",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "csi",
];

/// Sources that an enclave cannot have, and why.
const ELSEWHERE: [(&[&str], &str); 5] = [
    (
        &["hostPath"],
        "an enclave sees no file system of its host, on purpose: use emptyDir for scratch space, or put files into the \
         image, a ConfigMap or a Secret",
    ),
    (
        &["persistentVolumeClaim", "ephemeral"],
        "an enclave has no disk, and nothing in it survives its end: use emptyDir, or keep data in a service that is \
         reached over the network",
    ),
    (
        &[
            "awsElasticBlockStore",
            "azureDisk",
            "azureFile",
            "cephfs",
            "cinder",
            "fc",
            "flexVolume",
            "flocker",
            "gcePersistentDisk",
            "glusterfs",
            "iscsi",
            "nfs",
            "photonPersistentDisk",
            "portworxVolume",
            "quobyte",
            "rbd",
            "scaleIO",
            "storageos",
            "vsphereVolume",
        ],
        "an enclave has no network block device and no network file system, whose server would be outside of the trust \
         boundary: use emptyDir, or keep data in a service that is reached over the network",
    ),
    (
        &["gitRepo"],
        "Kubernetes has removed it: put the files into the image",
    ),
    (
        &["image"],
        "images are measured as containers' images only: put the files into the container's image",
    ),
];

/// One entry of `volumes`; `is_class` knows the names of the bundle's SecretProviderClasses.
pub(crate) fn volume(node: &Node<'_>, is_class: &dyn Fn(&str) -> bool) -> Option<VolumePlan> {
    let mut known = vec!["name"];
    known.extend(SOURCES);
    known.extend(ELSEWHERE.iter().flat_map(|(names, _)| *names));
    node.fields(&known, &[], &[]);
    let name = named(node, "name")?;
    let mut elsewhere = false;
    for (names, reason) in ELSEWHERE {
        for unsupported in names.iter().filter_map(|name| node.get(name)) {
            unsupported.error(format!("is not supported: {reason}"));
            elsewhere = true;
        }
    }
    if elsewhere {
        return None;
    }
    let sources = SOURCES.map(|field| node.get(field));
    let source = match &sources {
        [Some(dir), None, None, None, None, None] => empty_dir(dir),
        [None, Some(map), None, None, None, None] => files(map, object(map, "name", ObjectRef::ConfigMap)?),
        [None, None, Some(secret), None, None, None] => {
            files(secret, object(secret, "secretName", ObjectRef::Secret)?)
        }
        [None, None, None, Some(facts), None, None] => {
            facts.fields(&["items", "defaultMode"], &[], &[]);
            files(facts, downward_api(facts))
        }
        [None, None, None, None, Some(projected), None] => self::projected(projected),
        [None, None, None, None, None, Some(csi)] => volume_of_driver(csi, is_class)?,
        _ => {
            node.error(format!("expected exactly one of {}", SOURCES.join(", ")));
            return None;
        }
    };
    Some(VolumePlan { name, source })
}

fn empty_dir(node: &Node<'_>) -> VolumeSource {
    node.fields(&["medium", "sizeLimit"], &[], &[]);
    let medium = match node.text_of("medium").as_deref() {
        None | Some("") => Medium::Default,
        Some("Memory") => Medium::Memory,
        Some(medium) if medium.starts_with("HugePages") => {
            // K-384.
            node.error_at("medium", "an enclave keeps no pool of huge pages: use Memory");
            Medium::Memory
        }
        Some(_) => {
            node.error_at("medium", "must be empty or Memory");
            Medium::Default
        }
    };
    let size_limit = node.get("sizeLimit").and_then(|limit| {
        quantity(&limit)?;
        ByteQuantity::parse(&written(&limit)?)
    });
    VolumeSource::EmptyDir {
        medium,
        size_limit: size_limit.filter(|limit| limit.bytes > 0),
    }
}

/// A volume of one source, whose `defaultMode` is beside it.
fn files(node: &Node<'_>, source: Projection) -> VolumeSource {
    VolumeSource::Files {
        sources: vec![source],
        default_mode: default_mode(node),
    }
}

/// K-387.
fn default_mode(node: &Node<'_>) -> u32 {
    mode(node, "defaultMode").unwrap_or(0o644)
}

fn mode(node: &Node<'_>, field: &str) -> Option<u32> {
    let mode = node.get(field)?;
    let number = mode.unsigned(0, u32::MAX)?;
    if number > 0o777 {
        mode.error(format!(
            "{number} must be between 0 and 0777 (octal), which is 511 in JSON: the low nine bits only"
        ));
    }
    Some(number & 0o777)
}

fn object(node: &Node<'_>, name: &str, make: fn(String) -> ObjectRef) -> Option<Projection> {
    node.fields(&[name, "items", "defaultMode", "optional"], &[], &[]);
    projection(node, name, make)
}

fn projection(node: &Node<'_>, name: &str, make: fn(String) -> ObjectRef) -> Option<Projection> {
    let items = node.list_of("items", 4096);
    let items = items.iter().filter_map(|item| {
        item.fields(&["key", "path", "mode"], &[], &[]);
        let (key, path) = (item.required("key"), file_path(item, "path"));
        Some(KeyToPath {
            key: key?,
            path: path?,
            mode: mode(item, "mode"),
        })
    });
    let items = items.collect();
    Some(Projection::Object {
        source: make(node.required(name)?),
        items,
        optional: node.flag_of("optional").unwrap_or(false),
    })
}

fn downward_api(node: &Node<'_>) -> Projection {
    let items = node.list_of("items", 4096);
    let items = items.iter().filter_map(|item| {
        item.fields(&["path", "fieldRef", "resourceFieldRef", "mode"], &[], &[]);
        let path = file_path(item, "path");
        let fact = match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(field), None) => downward::field_ref(&field, Place::File),
            (None, Some(resource)) => downward::resource_field_ref(&resource, Place::File),
            _ => {
                item.error("expected exactly one of fieldRef and resourceFieldRef");
                None
            }
        };
        Some(FactFile {
            path: path?,
            fact: fact?,
            mode: mode(item, "mode"),
        })
    });
    Projection::Facts(items.collect())
}

/// K-393.
fn projected(node: &Node<'_>) -> VolumeSource {
    node.fields(&["sources", "defaultMode"], &[], &[]);
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for source in node.list_of("sources", 256) {
        let Some(projection) = projected_source(&source) else {
            continue;
        };
        let paths: Vec<&String> = match &projection {
            Projection::Object { items, .. } => items.iter().map(|item| &item.path).collect(),
            Projection::Facts(items) => items.iter().map(|item| &item.path).collect(),
        };
        for path in paths {
            if !seen.insert(path.clone()) {
                source.error(format!(
                    "conflicting duplicate paths: `{path}` is used by another item of this volume"
                ));
            }
        }
        sources.push(projection);
    }
    VolumeSource::Files {
        sources,
        default_mode: default_mode(node),
    }
}

fn projected_source(node: &Node<'_>) -> Option<Projection> {
    const NO_API_SERVER: [(&str, &str); 3] = [
        (
            "serviceAccountToken",
            "there is no API server in an enclave that could issue a token: let the workload prove what it is with an \
             attestation document (csi volume with driver attestation.cloister.dev)",
        ),
        (
            "clusterTrustBundle",
            "there is no API server in an enclave that could serve it: put the certificates into a ConfigMap",
        ),
        (
            "podCertificate",
            "there is no API server in an enclave that could issue a certificate: have it released as a secret",
        ),
    ];
    node.fields(
        &[
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ],
        &[],
        &[],
    );
    for (name, reason) in NO_API_SERVER {
        if let Some(unsupported) = node.get(name) {
            unsupported.error(format!("is not supported: {reason}"));
            return None;
        }
    }
    let of_object = |node: &Node<'_>, make| {
        node.fields(&["name", "items", "optional"], &[], &[]);
        projection(node, "name", make)
    };
    match (node.get("secret"), node.get("configMap"), node.get("downwardAPI")) {
        (Some(secret), None, None) => of_object(&secret, ObjectRef::Secret),
        (None, Some(map), None) => of_object(&map, ObjectRef::ConfigMap),
        (None, None, Some(facts)) => {
            facts.fields(&["items"], &[], &[]);
            Some(downward_api(&facts))
        }
        _ => {
            node.error("expected exactly one of secret, configMap and downwardAPI");
            None
        }
    }
}

fn volume_of_driver(node: &Node<'_>, is_class: &dyn Fn(&str) -> bool) -> Option<VolumeSource> {
    node.fields(
        &["driver", "readOnly", "volumeAttributes"],
        &[],
        &["fsType", "nodePublishSecretRef"],
    );
    let read_only = node.flag_of("readOnly");
    let attributes = node.get("volumeAttributes");
    match node.required("driver")?.as_str() {
        SECRETS_STORE => {
            if read_only != Some(true) {
                node.error_at("readOnly", "must be true for secrets");
            }
            let Some(attributes) = attributes else {
                node.error_at("volumeAttributes.secretProviderClass", "is required");
                return None;
            };
            attributes.fields(&["secretProviderClass"], &[], &[]);
            let class = attributes.required("secretProviderClass")?;
            if !is_class(&class) {
                attributes.error_at(
                    "secretProviderClass",
                    format!("no SecretProviderClass of the bundle is named `{class}`"),
                );
            }
            Some(VolumeSource::SecretProvider { class })
        }
        ATTESTATION => {
            if let Some(attributes) = attributes {
                attributes.fields(&[], &[], &[]);
            }
            Some(VolumeSource::Attestation)
        }
        driver => {
            node.error_at(
                "driver",
                format!("`{driver}` is not supported: expected {SECRETS_STORE} or {ATTESTATION}"),
            );
            None
        }
    }
}
