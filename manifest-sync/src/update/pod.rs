//! What may change of the Pod itself (K-460, K-461): every other field is refused with its path. The path comes from the
//! two documents as they were written; whether writing out a default changes anything, the plans tell.

use serde_json::Value;

use super::difference::{Difference, differences};
use crate::bundle::Bundle;
use crate::plan::{ContainerPlan, Plan};
use crate::pod::POD_HARMLESS;
use crate::reject::Finding;
use crate::resize;

/// An API server's words. Resources and ephemeral containers have resources of their own there; a bundle has one document.
const MAY_NOT: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
     tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Every change of the Pod that is not allowed.
pub(super) fn changes(old: &Value, plan: &Plan, next: &Bundle) -> Vec<Finding> {
    let object = format!("Pod/{}", plan.name);
    let finding = |path: &str, message: &str| Finding::new(&object, path, message);
    let after = next.plan();
    let mut findings = identity(plan, after)
        .map(|(path, message)| finding(path, &message))
        .collect::<Vec<_>>();
    if !findings.is_empty() {
        return findings;
    }
    let found = differences(old, next.pod());
    let same = unchangeable(plan, plan) == unchangeable(after, plan);
    for one in &found {
        let message = match allowed(one) {
            Allowed::Yes => continue,
            Allowed::No(message) => message,
            // One side writes a default out, and the other leaves it to us.
            Allowed::IfNothingChanges if same && (one.old.is_none() || one.new.is_none()) => continue,
            Allowed::IfNothingChanges => MAY_NOT,
        };
        findings.push(finding(&one.path, message));
    }
    if let Some(message) = deadline(plan.active_deadline_seconds, after.active_deadline_seconds) {
        findings.push(finding("spec.activeDeadlineSeconds", message));
    }
    findings.extend(ephemeral(plan, after, &object));
    findings.extend(resize::forbidden(plan, after, &object));
    if plan.egress.is_some() != after.egress.is_some() {
        let message = "may change, but not come or go, while the Pod runs: its containers have a resolver, or none, from \
                       their start";
        findings.push(Finding::new("EnclavePolicy", "spec.egress", message));
    }
    if findings.is_empty() && !same {
        findings.push(finding("spec", MAY_NOT));
    }
    findings
}

/// It has to be the same Pod.
fn identity(old: &Plan, new: &Plan) -> impl Iterator<Item = (&'static str, String)> {
    let another = |path, old: &str, new: &str| {
        (old != new).then(|| (path, format!("another Pod runs: `{old}`, and this is `{new}`")))
    };
    let uid = new.uid.as_deref().zip(old.uid.as_deref());
    [
        another("metadata.name", &old.name, &new.name),
        another("metadata.namespace", &old.namespace, &new.namespace),
        uid.and_then(|(new, old)| another("metadata.uid", old, new)),
    ]
    .into_iter()
    .flatten()
}

enum Allowed {
    Yes,
    IfNothingChanges,
    No(&'static str),
}

fn allowed(one: &Difference<'_>) -> Allowed {
    let (top, rest) = one.path.split_once('.').unwrap_or((&one.path, ""));
    match top {
        "status" => return Allowed::Yes,
        "metadata" => return metadata(rest),
        "spec" => {}
        _ => return Allowed::IfNothingChanges,
    }
    let (field, inner) = rest.split_once(['.', '[', '\'']).unwrap_or((rest, ""));
    match field {
        // Judged by its value.
        "activeDeadlineSeconds" | "ephemeralContainers" | "resources" => Allowed::Yes,
        "tolerations" if adds(one) => Allowed::Yes,
        "containers" | "initContainers" if inner.is_empty() => {
            Allowed::No("pod updates may not add or remove containers")
        }
        "containers" | "initContainers" => match inner.split_once("].").map(|(_, field)| field) {
            Some("image") => Allowed::Yes,
            // Judged by the plans.
            Some(field) if field.starts_with("resources") => Allowed::Yes,
            Some("imagePullPolicy") => Allowed::No(MAY_NOT),
            _ => Allowed::IfNothingChanges,
        },
        field if POD_HARMLESS.contains(&field) => Allowed::No(MAY_NOT),
        _ => Allowed::IfNothingChanges,
    }
}

/// Labels and annotations are the user's; the rest is either checked by the plans or an API server's bookkeeping.
fn metadata(rest: &str) -> Allowed {
    match rest.split_once(['.', '[']).map_or(rest, |(field, _)| field) {
        "name" | "namespace" => Allowed::IfNothingChanges,
        _ => Allowed::Yes,
    }
}

/// Whether a list only grew. It differs as a whole then; one of the same length has changed.
fn adds(one: &Difference<'_>) -> bool {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (old, new) = (list(one.old), list(one.new));
    old.len() < new.len() && old.iter().all(|entry| new.contains(entry))
}

/// K-320.
fn deadline(old: Option<u32>, new: Option<u32>) -> Option<&'static str> {
    match (old, new) {
        (Some(_), None) => Some("must not update from a positive integer to nil value"),
        (Some(old), Some(new)) if old < new => Some("must be less than or equal to previous value"),
        _ => None,
    }
}

/// Ephemeral containers can be added only.
fn ephemeral(old: &Plan, new: &Plan, object: &str) -> Vec<Finding> {
    let pairs = old.ephemeral_containers.iter().enumerate();
    pairs
        .filter_map(|(index, before)| {
            let name = &before.name;
            let message = match new.ephemeral_containers.get(index) {
                Some(after) if after == before => return None,
                Some(after) if after.name == *name => {
                    format!("existing ephemeral containers \"{name}\" may not be changed")
                }
                _ => format!("existing ephemeral containers \"{name}\" may not be removed"),
            };
            let path = format!("spec.ephemeralContainers[{index}]");
            Some(Finding::new(object, path, message))
        })
        .collect()
}

/// The part of a plan that has to stay as it is, with everything else taken from `from`.
fn unchangeable(plan: &Plan, from: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.digest = from.digest;
    plan.uid.clone_from(&from.uid);
    plan.labels.clone_from(&from.labels);
    plan.annotations.clone_from(&from.annotations);
    plan.active_deadline_seconds = from.active_deadline_seconds;
    plan.config_maps.clone_from(&from.config_maps);
    plan.secrets.clone_from(&from.secrets);
    plan.secret_classes.clone_from(&from.secret_classes);
    plan.logs.clone_from(&from.logs);
    plan.egress.clone_from(&from.egress);
    plan.ephemeral_containers.clone_from(&from.ephemeral_containers);
    plan.resources = from.resources;
    settle(&mut plan.init_containers, &from.init_containers);
    settle(&mut plan.containers, &from.containers);
    plan
}

fn settle(containers: &mut [ContainerPlan], from: &[ContainerPlan]) {
    for (container, from) in containers.iter_mut().zip(from) {
        container.image.clone_from(&from.image);
        container.image_digest.clone_from(&from.image_digest);
        container.resources = from.resources;
    }
}
