//! One container's ring: its records, encoded as they travel, so that giving them away is copying. Pure.

use std::collections::VecDeque;

use manifest_sync::log_record::{self, RecordRef};

/// Records are kept in pieces of this many bytes: small beside a ring, and large beside a record.
const PIECE_BYTES: usize = 32 * 1024;
/// K-333: the log tail that becomes a termination message.
pub(super) const TAIL_LINES: usize = 80;
const TAIL_BYTES: usize = 2048;

/// The newest records of one container.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pieces: VecDeque<Piece>,
    /// Bytes of all records in it.
    bytes: usize,
    last: u64,
    /// Room of a piece that is gone, for the next one: a ring that is full neither asks for memory nor grows into it.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// Where the oldest record that is left begins.
    start: usize,
    /// Sequence of the first record that it ever had.
    first: u64,
}

/// Records that made room: they follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    /// Sequence of the first.
    pub(super) first: u64,
    /// Sequence of the last.
    pub(super) last: u64,
    /// Of their text.
    pub(super) bytes: usize,
}

impl Ring {
    /// Bytes in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sequence of the newest record; 0: there was none.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: &RecordRef<'_>) {
        let length = record.encoded_len();
        let room = |piece: &Piece| piece.bytes.len() + length <= PIECE_BYTES || piece.bytes.is_empty();
        if !self.pieces.back().is_some_and(room) {
            self.pieces.push_back(Piece {
                bytes: std::mem::take(&mut self.spare),
                start: 0,
                first: record.sequence,
            });
        }
        if let Some(piece) = self.pieces.back_mut() {
            let spare = piece.bytes.capacity() - piece.bytes.len();
            if spare < length {
                // Doubling would leave a piece half empty for as long as it is kept.
                let more = piece
                    .bytes
                    .len()
                    .min(PIECE_BYTES - piece.bytes.len().min(PIECE_BYTES));
                piece.bytes.reserve_exact(length.max(more));
            }
            record.encode(&mut piece.bytes);
        }
        self.bytes += length;
        self.last = record.sequence;
    }

    /// Takes the oldest records away while there is more than `limit`; the newest record stays, whatever its size. They come
    /// in runs of at most `most`, none of which goes across `border`.
    pub(super) fn shrink(&mut self, limit: usize, most: u64, border: u64) -> Option<Gone> {
        let only = self.pieces.len() == 1;
        let piece = self.pieces.front_mut()?;
        let mut gone: Option<Gone> = None;
        while self.bytes > limit
            && let Some(head) = log_record::head(piece.bytes.get(piece.start..)?)
            && !(only && piece.start + head.length == piece.bytes.len())
        {
            let run = gone.get_or_insert(Gone {
                first: head.sequence,
                last: head.sequence.saturating_sub(1),
                bytes: 0,
            });
            let is_begun = run.last >= run.first;
            let is_full = head.sequence - run.first >= most || run.last == border;
            if is_begun && (is_full || run.last + 1 != head.sequence) {
                break;
            }
            run.last = head.sequence;
            run.bytes += head.text;
            piece.start += head.length;
            self.bytes -= head.length;
        }
        if piece.start == piece.bytes.len()
            && let Some(piece) = self.pieces.pop_front()
            // A record that was larger than a piece would keep its room for ever.
            && piece.bytes.capacity() <= PIECE_BYTES
        {
            self.spare = piece.bytes;
            self.spare.clear();
        }
        gone
    }

    /// Where the records after sequence `after` begin.
    pub(super) fn cursor(&self, after: u64) -> Cursor<'_> {
        let next = self.pieces.partition_point(|piece| piece.first <= after);
        let mut cursor = Cursor {
            ring: self,
            piece: next,
            at: 0,
            next: None,
        };
        if after < self.last {
            cursor.piece = next.saturating_sub(1);
            cursor.at = self.pieces.get(cursor.piece).map_or(0, |piece| piece.start);
            cursor.look();
            while cursor.next.is_some_and(|(sequence, _)| sequence <= after) {
                cursor.step();
            }
        }
        cursor
    }

    /// The last lines of one instance, for a termination message (K-333).
    pub(super) fn tail(&self, attempt: u32) -> String {
        let mut text = Vec::new();
        let mut lines = 0;
        'pieces: for piece in self.pieces.iter().rev() {
            let bytes = piece.bytes.get(piece.start..).unwrap_or_default();
            let records: Vec<_> = log_record::records(bytes).map(|(record, _)| record).collect();
            for record in records.into_iter().rev() {
                if record.attempt != attempt || lines == TAIL_LINES || text.len() >= TAIL_BYTES {
                    break 'pieces;
                }
                let mut line = record.bytes.to_vec();
                if !record.partial {
                    line.push(b'\n');
                }
                line.extend_from_slice(&text);
                text = line;
                lines += 1;
            }
        }
        text.drain(..text.len().saturating_sub(TAIL_BYTES));
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// A place in a ring.
pub(super) struct Cursor<'a> {
    ring: &'a Ring,
    piece: usize,
    at: usize,
    /// Sequence and bytes of the record here.
    next: Option<(u64, usize)>,
}

impl Cursor<'_> {
    /// Sequence of the record here; `None` at the end.
    pub(super) fn sequence(&self) -> Option<u64> {
        self.next.map(|(sequence, _)| sequence)
    }

    /// Appends records with sequences that follow one another, below `until`, as long as `out` is shorter than `most`.
    /// Returns the last sequence.
    pub(super) fn copy(&mut self, until: u64, most: usize, out: &mut Vec<u8>) -> u64 {
        let mut last = 0;
        // What lies together is copied at once.
        let (piece, start) = (self.piece, self.at);
        let mut end = start;
        while let Some((sequence, length)) = self.next
            && sequence < until
            && (last == 0 || sequence == last + 1)
            && self.piece == piece
            && out.len() + (end - start) < most
        {
            last = sequence;
            end += length;
            self.step();
        }
        let bytes = self.ring.pieces.get(piece).map_or(&[][..], |piece| &piece.bytes);
        out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        last
    }

    fn step(&mut self) {
        self.at += self.next.map_or(0, |(_, length)| length);
        self.look();
    }

    fn look(&mut self) {
        self.next = None;
        while let Some(piece) = self.ring.pieces.get(self.piece) {
            let rest = piece.bytes.get(self.at..).unwrap_or_default();
            if let Some(head) = log_record::head(rest) {
                self.next = Some((head.sequence, head.length));
                return;
            }
            self.piece += 1;
            self.at = self.ring.pieces.get(self.piece).map_or(0, |piece| piece.start);
        }
    }
}
