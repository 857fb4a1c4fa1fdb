//! The messages as JSON. Bodies are bounded before they are read, so memory is bounded by a multiple of the body; unknown and
//! duplicate fields are refused, since who sends them means something that we would not do.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::key::SIGNATURE_BYTES;
use super::name::{Application, Names};
use super::refusal::{Refusal, SafeText};
use crate::base64;
use crate::random::{EntropyError, random_bytes};
use crate::seal;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// Most bytes of a document; real ones have about 5 kB.
pub const MAX_DOCUMENT: usize = 24 * 1024;
/// Most bytes of the body of a request: a document in base64, 64 names and some air.
pub const MAX_REQUEST: usize = 64 * 1024;
/// Most bytes of the body of an answer: the largest sealed set in base64 and some air.
pub const MAX_ANSWER: usize = base64::encoded_length(seal::MAX_PLAINTEXT + seal::OVERHEAD) + 1024;

/// A body that is not the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageError {
    /// Longer than this many bytes.
    TooLong(usize),
    /// Not the JSON that is expected here: what is wrong, safe to log.
    Malformed(SafeText),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(most) => write!(f, "the message is longer than {most} bytes"),
            Self::Malformed(what) => write!(f, "the message is malformed: {what}"),
        }
    }
}

impl std::error::Error for MessageError {}

/// The broker's challenge: random, given out once, accepted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The kernel gave no random bytes.
    pub fn random() -> Result<Self, EntropyError> {
        random_bytes().map(Self)
    }

    /// The bytes, as they are in a document.
    pub fn as_bytes(&self) -> &[u8; NONCE_BYTES] {
        &self.0
    }
}

impl From<[u8; NONCE_BYTES]> for Nonce {
    fn from(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(bytes)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Base64(bytes) = Base64::<NONCE_BYTES>::deserialize(deserializer)?;
        let bytes = bytes.try_into();
        bytes
            .map(Self)
            .map_err(|_| D::Error::custom("a nonce has 32 bytes"))
    }
}

/// Asks for a nonce: an empty object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonceRequest {}

/// Answer to a [`NonceRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum NonceAnswer {
    /// Here it is.
    Nonce {
        /// To be put into the document.
        value: Nonce,
        /// How long the broker accepts it, seconds.
        lifetime_seconds: u32,
    },
    /// No.
    Refused(Refusal),
}

/// Asks for a set of secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsRequest {
    /// The attestation document, as the security module gave it.
    #[serde(with = "document")]
    pub document: Vec<u8>,
    /// Who wants them; the document says the same.
    pub application: Application,
    /// Generation of the bundle; the document says the same.
    pub generation: u64,
    /// Which ones; the document says the same.
    pub secrets: Names,
}

/// A set of secrets as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSet {
    /// The set, sealed to the key in the document.
    #[serde(with = "sealed")]
    pub value: Vec<u8>,
    /// The broker's Ed25519 signature: over [`super::SIGNATURE_LABEL`], the `info` of the seal, and the value.
    #[serde(with = "signature")]
    pub signature: [u8; SIGNATURE_BYTES],
}

/// Answer to a [`SecretsRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretsAnswer {
    /// The set.
    Sealed(SealedSet),
    /// No.
    Refused(Refusal),
}

impl NonceRequest {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        parse(body, MAX_REQUEST)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

impl NonceAnswer {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        parse(body, MAX_REQUEST)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

impl SecretsRequest {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        parse(body, MAX_REQUEST)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

impl SecretsAnswer {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        parse(body, MAX_ANSWER)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8], most: usize) -> Result<T, MessageError> {
    if body.len() > most {
        return Err(MessageError::TooLong(most));
    }
    // serde takes a list of fields in their order, too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(MessageError::Malformed(SafeText::new("not an object")));
    }
    serde_json::from_slice(body).map_err(|error| MessageError::Malformed(SafeText::new(&error.to_string())))
}

fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("every message is JSON")
}

/// At most `MOST` bytes as base64, decoded straight from the text that was read.
struct Base64<const MOST: usize>(Vec<u8>);

impl<'de, const MOST: usize> Deserialize<'de> for Base64<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64Visitor)
    }
}

struct Base64Visitor<const MOST: usize>;

impl<const MOST: usize> Visitor<'_> for Base64Visitor<MOST> {
    type Value = Base64<MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MOST} bytes in base64")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Base64<MOST>, E> {
        if text.len() > base64::encoded_length(MOST) {
            return Err(E::custom(format_args!("longer than {MOST} bytes")));
        }
        let bytes = base64::decode(text).ok_or_else(|| E::custom("not base64"))?;
        // Padding leaves room for up to two bytes more.
        if bytes.len() > MOST {
            return Err(E::custom(format_args!("longer than {MOST} bytes")));
        }
        Ok(Base64(bytes))
    }
}

macro_rules! base64_field {
    ($name:ident, $most:expr) => {
        mod $name {
            use super::*;

            pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&base64::encode(bytes))
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Vec<u8>, D::Error> {
                Base64::<{ $most }>::deserialize(deserializer).map(|Base64(bytes)| bytes)
            }
        }
    };
}

mod signature {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        bytes: &[u8; SIGNATURE_BYTES],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; SIGNATURE_BYTES], D::Error> {
        let Base64(bytes) = Base64::<SIGNATURE_BYTES>::deserialize(deserializer)?;
        let bytes = bytes.try_into();
        bytes.map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}

base64_field!(document, MAX_DOCUMENT);
base64_field!(sealed, seal::MAX_PLAINTEXT + seal::OVERHEAD);
