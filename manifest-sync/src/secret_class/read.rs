//! A `SecretProviderClass`, field by field.

use crate::decode::Node;
use crate::trust::key::PublicKey;
use crate::{data, duration, json, pod};

use super::{
    MAX_OBJECTS, MAX_ROTATION_SECONDS, MIN_ROTATION_SECONDS, SecretClassPlan, SecretObjectPlan,
    SyncedSecretPlan,
};

/// The one provider so far.
const PROVIDER: &str = "broker";
/// Mode of a file that states none, as in the driver.
const DEFAULT_MODE: u32 = 0o644;
/// Largest `objects` in bytes: [`MAX_OBJECTS`] with long names.
const MAX_OBJECTS_BYTES: usize = 64 << 10;
/// Longest path of a file, far below what a file system takes beneath any volume.
const MAX_FILE: usize = 1024;

/// What the class asks for; `None` when something is wrong with it, and that has been reported.
pub(crate) fn read(item: &Node<'_>) -> Option<SecretClassPlan> {
    item.fields(&["apiVersion", "kind", "metadata", "spec"], &["status"], &[]);
    match item.get("metadata") {
        Some(metadata) => _ = pod::metadata(&metadata),
        None => _ = item.required("metadata"),
    }
    let Some(spec) = item.get("spec") else {
        item.error_at("spec", "is required");
        return None;
    };
    spec.fields(&["provider", "parameters", "secretObjects"], &[], &[]);
    if spec.required("provider").is_some_and(|found| found != PROVIDER) {
        spec.error_at("provider", format!("only `{PROVIDER}` is supported"));
    }
    let Some(parameters) = spec.get("parameters") else {
        spec.error_at("parameters", "is required");
        return None;
    };
    parameters.fields(&["brokerKey", "objects", "rotationPollInterval"], &[], &[]);
    let broker_key = broker_key(&parameters);
    let rotation = parameters.get("rotationPollInterval").map(|node| rotation(&node));
    let objects = objects(&parameters);
    let secrets = spec.list_of("secretObjects", MAX_OBJECTS);
    let secrets: Vec<_> = secrets
        .iter()
        .map(|node| synced(node, objects.as_deref()))
        .collect();
    Some(SecretClassPlan {
        broker_key: broker_key?,
        objects: objects?,
        secrets: secrets.into_iter().collect::<Option<_>>()?,
        rotation_seconds: match rotation {
            Some(seconds) => Some(seconds?),
            None => None,
        },
    })
}

fn broker_key(parameters: &Node<'_>) -> Option<[u8; 32]> {
    match PublicKey::from_text(&parameters.required("brokerKey")?) {
        Ok(PublicKey::Ed25519(key)) => return Some(key),
        Ok(PublicKey::EcdsaP256(_)) => parameters.error_at("brokerKey", "must be an Ed25519 key, not P-256"),
        Err(error) => parameters.error_at("brokerKey", error.to_string()),
    }
    None
}

fn rotation(node: &Node<'_>) -> Option<u32> {
    let text = node.text()?;
    let seconds = duration::parse(&text)
        .filter(|interval| interval.subsec_nanos() == 0)
        .and_then(|interval| u32::try_from(interval.as_secs()).ok())
        .filter(|seconds| (MIN_ROTATION_SECONDS..=MAX_ROTATION_SECONDS).contains(seconds));
    if seconds.is_none() {
        node.error("must be a duration of whole seconds, such as 2m or 1h30m, from 10s to 8760h");
    }
    seconds
}

/// The JSON text `objects`. Paths of errors go on inside of it.
fn objects(parameters: &Node<'_>) -> Option<Vec<SecretObjectPlan>> {
    let text = parameters.required("objects")?;
    let node = parameters.get("objects")?;
    let tree = match json::parse(text.as_bytes(), MAX_OBJECTS_BYTES, "the list") {
        Ok(tree) => tree,
        Err(what) => {
            node.error(format!(
                "expected a JSON list as text (host-proxy makes it of YAML): {what}"
            ));
            return None;
        }
    };
    let inner = Node {
        report: node.report,
        object: node.object.clone(),
        path: node.path.clone(),
        value: &tree,
    };
    let nodes = inner.list(MAX_OBJECTS);
    if nodes.is_empty() && tree.is_array() {
        inner.error(format!("must name 1 to {MAX_OBJECTS} secrets"));
    }
    let mut objects: Vec<SecretObjectPlan> = Vec::new();
    for node in &nodes {
        let Some(one) = object(node) else { continue };
        if objects.iter().any(|other| other.name == one.name) {
            node.error_at("objectName", format!("`{}` is there twice", one.name));
        }
        if let Some(other) = objects.iter().find(|other| overlap(&other.file, &one.file)) {
            node.error(format!("file `{}` collides with file `{}`", one.file, other.file));
        }
        objects.push(one);
    }
    // Those that are missing have been reported, and what refers to them by index would be wrong.
    (objects.len() == nodes.len() && !objects.is_empty()).then_some(objects)
}

