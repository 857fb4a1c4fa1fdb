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

use manifest_sync::log_record::{Bytes, Entry};
use serde::{Deserialize, Serialize};

use super::block::{self, HEADER_BYTES, Header};
use super::item::{self, Item, Origin};

const MAGIC: [u8; 8] = *b"CLSEG002";
/// Largest description: names of Kubernetes objects have at most 253 bytes.
const MAX_DESCRIPTION: usize = 4096;

/// Where blocks are kept.
pub(super) enum Body {
    /// Lost with the process. Entries as they were received, which share the buffers that they were read into: nothing is
    /// copied, in or out.
    Memory(Mutex<Vec<Kept>>),
    /// Survives it.
    File(File),
}

/// A block in memory.
pub(super) struct Kept {
    /// Where it would begin in a file.
    at: u64,
    span: Span,
    entries: Arc<[Entry]>,
}

/// A block on its way into a segment.
pub(super) enum Block {
    /// For memory.
    Entries(Arc<[Entry]>),
    /// For a file.
    Encoded(Vec<u8>),
}

impl Block {
    /// Bytes that it takes; in memory, roughly.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Encoded(bytes) => bytes.len() as u64,
            Self::Entries(entries) => {
                let each = |entry: &Entry| entry.encoded_len() + size_of::<Entry>();
                (size_of::<Kept>() + entries.iter().map(each).sum::<usize>()) as u64
            }
        }
    }
}

/// What a block takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Bytes.
    pub(super) bytes: u64,
    /// Place of its first entry.
    pub(super) first: u64,
    /// Place after its last.
    pub(super) end: u64,
}

impl Body {
    /// Writes a block at `span`, the first byte at `at`, which is the end.
    pub(super) fn append(&self, at: u64, span: Span, block: Block) -> io::Result<()> {
        match (self, block) {
            (Self::Memory(kept), Block::Entries(entries)) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(Kept { at, span, entries });
                Ok(())
            }
            (Self::File(file), Block::Encoded(bytes)) => file.write_all_at(&bytes, at).inspect_err(|_| {
                // Half a block helps nobody; the next start would cut it off, too.
                let _ = file.set_len(at);
            }),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Reaches the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.sync_data(),
        }
    }

    /// What the block at `at` takes, which must end by `end`.
    pub(super) fn span(&self, at: u64, end: u64) -> Option<Span> {
        match self {
            Self::Memory(kept) => memory(kept, at).map(|(span, _)| span),
            Self::File(file) => header(file, at, end).map(|header| span(&header)),
        }
    }

    /// What is in the block at `at`, which must end by `end`; `None`: there is none, or it is damaged.
    pub(super) fn items(&self, at: u64, end: u64) -> Option<Vec<Item>> {
        match self {
            Self::Memory(kept) => {
                let (span, entries) = memory(kept, at)?;
                Some(block::items(span.first, entries.iter().cloned()))
            }
            Self::File(file) => {
                let header = header(file, at, end)?;
                block::decode(&header, &read(file, at, HEADER_BYTES + header.payload)?)
            }
        }
    }
}

fn memory(kept: &Mutex<Vec<Kept>>, at: u64) -> Option<(Span, Arc<[Entry]>)> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let index = kept.binary_search_by_key(&at, |one| one.at).ok()?;
    kept.get(index).map(|one| (one.span, Arc::clone(&one.entries)))
}

/// The header at `at` of a block that ends by `end`.
fn header(file: &File, at: u64, end: u64) -> Option<Header> {
    let header = Header::read(&read(file, at, HEADER_BYTES)?)?;
    (at + span(&header).bytes <= end).then_some(header)
}

fn read(file: &File, at: u64, length: usize) -> Option<Bytes> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes.into())
}

fn span(header: &Header) -> Span {
    Span {
        bytes: (HEADER_BYTES + header.payload) as u64,
        first: header.first,
        end: header.end(),
    }
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
        let (mut at, mut end) = (start, description.first_place);
        while let Some(header) = header(&file, at, length) {
            let block = read(&file, at, HEADER_BYTES + header.payload);
            if header.first != end || !block.is_some_and(|block| block::is_intact(&header, &block)) {
                break;
            }
            at += span(&header).bytes;
            end = header.end();
        }
        if at < length {
            file.set_len(at)?;
        }
        let segment = Self {
            origin: Arc::new(description.origin),
            first: description.first_place,
            end,
            first_sequence: description.first_sequence,
            start,
            bytes: at,
            body: Arc::new(Body::File(file)),
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
        while let Some(span) = self.body.span(at, self.bytes) {
            if span.end > from {
                let Some(mut block) = self.body.items(at, self.bytes) else {
                    break;
                };
                let block = item::split_off(&mut block, from);
                items.extend(block.into_iter().filter(|item| item.index >= from));
            }
            at += span.bytes;
            seen = span.end;
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
