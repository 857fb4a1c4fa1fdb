//! What a relying party demands of a document beyond being genuine. There is no way to say nothing: a policy names an image
//! or its signer, and an exchange says for each field what it has to be.

use std::collections::BTreeMap;
use std::time::Duration;

use super::policy_error::PolicyError;
use super::root::Root;
use super::verify::Proof;
use crate::nsm::PcrValue;
use crate::time::UnixTime;

/// How old a document may be unless a policy says otherwise. A module's certificate, and so a stolen document, would last
/// three hours.
pub const MAX_AGE: Duration = Duration::from_secs(300);
/// How far ahead of the verifier's clock a document's may be unless a policy says otherwise.
pub const MAX_AHEAD: Duration = Duration::from_secs(60);
/// Fewest bytes of a nonce: fewer can be guessed, or come again by chance.
pub const MIN_NONCE: usize = 16;

/// The image, and the certificate that signed it: the platform fills these registers, and zeroes them in debug mode.
const IMAGE_PCRS: [u8; 4] = [0, 1, 2, 8];
const IMAGE: u8 = 0;
const SIGNER: u8 = 8;
const ZERO: PcrValue = [0; 48];

/// What identifies the code that may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// PCR0: one image.
    Image(PcrValue),
    /// PCR8: every image that the holder of this certificate's key has signed.
    Signer(PcrValue),
}

/// Whether enclaves in debug mode count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugMode {
    /// They prove nothing: the host reads along, and the image is not measured.
    Refuse,
    /// For development. The registers of the image are not compared, since the platform zeroes them.
    Allow,
}

/// What has to be true of a document whoever asked for it.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) roots: Vec<Root>,
    pcrs: BTreeMap<u8, Vec<PcrValue>>,
    debug: DebugMode,
    max_age: Duration,
    max_ahead: Duration,
}

impl Policy {
    /// Trusts AWS, demands this identity, refuses debug mode, and documents older than [`MAX_AGE`].
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let (index, value) = match identity {
            Identity::Image(value) => (IMAGE, value),
            Identity::Signer(value) => (SIGNER, value),
        };
        Self {
            roots: Root::aws(),
            pcrs: BTreeMap::from([(index, vec![value])]),
            debug: DebugMode::Refuse,
            max_age: MAX_AGE,
            max_ahead: MAX_AHEAD,
        }
    }

    /// Demands that a PCR has this value, or one of the others that were given for it.
    #[must_use]
    pub fn pcr(mut self, index: u8, value: PcrValue) -> Self {
        let allowed = self.pcrs.entry(index).or_default();
        if !allowed.contains(&value) {
            allowed.push(value);
        }
        self
    }

    /// Trusts these roots and no other. None: nothing is accepted.
    #[must_use]
    pub fn roots(mut self, roots: Vec<Root>) -> Self {
        self.roots = roots;
        self
    }

    /// Says whether enclaves in debug mode count.
    #[must_use]
    pub fn debug_mode(mut self, debug: DebugMode) -> Self {
        self.debug = debug;
        self
    }

    /// How old a document may be, and how far ahead of the verifier's clock.
    #[must_use]
    pub fn age(mut self, most: Duration, ahead: Duration) -> Self {
        self.max_age = most;
        self.max_ahead = ahead;
        self
    }

    pub(crate) fn check(&self, proof: &Proof, now: UnixTime) -> Result<(), PolicyError> {
        let ahead = proof.time.since(now);
        if ahead > self.max_ahead {
            return Err(PolicyError::Ahead {
                time: proof.time,
                now,
                most: self.max_ahead,
            });
        }
        if now.since(proof.time) > self.max_age {
            return Err(PolicyError::Stale {
                time: proof.time,
                now,
                most: self.max_age,
            });
        }
        if proof.debug && self.debug == DebugMode::Refuse {
            return Err(PolicyError::Debug);
        }
        for (index, allowed) in &self.pcrs {
            if proof.debug && IMAGE_PCRS.contains(index) {
                continue;
            }
            let Some(found) = proof.pcrs.get(index) else {
                return Err(PolicyError::PcrMissing(*index));
            };
            if !allowed.contains(found) {
                return Err(PolicyError::Pcr {
                    index: *index,
                    found: *found,
                    allowed: allowed.clone(),
                });
            }
        }
        Ok(())
    }
}

/// An enclave is in debug mode when PCR0 is zero. Others may not be: PCR4 never is, and PCR3 is not when the parent has a
/// role.
pub(super) fn in_debug_mode(pcrs: &BTreeMap<u8, PcrValue>) -> bool {
    pcrs.get(&IMAGE).is_none_or(|value| *value == ZERO)
}

/// What a field has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// Exactly these bytes.
    Is(&'a [u8]),
    /// Anything; the caller looks at it afterwards, or does not need it.
    Any,
}

/// What has to be true of the document of one exchange. Every field is to be written out, since what is not compared is not
/// bound: without the nonce a document can be replayed until it is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The challenge that this verifier gave out, [`MIN_NONCE`] bytes at least. It must not be accepted again: remember
    /// nonces, never documents or their digests, since a second valid signature is easily made from the first.
    pub nonce: Field<'a>,
    /// What the application bound, a domain label first.
    pub user_data: Field<'a>,
    /// The key that secrets are encrypted to.
    pub public_key: Field<'a>,
}

impl Exchange<'_> {
    pub(super) fn check(&self, proof: &Proof) -> Result<(), PolicyError> {
        if let Field::Is(nonce) = self.nonce
            && nonce.len() < MIN_NONCE
        {
            return Err(PolicyError::NonceTooShort(nonce.len()));
        }
        for (field, found, refusal) in [
            (self.nonce, &proof.nonce, PolicyError::Nonce),
            (self.user_data, &proof.user_data, PolicyError::UserData),
            (self.public_key, &proof.public_key, PolicyError::PublicKey),
        ] {
            if let Field::Is(wanted) = field
                && found.as_deref() != Some(wanted)
            {
                return Err(refusal);
            }
        }
        Ok(())
    }
}
