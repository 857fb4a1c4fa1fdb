//! Attestation documents of Nitro's security module: reading, verifying, and (feature `software`) making them.
//!
//! Verifying a document answers four questions, in this order: is it one ([`EnvelopeError`], [`PayloadError`]), who signed it
//! ([`ChainError`]), is it unchanged ([`Refusal::Signature`]), and is it what was asked for ([`PolicyError`])? The last one
//! cannot be left out: [`Policy`] names an image or its signer, and [`Exchange`] says what each field has to be.
//!
//! Reading is as strict as real documents permit. Every number has its shortest form, no field is unknown, nothing follows.
//! A [`Proof`] is the only thing that comes out, and it comes out of [`verify()`] only. No clock, no network, no revocation
//! lists (AWS tells verifiers to leave them aside), no allocation beyond a small multiple of [`MAX_DOCUMENT`].

mod certificate;
mod chain;
mod chain_error;
mod der;
mod envelope;
#[cfg(feature = "software")]
pub mod issue;
mod payload;
mod payload_error;
mod policy;
mod policy_error;
mod root;
mod verify;

pub use chain::Certificate;
pub use chain_error::{ChainError, Position};
pub use envelope::{EnvelopeError, MAX_DOCUMENT, MAX_PAYLOAD};
pub use payload::{MAX_BUNDLE, MAX_CERTIFICATE, PCRS};
pub use payload_error::PayloadError;
pub use policy::{DebugMode, Exchange, Field, Identity, MAX_AGE, MAX_AHEAD, MIN_NONCE, Policy};
pub use policy_error::PolicyError;
pub use root::{Root, RootError};
pub use verify::{Proof, Refusal, unverified_time, verify};
#[cfg(feature = "broker")]
pub(crate) use verify::{genuine, unverified_nonce};

#[cfg(all(test, feature = "software"))]
mod tests;
