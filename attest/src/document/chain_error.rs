//! Why a chain of certificates is refused. More variants than usual: callers and tests tell every cause apart.

use std::fmt;

use crate::hex::Hex;
use crate::time::UnixTime;

/// Which certificate of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first of `cabundle`.
    Root,
    /// Another one of `cabundle`, by its index.
    Issuer(usize),
    /// `certificate`, whose key signs the document.
    Leaf,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("cabundle[0] (the root)"),
            Self::Issuer(index) => write!(f, "cabundle[{index}]"),
            Self::Leaf => f.write_str("certificate (the document's signer)"),
        }
    }
}

/// Why the certificates of a document prove nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainError {
    /// The bundle begins with another root than those that are trusted: its SHA-256.
    UntrustedRoot([u8; 32]),
    /// Not a certificate.
    Unreadable(Position),
    /// Not issued by the one before it.
    Order(Position),
    /// Its key may not sign what it has signed.
    KeyUsage(Position),
    /// Too early for it.
    NotYetValid {
        /// Which one.
        position: Position,
        /// First second at which it is valid.
        not_before: UnixTime,
        /// The time that the verifier was given.
        now: UnixTime,
    },
    /// Too late for it.
    Expired {
        /// Which one.
        position: Position,
        /// Last second at which it is valid.
        not_after: UnixTime,
        /// The time that the verifier was given.
        now: UnixTime,
    },
    /// The signer's key is not one of the curve P-384.
    LeafKey,
    /// The signer's certificate is for another module than the document names.
    LeafName,
    /// A certificate's signature is not by the key of the one before it.
    Signature,
    /// A certificate is signed by another algorithm than ECDSA with P-384 and SHA-384.
    Algorithm,
    /// More issuers than a certificate allows below it.
    PathLength,
    /// A certificate that is no authority has issued another one.
    NotAnAuthority,
    /// The signer's certificate is one of an authority.
    LeafIsAuthority,
    /// A critical extension that nobody here knows.
    CriticalExtension,
    /// Something else that webpki refuses.
    Path(webpki::Error),
}

impl ChainError {
    pub(super) fn path(error: &webpki::Error) -> Self {
        use webpki::Error as Cause;
        match error {
            Cause::InvalidSignatureForPublicKey => Self::Signature,
            Cause::UnsupportedSignatureAlgorithmContext(_)
            | Cause::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Cause::SignatureAlgorithmMismatch => Self::Algorithm,
            Cause::PathLenConstraintViolated => Self::PathLength,
            Cause::EndEntityUsedAsCa => Self::NotAnAuthority,
            Cause::CaUsedAsEndEntity => Self::LeafIsAuthority,
            Cause::UnsupportedCriticalExtension => Self::CriticalExtension,
            other => Self::Path(other.clone()),
        }
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UntrustedRoot(fingerprint) => write!(
                f,
                "the certificates begin with a root that is not trusted, SHA-256 {}: a document of a development or \
                 foreign security module; if this root is meant, give it to the verifier",
                Hex(fingerprint)
            ),
            Self::Unreadable(position) => write!(f, "{position} is not a certificate in DER"),
            Self::Order(position) => write!(
                f,
                "{position} was not issued by the one before it: cabundle goes from the root to the signer's issuer"
            ),
            Self::KeyUsage(position) => {
                write!(f, "{position}: its key usage does not allow what it has signed")
            }
            Self::NotYetValid {
                position,
                not_before,
                now,
            } => write!(
                f,
                "{position} is valid from {not_before} on, and it is {now}: check the verifier's clock"
            ),
            Self::Expired {
                position,
                not_after,
                now,
            } => write!(
                f,
                "{position} was valid until {not_after}, and it is {now}: ask for a new document, or give the time at \
                 which this one was received"
            ),
            Self::LeafKey => f.write_str("the signer's key is not an uncompressed key of the curve P-384"),
            Self::LeafName => {
                f.write_str("the signer's certificate is not for the module that the document names")
            }
            Self::Signature => f.write_str(
                "a certificate's signature is not by the key of the one before it: it was changed or forged",
            ),
            Self::Algorithm => {
                f.write_str("a certificate is signed by another algorithm than ECDSA with P-384 and SHA-384")
            }
            Self::PathLength => f.write_str("there are more certificates than one of them allows below it"),
            Self::NotAnAuthority => f.write_str("a certificate that is no authority has issued another one"),
            Self::LeafIsAuthority => {
                f.write_str("the document's signer is an authority: those sign certificates only")
            }
            Self::CriticalExtension => {
                f.write_str("a certificate has a critical extension that this verifier does not know")
            }
            Self::Path(error) => write!(f, "the certificates are refused: {error}"),
        }
    }
}

impl std::error::Error for ChainError {}
