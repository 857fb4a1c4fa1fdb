//! The files of `deploy/`, and walking through what they say.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A file of `deploy/`.
pub(crate) fn path(name: &str) -> PathBuf {
    repository("deploy").join(name)
}

/// Its text.
pub(crate) fn text(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file.
pub(crate) fn documents(name: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(&text(name))
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect()
}

/// The only document of a YAML file.
pub(crate) fn document(name: &str) -> Value {
    let mut documents = documents(name);
    assert_eq!(documents.len(), 1, "{name} has one document");
    documents.remove(0)
}

/// Names of all YAML files, those in directories too.
pub(crate) fn yaml() -> Vec<String> {
    let mut found = Vec::new();
    list(&repository("deploy"), "", &mut found);
    found.retain(|name| name.ends_with(".yaml"));
    assert!(found.len() >= 5, "{found:?}");
    found
}

fn list(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("deploy/ can be listed") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push(name);
        }
    }
}

/// Calls `visit` with every object in `value` and its path, the outermost first.
pub(crate) fn objects(at: &str, value: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            visit(at, value);
            for (name, field) in fields {
                objects(&format!("{at}.{name}"), field, visit);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(&format!("{at}[{index}]"), item, visit);
            }
        }
        _ => {}
    }
}

/// The Pod template of a Deployment or DaemonSet.
pub(crate) fn pod_spec(object: &Value) -> &Value {
    object
        .pointer("/spec/template/spec")
        .expect("a workload has a Pod template")
}

/// The containers of a Pod, those that only begin it too.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .filter_map(|list| pod.get(list)?.as_array())
        .flatten()
}

/// A text field that must be there.
pub(crate) fn string<'a>(object: &'a Value, name: &str) -> &'a str {
    let field = object.get(name).and_then(Value::as_str);
    field.unwrap_or_else(|| panic!("no text {name} in {object}"))
}
