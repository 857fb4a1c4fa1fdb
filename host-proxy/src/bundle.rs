//! From manifest files to the bundle that travels, and what this side must know of it: the Pod's name and ports.
//! Nothing is decided here; the enclave judges the bytes again.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::Bundle;
use crate::exit::{Exit, Failure};

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

/// Reads the manifests.
pub fn load(files: &[PathBuf], _images: Option<&Path>) -> Result<Loaded, Failure> {
    let mut items = Vec::new();
    for file in files {
        let failed = |what: &dyn std::fmt::Display| {
            Failure::new(Exit::NoInput, format!("cannot read {}: {what}", file.display()))
        };
        let text = if file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(file)
        };
        for document in serde_norway::Deserializer::from_str(&text.map_err(|error| failed(&error))?) {
            let value = Value::deserialize(document)
                .map_err(|error| Failure::new(Exit::Rejected, format!("{}: {error}", file.display())))?;
            if !value.is_null() {
                items.push(value);
            }
        }
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let bytes = serde_json::to_vec(&list).map_err(|error| Failure::new(Exit::Rejected, error.to_string()))?;
    Ok(describe(bytes))
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
