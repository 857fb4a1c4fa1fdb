//! Why an image was not unpacked.

use std::{fmt, io};

use manifest_sync::digest::Digest;

/// Why an image was not unpacked. Texts from the image are escaped and cut to 256 bytes.
#[derive(Debug)]
pub enum Error {
    /// The blob could not be had or read.
    Blob {
        /// Which.
        digest: Digest,
        /// What the source said.
        source: io::Error,
    },
    /// The bytes of the blob are not those that were asked for (size or digest), or of its `diff_id`.
    Mismatch {
        /// What was asked for.
        digest: Digest,
        /// What differs.
        what: &'static str,
    },
    /// A document (index, manifest or config) was refused.
    Document {
        /// Which.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// An entry of a layer was refused or could not be applied.
    Entry {
        /// Layer.
        layer: Digest,
        /// Name in the archive, escaped.
        path: String,
        /// Why.
        reason: String,
    },
    /// The layer as a whole was refused: broken compression or archive, or a bound of [`crate::Limits`].
    Layer {
        /// Layer.
        layer: Digest,
        /// Why.
        source: io::Error,
    },
    /// The store itself failed.
    Store(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob { digest, source } => write!(f, "blob {digest}: {source}"),
            Self::Mismatch { digest, what } => write!(f, "blob {digest}: {what} does not match"),
            Self::Document { digest, reason } => write!(f, "document {digest}: {reason}"),
            Self::Entry { layer, path, reason } => write!(f, "layer {layer}: entry \"{path}\": {reason}"),
            Self::Layer { layer, source } => write!(f, "layer {layer}: {source}"),
            Self::Store(source) => write!(f, "layer store: {source}"),
        }
    }
}

impl std::error::Error for Error {}

/// `bytes` fit for a log line: escaped, at most 256 bytes.
pub fn escape(bytes: &[u8]) -> String {
    let cut = bytes.get(..64).unwrap_or(bytes);
    let mut text = cut.escape_ascii().to_string();
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}
