//! The volumes of a Pod, field by field.

use crate::decode::Node;
use crate::plan::{KeyToPath, ObjectRef, VolumePlan, VolumeSource};
use crate::pod::{named, relative};
use crate::quantity::Quantity;
use crate::resources::quantity;

/// `csi.driver` of released secrets: the Secrets Store CSI driver's, so that manifests need not change.
const SECRETS_STORE: &str = "secrets-store.csi.k8s.io";
/// `csi.driver` of the socket that gives attestation documents.
const ATTESTATION: &str = "attestation.cloister.dev";

/// One entry of `volumes`; `is_class` knows the names of the bundle's SecretProviderClasses.
pub(crate) fn volume(node: &Node<'_>, is_class: &dyn Fn(&str) -> bool) -> Option<VolumePlan> {
    node.fields(
        &["name", "emptyDir", "configMap", "secret", "csi"],
        &[],
        &[
            "hostPath",
            "persistentVolumeClaim",
            "projected",
            "downwardAPI",
            "nfs",
            "ephemeral",
            "image",
            "iscsi",
        ],
    );
    let name = named(node, "name")?;
    let sources = ["emptyDir", "configMap", "secret", "csi"].map(|field| node.get(field));
    let source = match sources {
        [Some(dir), None, None, None] => {
            dir.fields(&["medium", "sizeLimit"], &[], &[]);
            if dir
                .text_of("medium")
                .is_some_and(|m| !m.is_empty() && m != "Memory")
            {
                dir.error_at("medium", "must be empty or Memory");
            }
            VolumeSource::EmptyDir {
                size_limit: dir
                    .get("sizeLimit")
                    .and_then(|n| quantity(&n).map(Quantity::value))
                    .and_then(|v| u64::try_from(v).ok())
                    .filter(|v| *v > 0),
            }
        }
        [None, Some(map), None, None] => object(&map, "name", ObjectRef::ConfigMap)?,
        [None, None, Some(secret), None] => object(&secret, "secretName", ObjectRef::Secret)?,
        [None, None, None, Some(csi)] => volume_of_driver(&csi, is_class)?,
        _ => {
            node.error("expected exactly one of emptyDir, configMap, secret and csi");
            return None;
        }
    };
    Some(VolumePlan { name, source })
}

fn object(node: &Node<'_>, name: &str, make: fn(String) -> ObjectRef) -> Option<VolumeSource> {
    node.fields(&[name, "items", "defaultMode", "optional"], &[], &[]);
    let items = node
        .list_of("items", 4096)
        .iter()
        .filter_map(|n| {
            n.fields(&["key", "path", "mode"], &[], &[]);
            let path = n.required("path")?;
            relative(n, &path);
            Some(KeyToPath {
                key: n.required("key")?,
                path,
                mode: n.get("mode").and_then(|m| m.unsigned(0, 0o777)),
            })
        })
        .collect();
    Some(VolumeSource::Object {
        source: make(node.required(name)?),
        items,
        default_mode: node
            .get("defaultMode")
            .and_then(|m| m.unsigned(0, 0o777))
            .unwrap_or(0o644),
        optional: node.flag_of("optional").unwrap_or(false),
    })
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
