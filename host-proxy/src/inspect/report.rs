//! What `inspect` finds out, as data.

use manifest_sync::bundle::Bundle;
use manifest_sync::digest::hex;
use manifest_sync::measurement;
use manifest_sync::reject::{Finding, Rejection};
use manifest_sync::trust::envelope::Delivery;
use manifest_sync::trust::policy::{Authority, Signer};
use manifest_sync::trust::{CheckedSignature, TrustError, TrustPolicy, Verdict, check_signatures, verify};
use serde::Serialize;

use super::secrets::{self, ClassReport};

/// What is looked at.
pub struct Subject<'a> {
    /// The exact bytes that would travel.
    pub bytes: &'a [u8],
    /// The same, read.
    pub delivery: &'a Delivery,
    /// To judge it by.
    pub policy: Option<&'a TrustPolicy>,
    /// To check signatures with, beside the keys of the policy.
    pub keys: &'a [Signer],
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether it is in an envelope.
    pub form: Form,
    /// Digest of the bundle: what is signed, pinned and measured.
    pub digest: String,
    /// `namespace/name` of the Pod.
    pub pod: Option<String>,
    /// Of the EnclavePolicy.
    pub application: Option<String>,
    /// Of the EnclavePolicy.
    pub generation: Option<u64>,
    /// Images of the containers.
    pub images: Vec<String>,
    /// Secrets that it asks a broker for.
    pub secrets: Vec<ClassReport>,
    /// `CONTAINER PATH` of each socket that gives attestation documents.
    pub attestation: Vec<String>,
    /// In the order of the envelope.
    pub signatures: Vec<SignatureReport>,
    /// Whether the policy takes it; absent without a policy.
    pub accepted: Option<bool>,
    /// PCRs after the enclave has accepted it.
    pub pcrs: Pcrs,
    /// Why it cannot run.
    pub errors: Vec<Finding>,
    /// What to know.
    pub warnings: Vec<Finding>,
}

/// Form of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// A signed envelope.
    Envelope,
    /// A bundle as such.
    Bare,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureReport {
    /// As the envelope says; not authentic.
    pub keyid: Option<String>,
    /// Who, by the policy or by the name of the key's file.
    pub signer: Option<String>,
    /// `notChecked` without any key.
    pub verdict: SignatureVerdict,
}

/// What a signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SignatureVerdict {
    /// It counts.
    Valid,
    /// Valid, of somebody who has been counted.
    Repeated,
    /// Not of the key that it names.
    Mismatch,
    /// Of none of the keys.
    UnknownKey,
    /// There was no key to check it with.
    NotChecked,
}

/// Values of PCRs, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub struct Pcrs {
    /// Who may say what runs; absent without a policy.
    pub pcr16: Option<String>,
    /// The bundle.
    pub pcr17: String,
}

impl Report {
    /// Looks at `subject`.
    pub fn of(subject: &Subject<'_>) -> Self {
        let payload = subject.delivery.unverified_bundle();
        let digest = subject.delivery.digest();
        let (bundle, mut warnings, mut errors) = match Bundle::parse(payload) {
            Ok((bundle, warnings)) => (Some(bundle), warnings, Vec::new()),
            Err(rejection) => (None, Vec::new(), rejection.errors),
        };
        let accepted = subject.policy.map(|policy| match verify(subject.bytes, policy) {
            Ok(_) => true,
            // Found above already.
            Err(TrustError::Bundle(_)) => false,
            Err(error) => {
                // Each signature that does not count has its warning.
                let refusal = Rejection::from(error).errors;
                errors.extend(refusal.into_iter().filter(|one| one.object != "envelope"));
                false
            }
        });
        let signatures = signatures(subject);
        warnings.extend(subject.policy.into_iter().flat_map(policy_warnings));
        if let Some(bundle) = &bundle {
            warnings.extend(bundle_warnings(bundle));
        }
        warnings.extend(
            signatures
                .iter()
                .enumerate()
                .filter_map(|(index, one)| one.warning(index)),
        );
        let pcr = |measurement: measurement::Measurement| hex(&measurement.value());
        Self {
            form: match subject.delivery {
                Delivery::Envelope(_) => Form::Envelope,
                Delivery::Bare(_) => Form::Bare,
            },
            digest: digest.to_string(),
            pod: bundle
                .as_ref()
                .map(|bundle| format!("{}/{}", bundle.plan().namespace, bundle.plan().name)),
            application: bundle
                .as_ref()
                .and_then(|bundle| bundle.application().map(str::to_owned)),
            generation: bundle.as_ref().and_then(Bundle::generation),
            images: bundle.iter().flat_map(images).collect(),
            secrets: bundle
                .iter()
                .flat_map(|bundle| secrets::classes(bundle.plan()))
                .collect(),
            attestation: bundle
                .iter()
                .flat_map(|bundle| secrets::attestation(bundle.plan()))
                .collect(),
            signatures,
            accepted,
            pcrs: Pcrs {
                pcr16: subject.policy.map(|policy| pcr(measurement::authority(policy))),
                pcr17: pcr(measurement::bundle(digest)),
            },
            errors,
            warnings,
        }
    }
}

