//! How an enclave gets a set of secrets: two requests over HTTP, sealed end to end, so that neither TLS nor who carries the
//! bytes matters. Types, bounds and bindings; no socket, no clock, no policy.
//!
//! ```text
//! enclave                                             broker
//!   POST /v1/nonce    {}                           →
//!                                                  ←  {"nonce":{"value":BASE64,"lifetimeSeconds":60}}
//!   makes a key for this request, asks its security module for a document of (key, nonce, binding)
//!   POST /v1/secrets  {"document":BASE64,"application":…,"generation":…,"secrets":[…]}
//!                                                  →  verifies, takes the nonce out, applies its policy
//!                                                  ←  {"sealed":{"value":BASE64,"signature":BASE64}}
//!                                                      or  {"refused":{"code":…,"message":…}}
//!   checks the signature, opens, and drops the key
//! ```
//!
//! The document carries all that the request says, so a host that changes a request only makes one that is refused:
//!
//! | field of the document | content |
//! |---|---|
//! | `public_key` | the enclave's key for this request, 32 bytes ([`crate::seal`]) |
//! | `nonce` | the broker's nonce, 32 bytes ([`Nonce`]) |
//! | `user_data` | domain label, bundle, generation, names, application ([`Binding`]) |
//!
//! The answer is sealed with `info` = [`ANSWER_LABEL`], the nonce and the `user_data`, so it opens for the one request that
//! it answers and for no other. `aad` is empty: there is one message, and `info` has it all (RFC 9180 section 8.1).
//!
//! Anybody can seal. So the broker signs [`SIGNATURE_LABEL`], `info` and the sealed bytes with its Ed25519 key, and an enclave
//! opens nothing that the broker in its measured bundle has not signed: a host with a broker of its own cannot feed it secrets.
//! Refusals are not signed: a host that forges one only denies service, which it can do anyway.

mod binding;
mod key;
mod message;
mod name;
mod pending;
mod refusal;
mod set;

pub use binding::{ANSWER_LABEL, Attested, BUNDLE_DIGEST_BYTES, Binding, BindingError, Claim, LABEL};
pub use key::{
    BROKER_KEY_BYTES, BrokerKey, BrokerKeyError, BrokerPublicKey, SIGNATURE_BYTES, SIGNATURE_LABEL,
};
pub use message::{
    MAX_ANSWER, MAX_DOCUMENT, MAX_REQUEST, MessageError, NONCE_BYTES, Nonce, NonceAnswer, NonceRequest,
    SealedSet, SecretsAnswer, SecretsRequest,
};
pub use name::{Application, InvalidName, MAX_NAME, MAX_NAMES, Names, SecretName};
pub use pending::{Pending, ReleaseError};
pub use refusal::{MAX_TEXT, Refusal, RefusalCode, SafeText};
pub use set::{SetError, decode_set, encode_set};

/// Where a nonce is asked for.
pub const NONCE_PATH: &str = "/v1/nonce";
/// Where secrets are asked for.
pub const SECRETS_PATH: &str = "/v1/secrets";

#[cfg(test)]
mod tests;
