//! What an enclave adds to the platform's measurements when it accepts its first bundle, and how to predict it.
//!
//! | PCR | data it is extended with |
//! |---|---|
//! | 16 | SHA-384 of [`description`]: who may say what runs. The same for every release by the same signers |
//! | 17 | digest of the first accepted bundle |
//!
//! Each is extended once, from zero, and locked, so that its value is SHA-384(48 zero bytes ‖ data). They mean something
//! beside PCR0 only (or PCR1 and PCR2): another image would extend what it likes. That is also why the rest of the policy
//! (generation, updates, switches) is not in PCR16: it is part of the image.

use ring::digest::{SHA384, digest};

use crate::digest::{BundleDigest, hex};
use crate::trust::TrustPolicy;
use crate::trust::policy::Authority;

/// PCR of who may say what runs.
pub const AUTHORITY_PCR: u16 = 16;
/// PCR of the first bundle.
pub const BUNDLE_PCR: u16 = 17;

/// One extension of one PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Which PCR.
    pub index: u16,
    /// What to extend it with.
    pub data: [u8; 48],
}

impl Measurement {
    /// What the PCR holds afterwards, when it was zero before. The security module has to answer exactly this.
    pub fn value(&self) -> [u8; 48] {
        sha384(&[[0; 48], self.data].concat())
    }
}

/// Who may say what runs.
pub fn authority(policy: &TrustPolicy) -> Measurement {
    Measurement {
        index: AUTHORITY_PCR,
        data: sha384(description(&policy.authority).as_bytes()),
    }
}

/// What runs.
pub fn bundle(digest: BundleDigest) -> Measurement {
    Measurement {
        index: BUNDLE_PCR,
        data: *digest.as_bytes(),
    }
}

/// The text that PCR16 is made of. Lines end with a line feed; no value can hold one, so no two authorities have the same
/// text. Signers are sorted by algorithm and key; their names are left out, as they are for people.
///
/// ```text
/// cloister.dev/authority/v1        cloister.dev/authority/v1       cloister.dev/authority/v1
/// signedBy                         pinned                          any
/// application web                  bundle sha384:HEX
/// threshold 1                      …
/// signer ecdsa-p256 04HEX
/// signer ed25519 HEX
/// ```
pub fn description(authority: &Authority) -> String {
    let mut lines = vec!["cloister.dev/authority/v1".to_owned()];
    match authority {
        Authority::Any => lines.push("any".to_owned()),
        Authority::Pinned(digests) => {
            lines.push("pinned".to_owned());
            lines.extend(digests.iter().map(|digest| format!("bundle {digest}")));
        }
        Authority::SignedBy(by) => {
            lines.push("signedBy".to_owned());
            lines.push(format!("application {}", by.application));
            lines.push(format!("threshold {}", by.threshold));
            let mut signers: Vec<String> = by
                .signers
                .iter()
                .map(|signer| format!("signer {} {}", signer.key.algorithm(), hex(signer.key.as_bytes())))
                .collect();
            signers.sort();
            lines.extend(signers);
        }
    }
    lines.join("\n") + "\n"
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    let mut out = [0; 48];
    out.copy_from_slice(digest(&SHA384, bytes).as_ref());
    out
}
