//! Whether a bundle may take the place of the one that runs, by the rules of an API server (section 19 of the kubelet
//! semantics) and by those of the trust policy. Pure: what the change does to containers is the supervisor's to know.
//!
//! ```text
//! verified bundle ─► policy ─► same application ─► later generation ─► same Pod ─► only what may change ─► plan
//! ```

mod difference;
mod history;
mod pod;

pub use history::History;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::data::Data;
use crate::plan::Plan;
use crate::reject::{Finding, Rejection};
use crate::trust::policy::{Authority, Updates};
use crate::trust::{TrustPolicy, VerifiedBundle};

/// What has to be remembered of the bundle that runs, beside its plan, to judge another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pod: Value,
    generation: Option<u64>,
    application: Option<String>,
}

impl Running {
    pub(crate) fn new(bundle: &Bundle) -> Self {
        Self {
            pod: bundle.pod().clone(),
            generation: bundle.generation(),
            application: bundle.application().map(str::to_owned),
        }
    }
}

/// What a bundle is to the one that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The very same.
    Same,
    /// Its successor.
    Successor,
}

/// Judges `next` against what runs: `running` and its `plan`, whose uid is the Pod's.
///
/// # Errors
/// The first rule of the trust policy that it breaks; or every field that it changes and that may not change.
pub fn judge(
    running: &Running,
    plan: &Plan,
    next: &VerifiedBundle,
    policy: &TrustPolicy,
) -> Result<Relation, Rejection> {
    if plan.digest == next.digest() {
        return Ok(Relation::Same);
    }
    if policy.updates == Updates::Immutable {
        return Err(refusal(
            "updates",
            "another bundle runs, and the policy says `Immutable`: nothing can be changed; stop this enclave and start \
             a new one",
        ));
    }
    same_application(running, next)?;
    later_generation(running, next, policy)?;
    let mut findings = pod::changes(&running.pod, plan, next.bundle());
    objects(
        "ConfigMap",
        &plan.config_maps,
        &next.plan().config_maps,
        &mut findings,
    );
    objects("Secret", &plan.secrets, &next.plan().secrets, &mut findings);
    for (name, class) in &next.plan().secret_classes {
        if plan.secret_classes.get(name).is_some_and(|old| old != class) {
            let message =
                "may not change while the Pod runs: secrets have been released for the one that it has";
            findings.push(Finding::new(format!("SecretProviderClass/{name}"), "", message));
        }
    }
    if plan.logs != next.plan().logs {
        let message =
            "may not change while the Pod runs: what its containers have written is kept by the old rules";
        findings.push(Finding::new("EnclavePolicy", "spec.logs", message));
    }
    findings.truncate(Rejection::MAX_FINDINGS);
    match findings.is_empty() {
        true => Ok(Relation::Successor),
        false => Err(Rejection { errors: findings }),
    }
}

/// Whether a bundle may be the first: what is added to a running Pod cannot be there before.
///
/// # Errors
/// The fields that only an update may bring.
pub fn first(next: &VerifiedBundle) -> Result<(), Rejection> {
    let plan = next.plan();
    if plan.ephemeral_containers.is_empty() {
        return Ok(());
    }
    let message = "ephemeral containers are added to a Pod that runs: remove them, and update it later";
    Err(Rejection {
        errors: vec![Finding::new(
            format!("Pod/{}", plan.name),
            "spec.ephemeralContainers",
            message,
        )],
    })
}

/// A signer's bundles for another application are not for this Pod, even if the policy takes any.
fn same_application(running: &Running, next: &VerifiedBundle) -> Result<(), Rejection> {
    if running.application.as_deref() == next.application() {
        return Ok(());
    }
    let name = |name: Option<&str>| name.map_or("no application".to_owned(), |name| format!("`{name}`"));
    Err(refusal(
        "signedBy.application",
        format!(
            "the bundle is of {}, and the Pod that runs is of {}",
            name(next.application()),
            name(running.application.as_deref())
        ),
    ))
}

/// An old release is authentic for ever, so that only its generation tells that it has been replaced. Where anybody may
/// say what runs, there is nobody whose old word could be replayed: bundles without a generation follow each other.
fn later_generation(running: &Running, next: &VerifiedBundle, policy: &TrustPolicy) -> Result<(), Rejection> {
    let unstated = running.generation.is_none() && next.bundle().generation().is_none();
    let old = running.generation.unwrap_or_default();
    if next.generation() > old || (policy.authority == Authority::Any && unstated) {
        return Ok(());
    }
    Err(refusal(
        "generation",
        format!(
            "the bundle has generation {}, and {old} runs: an update needs a higher one (spec.generation of the \
             EnclavePolicy)",
            next.generation()
        ),
    ))
}

fn refusal(rule: &str, message: impl Into<String>) -> Rejection {
    Rejection {
        errors: vec![Finding::new("trust policy", rule, message)],
    }
}

/// What an API server checks of ConfigMaps and Secrets. One that is gone was deleted, which is always possible.
fn objects(
    kind: &str,
    old: &std::collections::BTreeMap<String, Data>,
    new: &std::collections::BTreeMap<String, Data>,
    findings: &mut Vec<Finding>,
) {
    let immutable = old.iter().filter(|(_, data)| data.immutable);
    for (name, before) in immutable {
        let Some(after) = new.get(name) else { continue };
        let mut finding = |path: &str| {
            let message = "field is immutable when `immutable` is set";
            findings.push(Finding::new(format!("{kind}/{name}"), path, message));
        };
        if !after.immutable {
            finding("immutable");
        }
        if before.data != after.data {
            finding("data");
        }
        if before.binary != after.binary {
            finding("binaryData");
        }
    }
}

#[cfg(test)]
mod tests;
