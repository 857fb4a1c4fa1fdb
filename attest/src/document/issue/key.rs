//! A key of the curve P-384, and what it signs.

use std::fmt;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};

use super::IssueError;
use crate::cbor::Writer;
use crate::cose::{PROTECTED, signed_bytes};
use crate::secret::Secret;

/// A key of a certificate or of a document's signer.
#[derive(Clone)]
pub struct Key(Arc<Pair>);

struct Pair {
    pkcs8: Secret,
    /// Signs certificates: signatures are DER.
    certificates: EcdsaKeyPair,
    /// Signs documents: signatures are r and s.
    documents: EcdsaKeyPair,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A new key.
    ///
    /// # Errors
    ///
    /// [`IssueError::Entropy`].
    pub fn generate() -> Result<Self, IssueError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &SystemRandom::new());
        Self::from_pkcs8(pkcs8.map_err(|_| IssueError::Entropy)?.as_ref())
    }

    /// A key that was kept.
    ///
    /// # Errors
    ///
    /// [`IssueError::NotAKey`].
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, IssueError> {
        let pair = |algorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new());
            pair.map_err(|_| IssueError::NotAKey)
        };
        Ok(Self(Arc::new(Pair {
            pkcs8: Secret::new(pkcs8.to_vec()),
            certificates: pair(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
            documents: pair(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
        })))
    }

    /// The key in PKCS#8, to keep it.
    pub fn pkcs8(&self) -> &Secret {
        &self.0.pkcs8
    }

    /// A document with this payload, whatever it says.
    ///
    /// # Errors
    ///
    /// [`IssueError::Entropy`]: a signature needs a random number.
    pub fn document(&self, payload: &[u8]) -> Result<Vec<u8>, IssueError> {
        let signature = self
            .0
            .documents
            .sign(&SystemRandom::new(), &signed_bytes(payload));
        let signature = signature.map_err(|_| IssueError::Entropy)?;
        let mut writer = Writer::new();
        writer.array(4).bytes(&PROTECTED).map(0).bytes(payload);
        writer.bytes(signature.as_ref());
        Ok(writer.finish())
    }

    /// The public key: an uncompressed point.
    pub(super) fn point(&self) -> &[u8] {
        self.0.certificates.public_key().as_ref()
    }

    /// The signature of a certificate's body.
    pub(super) fn sign(&self, body: &[u8]) -> Result<Vec<u8>, IssueError> {
        let signature = self.0.certificates.sign(&SystemRandom::new(), body);
        Ok(signature.map_err(|_| IssueError::Entropy)?.as_ref().to_vec())
    }
}
