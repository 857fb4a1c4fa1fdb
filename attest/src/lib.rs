//! Key material: where it comes from and how it is dropped. Attestation documents and the release of secrets
//! belong here too; containers are unknown here.
//!
//! `unsafe` is in `nsm::device` only. The enclave asks for documents and never verifies one, so `document` is behind the
//! feature `verify`, and making documents without a security module behind `software`. The secret service is `broker`.

pub mod base64;
#[cfg(feature = "broker")]
pub mod broker;
pub mod cbor;
pub mod cose;
#[cfg(feature = "verify")]
pub mod document;
pub mod hex;
pub mod http;
pub mod nsm;
mod random;
pub mod release;
pub mod seal;
pub mod sealed_log;
mod secret;
pub mod statement;
mod time;

pub use random::{EntropyError, random_bytes};
pub use secret::{Secret, wipe};
pub use time::{NotATime, UnixTime};
