//! The spool: what was read from the enclave and not delivered by every sink yet, bounded in bytes.
//!
//! One writer adds blocks to the last segment; each sink reads at its own place. When the spool is full, the oldest
//! segment goes, and whoever had not read it is told how many records of which container it misses. Nobody waits for
//! anybody: the lock is held for book-keeping, not while a block is written, read or delivered.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manifest_sync::log_record::Entry;
use tokio::sync::watch;

use super::block;
use super::item::{Origin, span};
use super::place::Place;
use super::segment::{Block, Segment, Span};

/// A full spool loses at least this part of itself at once.
const SEGMENTS: u64 = 16;
/// Bytes of a segment, whatever the spool's limit: a larger one would be lost at once when the spool is full.
const SEGMENT_BYTES: (u64, u64) = (32 << 10, 8 << 20);

/// The spool; shared by the writer and the readers.
pub(super) struct Spool {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    directory: Option<PathBuf>,
    limit: u64,
    /// Taken while the process lives: two writers would destroy each other's segments.
    _lock: Option<nix::fcntl::Flock<File>>,
}

pub(super) struct State {
    pub(super) segments: VecDeque<Segment>,
    /// Place of the next entry.
    pub(super) next: u64,
    pub(super) sinks: Vec<Place>,
    pub(super) ended: bool,
    dirty: bool,
    /// Whether it was reported that nothing can be written.
    failing: bool,
    /// Bytes cut off at the start because their write was torn.
    torn: u64,
}

/// How full the spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolCounts {
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes that it may have.
    pub limit: u64,
    /// Bytes cut off at the start because their write was torn.
    pub torn: u64,
}

impl Spool {
    /// A spool in memory.
    pub(super) fn memory(limit: u64) -> Self {
        Self::new(None, None, limit, VecDeque::new(), 0)
    }

