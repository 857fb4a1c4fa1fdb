//! The output of a container whose logs are sealed: pieces are collected into batches, and a batch is encrypted to the log
//! back-end before it goes into the ring. The host sees the batch as one record.

use std::collections::VecDeque;

use attest::seal::SealError;
use attest::sealed_log::{Header, Sealer};
use manifest_sync::log_record::{RUN_HEAD_BYTES, RunRef};

use super::log_store::Piece;

/// A batch is sealed when it has this many bytes: in base64, with everything around it, it still fits into one message
/// of every sink (the shortest is a syslog message of 8 KiB).
const BATCH_BYTES: usize = 4800;
/// Longest line kept in one record.
pub(super) const MAX_LINE_BYTES: usize = 4096;

/// One container.
pub(super) struct Sealed {
    sealer: Sealer,
    container: String,
    plain: Vec<u8>,
    /// Records in `plain`, and the bytes of their text.
    records: u32,
    text: u32,
    time_ns: u64,
    attempt: u32,
    /// Records that were sealed before, and those of them that the ring has dropped.
    before: u64,
    lost: u64,
    /// Sequence, records and text of each batch that is in the ring.
    held: VecDeque<(u64, u32, u32)>,
}

/// A sealed batch.
pub(super) struct Batch {
    pub(super) time_ns: u64,
    pub(super) attempt: u32,
    pub(super) bytes: Vec<u8>,
}

impl Sealed {
    /// For a container whose logs are sealed to `key`.
    ///
    /// # Errors
    /// It is no key.
    pub(super) fn new(key: Option<&[u8; 32]>, container: &str) -> Result<Self, SealError> {
        Ok(Self {
            sealer: Sealer::new(key.ok_or(SealError::PublicKey)?)?,
            container: container.to_owned(),
            plain: Vec::with_capacity(BATCH_BYTES),
            records: 0,
            text: 0,
            time_ns: 0,
            attempt: 0,
            before: 0,
            lost: 0,
            held: VecDeque::new(),
        })
    }

    /// Whether nothing waits to be sealed.
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// Whether a piece of `length` bytes has room beside those that wait.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.plain.is_empty() || self.plain.len() + RUN_HEAD_BYTES + length <= BATCH_BYTES
    }

    /// Adds a piece, for which there is room.
    pub(super) fn push(&mut self, piece: &Piece<'_>) {
        let first = self.before + u64::from(self.records) + 1;
        self.records += piece.records;
        self.text += u32::try_from(piece.line_bytes()).unwrap_or(u32::MAX);
        (self.time_ns, self.attempt) = (piece.time_ns, piece.attempt);
        RunRef {
            sequence: first,
            time_ns: piece.time_ns,
            // It is in the header.
            container: "",
            attempt: piece.attempt,
            stream: piece.stream,
            partial: piece.partial,
            records: piece.records,
            text: piece.text,
        }
        .encode(&mut self.plain);
    }

    /// Seals what was collected, which becomes the record `sequence`.
    pub(super) fn batch(&mut self, sequence: u64, last: bool) -> Option<Batch> {
        let header = Header {
            container: &self.container,
            before: self.before,
            records: self.records,
            text_bytes: self.text,
            lost: self.lost,
            last,
        };
        let bytes = self.sealer.seal(&header, &self.plain).ok()?;
        self.held.push_back((sequence, self.records, self.text));
        self.before += u64::from(self.records);
        (self.records, self.text) = (0, 0);
        self.plain.clear();
        Some(Batch {
            time_ns: self.time_ns,
            attempt: self.attempt,
            bytes,
        })
    }

    /// The ring has dropped the batch `sequence`, which nobody had read unless it `was_given`: its records, and the bytes of
    /// their text.
    pub(super) fn gone(&mut self, sequence: u64, was_given: bool) -> (u64, u64) {
        let (mut records, mut bytes) = (0, 0);
        while let Some((_, more, text)) = self.held.pop_front_if(|(first, ..)| *first <= sequence) {
            records += u64::from(more);
            bytes += u64::from(text);
        }
        if !was_given {
            self.lost += records;
        }
        (records, bytes)
    }
}
