//! `env` and `envFrom` of a container, field by field.

use crate::decode::Node;
use crate::downward::{self, Place};
use crate::plan::{EnvFrom, EnvValue, EnvVar, ObjectRef, VolumePlan, VolumeSource};
use crate::pod::file_path;

/// K-355: any printable character of ASCII but `=`.
fn is_name(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

/// One entry of `envFrom`.
pub(crate) fn env_from(node: &Node<'_>) -> Option<EnvFrom> {
    node.fields(&["prefix", "configMapRef", "secretRef"], &[], &[]);
    let prefix = node.text_of("prefix").unwrap_or_default();
    if !is_name(&prefix) {
        node.error_at("prefix", "must be printable ASCII without `=`");
    }
    let (n, make): (_, fn(String) -> ObjectRef) = match (node.get("configMapRef"), node.get("secretRef")) {
        (Some(n), None) => (n, ObjectRef::ConfigMap),
        (None, Some(n)) => (n, ObjectRef::Secret),
        _ => {
            node.error("expected exactly one of configMapRef and secretRef");
            return None;
        }
    };
    n.fields(&["name", "optional"], &[], &[]);
    Some(EnvFrom {
        prefix,
        source: make(n.required("name")?),
        optional: n.flag_of("optional").unwrap_or(false),
    })
}

/// One entry of `env`.
pub(crate) fn env(node: &Node<'_>, volumes: &[VolumePlan]) -> Option<EnvVar> {
    node.fields(&["name", "value", "valueFrom"], &[], &[]);
    let name = node.required("name")?;
    if name.is_empty() || !is_name(&name) {
        node.error_at("name", "must be printable ASCII without `=` and not empty");
    }
    let literal = node.text_of("value").unwrap_or_default();
    let Some(from) = node.get("valueFrom") else {
        return Some(EnvVar {
            name,
            value: EnvValue::Literal(literal),
        });
    };
    // K-358.
    if !literal.is_empty() {
        node.error_at(
            "valueFrom",
            "may not be specified when `value` is not empty: remove one of them",
        );
    }
    const SOURCES: [&str; 5] = [
        "configMapKeyRef",
        "secretKeyRef",
        "fieldRef",
        "resourceFieldRef",
        "fileKeyRef",
    ];
    from.fields(&SOURCES, &[], &[]);
    let value = match SOURCES.map(|source| from.get(source)) {
        [Some(n), None, None, None, None] => key(&n, ObjectRef::ConfigMap)?,
        [None, Some(n), None, None, None] => key(&n, ObjectRef::Secret)?,
        [None, None, Some(n), None, None] => EnvValue::Fact(downward::field_ref(&n, Place::Environment)?),
        [None, None, None, Some(n), None] => {
            EnvValue::Fact(downward::resource_field_ref(&n, Place::Environment)?)
        }
        [None, None, None, None, Some(n)] => file(&n, volumes)?,
        _ => {
            from.error(format!("expected exactly one of {}", SOURCES.join(", ")));
            return None;
        }
    };
    Some(EnvVar { name, value })
}

fn key(node: &Node<'_>, make: fn(String) -> ObjectRef) -> Option<EnvValue> {
    node.fields(&["name", "key", "optional"], &[], &[]);
    Some(EnvValue::Key {
        source: make(node.required("name")?),
        key: node.required("key")?,
        optional: node.flag_of("optional").unwrap_or(false),
    })
}

/// K-360.
fn file(node: &Node<'_>, volumes: &[VolumePlan]) -> Option<EnvValue> {
    node.fields(&["volumeName", "path", "key", "optional"], &[], &[]);
    let (volume, path, key) = (
        node.required("volumeName")?,
        file_path(node, "path")?,
        node.required("key")?,
    );
    if key.is_empty() || !is_name(&key) {
        node.error_at("key", "must be printable ASCII without `=` and not empty");
    }
    match volumes
        .iter()
        .find(|one| one.name == volume)
        .map(|one| &one.source)
    {
        Some(VolumeSource::EmptyDir { .. }) => {}
        Some(_) => node.error_at("volumeName", format!("volume `{volume}` must be an emptyDir")),
        None => node.error_at("volumeName", format!("no volume is named `{volume}`")),
    }
    Some(EnvValue::File {
        volume,
        path,
        key,
        optional: node.flag_of("optional").unwrap_or(false),
    })
}