    pub(super) fn new(
        directory: Option<PathBuf>,
        lock: Option<nix::fcntl::Flock<File>>,
        limit: u64,
        segments: VecDeque<Segment>,
        torn: u64,
    ) -> Self {
        let next = segments.back().map_or(1, |segment| segment.end);
        Self {
            state: Mutex::new(State {
                segments,
                next,
                sinks: Vec::new(),
                ended: false,
                dirty: false,
                failing: false,
                torn,
            }),
            changed: watch::Sender::new(()),
            directory,
            limit,
            _lock: lock,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told of everything new, and of the end.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether it is in files.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Adds a sink that has everything before `position`; returns its number. A place behind the end means that the
    /// end was lost with the machine: what comes next must not be taken for what that sink has.
    pub(super) fn register(&self, position: u64) -> usize {
        let mut state = self.state();
        state.next = state.next.max(position);
        state.sinks.push(Place {
            position,
            released: position,
            ..Place::default()
        });
        state.sinks.len() - 1
    }

    /// The last sequence of this boot in the spool; 0 when it has none.
    pub(super) fn last_sequence(&self, boot: &str) -> u64 {
        let state = self.state();
        let last = state
            .segments
            .iter()
            .rev()
            .find(|segment| segment.origin.boot == boot);
        last.map_or(0, |segment| segment.end_sequence().saturating_sub(1))
    }

    /// Adds entries whose sequences follow one another, the first having `sequence`. What cannot be written is lost,
    /// counted and reported to every sink.
    pub(super) fn append(&self, origin: &Arc<Origin>, mut sequence: u64, entries: Vec<Entry>) {
        for (block, places) in self.blocks(entries) {
            if let Err(error) = self.append_block(origin, sequence, block, places) {
                let mut state = self.state();
                if !std::mem::replace(&mut state.failing, true) {
                    let place = self.directory.as_deref().unwrap_or(Path::new("memory")).display();
                    log::error!("log spool {place}: {error}: log records are lost, and counted");
                }
                // The gap between segments tells the readers.
                state.next = state.next.saturating_add(places);
            }
            sequence = sequence.saturating_add(places);
        }
        self.changed.send_replace(());
    }

    /// Entries as they are kept, each block with the places that it takes.
    fn blocks(&self, entries: Vec<Entry>) -> Vec<(Block, u64)> {
        match self.directory {
            Some(_) => {
                let blocks = block::encode(self.state().next, &entries).into_iter();
                blocks
                    .map(|(bytes, places)| (Block::Encoded(bytes), places))
                    .collect()
            }
            None => {
                let places = entries.iter().map(span).fold(0, u64::saturating_add);
                vec![(Block::Entries(entries.into()), places)]
            }
        }
    }

    fn append_block(&self, origin: &Arc<Origin>, sequence: u64, block: Block, places: u64) -> io::Result<()> {
        let length = block.bytes();
        let (body, at, first) = {
            let mut state = self.state();
            state.make_room(self.limit, length);
            let segment = state.last(self.directory.as_deref(), self.limit, origin, sequence, length)?;
            (Arc::clone(&segment.body), segment.bytes, segment.end)
        };
        let span = Span {
            bytes: length,
            first,
            end: first.saturating_add(places),
        };
        body.append(at, span, block)?;
        let mut state = self.state();
        state.next = state.next.saturating_add(places);
        state.dirty = true;
        state.failing = false;
        let next = state.next;
        if let Some(segment) = state.segments.back_mut() {
            segment.bytes += length;
            segment.end = next;
        }
        Ok(())
    }

    /// Writes to the disk what the kernel still holds.
    pub(super) fn sync(&self) {
        let body = {
            let mut state = self.state();
            if !std::mem::take(&mut state.dirty) {
                return;
            }
            state.segments.back().map(|segment| Arc::clone(&segment.body))
        };
        if let Some(Err(error)) = body.map(|body| body.sync()) {
            log::warn!("log spool: {error}");
        }
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed.send_replace(());
    }

    /// Sink `sink` needs nothing before `place` any more.
    pub(super) fn release(&self, sink: usize, place: u64) {
        let mut state = self.state();
        if let Some(own) = state.sinks.get_mut(sink) {
            own.released = own.released.max(place);
        }
        let released = state.sinks.iter().map(|sink| sink.released).min().unwrap_or(0);
        // The last segment stays: it says where the next one goes on.
        while state.segments.len() > 1 && state.segments.front().is_some_and(|first| first.end <= released) {
            if let Some(segment) = state.segments.pop_front() {
                segment.remove();
            }
        }
    }

    /// How full it is.
    pub(super) fn counts(&self) -> SpoolCounts {
        let state = self.state();
        SpoolCounts {
            bytes: state.bytes(),
            limit: self.limit,
            torn: state.torn,
        }
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Drops the oldest segments until `more` bytes fit, and tells the sinks.
    fn make_room(&mut self, limit: u64, more: u64) {
        while !self.segments.is_empty() && self.bytes() + more > limit {
            let Some(segment) = self.segments.pop_front() else {
                return;
            };
            segment.remove();
            for place in self.sinks.iter_mut().filter(|sink| sink.position < segment.end) {
                place.miss(&segment);
            }
        }
    }

    /// The segment that takes the next block; a new one when the last is of another origin, has had its time, or does
    /// not end where the block begins.
    fn last(
        &mut self,
        directory: Option<&Path>,
        limit: u64,
        origin: &Arc<Origin>,
        sequence: u64,
        length: u64,
    ) -> io::Result<&mut Segment> {
        let next = self.next;
        let size = (limit / SEGMENTS).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
        let fits = self.segments.back().is_some_and(|last| {
            *last.origin == **origin
                && last.end == next
                && last.end_sequence() == sequence
                && (last.bytes + length <= size || last.end == last.first)
        });
        if !fits {
            match self.segments.pop_back() {
                // Its file would have the name of the next.
                Some(last) if last.end == last.first => last.remove(),
                Some(last) => {
                    let synced = last.body.sync();
                    self.segments.push_back(last);
                    synced?;
                }
                None => {}
            }
            let segment = Segment::create(directory, origin, next, sequence)?;
            self.segments.push_back(segment);
        }
        self.segments
            .back_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
