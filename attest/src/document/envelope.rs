//! The envelope of a document: COSE_Sign1 (RFC 9052, section 4.2) as the security module writes it, and nothing else.
//! Headers are compared, not parsed: there is one algorithm.

use std::fmt;

use crate::cbor::{CborError, Item, Reader};
use crate::cose::PROTECTED;

/// Most bytes of a document. Real ones have about 5 000; the module's answer never more than 12 288.
pub const MAX_DOCUMENT: usize = 24 * 1024;
/// Most bytes of the payload (`aws-nitro-enclaves-nsm-api`, attestation process).
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// Bytes of a signature: r and s.
pub(super) const SIGNATURE_BYTES: usize = 96;
/// Tag 18 in front, which the format allows and no real document has.
const TAG_SIGN1: u8 = 0xd2;

/// Why bytes are not the envelope of an attestation document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeError {
    /// So many bytes are too few or too many.
    Length(usize),
    /// Not CBOR, or not in the form that documents have.
    Malformed(CborError),
    /// Not an array of protected header, unprotected header, payload and signature.
    Shape,
    /// Signed by another algorithm than ES384.
    Algorithm,
    /// There is something in the unprotected header.
    UnprotectedHeader,
    /// The payload is not in the document.
    Detached,
    /// So many bytes of payload are too few or too many.
    PayloadLength(usize),
    /// A signature of so many bytes.
    SignatureLength(usize),
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(
                f,
                "{length} bytes are no attestation document: one has 1 to {MAX_DOCUMENT}"
            ),
            Self::Malformed(error) => write!(
                f,
                "this is no attestation document: {error}; pass the bytes as the security module gave them"
            ),
            Self::Shape => f.write_str(
                "this is no attestation document: expected COSE_Sign1, an array of four; pass the bytes as the security \
                 module gave them",
            ),
            Self::Algorithm => f.write_str(
                "the protected header does not say ES384 alone: Nitro documents are signed with it, so this is not one \
                 (an emulated security module does not sign)",
            ),
            Self::UnprotectedHeader => {
                f.write_str("the unprotected header is not empty: nobody signed what is in it")
            }
            Self::Detached => f.write_str("the payload is missing: ask for the whole document"),
            Self::PayloadLength(length) => {
                write!(f, "a payload of {length} bytes: one has 1 to {MAX_PAYLOAD}")
            }
            Self::SignatureLength(length) => {
                write!(f, "a signature of {length} bytes: ES384 has {SIGNATURE_BYTES}")
            }
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl From<CborError> for EnvelopeError {
    fn from(error: CborError) -> Self {
        Self::Malformed(error)
    }
}

/// A payload and its signature, which nobody has verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnverifiedEnvelope<'a> {
    pub(super) payload: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> UnverifiedEnvelope<'a> {
    pub(super) fn parse(document: &'a [u8]) -> Result<Self, EnvelopeError> {
        if document.is_empty() || document.len() > MAX_DOCUMENT {
            return Err(EnvelopeError::Length(document.len()));
        }
        let untagged = document.strip_prefix(&[TAG_SIGN1]).unwrap_or(document);
        let mut reader = Reader::strict(untagged);
        if reader.item()? != Item::Array(Some(4)) {
            return Err(EnvelopeError::Shape);
        }
        match reader.item()? {
            Item::Bytes(header) if header == PROTECTED => {}
            Item::Bytes(_) => return Err(EnvelopeError::Algorithm),
            _ => return Err(EnvelopeError::Shape),
        }
        match reader.item()? {
            Item::Map(Some(0)) => {}
            Item::Map(_) => return Err(EnvelopeError::UnprotectedHeader),
            _ => return Err(EnvelopeError::Shape),
        }
        let payload = match reader.item()? {
            Item::Bytes(payload) => payload,
            Item::Null => return Err(EnvelopeError::Detached),
            _ => return Err(EnvelopeError::Shape),
        };
        if payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return Err(EnvelopeError::PayloadLength(payload.len()));
        }
        let Item::Bytes(signature) = reader.item()? else {
            return Err(EnvelopeError::Shape);
        };
        if signature.len() != SIGNATURE_BYTES {
            return Err(EnvelopeError::SignatureLength(signature.len()));
        }
        reader.finish()?;
        Ok(Self { payload, signature })
    }
}
