//! One container's ring: its records, in runs as they were read and encoded as they travel, so that giving them away is
//! copying. What makes room is a whole run. Pure.

use std::collections::VecDeque;

use manifest_sync::log_record::{self, Head, RunRef};

/// Runs are kept in pieces of this many bytes: small beside a ring, and large beside a line.
pub(super) const PIECE_BYTES: usize = 32 * 1024;
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
    /// Where the oldest run that is left begins.
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
    /// Of their lines.
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

    /// Adds a run.
    pub(super) fn push(&mut self, run: &RunRef<'_>) {
        let length = run.encoded_len();
        let room = |piece: &Piece| piece.bytes.len() + length <= PIECE_BYTES || piece.bytes.is_empty();
        if !self.pieces.back().is_some_and(room) {
            self.pieces.push_back(Piece {
                bytes: std::mem::take(&mut self.spare),
                start: 0,
                first: run.sequence,
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
            run.encode(&mut piece.bytes);
        }
        self.bytes += length;
        self.last = run.sequence + u64::from(run.records) - 1;
    }

    /// Takes the oldest runs away while there is more than `limit`; the newest stays, whatever its size. Those that follow one
    /// another are told together, up to `most` records, or a run that has more, and not across `border`.
    pub(super) fn shrink(&mut self, limit: usize, most: u64, border: u64) -> Option<Gone> {
        let only = self.pieces.len() == 1;
        let piece = self.pieces.front_mut()?;
        let mut gone: Option<Gone> = None;
        while self.bytes > limit
            && let Some(head) = log_record::head(piece.bytes.get(piece.start..)?)
            && !(only && piece.start + head.length == piece.bytes.len())
        {
            let told = gone.get_or_insert(Gone {
                first: head.first,
                last: head.first.saturating_sub(1),
                bytes: 0,
            });
            let is_begun = told.last >= told.first;
            let is_full = head.last - told.first >= most || told.last == border;
            if is_begun && (is_full || told.last + 1 != head.first) {
                break;
            }
            told.last = head.last;
            told.bytes += head.line_bytes;
            piece.start += head.length;
            self.bytes -= head.length;
        }
        if piece.start == piece.bytes.len()
            && let Some(piece) = self.pieces.pop_front()
            // A run that was larger than a piece would keep its room for ever.
            && piece.bytes.capacity() <= PIECE_BYTES
        {
            self.spare = piece.bytes;
            self.spare.clear();
        }
        gone
    }

    /// Where the run with what follows sequence `after` begins.
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
            while cursor.next.is_some_and(|head| head.last <= after) {
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
            let runs: Vec<_> = log_record::runs(bytes).collect();
            for run in runs.into_iter().rev() {
                let records: Vec<_> = run.records().collect();
                for record in records.into_iter().rev() {
                    if run.attempt != attempt || lines == TAIL_LINES || text.len() >= TAIL_BYTES {
                        break 'pieces;
                    }
                    let mut line = record.line.to_vec();
                    if !record.partial {
                        line.push(b'\n');
                    }
                    line.extend_from_slice(&text);
                    text = line;
                    lines += 1;
                }
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
    /// The run here.
    next: Option<Head>,
}

impl Cursor<'_> {
    /// First sequence of the run here; `None` at the end.
    pub(super) fn sequence(&self) -> Option<u64> {
        self.next.map(|head| head.first)
    }

    /// Appends runs whose sequences follow one another, below `until`, as long as `out` is shorter than `most`, and one at
    /// least. Returns the last sequence.
    pub(super) fn copy(&mut self, until: u64, most: usize, out: &mut Vec<u8>) -> u64 {
        let mut last = 0;
        // What lies together is copied at once.
        let (piece, start) = (self.piece, self.at);
        let mut end = start;
        while let Some(head) = self.next
            && head.first < until
            && (last == 0 || (head.first == last + 1 && out.len() + (end - start) < most))
            && self.piece == piece
        {
            last = head.last;
            end += head.length;
            self.step();
        }
        let bytes = self.ring.pieces.get(piece).map_or(&[][..], |piece| &piece.bytes);
        out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        last
    }

    fn step(&mut self) {
        self.at += self.next.map_or(0, |head| head.length);
        self.look();
    }

    fn look(&mut self) {
        self.next = None;
        while let Some(piece) = self.ring.pieces.get(self.piece) {
            let rest = piece.bytes.get(self.at..).unwrap_or_default();
            if let Some(head) = log_record::head(rest) {
                self.next = Some(head);
                return;
            }
            self.piece += 1;
            self.at = self.ring.pieces.get(self.piece).map_or(0, |piece| piece.start);
        }
    }
}
