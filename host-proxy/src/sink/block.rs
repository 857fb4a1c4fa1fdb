//! Blocks: what the spool writes and reads at once, with a checksum, so that a torn write is noticed.
//!
//! ```text
//! u32 "CLB1" | u32 payload bytes | u64 first place | u64 places | u32 CRC-32 of all that | payload
//! payload: entries as in the log stream (manifest_sync::log_record)
//! ```
//! All integers are big-endian; the checksum covers the header before it and the payload.

use manifest_sync::log_record::{Bytes, Decoder, Entry, MAX_ENTRY_BYTES};

use super::item::{Item, span};

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 28;
/// A payload is closed once it has this many bytes; one entry more may fit.
const PAYLOAD_BYTES: usize = 64 << 10;
/// Largest payload that is read.
const MAX_PAYLOAD_BYTES: usize = PAYLOAD_BYTES + MAX_ENTRY_BYTES + 4;

const MAGIC: [u8; 4] = *b"CLB1";

/// A header that makes sense; the checksum has not been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the payload.
    pub(super) payload: usize,
    /// Place of the first entry.
    pub(super) first: u64,
    /// Places taken.
    pub(super) places: u64,
    checksum: u32,
}

impl Header {
    /// Place after the block.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.places)
    }

    /// Reads a header.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (payload, rest) = rest.split_first_chunk::<4>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (places, rest) = rest.split_first_chunk::<8>()?;
        let checksum = rest.first_chunk::<4>()?;
        let header = Self {
            payload: usize::try_from(u32::from_be_bytes(*payload)).ok()?,
            first: u64::from_be_bytes(*first),
            places: u64::from_be_bytes(*places),
            checksum: u32::from_be_bytes(*checksum),
        };
        (*magic == MAGIC && header.payload <= MAX_PAYLOAD_BYTES).then_some(header)
    }
}

/// Whether a block's bytes, header and payload, are those that were written.
pub(super) fn is_intact(header: &Header, block: &[u8]) -> bool {
    let Some((head, payload)) = block.split_at_checked(HEADER_BYTES) else {
        return false;
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.get(..HEADER_BYTES - 4).unwrap_or_default());
    hasher.update(payload);
    payload.len() == header.payload && hasher.finalize() == header.checksum
}

/// The entries of an intact block at their places; `None`: it is no block after all.
pub(super) fn decode(header: &Header, block: &Bytes) -> Option<Vec<Item>> {
    if !is_intact(header, block) {
        return None;
    }
    let mut decoder = Decoder::whole(block.slice(HEADER_BYTES..));
    let entries = std::iter::from_fn(|| decoder.next_entry().transpose());
    let items = items(header.first, entries.collect::<Result<Vec<_>, _>>().ok()?);
    let end = items.last().map_or(header.first, |item| item.next);
    (end == header.end()).then_some(items)
}

/// Entries at their places, of which `place` is the first.
pub(super) fn items(mut place: u64, entries: impl IntoIterator<Item = Entry>) -> Vec<Item> {
    let at_place = |entry| {
        let item = Item::new(place, entry);
        place = item.next;
        item
    };
    entries.into_iter().map(at_place).collect()
}

/// Blocks of `entries`, the first at place `first`, each with the places that it takes.
pub(super) fn encode(mut first: u64, entries: &[Entry]) -> Vec<(Vec<u8>, u64)> {
    let empty = || vec![0; HEADER_BYTES];
    let mut blocks = Vec::new();
    let mut block = empty();
    let mut places = 0;
    for entry in entries {
        entry.encode(&mut block);
        places = span(entry).saturating_add(places);
        if block.len() >= HEADER_BYTES + PAYLOAD_BYTES {
            finish(&mut block, first, places);
            first = first.saturating_add(places);
            let full = std::mem::replace(&mut block, empty());
            blocks.push((full, places));
            places = 0;
        }
    }
    if places > 0 {
        finish(&mut block, first, places);
        blocks.push((block, places));
    }
    blocks
}

fn finish(block: &mut [u8], first: u64, places: u64) {
    let Some((head, payload)) = block.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut fields = Vec::with_capacity(HEADER_BYTES);
    fields.extend_from_slice(&MAGIC);
    fields.extend_from_slice(&length.to_be_bytes());
    fields.extend_from_slice(&first.to_be_bytes());
    fields.extend_from_slice(&places.to_be_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&fields);
    hasher.update(payload);
    fields.extend_from_slice(&hasher.finalize().to_be_bytes());
    head.copy_from_slice(&fields);
}
