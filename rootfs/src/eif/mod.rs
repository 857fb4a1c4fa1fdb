//! The enclave image format (EIF), version 4: what `nitro-cli run-enclave` and QEMU's `nitro-enclave` machine boot.
//!
//! ```text
//! header (548 bytes, big-endian) │ kernel │ command line │ metadata │ ramdisk[0] … │ signature (optional)
//!                                  each with a section header of 12 bytes
//! ```
//!
//! The layout is that of `aws-nitro-enclaves-image-format`; `cargo xtask oracle` compares with it byte for byte. The checksum
//! protects against accidents only. What the platform measures ([`Measurements`]) is kernel, command line and ramdisks;
//! metadata, signature and the default sizes in the header are measured by nobody.

mod certificate;
mod header;
mod inspect;
mod measure;
mod signature;
mod write;

pub use inspect::{Description, SectionSummary, inspect};
pub use measure::Measurements;
pub use signature::Signer;
pub use write::{EifBuilder, Metadata};

use std::fmt;
use std::io;

/// Why an image cannot be written or read.
#[derive(Debug)]
pub enum EifError {
    /// A file cannot be read or written; the text says which.
    Io(String, io::Error),
    /// The image is malformed; the text names the field.
    Malformed(String),
    /// Key or certificate are of no use; the text says why and what to do.
    Signing(String),
}

impl fmt::Display for EifError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Malformed(what) => write!(f, "malformed EIF: {what}"),
            Self::Signing(what) => write!(f, "cannot sign: {what}"),
        }
    }
}

impl std::error::Error for EifError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum SectionKind {
    /// A bzImage (x86-64) or Image (arm64).
    Kernel = 1,
    /// The kernel's command line, without a final NUL.
    CommandLine = 2,
    /// An initramfs archive.
    Ramdisk = 3,
    /// CBOR: the signature of PCR0 and the certificate of its key.
    Signature = 4,
    /// JSON about the build, for people.
    Metadata = 5,
}

impl SectionKind {
    fn from_number(number: u16) -> Option<Self> {
        [
            Self::Kernel,
            Self::CommandLine,
            Self::Ramdisk,
            Self::Signature,
            Self::Metadata,
        ]
        .into_iter()
        .find(|kind| *kind as u16 == number)
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::CommandLine => "cmdline",
            Self::Ramdisk => "ramdisk",
            Self::Signature => "signature",
            Self::Metadata => "metadata",
        }
    }
}
