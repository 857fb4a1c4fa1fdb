//! The environment and the argument vector of a container (K-340 to K-343, K-350 to K-372).

use std::collections::BTreeMap;

use crate::data::{Data, Objects};
use crate::downward::Capacity;
use crate::env_file;
use crate::expansion::expand;
use crate::plan::{ContainerPlan, EnvValue, ObjectRef};

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
    /// What containers without a limit have.
    pub capacity: Capacity,
}

/// Reads a file of a volume: the volume's name, the path in it. Why it cannot be read is for the console, not for users:
/// what the kubelet says to them is one sentence (K-360).
pub type ReadFile<'a> = &'a dyn Fn(&str, &str) -> Result<Vec<u8>, String>;

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
    read_file: ReadFile<'_>,
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
            EnvValue::Fact(fact) => Some(fact.text(objects.plan, runtime, Some(container))?),
            EnvValue::File {
                volume,
                path,
                key,
                optional,
            } => file_value(read_file, volume, path, key, *optional)?,
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

/// K-360: an empty value counts as missing, and a missing file is no missing key.
fn file_value(
    read_file: ReadFile<'_>,
    volume: &str,
    path: &str,
    key: &str,
    optional: bool,
) -> Result<Option<String>, String> {
    let parse = || {
        let bytes = read_file(volume, path)?;
        let text = text(key, &bytes)?;
        let value = env_file::find(&text, key).map_err(|error| error.to_string())?;
        Ok(value.filter(|value| !value.is_empty()).map(ToOwned::to_owned))
    };
    match parse() {
        Ok(None) if !optional => Err(format!(
            "environment variable key \"{key}\" not found in file \"{path}\""
        )),
        Ok(value) => Ok(value),
        Err(error) => {
            let error: String = error;
            log::warn!("file {path} of volume {volume}: {error}");
            Err("couldn't parse env file".to_owned())
        }
    }
}

/// The `subPath` that an expression gives (K-399), in the kubelet's words when it gives none.
pub fn sub_path(expression: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let path = expand(expression, |name| {
        let value = variables.get(name).filter(|value| !value.is_empty());
        if value.is_none() {
            missing.borrow_mut().insert(name.to_owned());
        }
        value.cloned()
    });
    let missing = missing.into_inner();
    if !missing.is_empty() {
        let names: Vec<String> = missing.into_iter().collect();
        return Err(format!("missing value for {}", names.join(", ")));
    }
    if path.starts_with('/') {
        return Err(format!("error SubPath `{path}` must not be an absolute path"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!(
            "unable to provision SubPath `{path}`: must not contain '..'"
        ));
    }
    Ok(path)
}

/// What to execute (K-340): `command` replaces entrypoint and cmd, `args` alone replaces cmd. `Err`: there is nothing
/// (K-341, `CreateContainerError`).
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
