//! From bytes to what they prove. The order: form, chain, signature, policy; so a refusal by policy is about a document
//! that is genuine, and nothing of a forged one is reported as found.

use std::collections::BTreeMap;
use std::fmt;

use super::chain::{Certificate, Chain};
use super::chain_error::ChainError;
use super::envelope::{EnvelopeError, UnverifiedEnvelope};
use super::payload::UnverifiedPayload;
use super::payload_error::PayloadError;
use super::policy::{Exchange, Policy, in_debug_mode};
use super::policy_error::PolicyError;
use super::root::Root;
use crate::cose::signed_bytes;
use crate::nsm::PcrValue;
use crate::time::UnixTime;

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not an attestation document.
    Envelope(EnvelopeError),
    /// Not one of an enclave.
    Payload(PayloadError),
    /// Not signed by somebody whom the verifier trusts.
    Chain(ChainError),
    /// Not signed by the key of its certificate: it was changed.
    Signature,
    /// Genuine, and not what was asked for.
    Policy(PolicyError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(error) => error.fmt(f),
            Self::Payload(error) => error.fmt(f),
            Self::Chain(error) => error.fmt(f),
            Self::Signature => f.write_str(
                "the signature is not by the key of the document's certificate: the document was changed on its way",
            ),
            Self::Policy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<EnvelopeError> for Refusal {
    fn from(error: EnvelopeError) -> Self {
        Self::Envelope(error)
    }
}

impl From<PayloadError> for Refusal {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

/// What a document proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The instance and the enclave in it.
    pub module_id: String,
    /// When the security module made the document, by its clock.
    pub time: UnixTime,
    /// The enclave is in debug mode: nothing that it says is worth more than its host's word.
    pub debug: bool,
    /// The registers that were locked when the document was made.
    pub pcrs: BTreeMap<u8, PcrValue>,
    /// What the enclave put in as its public key.
    pub public_key: Option<Vec<u8>>,
    /// What the enclave put in as user data.
    pub user_data: Option<Vec<u8>>,
    /// What the enclave put in as nonce.
    pub nonce: Option<Vec<u8>>,
    /// The certificates, from the root to the document's signer.
    pub chain: Vec<Certificate>,
    /// SHA-256 of the root's DER.
    pub root: [u8; 32],
}

impl Proof {
    /// First and last second at which all certificates are valid.
    pub fn window(&self) -> (UnixTime, UnixTime) {
        let first = self.chain.iter().map(|certificate| certificate.not_before).max();
        let last = self.chain.iter().map(|certificate| certificate.not_after).min();
        (first.unwrap_or(self.time), last.unwrap_or(self.time))
    }
}

/// Verifies `document` as it stands at `now`: the verifier's clock in a live exchange; the time of its receipt for one that
/// was kept. Never the time that the document itself names, unless something else shows when it was received.
///
/// # Errors
///
/// [`Refusal`] says what is wrong and what to do.
pub fn verify(
    document: &[u8],
    policy: &Policy,
    exchange: &Exchange<'_>,
    now: UnixTime,
) -> Result<Proof, Refusal> {
    let proof = genuine(document, &policy.roots, now)?;
    policy.check(&proof, now)?;
    exchange.check(&proof)?;
    Ok(proof)
}

/// The first half of [`verify()`], for who judges what is genuine by a policy and has to say whom it refuses.
pub(crate) fn genuine(document: &[u8], roots: &[Root], now: UnixTime) -> Result<Proof, Refusal> {
    let envelope = UnverifiedEnvelope::parse(document)?;
    let payload = UnverifiedPayload::parse(envelope.payload)?;
    let chain = Chain::verify(&payload, roots, now)?;
    if !chain.signed(&signed_bytes(envelope.payload), envelope.signature) {
        return Err(Refusal::Signature);
    }
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    Ok(Proof {
        module_id: payload.module_id.to_owned(),
        time: payload.timestamp,
        debug: in_debug_mode(&payload.pcrs),
        public_key: own(payload.public_key),
        user_data: own(payload.user_data),
        nonce: own(payload.nonce),
        pcrs: payload.pcrs,
        root: chain.root,
        chain: chain.certificates,
    })
}

/// The nonce that a document names, before the work of verifying it: one that nobody gave out needs none.
#[cfg(feature = "broker")]
pub(crate) fn unverified_nonce(document: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let envelope = UnverifiedEnvelope::parse(document)?;
    let payload = UnverifiedPayload::parse(envelope.payload)?;
    Ok(payload.nonce.map(<[u8]>::to_vec))
}

/// When a document says that it was made. Nobody has verified it: use it for documents that were kept, whose receipt at
/// that time is known otherwise.
///
/// # Errors
///
/// The bytes are not a document.
pub fn unverified_time(document: &[u8]) -> Result<UnixTime, Refusal> {
    let envelope = UnverifiedEnvelope::parse(document)?;
    Ok(UnverifiedPayload::parse(envelope.payload)?.timestamp)
}
