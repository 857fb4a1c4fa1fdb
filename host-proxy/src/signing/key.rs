//! Private keys: PEM as `openssl` writes it, and signing with them. They are in memory while one command runs.

use manifest_sync::pem::{self, PemError};
use manifest_sync::trust::key::{KeyError, PublicKey};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

/// SEC 1 (RFC 5915) on P-256 as `openssl ecparam -genkey` writes it, around the private key: 32 bytes.
const SEC1_HEAD: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
/// Between the private key and the uncompressed point: 65 bytes.
const SEC1_MIDDLE: [u8; 17] = [
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42, 0x00,
];

/// A key that can sign.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
}

/// Why a file holds no key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// It is no PEM.
    #[error(transparent)]
    Pem(PemError),
    /// Needs a passphrase.
    #[error(
        "the key is encrypted: give a decrypted one, for this step only (`openssl pkey -in KEY -out PLAIN`)"
    )]
    Encrypted,
    /// Cosign's own form of private keys.
    #[error(
        "a key in cosign's own encrypted form: make the key with `openssl genpkey`, and give it to cosign with \
         `cosign import-key-pair`"
    )]
    Cosign,
    /// A public key, certificate and so on.
    #[error("`{0}` is no private key: expected `PRIVATE KEY` or `EC PRIVATE KEY`")]
    Label(String),
    /// Several keys.
    #[error("there is more than one private key in the file: which one is meant?")]
    Several,
    /// Another algorithm, or damaged.
    #[error(
        "neither an Ed25519 nor a P-256 private key: make one with `openssl genpkey -algorithm ed25519`, or \
         `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
    )]
    Unsupported,
    /// The public half is unusable.
    #[error(transparent)]
    Public(KeyError),
}

/// The system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no randomness")]
pub struct CannotSign;

impl SigningKey {
    /// From PEM: PKCS #8 or, for P-256, SEC 1 (with the parameters in front that `openssl ecparam` writes).
    ///
    /// # Errors
    /// What is wrong with it and what to do.
    pub fn from_pem(text: &str) -> Result<Self, SigningKeyError> {
        let blocks = pem::blocks(text).map_err(|error| match error {
            PemError::Header { .. } => SigningKeyError::Encrypted,
            other => SigningKeyError::Pem(other),
        })?;
        let mut keys = blocks.iter().filter(|block| block.label != "EC PARAMETERS");
        let (Some(block), None) = (keys.next(), keys.next()) else {
            return Err(SigningKeyError::Several);
        };
        let pair = match block.label.as_str() {
            "PRIVATE KEY" => pkcs8(&block.bytes),
            "EC PRIVATE KEY" => sec1(&block.bytes),
            "ENCRYPTED PRIVATE KEY" => return Err(SigningKeyError::Encrypted),
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                return Err(SigningKeyError::Cosign);
            }
            other => return Err(SigningKeyError::Label(other.to_owned())),
        };
        Self::of(pair.ok_or(SigningKeyError::Unsupported)?)
    }

    fn of(pair: Pair) -> Result<Self, SigningKeyError> {
        let public = match &pair {
            Pair::Ed25519(pair) => pair.public_key().as_ref().try_into().map(PublicKey::ed25519),
            Pair::EcdsaP256(pair) => pair.public_key().as_ref().try_into().map(PublicKey::p256),
        };
        let public = public
            .map_err(|_| SigningKeyError::Unsupported)?
            .map_err(SigningKeyError::Public)?;
        Ok(Self { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`; in the form that [`PublicKey::has_signed`] takes.
    ///
    /// # Errors
    /// [`CannotSign`], with P-256 only: Ed25519 needs no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::EcdsaP256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_unspecified| CannotSign),
        }
    }
}

fn pkcs8(der: &[u8]) -> Option<Pair> {
    // OpenSSL leaves the public half of Ed25519 out; ring computes it then.
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Some(Pair::Ed25519(pair));
    }
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
        .map(Pair::EcdsaP256)
        .ok()
}

fn sec1(der: &[u8]) -> Option<Pair> {
    let (private, rest) = der.strip_prefix(&SEC1_HEAD)?.split_at_checked(32)?;
    let point = rest.strip_prefix(&SEC1_MIDDLE)?;
    // Refuses a point that does not belong to the private key.
    EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        private,
        point,
        &SystemRandom::new(),
    )
    .map(Pair::EcdsaP256)
    .ok()
}
