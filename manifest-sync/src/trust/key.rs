//! Public keys of signers: how they are written, what they are called, what they have signed.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};

use super::curve;
use crate::digest::hex;
use crate::{base64, pem};

/// SubjectPublicKeyInfo (RFC 8410) up to the 32 bytes of the key.
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// SubjectPublicKeyInfo (RFC 5480) for prime256v1 up to the 65 bytes of an uncompressed point.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same up to the 33 bytes of a compressed point.
const P256_COMPRESSED_PREFIX: [u8; 4] = [0x30, 0x39, 0x30, 0x13];

/// A public key that can be used: it is a point of its curve, written in the one canonical way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 32]),
    /// ECDSA on P-256 with SHA-256: `04`, x, y.
    EcdsaP256([u8; 65]),
}

/// Why something is no public key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// Neither PEM nor base64.
    Unreadable,
    /// A private key: it must not travel.
    Private,
    /// A key of another kind.
    Unsupported,
    /// A compressed point.
    Compressed,
    /// Not a point of its curve, or one that no honest signer has.
    BadPoint,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => {
                "not a public key: expected PEM (`-----BEGIN PUBLIC KEY-----`) or its base64 in one line"
            }
            Self::Private => "a private key: give the public one (`openssl pkey -in KEY -pubout`)",
            Self::Unsupported => "neither an Ed25519 nor a P-256 public key",
            Self::Compressed => {
                "a compressed point: write it with `openssl ec -pubin -conv_form uncompressed -pubout`"
            }
            Self::BadPoint => "not a usable key: it is not a point of its curve, or one of small order",
        })
    }
}

impl std::error::Error for KeyError {}

impl PublicKey {
    /// From PEM, as `openssl pkey -pubout` and `cosign generate-key-pair` write it, or the base64 of it in one line.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        if !text.contains("-----BEGIN") {
            let bytes = base64::decode(text.trim()).ok_or(KeyError::Unreadable)?;
            return Self::from_spki(&bytes);
        }
        let blocks = pem::blocks(text).map_err(|_| match text.contains("PRIVATE KEY") {
            true => KeyError::Private,
            false => KeyError::Unreadable,
        })?;
        if blocks.iter().any(|block| block.label.contains("PRIVATE KEY")) {
            return Err(KeyError::Private);
        }
        match blocks.as_slice() {
            [block] if block.label == "PUBLIC KEY" => Self::from_spki(&block.bytes),
            _ => Err(KeyError::Unreadable),
        }
    }

    /// From a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(key) = der.strip_prefix(&ED25519_PREFIX) {
            return Self::ed25519(key.try_into().map_err(|_| KeyError::Unsupported)?);
        }
        if let Some(point) = der.strip_prefix(&P256_PREFIX) {
            return Self::p256(point.try_into().map_err(|_| KeyError::Unsupported)?);
        }
        Err(match der.starts_with(&P256_COMPRESSED_PREFIX) {
            true => KeyError::Compressed,
            false => KeyError::Unsupported,
        })
    }

    /// From the 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::BadPoint`].
    pub fn ed25519(key: [u8; 32]) -> Result<Self, KeyError> {
        match curve::usable_ed25519(&key) {
            true => Ok(Self::Ed25519(key)),
            false => Err(KeyError::BadPoint),
        }
    }

    /// From an uncompressed point.
    ///
    /// # Errors
    /// [`KeyError::BadPoint`].
    pub fn p256(point: [u8; 65]) -> Result<Self, KeyError> {
        let [format, coordinates @ ..] = &point;
        match *format == 4 && curve::on_p256(coordinates) {
            true => Ok(Self::EcdsaP256(point)),
            false => Err(KeyError::BadPoint),
        }
    }

    /// DER SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => [ED25519_PREFIX.as_slice(), key].concat(),
            Self::EcdsaP256(point) => [P256_PREFIX.as_slice(), point].concat(),
        }
    }

    /// What envelopes call it: `sha256:` and the digest of [`PublicKey::to_spki`], hexadecimal.
    pub fn key_id(&self) -> String {
        format!("sha256:{}", hex(digest(&SHA256, &self.to_spki()).as_ref()))
    }

    /// Name of the algorithm: `ed25519` or `ecdsa-p256`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519",
            Self::EcdsaP256(_) => "ecdsa-p256",
        }
    }

    /// The key itself, without its algorithm.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key,
            Self::EcdsaP256(point) => point,
        }
    }

    /// Whether `signature` is this key's over `message`: 64 bytes for Ed25519, DER for ECDSA.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Self::EcdsaP256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
        }
        .is_ok()
    }
}
