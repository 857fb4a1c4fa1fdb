//! From manifest files to the bundle that travels, and what this side must know of it: the Pod's name and ports.
//! Nothing is decided here; the enclave judges the bytes again.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::control::Bundle;
use crate::exit::Failure;
use crate::source;

/// A bundle, read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What travels.
    pub bundle: Bundle,
    /// Name of the Pod.
    pub name: String,
    /// Container port and port outside.
    pub ports: Vec<(u16, u16)>,
}

/// Reads the manifests and says which images were resolved to which digests.
pub fn load(files: &[PathBuf], images: Option<&Path>) -> Result<Loaded, Failure> {
    let loaded = source::load(files, images)?;
    for (written, resolved) in &loaded.resolved {
        log::info!("{written} is {resolved}");
    }
    Ok(describe(loaded.json))
}

/// What this side must know of a bundle.
fn describe(bytes: Vec<u8>) -> Loaded {
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let name = pod(&value)
        .and_then(|pod| pod.pointer("/metadata/name"))
        .and_then(Value::as_str)
        .unwrap_or("pod")
        .to_owned();
    Loaded {
        ports: ports(&bytes),
        bundle: Bundle::new(bytes),
        name,
    }
}

fn pod(list: &Value) -> Option<&Value> {
    let items = list.get("items").and_then(Value::as_array)?;
    items
        .iter()
        .find(|item| item.get("kind").is_some_and(|kind| kind == "Pod"))
}

/// Container port and port outside of each port that the Pod of `bundle` declares.
pub fn ports(bundle: &[u8]) -> Vec<(u16, u16)> {
    let value: Value = serde_json::from_slice(bundle).unwrap_or_default();
    let containers = pod(&value)
        .and_then(|pod| pod.pointer("/spec/containers"))
        .and_then(Value::as_array);
    let port = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
    };
    containers
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten()
        .filter_map(|one| {
            let container = port(one, "containerPort")?;
            Some((container, port(one, "hostPort").unwrap_or(container)))
        })
        .collect()
}
