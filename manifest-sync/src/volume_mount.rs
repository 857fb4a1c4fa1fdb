//! `volumeMounts` of a container, field by field.

use crate::decode::Node;
use crate::plan::{Access, MountPlan, Propagation, SubPath, VolumePlan, VolumeSource};

/// What a container may do, as far as its mounts depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    Ordinary,
    Privileged,
}

/// One entry of `volumeMounts`.
pub(crate) fn mount(node: &Node<'_>, volumes: &[VolumePlan], privilege: Privilege) -> Option<MountPlan> {
    node.fields(
        &[
            "name",
            "mountPath",
            "readOnly",
            "recursiveReadOnly",
            "subPath",
            "subPathExpr",
            "mountPropagation",
        ],
        &[],
        &[],
    );
    let (volume, path) = (node.required("name")?, node.required("mountPath")?);
    let source = volumes
        .iter()
        .find(|one| one.name == volume)
        .map(|one| &one.source);
    if source.is_none() {
        node.error_at(
            "name",
            format!("no volume is named `{volume}`: add it to spec.volumes"),
        );
    }
    if path.is_empty() || path.contains(':') || path.split('/').any(|part| part == "..") {
        node.error_at("mountPath", "must not be empty and must not contain `:` or `..`");
    }
    let sub_path = sub_path(node);
    if sub_path.is_some() && source == Some(&VolumeSource::Attestation) {
        node.error("an attestation volume is mounted as a whole: remove subPath and subPathExpr");
    }
    let propagation = propagation(node, privilege);
    Some(MountPlan {
        volume,
        // As the kubelet does.
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
        access: access(node, propagation),
        sub_path,
        propagation,
    })
}

/// K-397.
fn access(node: &Node<'_>, propagation: Propagation) -> Access {
    let read_only = node.flag_of("readOnly").unwrap_or(false);
    let recursive = match node.text_of("recursiveReadOnly").as_deref() {
        None | Some("Disabled") => false,
        // The kernel of an enclave image can.
        Some("Enabled" | "IfPossible") => true,
        Some(_) => {
            node.error_at("recursiveReadOnly", "must be Disabled, IfPossible or Enabled");
            false
        }
    };
    if recursive && !read_only {
        node.error_at(
            "recursiveReadOnly",
            "may only be specified when readOnly is true: set it",
        );
    }
    if recursive && propagation != Propagation::None {
        node.error_at(
            "recursiveReadOnly",
            "may only be specified when mountPropagation is None: remove one of them",
        );
    }
    match (read_only, recursive) {
        (false, _) => Access::ReadWrite,
        (true, false) => Access::ReadOnly,
        (true, true) => Access::RecursiveReadOnly,
    }
}

/// K-398.
fn propagation(node: &Node<'_>, privilege: Privilege) -> Propagation {
    match node.text_of("mountPropagation").as_deref() {
        None | Some("None") => Propagation::None,
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => {
            if privilege == Privilege::Ordinary {
                node.error_at(
                    "mountPropagation",
                    "Bidirectional is available only to privileged containers: use HostToContainer or None",
                );
            }
            Propagation::Bidirectional
        }
        Some(_) => {
            node.error_at(
                "mountPropagation",
                "must be None, HostToContainer or Bidirectional",
            );
            Propagation::None
        }
    }
}

/// K-399.
fn sub_path(node: &Node<'_>) -> Option<SubPath> {
    let get = |field: &str| {
        let path = node.text_of(field).filter(|path| !path.is_empty())?;
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            node.error_at(field, format!("`{path}` must be a relative path without `..`"));
        }
        Some(path)
    };
    match (get("subPath"), get("subPathExpr")) {
        (Some(_), Some(_)) => {
            node.error_at(
                "subPathExpr",
                "subPathExpr and subPath are mutually exclusive: remove one of them",
            );
            None
        }
        (Some(path), None) => Some(SubPath::Literal(path)),
        (None, Some(expression)) => Some(SubPath::Expression(expression)),
        (None, None) => None,
    }
}
