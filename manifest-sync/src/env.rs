//! The environment and the argument vector of a container (K-340 to K-343, K-350 to K-372).

use std::collections::BTreeMap;

use crate::data::{Data, Objects};
use crate::expansion::expand;
use crate::plan::{ContainerPlan, EnvValue, ObjectRef, Plan};

/// What is known only at run time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtime {
    /// `status.podIP`.
    pub pod_ip: String,
    /// `status.hostIP`.
    pub host_ip: String,
    /// `spec.nodeName`.
    pub node_name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// Finds an object; `Ok(None)` when it is missing and that is forgiven (K-356).
pub(crate) fn object<'a>(
    objects: &Objects<'a>,
    source: &ObjectRef,
    optional: bool,
) -> Result<Option<&'a Data>, String> {
    let Objects { plan, released } = *objects;
    let (found, kind, name) = match source {
        ObjectRef::ConfigMap(name) => (plan.config_maps.get(name), "configmap", name),
        ObjectRef::Secret(name) => {
            let found = plan.secrets.get(name).or_else(|| released.0.get(name));
            (found, "secret", name)
        }
    };
    if found.is_none() && !optional {
        Err(format!("{kind} \"{name}\" not found"))
    } else {
        Ok(found)
    }
}

fn text(key: &str, bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("the value of key {key} is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("the value of key {key} contains a NUL byte"));
    }
    Ok(text.to_owned())
}

/// Variables of the Pod for `container`; errors are worded as the kubelet's (`CreateContainerConfigError`).
pub fn resolve(
    objects: &Objects<'_>,
    container: &ContainerPlan,
    runtime: &Runtime,
) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for from in &container.env_from {
        for (key, bytes) in object(objects, &from.source, from.optional)?
            .into_iter()
            .flat_map(|data| &data.data)
        {
            variables.insert(format!("{}{key}", from.prefix), text(key, bytes)?);
        }
    }
    for var in &container.env {
        let value = match &var.value {
            EnvValue::Literal(value) => Some(expand(value, |name| variables.get(name).cloned())),
            EnvValue::Field(path) => Some(field(objects.plan, runtime, path)),
            EnvValue::Key {
                source,
                key,
                optional,
            } => key_value(objects, source, key, *optional)?,
        };
        if let Some(value) = value {
            variables.insert(var.name.clone(), value);
        }
    }
    Ok(variables)
}

fn key_value(
    objects: &Objects<'_>,
    source: &ObjectRef,
    key: &str,
    optional: bool,
) -> Result<Option<String>, String> {
    let Some(data) = object(objects, source, optional)? else {
        return Ok(None);
    };
    match data.data.get(key) {
        Some(bytes) => text(key, bytes).map(Some),
        None if optional => Ok(None),
        None => {
            let (kind, name) = match source {
                ObjectRef::ConfigMap(name) => ("ConfigMap", name),
                ObjectRef::Secret(name) => ("Secret", name),
            };
            Err(format!(
                "couldn't find key {key} in {kind} {}/{name}",
                objects.plan.namespace
            ))
        }
    }
}

/// K-372; the path has been validated.
fn field(plan: &Plan, runtime: &Runtime, path: &str) -> String {
    match path {
        "metadata.name" => plan.name.clone(),
        "metadata.namespace" => plan.namespace.clone(),
        "metadata.uid" => plan.uid.clone().unwrap_or_else(|| runtime.uid.clone()),
        "spec.nodeName" => runtime.node_name.clone(),
        "spec.serviceAccountName" => "default".to_owned(),
        "status.hostIP" | "status.hostIPs" => runtime.host_ip.clone(),
        "status.podIP" | "status.podIPs" => runtime.pod_ip.clone(),
        _ => subscript(path)
            .and_then(|(map, key)| {
                if map == "labels" {
                    plan.labels.get(key)
                } else {
                    plan.annotations.get(key)
                }
            })
            .cloned()
            .unwrap_or_default(),
    }
}

/// `metadata.labels['k']` → (`labels`, `k`).
pub(crate) fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path
        .strip_prefix("metadata.")?
        .strip_suffix("']")?
        .split_once("['")?;
    (matches!(map, "labels" | "annotations") && !key.is_empty()).then_some((map, key))
}

/// What to execute (K-340): `command` replaces entrypoint and cmd, `args` alone replaces cmd.
pub fn process_argv(
    container: &ContainerPlan,
    image_entrypoint: &[String],
    image_cmd: &[String],
    variables: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let expanded = |list: &[String]| -> Vec<String> {
        list.iter()
            .map(|text| expand(text, |name| variables.get(name).cloned()))
            .collect()
    };
    let command = container.command.as_deref().filter(|list| !list.is_empty());
    let args = container.args.as_deref().filter(|list| !list.is_empty());
    let mut argv = command.map_or_else(|| image_entrypoint.to_vec(), expanded);
    match (command, args) {
        (_, Some(args)) => argv.extend(expanded(args)),
        (None, None) => argv.extend_from_slice(image_cmd),
        (Some(_), None) => {}
    }
    if argv.is_empty() {
        Err("no command specified".to_owned())
    } else {
        Ok(argv)
    }
}
