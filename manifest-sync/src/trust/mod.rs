//! Whether a bundle may run: what was delivered, judged by the measured policy. Pure; the enclave, `host-proxy` and build
//! tools give the same verdict with it.
//!
//! ```text
//! bytes ─► form ─► authority (pinned digest, or K of N signatures) ─► bundle ─► application ─► generation ─► switches
//! ```
//!
//! Bytes that nobody has vouched for reach the reader of [`envelope`]s only; Kubernetes objects are read after the
//! authority has been established, from the very bytes that were hashed and whose signatures were checked.

mod curve;
pub mod envelope;
mod error;
pub mod key;
pub mod policy;

pub use error::TrustError;
pub use policy::TrustPolicy;

use crate::bundle::Bundle;
use crate::digest::BundleDigest;
use crate::log_plan;
use crate::measurement::{self, Measurement};
use crate::plan::Plan;
use crate::reject::Finding;
use crate::update::Running;

use envelope::{Delivery, Signature};
use policy::{Authority, SignedBy, Signer};

/// A bundle that may run. There is no other way to make one than [`verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBundle {
    bundle: Bundle,
    digest: BundleDigest,
    signatures: Vec<CheckedSignature>,
    warnings: Vec<Finding>,
    measurements: [Measurement; 2],
}

/// One signature of an envelope after the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSignature {
    /// `keyid` of the envelope. Not authentic.
    pub key_id: Option<String>,
    /// Name in the policy of the signer that it is about, if there is one.
    pub signer: Option<String>,
    /// What it is worth.
    pub verdict: Verdict,
}

/// What a signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Valid,
    /// It is valid, and its signer has been counted already.
    Repeated,
    /// It names the key of a signer and is not that signer's over these bytes.
    Mismatch,
    /// No key of the policy made it.
    UnknownKey,
}

/// Judges what was delivered: an envelope or a bundle as such.
///
/// # Errors
/// The first rule that it breaks.
pub fn verify(bytes: &[u8], policy: &TrustPolicy) -> Result<VerifiedBundle, TrustError> {
    let delivery = Delivery::read(bytes).map_err(TrustError::Malformed)?;
    let digest = delivery.digest();
    let signatures = match &policy.authority {
        Authority::Any => Vec::new(),
        Authority::Pinned(digests) if digests.contains(&digest) => Vec::new(),
        Authority::Pinned(_) => return Err(TrustError::NotPinned { digest }),
        Authority::SignedBy(signed_by) => enough_signatures(&delivery, signed_by)?,
    };
    let (bundle, warnings) = delivery.bundle(digest).map_err(TrustError::Bundle)?;
    if let Authority::SignedBy(SignedBy { application, .. }) = &policy.authority
        && bundle.application() != Some(application)
    {
        return Err(TrustError::Application {
            expected: application.clone(),
            found: bundle.application().map(str::to_owned),
        });
    }
    if bundle.generation().unwrap_or_default() < policy.min_generation {
        return Err(TrustError::Generation {
            minimum: policy.min_generation,
            found: bundle.generation(),
        });
    }
    if !policy.allow_plain_secrets && !bundle.plan().secrets.is_empty() {
        return Err(TrustError::PlainSecrets {
            names: bundle.plan().secrets.keys().cloned().collect(),
        });
    }
    if !policy.allow_clear_logs
        && let Some(rejection) = log_plan::forbidden(&bundle.plan().logs)
    {
        return Err(TrustError::Bundle(rejection));
    }
    let privileged = bundle
        .plan()
        .all_containers()
        .filter(|container| container.security.privileged);
    let privileged: Vec<String> = privileged.map(|container| container.name.clone()).collect();
    if !policy.allow_privileged && !privileged.is_empty() {
        return Err(TrustError::Privileged {
            containers: privileged,
        });
    }
    Ok(VerifiedBundle {
        bundle,
        digest,
        signatures,
        warnings,
        measurements: [measurement::authority(policy), measurement::bundle(digest)],
    })
}

/// Checks every signature of an envelope against every signer that it could be of.
pub fn check_signatures(
    payload: &[u8],
    signatures: &[Signature],
    signers: &[Signer],
) -> Vec<CheckedSignature> {
    let message = envelope::pae(payload);
    let mut counted: Vec<&Signer> = Vec::new();
    let check = |signature: &Signature| {
        let named = signers
            .iter()
            .find(|signer| signature.key_id.as_ref() == Some(&signer.key_id));
        // A keyid that is none of ours may be the same key in another tool's words.
        let candidates = named.map_or(signers, std::slice::from_ref);
        let made_it = candidates
            .iter()
            .find(|signer| signer.key.has_signed(&message, &signature.bytes));
        let verdict = match (made_it, named) {
            (Some(signer), _) if counted.contains(&signer) => Verdict::Repeated,
            (Some(signer), _) => {
                counted.push(signer);
                Verdict::Valid
            }
            (None, Some(_)) => Verdict::Mismatch,
            (None, None) => Verdict::UnknownKey,
        };
        CheckedSignature {
            key_id: signature.key_id.clone(),
            signer: made_it.or(named).map(|signer| signer.name.clone()),
            verdict,
        }
    };
    signatures.iter().map(check).collect()
}

fn enough_signatures(delivery: &Delivery, by: &SignedBy) -> Result<Vec<CheckedSignature>, TrustError> {
    let Delivery::Envelope(envelope) = delivery else {
        return Err(TrustError::Unsigned {
            application: by.application.clone(),
        });
    };
    let checked = check_signatures(envelope.unverified_payload(), envelope.signatures(), &by.signers);
    let valid = checked.iter().filter(|one| one.verdict == Verdict::Valid).count();
    // A signature that does not count harms nobody once there are enough: the host could have left it out.
    match valid >= by.threshold {
        true => Ok(checked),
        false => Err(TrustError::UnderSigned {
            threshold: by.threshold,
            signatures: checked,
        }),
    }
}

impl VerifiedBundle {
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What is to be remembered of it, to judge an update later.
    pub fn running(&self) -> Running {
        Running::new(&self.bundle)
    }

    /// What is to run.
    pub fn plan(&self) -> &Plan {
        self.bundle.plan()
    }

    /// What is to run.
    pub fn into_plan(self) -> Plan {
        self.bundle.into_plan()
    }

    /// Digest of the bundle.
    pub fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// Generation; 0 when the bundle states none.
    pub fn generation(&self) -> u64 {
        self.bundle.generation().unwrap_or_default()
    }

    /// Application, when the bundle names one. With signers, the policy's.
    pub fn application(&self) -> Option<&str> {
        self.bundle.application()
    }

    /// All signatures, those that do not count too; empty when the policy asks for none.
    pub fn signatures(&self) -> &[CheckedSignature] {
        &self.signatures
    }

    /// What is ignored in the bundle because it is harmless.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// What to extend and lock before anything of the bundle starts: who says what runs, then what runs.
    pub fn measurements(&self) -> &[Measurement; 2] {
        &self.measurements
    }
}
