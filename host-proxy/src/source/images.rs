//! Image references: `name:tag` to `name:tag@sha256:…` by the names in an OCI layout's `index.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Annotation of the OCI image specification that names a manifest in a layout.
const REF_NAME: &str = "/annotations/org.opencontainers.image.ref.name";

/// Rewrites every image without a digest in the Pods among `items`; says what became what.
pub(super) fn resolve(items: &mut [Value], layout: Option<&Path>) -> Result<Vec<(String, String)>, Failure> {
    let mut names = None;
    let mut resolved = Vec::new();
    for pod in items
        .iter_mut()
        .filter(|item| item.get("kind").is_some_and(|kind| kind == "Pod"))
    {
        for list in [
            "/spec/initContainers",
            "/spec/containers",
            "/spec/ephemeralContainers",
        ] {
            let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
            for image in containers
                .into_iter()
                .flatten()
                .filter_map(|one| one.get_mut("image"))
            {
                let Some(written) = image
                    .as_str()
                    .filter(|text| !text.contains('@'))
                    .map(str::to_owned)
                else {
                    continue;
                };
                if names.is_none() {
                    names = Some(read_index(&written, layout)?);
                }
                let digest = find(&written, names.as_ref())?;
                let full = format!("{}@{digest}", tagged(&written));
                *image = Value::String(full.clone());
                resolved.push((written, full));
            }
        }
    }
    Ok(resolved)
}

fn missing(message: String) -> Failure {
    Failure::new(Exit::NoInput, message)
}

fn find<'a>(written: &str, names: Option<&'a BTreeMap<String, String>>) -> Result<&'a str, Failure> {
    let full = tagged(written);
    let digest = names.and_then(|names| names.get(written).or_else(|| names.get(&full)));
    digest.map(String::as_str).ok_or_else(|| {
        let known: Vec<&str> = names
            .into_iter()
            .flat_map(|names| names.keys())
            .map(String::as_str)
            .collect();
        missing(format!(
            "image {written} is not in the layout; it has: {}",
            known.join(", ")
        ))
    })
}

fn read_index(written: &str, layout: Option<&Path>) -> Result<BTreeMap<String, String>, Failure> {
    let Some(layout) = layout else {
        return Err(missing(format!(
            "image {written} has no digest: give the OCI layout that holds it"
        )));
    };
    let path = layout.join("index.json");
    let failed = |what: &dyn std::fmt::Display| missing(format!("cannot read {}: {what}", path.display()));
    let bytes = std::fs::read(&path).map_err(|error| failed(&error))?;
    let index: Value = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    let mut names = BTreeMap::new();
    for manifest in index
        .get("manifests")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = manifest.pointer(REF_NAME).and_then(Value::as_str);
        let digest = manifest.get("digest").and_then(Value::as_str);
        if let (Some(name), Some(digest)) = (name, digest) {
            names.insert(tagged(name), digest.to_owned());
        }
    }
    Ok(names)
}

/// `redis` is `redis:latest`; a colon before the last slash is a registry's port.
fn tagged(name: &str) -> String {
    match name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_become_digests_and_absent_ones_are_named() {
        let layout = tempfile::tempdir().expect("temporary directory");
        let digest = format!("sha256:{}", "0".repeat(64));
        let index = json!({ "manifests": [{ "digest": digest,
            "annotations": { "org.opencontainers.image.ref.name": "redis:latest" } }] });
        std::fs::write(layout.path().join("index.json"), index.to_string()).expect("writes");
        let pod = |image: &str| json!({ "kind": "Pod", "spec": { "containers": [{ "image": image }] } });
        let mut items = [pod("redis"), pod("x@sha256:1")];
        let resolved = resolve(&mut items, Some(layout.path())).expect("resolves");
        assert_eq!(resolved, [("redis".to_owned(), format!("redis:latest@{digest}"))]);
        let failure = resolve(&mut [pod("nginx")], Some(layout.path())).expect_err("absent");
        assert_eq!(failure.exit, Exit::NoInput);
        assert!(failure.message.contains("redis:latest"), "{failure}");
    }
}
