//! The broker's key: what shows an enclave that an answer comes from the secret service which its measured bundle names,
//! and not from one that the host runs. Ed25519 (RFC 8032) on ring; how an enclave learns the public key is not known here.

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::base64;
use crate::random::EntropyError;

/// Bytes of a public key.
pub const BROKER_KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// What the bytes that a broker signs begin with, so that they are nothing else that the same key might sign.
pub const SIGNATURE_LABEL: &[u8; 32] = b"cloister.dev/answer-signature/v1";

/// SubjectPublicKeyInfo (RFC 8410 section 4) up to the 32 bytes of the key.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Not a key that a broker can sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKeyError {
    /// No PEM, or not exactly one private key in it.
    NotPem,
    /// Another algorithm, or damaged.
    NotEd25519,
}

impl fmt::Display for BrokerKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => {
                "not exactly one unencrypted private key in PEM (`-----BEGIN PRIVATE KEY-----`): make one with \
                 `openssl genpkey -algorithm ed25519`"
            }
            Self::NotEd25519 => {
                "not an Ed25519 private key: make one with `openssl genpkey -algorithm ed25519`"
            }
        })
    }
}

impl std::error::Error for BrokerKeyError {}

/// The private key of a broker. It is neither printed nor copied.
pub struct BrokerKey(Ed25519KeyPair);

impl fmt::Debug for BrokerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokerKey")
    }
}

impl BrokerKey {
    /// A new key that is never written down: enclaves have to be told its public half each time.
    ///
    /// # Errors
    ///
    /// The kernel gave no random bytes.
    pub fn generate() -> Result<Self, EntropyError> {
        let mut seed = Zeroizing::new([0; BROKER_KEY_BYTES]);
        let filled = SystemRandom::new().fill(&mut *seed);
        filled.map_err(|_unspecified| EntropyError)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed);
        Ok(Self(pair.expect("a seed is any 32 bytes")))
    }

    /// From PKCS#8 (DER), with or without the public half: OpenSSL leaves it out, and ring computes it then.
    ///
    /// # Errors
    ///
    /// [`BrokerKeyError::NotEd25519`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BrokerKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        pair.map(Self).map_err(|_rejected| BrokerKeyError::NotEd25519)
    }

    /// From PEM with exactly one private key, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// [`BrokerKeyError`] says what is wrong and what to do.
    #[cfg(feature = "verify")]
    pub fn from_pem(text: &[u8]) -> Result<Self, BrokerKeyError> {
        use rustls_pki_types::PrivatePkcs8KeyDer;
        use rustls_pki_types::pem::PemObject as _;
        let mut keys = PrivatePkcs8KeyDer::pem_slice_iter(text);
        match (keys.next(), keys.next()) {
            (Some(Ok(key)), None) => Self::from_pkcs8(key.secret_pkcs8_der()),
            _ => Err(BrokerKeyError::NotPem),
        }
    }

    /// The public half, for enclaves.
    pub fn public(&self) -> BrokerPublicKey {
        let bytes = self.0.public_key().as_ref().try_into();
        BrokerPublicKey(bytes.expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs an answer: the bytes that were sealed under `info`.
    pub(super) fn sign(&self, info: &[u8], sealed: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature = self.0.sign(&signed_bytes(info, sealed));
        let bytes = signature.as_ref().try_into();
        bytes.expect("an Ed25519 signature has 64 bytes")
    }
}

/// The public key of the broker that an enclave takes secrets from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BrokerPublicKey([u8; BROKER_KEY_BYTES]);

impl BrokerPublicKey {
    /// The bytes of the key (RFC 8032 section 5.1.5).
    pub fn as_bytes(&self) -> &[u8; BROKER_KEY_BYTES] {
        &self.0
    }

    /// SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it.
    pub fn to_pem(&self) -> String {
        let spki = base64::encode(&[&SPKI_PREFIX[..], &self.0].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n")
    }

    /// Whether `signature` is this broker's over what was sealed under `info`. A key with which anybody could sign (one of
    /// small order) is the fault of who measured it.
    pub(super) fn has_signed(&self, info: &[u8], sealed: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(&signed_bytes(info, sealed), signature).is_ok()
    }
}

impl From<[u8; BROKER_KEY_BYTES]> for BrokerPublicKey {
    fn from(bytes: [u8; BROKER_KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for BrokerPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerPublicKey({})", crate::hex::Hex(&self.0))
    }
}

/// Label, `info`, sealed bytes. Only the last one's length is free: `info` says its own with the application's name.
fn signed_bytes(info: &[u8], sealed: &[u8]) -> Vec<u8> {
    [&SIGNATURE_LABEL[..], info, sealed].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 section 7.1, TEST 1, as `openssl pkey` writes it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
                           MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                           -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
                          MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                          -----END PUBLIC KEY-----\n";

    #[test]
    fn keys_are_read_and_written_as_openssl_does() {
        let key = BrokerKey::from_pem(PRIVATE.as_bytes()).expect("a key");
        assert_eq!(key.public().to_pem(), PUBLIC);
        let made = BrokerKey::generate().expect("a key");
        assert!(made.public() != key.public());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let read = |text: &str| BrokerKey::from_pem(text.as_bytes()).map(|_| ());
        assert_eq!(read(""), Err(BrokerKeyError::NotPem));
        assert_eq!(read(PUBLIC), Err(BrokerKeyError::NotPem));
        assert_eq!(read(&PRIVATE.repeat(2)), Err(BrokerKeyError::NotPem));
        let encrypted = PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(read(&encrypted), Err(BrokerKeyError::NotPem));
        let other = PRIVATE.replace("MC4CAQAwBQYDK2Vw", "MC4CAQAwBQYDK2Vx");
        assert_eq!(read(&other), Err(BrokerKeyError::NotEd25519));
        assert!(BrokerKey::from_pkcs8(&[]).is_err());
    }

    #[test]
    fn a_signature_is_of_one_answer_by_one_key() {
        let key = BrokerKey::from_pem(PRIVATE.as_bytes()).expect("a key");
        let signature = key.sign(b"info", b"sealed");
        let public = key.public();
        assert!(public.has_signed(b"info", b"sealed", &signature));
        assert!(!public.has_signed(b"info", b"sealee", &signature));
        assert!(!public.has_signed(b"infp", b"sealed", &signature));
        assert!(!public.has_signed(b"info", b"sealed", &signature[..63]));
        assert!(!BrokerPublicKey::from([1; 32]).has_signed(b"info", b"sealed", &signature));
    }
}
