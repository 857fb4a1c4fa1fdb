//! The enclave's side of one exchange, from the nonce to the secrets. Sans-IO: the caller asks the security module and talks
//! to the broker. It holds the key; dropping it gives the answer up.

use std::fmt;

use super::binding::{BUNDLE_DIGEST_BYTES, Binding};
use super::key::BrokerPublicKey;
use super::message::{MessageError, Nonce, SecretsAnswer, SecretsRequest};
use super::name::{Application, Names, SecretName};
use super::refusal::Refusal;
use super::set::{SetError, decode_set};
use crate::nsm::{Nsm, NsmError};
use crate::seal::{PublicKey, ReceiverKey, SealError};
use crate::secret::Secret;

/// Why there are no secrets.
#[derive(Debug)]
pub enum ReleaseError {
    /// The answer cannot be read.
    Message(MessageError),
    /// The broker said no.
    Refused(Refusal),
    /// The answer is not by the broker that the enclave asks.
    Signature,
    /// The answer is not for this request.
    Seal(SealError),
    /// The answer was sealed for this request, and does not hold what was asked for.
    Set(SetError),
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(error) => error.fmt(f),
            Self::Refused(refusal) => write!(f, "the broker refused: {refusal}"),
            Self::Signature => f.write_str(
                "the answer is not signed by the broker whose key this enclave was given: another broker answered, its \
                 key was changed, or the answer was changed on its way",
            ),
            Self::Seal(error) => error.fmt(f),
            Self::Set(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReleaseError {}

/// A request for secrets that has not been answered.
pub struct Pending {
    key: ReceiverKey,
    nonce: Nonce,
    binding: Binding,
    names: Names,
}

impl Pending {
    /// Makes the key of this request.
    ///
    /// # Errors
    ///
    /// The kernel gave no random bytes.
    pub fn begin(
        nonce: Nonce,
        bundle: [u8; BUNDLE_DIGEST_BYTES],
        generation: u64,
        application: Application,
        names: Names,
    ) -> Result<Self, SealError> {
        let binding = Binding {
            bundle,
            generation,
            names: names.digest(),
            application,
        };
        Ok(Self {
            key: ReceiverKey::generate()?,
            nonce,
            binding,
            names,
        })
    }

    /// The document that the broker wants to see, and the request with it.
    ///
    /// # Errors
    ///
    /// The security module gave none.
    pub fn request(&self, module: &Nsm) -> Result<SecretsRequest, NsmError> {
        let user_data = self.binding.encode();
        let nonce = self.nonce.as_bytes();
        let document = module.attest(Some(&user_data), Some(nonce), Some(self.public_key()))?;
        Ok(self.request_with(document))
    }

    /// The request with a document that somebody else asked for, with [`Pending::public_key`], the nonce and
    /// [`Pending::binding`].
    pub fn request_with(&self, document: Vec<u8>) -> SecretsRequest {
        SecretsRequest {
            document,
            application: self.binding.application.clone(),
            generation: self.binding.generation,
            secrets: self.names.clone(),
        }
    }

    /// `public_key` of the document.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public()
    }

    /// `user_data` of the document, before it is encoded.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Opens the body of the answer, once it is clear that `broker` signed it. Whatever comes of it, the key is gone.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] says why there are no secrets; it is safe to log.
    pub fn finish(
        self,
        broker: &BrokerPublicKey,
        body: &[u8],
    ) -> Result<Vec<(SecretName, Secret)>, ReleaseError> {
        let sealed = match SecretsAnswer::parse(body).map_err(ReleaseError::Message)? {
            SecretsAnswer::Sealed(sealed) => sealed,
            SecretsAnswer::Refused(refusal) => return Err(ReleaseError::Refused(refusal)),
        };
        let info = self.binding.answer_info(&self.nonce);
        if !broker.has_signed(&info, &sealed.value, &sealed.signature) {
            return Err(ReleaseError::Signature);
        }
        let set = self
            .key
            .open(&info, b"", &sealed.value)
            .map_err(ReleaseError::Seal)?;
        decode_set(&set, &self.names).map_err(ReleaseError::Set)
    }
}
