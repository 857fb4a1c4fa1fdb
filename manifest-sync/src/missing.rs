//! References of the Pod to objects and keys that are not in its bundle, and to containers that it does not have.

use std::collections::BTreeSet;

use crate::data::Data;
use crate::decode::Node;
use crate::downward::{Fact, ResourceField};
use crate::plan::{EnvValue, ObjectRef, Plan, Projection, VolumeSource};

/// Missing objects and keys stop a container at run time (K-025), so they only deserve a warning here.
pub(crate) fn warn(pod: &Node<'_>, plan: &Plan) {
    let mut seen = BTreeSet::new();
    let mut check = |path: String, source: &ObjectRef, key: Option<&str>| {
        let (keys, name) = match source {
            ObjectRef::ConfigMap(name) => {
                let keys = plan.config_maps.get(name).map(|map| data_keys(map).collect());
                (keys, format!("ConfigMap `{name}`"))
            }
            ObjectRef::Secret(name) => (secret_keys(plan, name), format!("Secret `{name}`")),
        };
        let message = match (keys, key) {
            (None, _) => format!("{name} is not in the bundle: the container will wait for it"),
            (Some(keys), Some(key)) if !keys.contains(key) => {
                format!("{name} has no key `{key}`: the container will wait for it")
            }
            _ => return,
        };
        if seen.insert((path.clone(), message.clone())) {
            Node { path, ..pod.clone() }.warn(message);
        }
    };
    let path = |list: &str, index: usize| format!("spec.{list}[{index}]");
    let inits = plan.init_containers.iter().enumerate();
    let inits = inits.map(|(index, container)| (path("initContainers", index), container));
    let regular = plan.containers.iter().enumerate();
    let regular = regular.map(|(index, container)| (path("containers", index), container));
    for (path, container) in inits.chain(regular) {
        for (i, from) in container
            .env_from
            .iter()
            .enumerate()
            .filter(|(_, from)| !from.optional)
        {
            check(format!("{path}.envFrom[{i}]"), &from.source, None);
        }
        for (i, var) in container.env.iter().enumerate() {
            if let EnvValue::Key {
                source,
                key,
                optional: false,
            } = &var.value
            {
                check(format!("{path}.env[{i}].valueFrom"), source, Some(key));
            }
        }
    }
    for (i, volume) in plan.volumes.iter().enumerate() {
        let VolumeSource::Files { sources, .. } = &volume.source else {
            continue;
        };
        for source in sources {
            if let Projection::Object {
                source,
                items,
                optional: false,
            } = source
            {
                let path = format!("spec.volumes[{i}]");
                check(path.clone(), source, None);
                items
                    .iter()
                    .for_each(|item| check(path.clone(), source, Some(&item.key)));
            }
        }
    }
}

/// A fact about a container that the Pod does not have can never be told.
pub(crate) fn refuse(pod: &Node<'_>, plan: &Plan) {
    let check = |path: String, fact: &Fact| {
        let Fact::Resource(ResourceField {
            container: Some(name),
            ..
        }) = fact
        else {
            return;
        };
        if !plan.all_containers().any(|container| container.name == *name) {
            Node { path, ..pod.clone() }.error_at("containerName", format!("no container is named `{name}`"));
        }
    };
    let inits = plan
        .init_containers
        .iter()
        .enumerate()
        .map(|(i, one)| ("initContainers", i, one));
    let regular = plan
        .containers
        .iter()
        .enumerate()
        .map(|(i, one)| ("containers", i, one));
    for (list, index, container) in inits.chain(regular) {
        for (i, var) in container.env.iter().enumerate() {
            if let EnvValue::Fact(fact) = &var.value {
                check(
                    format!("spec.{list}[{index}].env[{i}].valueFrom.resourceFieldRef"),
                    fact,
                );
            }
        }
    }
    for (i, volume) in plan.volumes.iter().enumerate() {
        let VolumeSource::Files { sources, .. } = &volume.source else {
            continue;
        };
        for source in sources {
            if let Projection::Facts(items) = source {
                // The number of the item in the manifest is not known any more: its path is.
                for item in items {
                    let path = format!("spec.volumes[{i}].items['{}'].resourceFieldRef", item.path);
                    check(path, &item.fact);
                }
            }
        }
    }
}

fn data_keys(data: &Data) -> impl Iterator<Item = &str> {
    data.data.keys().chain(data.binary.keys()).map(String::as_str)
}

/// The keys of a Secret of the bundle, or of one that a mounted class makes.
fn secret_keys<'a>(plan: &'a Plan, name: &str) -> Option<BTreeSet<&'a str>> {
    if let Some(secret) = plan.secrets.get(name) {
        return Some(data_keys(secret).collect());
    }
    let mut synced = plan.secret_classes.values().flat_map(|class| &class.secrets);
    let secret = synced.find(|secret| secret.name == name)?;
    Some(secret.data.iter().map(|(key, _)| key.as_str()).collect())
}
