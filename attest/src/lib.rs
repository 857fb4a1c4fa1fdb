//! Key material: where it comes from and how it is dropped. Attestation documents and the release of secrets
//! belong here too; containers are unknown here.
//!
//! `unsafe` is in `nsm::device` only.

mod base64;
pub mod cbor;
pub mod nsm;
mod random;
pub mod release;
pub mod seal;
mod secret;

pub use random::{EntropyError, random_bytes};
pub use secret::Secret;