fn images(bundle: &Bundle) -> Vec<String> {
    let containers = bundle.plan().all_containers();
    containers.map(|container| container.image.clone()).collect()
}

fn signatures(subject: &Subject<'_>) -> Vec<SignatureReport> {
    let Delivery::Envelope(envelope) = subject.delivery else {
        return Vec::new();
    };
    let mut signers = match subject.policy.map(|policy| &policy.authority) {
        Some(Authority::SignedBy(by)) => by.signers.clone(),
        _ => Vec::new(),
    };
    for key in subject.keys {
        if signers.iter().all(|signer| signer.key != key.key) {
            signers.push(key.clone());
        }
    }
    let checked = check_signatures(envelope.unverified_payload(), envelope.signatures(), &signers);
    let known = !signers.is_empty();
    checked
        .into_iter()
        .map(|one| SignatureReport::of(one, known))
        .collect()
}

impl SignatureReport {
    fn of(checked: CheckedSignature, keys_known: bool) -> Self {
        Self {
            keyid: checked.key_id,
            signer: checked.signer,
            verdict: match checked.verdict {
                _ if !keys_known => SignatureVerdict::NotChecked,
                Verdict::Valid => SignatureVerdict::Valid,
                Verdict::Repeated => SignatureVerdict::Repeated,
                Verdict::Mismatch => SignatureVerdict::Mismatch,
                Verdict::UnknownKey => SignatureVerdict::UnknownKey,
            },
        }
    }

    fn warning(&self, index: usize) -> Option<Finding> {
        let signer = self.signer.as_deref().unwrap_or_default();
        let message = match self.verdict {
            SignatureVerdict::Valid => return None,
            SignatureVerdict::Repeated => format!("{signer} has signed twice and counts once"),
            SignatureVerdict::Mismatch => {
                format!("names the key of {signer} and is not theirs over this bundle")
            }
            SignatureVerdict::UnknownKey => "made by none of the given keys over this bundle".to_owned(),
            SignatureVerdict::NotChecked => "not checked: give --policy or --key".to_owned(),
        };
        Some(finding("envelope", format!("signatures[{index}]"), message))
    }
}

fn finding(object: &str, path: impl Into<String>, message: impl Into<String>) -> Finding {
    Finding {
        object: object.to_owned(),
        path: path.into(),
        message: message.into(),
    }
}

fn bundle_warnings(bundle: &Bundle) -> Vec<Finding> {
    let secrets = bundle.plan().secrets.keys();
    let mut warnings: Vec<Finding> = secrets
        .map(|name| {
            let message = "readable for everybody who has the file; needs allowPlainSecrets";
            finding(&format!("Secret/{name}"), "", message)
        })
        .collect();
    for (field, absent, then) in [
        (
            "spec.application",
            bundle.application().is_none(),
            "a policy with signers will not take it",
        ),
        ("spec.generation", bundle.generation().is_none(), "it counts as 0"),
    ] {
        if absent {
            warnings.push(finding("EnclavePolicy", field, format!("is not set: {then}")));
        }
    }
    warnings
}

fn policy_warnings(policy: &TrustPolicy) -> Vec<Finding> {
    let rules = [
        (
            "any",
            policy.authority == Authority::Any,
            "whoever reaches the enclave says what runs: for development only",
        ),
        (
            "minGeneration",
            policy.min_generation == 0 && matches!(policy.authority, Authority::SignedBy(_)),
            "is 0: the host can start every release that was ever signed for this application",
        ),
        (
            "allowDebugExec",
            policy.allow_debug_exec,
            "the host may start processes in containers: nothing in them is confidential",
        ),
        (
            "allowPrivileged",
            policy.allow_privileged,
            "a container may have every capability: it and the enclave's own processes are one",
        ),
    ];
    let applying = rules.into_iter().filter(|(_, applies, _)| *applies);
    applying
        .map(|(field, _, message)| finding("policy", field, message))
        .collect()
}
