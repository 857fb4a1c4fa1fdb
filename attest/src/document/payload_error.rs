//! Why a payload is refused. More variants than usual: callers and tests tell every cause apart.

use std::fmt;

use super::payload::{DIGEST, MAX_BUNDLE, PCRS};
use crate::cbor::CborError;

/// Most characters of a name that a message repeats.
const MAX_NAME: usize = 40;

/// Why a payload is not one of an enclave's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadError {
    /// Not CBOR in the form that documents have.
    Malformed(CborError),
    /// Not a map.
    NotAMap,
    /// A field's name is not text.
    FieldName,
    /// A field that documents do not have: the beginning of its name.
    Unknown(String),
    /// The document of a virtual machine with a NitroTPM, which is no enclave.
    NitroTpm,
    /// A field that is there twice.
    Duplicate(&'static str),
    /// A field that is not there.
    Missing(&'static str),
    /// A field, or something in it, of another type, or null where there has to be a value.
    WrongType(&'static str),
    /// A field, or something in it, that is too short or too long, in bytes.
    Length {
        /// Its name.
        field: &'static str,
        /// Its length.
        length: usize,
        /// Fewest bytes.
        least: usize,
        /// Most bytes.
        most: usize,
    },
    /// The module's name is not that of an enclave.
    ModuleId,
    /// Another hash.
    Digest,
    /// A time of 0.
    Timestamp,
    /// No PCR at all.
    NoPcrs,
    /// A PCR that is not one of 0 to 31; `None`: its index is no such number.
    PcrIndex(Option<u64>),
    /// A PCR that is there twice.
    DuplicatePcr(u8),
    /// A PCR of so many bytes.
    PcrLength(u8, usize),
    /// No certificate in the bundle, or too many.
    BundleLength,
}

impl PayloadError {
    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown(name.chars().take(MAX_NAME).collect())
    }
}

impl From<CborError> for PayloadError {
    fn from(error: CborError) -> Self {
        Self::Malformed(error)
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "the payload is malformed: {error}"),
            Self::NotAMap => f.write_str("the payload is not a map of fields"),
            Self::FieldName => f.write_str("the payload has a field whose name is not text"),
            Self::Unknown(name) => write!(
                f,
                "the payload has the field {name:?}, which enclaves' documents do not have: if the platform has added \
                 it, use a version of this verifier that knows it"
            ),
            Self::NitroTpm => f.write_str(
                "this is a NitroTPM document: any virtual machine can make one; ask the enclave for a document of its \
                 own security module",
            ),
            Self::Duplicate(field) => write!(f, "the field {field} is there twice"),
            Self::Missing(field) => write!(f, "the field {field} is missing"),
            Self::WrongType(field) => write!(f, "the field {field} has a value of the wrong type"),
            Self::Length {
                field,
                length,
                least,
                most,
            } => write!(f, "the field {field} has {length} bytes: {least} to {most} are allowed"),
            Self::ModuleId => f.write_str(
                "module_id does not name an enclave: expected i-…-enc… (a NitroTPM document has -tpm there)",
            ),
            Self::Digest => write!(f, "digest is not {DIGEST}, the only hash that is known"),
            Self::Timestamp => f.write_str("timestamp is 0: the document does not say when it was made"),
            Self::NoPcrs => f.write_str("the document has no PCR, so it says nothing about what runs"),
            Self::PcrIndex(Some(index)) => write!(f, "PCR {index}: there are 0 to {}", PCRS - 1),
            Self::PcrIndex(None) => write!(f, "a PCR's index is not a number from 0 to {}", PCRS - 1),
            Self::DuplicatePcr(index) => write!(f, "PCR{index} is there twice"),
            Self::PcrLength(index, length) => {
                write!(f, "PCR{index} has {length} bytes: {DIGEST} has 48")
            }
            Self::BundleLength => write!(f, "cabundle has no certificate, or more than {MAX_BUNDLE}"),
        }
    }
}

impl std::error::Error for PayloadError {}
