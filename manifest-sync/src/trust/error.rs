//! Why a bundle may not run: which rule it breaks, and whose signature is at fault.

use std::fmt;

use super::{CheckedSignature, Verdict};
use crate::digest::BundleDigest;
use crate::reject::{Finding, Rejection};

/// The first rule that a delivery breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustError {
    /// Neither an envelope nor a bundle, by its form.
    Malformed(Rejection),
    /// A bundle as such, where signatures are asked for.
    Unsigned {
        /// Application of the policy.
        application: String,
    },
    /// Too few valid signatures of different signers.
    UnderSigned {
        /// How many are needed.
        threshold: usize,
        /// What each signature is worth, in the order of the envelope.
        signatures: Vec<CheckedSignature>,
    },
    /// The policy does not list this bundle.
    NotPinned {
        /// What was delivered.
        digest: BundleDigest,
    },
    /// The authority approves of it, and it is no bundle that can run.
    Bundle(Rejection),
    /// Signed for another application, or for none in particular.
    Application {
        /// Of the policy.
        expected: String,
        /// Of the bundle.
        found: Option<String>,
    },
    /// Older than the policy takes.
    Generation {
        /// Lowest that is taken.
        minimum: u64,
        /// Of the bundle; `None` counts as 0.
        found: Option<u64>,
    },
    /// It holds Secrets, which the policy does not allow.
    PlainSecrets {
        /// Their names.
        names: Vec<String>,
    },
    /// A container is privileged, and the policy does not allow that.
    Privileged {
        /// Their names.
        containers: Vec<String>,
    },
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(rejection) | Self::Bundle(rejection) => write!(f, "{rejection}"),
            Self::Unsigned { application } => write!(
                f,
                "not signed: the policy takes bundles that are signed for `{application}`; sign it with `host-proxy sign`"
            ),
            Self::UnderSigned {
                threshold,
                signatures,
            } => {
                let valid: Vec<_> = signatures
                    .iter()
                    .filter(|one| one.verdict == Verdict::Valid)
                    .filter_map(|one| one.signer.as_deref())
                    .collect();
                let by = match valid.is_empty() {
                    true => String::new(),
                    false => format!(" (by {})", valid.join(", ")),
                };
                write!(
                    f,
                    "{} of {threshold} signatures that the policy asks for{by}",
                    valid.len()
                )
            }
            Self::NotPinned { digest } => write!(f, "{digest} is not one of the policy's pinned digests"),
            Self::Application { expected, found } => match found {
                Some(found) => write!(
                    f,
                    "it is for the application `{found}`; the policy is for `{expected}`"
                ),
                None => write!(
                    f,
                    "it names no application; the policy is for `{expected}`: set spec.application of the EnclavePolicy"
                ),
            },
            Self::Generation { minimum, found } => match found {
                Some(found) => write!(
                    f,
                    "it has generation {found}; the policy takes {minimum} and later ones"
                ),
                None => write!(
                    f,
                    "it states no generation; the policy takes {minimum} and later ones: set spec.generation of the EnclavePolicy"
                ),
            },
            Self::PlainSecrets { names } => write!(
                f,
                "it holds Secrets, which the policy does not allow: have them released by attestation ({})",
                names.join(", ")
            ),
            Self::Privileged { containers } => write!(
                f,
                "containers are privileged, which the policy does not allow: name the capabilities that they need ({})",
                containers.join(", ")
            ),
        }
    }
}

impl std::error::Error for TrustError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}

impl fmt::Display for CheckedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_id = self.key_id.as_deref().unwrap_or("without keyid");
        let signer = self.signer.as_deref().unwrap_or_default();
        match self.verdict {
            Verdict::Valid => write!(f, "valid, by {signer} ({key_id})"),
            Verdict::Repeated => write!(f, "by {signer} again, who counts once ({key_id})"),
            Verdict::Mismatch => write!(
                f,
                "names the key of {signer} and is not theirs over this bundle ({key_id})"
            ),
            Verdict::UnknownKey => write!(f, "not made over this bundle by any key of the policy ({key_id})"),
        }
    }
}

impl From<TrustError> for Rejection {
    /// For the host: the policy's rule as the path, one finding for each signature that does not count.
    fn from(error: TrustError) -> Self {
        let rule = match &error {
            TrustError::Malformed(_) | TrustError::Bundle(_) => "",
            TrustError::Unsigned { .. } => "signedBy",
            TrustError::UnderSigned { .. } => "signedBy.threshold",
            TrustError::NotPinned { .. } => "pinned",
            TrustError::Application { .. } => "signedBy.application",
            TrustError::Generation { .. } => "minGeneration",
            TrustError::PlainSecrets { .. } => "allowPlainSecrets",
            TrustError::Privileged { .. } => "allowPrivileged",
        };
        let mut errors = vec![Finding::new("trust policy", rule, error.to_string())];
        match error {
            TrustError::Malformed(rejection) | TrustError::Bundle(rejection) => return rejection,
            TrustError::UnderSigned { signatures, .. } => {
                let wrong = |one: &(usize, CheckedSignature)| one.1.verdict != Verdict::Valid;
                let findings = signatures.into_iter().enumerate().filter(wrong);
                errors.extend(findings.map(|(index, one)| {
                    Finding::new("envelope", format!("signatures[{index}]"), one.to_string())
                }));
            }
            _ => {}
        }
        Self { errors }
    }
}