fn object(node: &Node<'_>) -> Option<SecretObjectPlan> {
    node.fields(&["objectName", "objectAlias", "filePermission"], &[], &[]);
    let name = node.required("objectName");
    if name.as_deref().is_some_and(|name| !is_name(name)) {
        node.error_at(
            "objectName",
            "must be letters, digits, `-`, `_` and `.`, not a `.` in front, at most 253",
        );
    }
    let alias = node.get("objectAlias").map(|alias| {
        let file = alias.text()?;
        if !is_file(&file) {
            alias.error(format!(
                "must be a relative path of letters, digits, `-`, `_` and `.`, without `..`, at most {MAX_FILE}"
            ));
        }
        Some(file)
    });
    let mode = node.get("filePermission").map(|node| permission(&node));
    let name = name?;
    Some(SecretObjectPlan {
        file: match alias {
            Some(file) => file?,
            None => name.clone(),
        },
        name,
        mode: mode.unwrap_or(Some(DEFAULT_MODE))?,
    })
}

fn permission(node: &Node<'_>) -> Option<u32> {
    let text = node.value.as_str().unwrap_or_default();
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && (3..=4).contains(&text.len()) && !text.starts_with('+'));
    if mode.is_none() {
        node.error("must be a text of octal digits, such as \"0600\", at most \"0777\"");
    }
    mode
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('.')
}

/// Atomic updates need names in front of which there is no `..` (K-388).
fn is_file(file: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let component = |part: &str| {
        (1..=255).contains(&part.len()) && part != "." && !part.starts_with("..") && part.bytes().all(inner)
    };
    file.len() <= MAX_FILE && file.split('/').all(component)
}

/// The same file, or one in place of a directory of the other.
fn overlap(a: &str, b: &str) -> bool {
    let beneath = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    a == b || beneath(a, b) || beneath(b, a)
}

/// Without `objects`, which had mistakes, only what does not refer to them is checked.
fn synced(node: &Node<'_>, objects: Option<&[SecretObjectPlan]>) -> Option<SyncedSecretPlan> {
    node.fields(&["secretName", "type", "labels", "annotations", "data"], &[], &[]);
    let name = pod::subdomain(node, "secretName");
    if node
        .text_of("type")
        .is_some_and(|kind| kind == "kubernetes.io/tls")
    {
        let message = "nothing is picked out of a PEM file here: each key holds its whole object";
        node.get("type").inspect(|node| node.warn(message));
    }
    pod::texts(node, "labels");
    pod::texts(node, "annotations");
    let entries = node.list_of("data", 256);
    if entries.is_empty() {
        node.error_at("data", "needs at least one entry");
    }
    let mut data: Vec<(String, usize)> = Vec::new();
    for entry in &entries {
        entry.fields(&["objectName", "key"], &[], &[]);
        let (object, key) = (entry.required("objectName"), entry.required("key"));
        if let (Some(key), Some(node)) = (&key, entry.get("key")) {
            data::check_key(key, &node);
            if data.iter().any(|(other, _)| other == key) {
                node.error(format!("`{key}` is there twice"));
            }
        }
        let index = object.and_then(|object| find(entry, objects?, &object));
        if let (Some(key), Some(index)) = (key, index) {
            data.push((key, index));
        }
    }
    (data.len() == entries.len()).then_some(SyncedSecretPlan { name: name?, data })
}

/// As in the driver, content goes by the name of its file: the alias, where there is one.
fn find(entry: &Node<'_>, objects: &[SecretObjectPlan], wanted: &str) -> Option<usize> {
    let found = objects.iter().position(|object| object.file == wanted);
    if found.is_none() {
        let message = match objects.iter().find(|object| object.name == wanted) {
            Some(object) => format!("`{wanted}` is mounted as `{}`: write that", object.file),
            None => format!("`{wanted}` is none of the files that `parameters.objects` makes"),
        };
        entry.error_at("objectName", message);
    }
    found
}
