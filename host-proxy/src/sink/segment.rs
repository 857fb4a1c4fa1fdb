//! Segments: a run of blocks of one origin, in a file or in memory. The spool adds to the last and drops whole ones.
//!
//! ```text
//! "CLSEG002" | u32 bytes of the description | u32 its CRC-32 | description (JSON) | blocks
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use manifest_sync::log_record::Bytes;
use serde::{Deserialize, Serialize};

use super::block::{self, HEADER_BYTES, Header};
use super::item::{self, Item, Origin};

const MAGIC: [u8; 8] = *b"CLSEG002";
/// Largest description: names of Kubernetes objects have at most 253 bytes.
const MAX_DESCRIPTION: usize = 4096;

/// Where blocks are kept.
pub(super) enum Body {
    /// Lost with the process. Each block as it was made, with its place: nothing is copied, in or out.
    Memory(Mutex<Vec<(u64, Bytes)>>),
    /// Survives it.
    File(File),
}

impl Body {
    /// Writes a block at `at`, which is the end.
    pub(super) fn append(&self, at: u64, block: Bytes) -> io::Result<()> {
        match self {
            Self::Memory(blocks) => {
                let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
                blocks.push((at, block));
                Ok(())
            }
            Self::File(file) => file.write_all_at(&block, at).inspect_err(|_| {
                // Half a block helps nobody; the next start would cut it off, too.
                let _ = file.set_len(at);
            }),
        }
    }

    /// The first `length` bytes of the block at `at`.
    fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(blocks) => {
                let blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
                let found = blocks.binary_search_by_key(&at, |(at, _)| *at).ok();
                let block = found.and_then(|index| blocks.get(index)).map(|(_, block)| block);
                block
                    .filter(|block| block.len() >= length)
                    .map(|block| block.slice(..length))
                    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Self::File(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, at)?;
                Ok(bytes.into())
            }
        }
    }

    /// Reaches the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.sync_data(),
        }
    }

    /// The header and the bytes of the block at `at`, which must end by `end`.
    pub(super) fn block(&self, at: u64, end: u64) -> Option<(Header, Bytes)> {
        let header = self.header(at, end)?;
        let bytes = self.read(at, HEADER_BYTES + header.payload).ok()?;
        Some((header, bytes))
    }

    /// The header at `at` of a block that ends by `end`.
    pub(super) fn header(&self, at: u64, end: u64) -> Option<Header> {
        let header = Header::read(&self.read(at, HEADER_BYTES).ok()?)?;
        (at + block_bytes(&header) <= end).then_some(header)
    }
}

/// Bytes of a whole block.
pub(super) fn block_bytes(header: &Header) -> u64 {
    (HEADER_BYTES + header.payload) as u64
}

/// A run of blocks.
pub(super) struct Segment {
    /// Of all its entries.
    pub(super) origin: Arc<Origin>,
    /// Place of its first entry.
    pub(super) first: u64,
    /// Place after its last.
    pub(super) end: u64,
    /// Sequence at `first`: within a segment, places and sequences run side by side.
    pub(super) first_sequence: u64,
    /// Where blocks begin.
    pub(super) start: u64,
    /// Where they end, in bytes.
    pub(super) bytes: u64,
    /// The bytes.
    pub(super) body: Arc<Body>,
    /// Its file.
    pub(super) path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    origin: Origin,
    first_place: u64,
    first_sequence: u64,
}

impl Segment {
    /// An empty segment, in `directory` or in memory.
    pub(super) fn create(
        directory: Option<&Path>,
        origin: &Arc<Origin>,
        first: u64,
        first_sequence: u64,
    ) -> io::Result<Self> {
        let (body, start, path) = match directory {
            None => (Body::Memory(Mutex::default()), 0, None),
            Some(directory) => {
                let path = directory.join(format!("{first:020}.segment"));
                let description = Description {
                    origin: Origin::clone(origin),
                    first_place: first,
                    first_sequence,
                };
                let head = head(&description)?;
                let file = File::options()
                    .create(true)
                    .truncate(true)
                    .read(true)
                    .write(true)
                    .mode(0o600)
                    .open(&path)?;
                file.write_all_at(&head, 0)?;
                (Body::File(file), head.len() as u64, Some(path))
            }
        };
        Ok(Self {
            origin: Arc::clone(origin),
            first,
            end: first,
            first_sequence,
            start,
            bytes: start,
            body: Arc::new(body),
            path,
        })
    }

    /// A segment that an earlier process wrote, and how many bytes of it were torn and are cut off now. Every block
    /// is checked: what follows the first bad one is not to be trusted.
    pub(super) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = File::options().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let no_segment = || io::Error::new(io::ErrorKind::InvalidData, "no log segment");
        let mut fixed = [0; 16];
        file.read_exact_at(&mut fixed, 0)?;
        let size = usize::try_from(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]))
            .unwrap_or(usize::MAX);
        let checksum = u32::from_be_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]);
        if !fixed.starts_with(&MAGIC) || size > MAX_DESCRIPTION {
            return Err(no_segment());
        }
        let mut text = vec![0; size];
        file.read_exact_at(&mut text, 16)?;
        if crc32fast::hash(&text) != checksum {
            return Err(no_segment());
        }
        let description: Description = serde_json::from_slice(&text)?;
        let start = (16 + size) as u64;
        let body = Body::File(file);
        let (mut at, mut end) = (start, description.first_place);
        while let Some((header, bytes)) = body.block(at, length) {
            if header.first != end || !block::is_intact(&header, &bytes) {
                break;
            }
            at += block_bytes(&header);
            end = header.end();
        }
        if at < length
            && let Body::File(file) = &body
        {
            file.set_len(at)?;
        }
        let segment = Self {
            origin: Arc::new(description.origin),
            first: description.first_place,
            end,
            first_sequence: description.first_sequence,
            start,
            bytes: at,
            body: Arc::new(body),
            path: Some(path.to_owned()),
        };
        Ok((segment, length - at))
    }

    /// Sequence after its last entry.
    pub(super) fn end_sequence(&self) -> u64 {
        self.first_sequence.saturating_add(self.end - self.first)
    }

    /// Every item from place `from` on; damaged blocks are left out, and their places are returned, too.
    pub(super) fn items_from(&self, from: u64) -> (Vec<Item>, u64) {
        let (mut items, mut at, mut seen) = (Vec::new(), self.start, self.first);
        while let Some(header) = self.body.header(at, self.bytes) {
            if header.end() > from {
                let Some((header, bytes)) = self.body.block(at, self.bytes) else {
                    break;
                };
                let Some(mut block) = block::items(&header, &bytes) else {
                    break;
                };
                let block = item::split_off(&mut block, from);
                items.extend(block.into_iter().filter(|item| item.index >= from));
            }
            at += block_bytes(&header);
            seen = header.end();
        }
        (items, self.end.saturating_sub(seen.max(from)))
    }

    /// Removes its file.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
        {
            log::warn!("{}: {error}", path.display());
        }
    }
}

fn head(description: &Description) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(description)?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    head.extend_from_slice(&crc32fast::hash(&text).to_be_bytes());
    head.extend_from_slice(&text);
    Ok(head)
}
