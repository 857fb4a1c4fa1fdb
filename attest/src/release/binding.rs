//! What a document is bound to: the `user_data` of a request for secrets, and the check that document and request agree.
//!
//! `user_data`, version 1; integers are big-endian, and nothing follows:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 32 | [`LABEL`]: `cloister.dev/secret-release/v1`, then zeros. Every purpose of a document has its own |
//! | 32 | 48 | SHA-384 of the current bundle |
//! | 80 | 8 | generation of that bundle; 0 when it has none |
//! | 88 | 48 | SHA-384 of the names of the wanted secrets ([`Names::digest`]) |
//! | 136 | 1 | length of the application's name, 1 to 253 |
//! | 137 | n | the application's name |
//!
//! At most 390 bytes, of the 512 that verifiers accept. There is one encoding of each value.

use std::fmt;

use super::key::BrokerKey;
use super::message::{Nonce, SealedSet, SecretsRequest};
use super::name::{Application, Names, SecretName};
use super::set::{SetError, encode_set};
use crate::seal::{self, SealError};
use crate::secret::Secret;

/// What the `user_data` of a request for secrets begins with.
pub const LABEL: &[u8; 32] = b"cloister.dev/secret-release/v1\0\0";
/// What the `info` of a sealed answer begins with. The nonce and the `user_data` follow.
pub const ANSWER_LABEL: &[u8; 32] = b"cloister.dev/secret-answer/v1\0\0\0";
/// Bytes of a bundle's digest (SHA-384).
pub const BUNDLE_DIGEST_BYTES: usize = 48;

const DIGEST_BYTES: usize = 48;

/// Why `user_data` is not that of a request for secrets, or a document does not belong to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingError {
    /// The document was made for another purpose, or by something else.
    Label,
    /// `user_data` is too short or too long, or the application has no valid name.
    Malformed,
    /// The document has no such field, or one of another length.
    Missing(&'static str),
    /// The request says one thing and the document another: which.
    Differs(&'static str),
}

impl fmt::Display for BindingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => f.write_str("the document was not made for a request for secrets"),
            Self::Malformed => f.write_str("the document's user_data is malformed"),
            Self::Missing(field) => write!(f, "the document's {field} is missing or has the wrong length"),
            Self::Differs(what) => write!(f, "the request and its document differ in the {what}"),
        }
    }
}

impl std::error::Error for BindingError {}

/// The content of `user_data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// SHA-384 of the bundle that runs now.
    pub bundle: [u8; BUNDLE_DIGEST_BYTES],
    /// Its generation; 0 when it has none.
    pub generation: u64,
    /// [`Names::digest`] of the wanted secrets.
    pub names: [u8; DIGEST_BYTES],
    /// Who wants them.
    pub application: Application,
}

impl Binding {
    /// The bytes of `user_data`.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.application.as_str().as_bytes();
        let length = [u8::try_from(name.len()).expect("a name has at most 253 bytes")];
        [
            &LABEL[..],
            &self.bundle,
            &self.generation.to_be_bytes(),
            &self.names,
            &length,
            name,
        ]
        .concat()
    }

    /// Reads `user_data`, which has to be exactly as [`Binding::encode`] writes it.
    ///
    /// # Errors
    ///
    /// [`BindingError::Label`] or [`BindingError::Malformed`].
    pub fn parse(user_data: &[u8]) -> Result<Self, BindingError> {
        let rest = user_data.strip_prefix(LABEL).ok_or(BindingError::Label)?;
        Self::fields(rest).ok_or(BindingError::Malformed)
    }

    fn fields(rest: &[u8]) -> Option<Self> {
        let (bundle, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (names, rest) = rest.split_first_chunk()?;
        let (length, name) = rest.split_first()?;
        if name.len() != usize::from(*length) {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?.to_owned();
        Some(Self {
            bundle: *bundle,
            generation: u64::from_be_bytes(*generation),
            names: *names,
            application: Application::try_from(name).ok()?,
        })
    }

    /// The `info` under which the answer is sealed: label, nonce, `user_data`.
    pub(super) fn answer_info(&self, nonce: &Nonce) -> Vec<u8> {
        [&ANSWER_LABEL[..], nonce.as_bytes(), &self.encode()].concat()
    }
}

/// The three fields of a document that was verified; nothing else may go here.
#[derive(Debug, Clone, Copy)]
pub struct Attested<'a> {
    /// `public_key` of the document.
    pub public_key: Option<&'a [u8]>,
    /// `nonce` of the document.
    pub nonce: Option<&'a [u8]>,
    /// `user_data` of the document.
    pub user_data: Option<&'a [u8]>,
}

/// A request whose document says the same. What the broker's policy decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    public_key: seal::PublicKey,
    /// To be taken out of the outstanding ones, once.
    pub nonce: Nonce,
    /// Bundle, generation and application.
    pub binding: Binding,
    /// The wanted secrets.
    pub names: Names,
}

impl Claim {
    /// Compares a request with its document.
    ///
    /// # Errors
    ///
    /// [`BindingError`] names what is missing or differs.
    pub fn new(request: &SecretsRequest, attested: &Attested<'_>) -> Result<Self, BindingError> {
        let user_data = attested.user_data.ok_or(BindingError::Missing("user_data"))?;
        let binding = Binding::parse(user_data)?;
        if binding.application != request.application {
            return Err(BindingError::Differs("application"));
        }
        if binding.generation != request.generation {
            return Err(BindingError::Differs("generation"));
        }
        if binding.names != request.secrets.digest() {
            return Err(BindingError::Differs("names of the secrets"));
        }
        Ok(Self {
            public_key: exact(attested.public_key, "public_key")?,
            nonce: Nonce::from(exact(attested.nonce, "nonce")?),
            binding,
            names: request.secrets.clone(),
        })
    }

    /// Seals the secrets, which have to be the ones that [`Claim::names`] asks for, in its order, and signs what was sealed.
    ///
    /// # Errors
    ///
    /// [`SealError::TooLong`] when the set is larger than [`seal::MAX_PLAINTEXT`], and [`SealError::PublicKey`] when the
    /// enclave's key is none.
    pub fn seal(&self, key: &BrokerKey, secrets: &[(SecretName, Secret)]) -> Result<SealedSet, SealError> {
        let too_long = |_: SetError| SealError::TooLong("the set of secrets", seal::MAX_PLAINTEXT);
        let set = encode_set(secrets).map_err(too_long)?;
        let info = self.binding.answer_info(&self.nonce);
        let value = seal::seal(&self.public_key, &info, b"", set.expose())?;
        let signature = key.sign(&info, &value);
        Ok(SealedSet { value, signature })
    }
}

fn exact<const N: usize>(field: Option<&[u8]>, name: &'static str) -> Result<[u8; N], BindingError> {
    field
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(BindingError::Missing(name))
}
