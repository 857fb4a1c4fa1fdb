//! CBOR (RFC 8949), as much as NSM, attestation documents and COSE need: integers, byte and text strings, arrays, maps,
//! null and booleans; definite and indefinite lengths when reading, the shortest form when writing (QEMU's NSM refuses any
//! other). [`Reader`] takes item after item and allocates nothing, for formats with a fixed grammar; [`decode`] makes a
//! tree, which takes no more than a fixed multiple of the input and is never deeper than [`MAX_DEPTH`].

mod reader;
mod value;
mod writer;

use std::fmt;

pub use reader::{Item, Reader};
pub use value::{MAX_DEPTH, MAX_KEYS, Value, decode};
pub use writer::Writer;

/// Major types, initial bytes and additional information of RFC 8949, section 3.
mod form {
    pub(super) const UNSIGNED: u8 = 0;
    pub(super) const NEGATIVE: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const ARRAY: u8 = 4;
    pub(super) const MAP: u8 = 5;
    pub(super) const SIMPLE: u8 = 7;
    pub(super) const FALSE: u8 = 0xf4;
    pub(super) const TRUE: u8 = 0xf5;
    pub(super) const NULL: u8 = 0xf6;
    pub(super) const BREAK: u8 = 0xff;
    pub(super) const INDEFINITE: u8 = 31;
}

/// Bytes that are not the CBOR that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CborError {
    /// The input ends inside an item.
    Truncated,
    /// Something follows the item.
    Trailing,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A map has more than [`MAX_KEYS`] keys.
    TooManyKeys,
    /// A reserved form, a tag, a float, or text that is not UTF-8.
    Unsupported,
    /// A number or a length is not in its shortest form, where that is asked for.
    NotShortest,
    /// A map has the same key twice.
    DuplicateKey,
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends inside an item",
            Self::Trailing => "bytes follow the item",
            Self::TooDeep => "it is nested too deeply",
            Self::TooManyKeys => "a map has too many keys",
            Self::Unsupported => "it holds something that does not belong here",
            Self::NotShortest => "a number or a length is not in its shortest form",
            Self::DuplicateKey => "a map has the same key twice",
        })
    }
}

impl std::error::Error for CborError {}

#[cfg(test)]
mod tests;
