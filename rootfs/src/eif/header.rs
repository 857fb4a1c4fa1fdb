//! The two headers as bytes.

use super::{EifError, SectionKind};

/// Most sections of an image.
pub(super) const MAX_SECTIONS: usize = 32;
/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 548;
/// Bytes of a section header.
pub(super) const SECTION_HEADER_BYTES: usize = 12;
/// Bytes of the header that the checksum covers: all but itself.
pub(super) const CHECKED_BYTES: usize = HEADER_BYTES - 4;
/// The version that has metadata; older ones are not written by anybody any more.
pub(super) const VERSION: u16 = 4;
/// Flag of the header: the kernel is for arm64.
pub(super) const FLAG_ARM64: u16 = 1;

const MAGIC: [u8; 4] = *b".eif";
const RESERVED_OFFSET: usize = 24;
const COUNT_OFFSET: usize = 26;
const OFFSETS_OFFSET: usize = 28;
const SIZES_OFFSET: usize = OFFSETS_OFFSET + 8 * MAX_SECTIONS;
const UNUSED_OFFSET: usize = SIZES_OFFSET + 8 * MAX_SECTIONS;

/// The header, without its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u16,
    pub(super) flags: u16,
    /// Bytes of memory that a launcher takes by default.
    pub(super) default_memory: u64,
    /// vCPUs that a launcher takes by default.
    pub(super) default_cpus: u64,
    /// Of each section: offset of its section header, and bytes of its content.
    pub(super) sections: Vec<(u64, u64)>,
}

impl Header {
    /// The bytes that the checksum covers.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.default_memory.to_be_bytes());
        bytes.extend(self.default_cpus.to_be_bytes());
        bytes.extend([0; 2]);
        let count = u16::try_from(self.sections.len()).unwrap_or(u16::MAX);
        bytes.extend(count.to_be_bytes());
        let padded = |pick: fn(&(u64, u64)) -> u64| {
            let own = self.sections.iter().map(pick);
            own.chain(std::iter::repeat(0)).take(MAX_SECTIONS)
        };
        bytes.extend(padded(|section| section.0).flat_map(u64::to_be_bytes));
        bytes.extend(padded(|section| section.1).flat_map(u64::to_be_bytes));
        bytes.extend([0; 4]);
        bytes
    }

    /// Reads a header and its checksum. What has no meaning must be 0: nothing hides in a header.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Self, u32), EifError> {
        let malformed = |text: String| Err(EifError::Malformed(text));
        if bytes[..4] != MAGIC {
            return malformed("it does not start with `.eif`: this is not an enclave image".to_owned());
        }
        let (version, flags) = (u16_at(bytes, 4), u16_at(bytes, 6));
        if version != VERSION {
            return malformed(format!("header: version {version}, but only {VERSION} is known"));
        }
        if flags & !FLAG_ARM64 != 0 {
            return malformed(format!(
                "header: flags {flags:#06x}, but only {FLAG_ARM64:#06x} (arm64) is known"
            ));
        }
        let count = usize::from(u16_at(bytes, COUNT_OFFSET));
        if count > MAX_SECTIONS {
            return malformed(format!(
                "header: {count} sections, but at most {MAX_SECTIONS} fit"
            ));
        }
        let slot = |index| {
            (
                u64_at(bytes, OFFSETS_OFFSET + 8 * index),
                u64_at(bytes, SIZES_OFFSET + 8 * index),
            )
        };
        if let Some(index) = (count..MAX_SECTIONS).find(|index| slot(*index) != (0, 0)) {
            return malformed(format!(
                "header: place or size of section {index}, but it counts {count} sections"
            ));
        }
        let reserved = [
            &bytes[RESERVED_OFFSET..COUNT_OFFSET],
            &bytes[UNUSED_OFFSET..CHECKED_BYTES],
        ];
        if reserved.concat().iter().any(|byte| *byte != 0) {
            return malformed("header: its reserved bytes are not 0".to_owned());
        }
        let header = Self {
            version,
            flags,
            default_memory: u64_at(bytes, 8),
            default_cpus: u64_at(bytes, 16),
            sections: (0..count).map(slot).collect(),
        };
        let checksum = bytes[CHECKED_BYTES..]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        Ok((header, checksum))
    }
}

/// The header of one section.
pub(super) fn encode_section(kind: SectionKind, size: u64) -> [u8; SECTION_HEADER_BYTES] {
    let mut bytes = [0; SECTION_HEADER_BYTES];
    bytes[..2].copy_from_slice(&(kind as u16).to_be_bytes());
    bytes[4..].copy_from_slice(&size.to_be_bytes());
    bytes
}

/// Reads the header of one section: kind and size.
pub(super) fn decode_section(
    bytes: &[u8; SECTION_HEADER_BYTES],
    index: usize,
) -> Result<(SectionKind, u64), EifError> {
    let number = u16_at(bytes, 0);
    let kind = SectionKind::from_number(number)
        .ok_or_else(|| EifError::Malformed(format!("section {index}: unknown type {number}")))?;
    if u16_at(bytes, 2) != 0 {
        return Err(EifError::Malformed(format!(
            "section {index}: its flags are not 0"
        )));
    }
    Ok((kind, u64_at(bytes, 4)))
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([bytes[offset], bytes[offset + 1]])
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..offset + 8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
