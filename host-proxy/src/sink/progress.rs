//! How far a sink is, and what it tells others about it: its cursor on disk, the spool, the counters.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::counts::Tally;
use super::cursor::{Cursor, Mark};
use super::item::Batch;

/// How much a machine that loses its power may forget. A process that is killed forgets nothing.
const SYNC: Duration = Duration::from_secs(1);

/// How far one sink is.
pub(super) struct Progress {
    cursor: Cursor,
    mark: Mark,
    synced: Instant,
    tally: Arc<Tally>,
}

impl Progress {
    /// With the cursor in `path`; `better` takes its place when the sink itself knows more.
    pub(super) fn open(path: &Path, better: Option<Mark>, tally: Arc<Tally>) -> std::io::Result<Self> {
        let mut cursor = Cursor::open(path)?;
        if let Some(better) = better {
            cursor.store(better);
        }
        let mark = cursor.mark().clone();
        Ok(Self {
            cursor,
            mark,
            synced: Instant::now(),
            tally,
        })
    }

    /// Where it is.
    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// It starts at `place` of this spool; as many places more were on their way when an earlier process ended.
    pub(super) fn start(&mut self, place: u64, in_doubt: u64) {
        self.mark.accepted = place;
        self.mark.tried = place.saturating_add(in_doubt);
        self.tally.accepted.store(place, Relaxed);
    }

    /// `batch` is about to be sent.
    pub(super) fn begin(&mut self, batch: &Batch) {
        self.mark.tried = self.mark.tried.max(batch.end());
        self.mark.boot.clone_from(&batch.origin.boot);
        self.cursor.store(self.mark.clone());
    }

    /// Everything of `batch` before `place` was taken.
    pub(super) fn accept(&mut self, batch: &Batch, place: u64) {
        if place == self.mark.accepted {
            return;
        }
        if let Some(sequence) = batch.last_sequence(place) {
            self.mark.sequence = sequence;
        }
        self.mark.accepted = place;
        self.mark.tried = self.mark.tried.max(place);
        self.tally.accepted.store(place, Relaxed);
        self.cursor.store(self.mark.clone());
    }

    /// What was taken from `place` on may not have arrived after all; `sequence` is the last that has.
    pub(super) fn doubt(&mut self, place: u64, sequence: Option<u64>) {
        self.mark.accepted = self.mark.accepted.min(place);
        if let Some(sequence) = sequence {
            self.mark.sequence = sequence;
        }
        self.tally.accepted.store(self.mark.accepted, Relaxed);
        self.cursor.store(self.mark.clone());
    }

    /// Now and then, to the disk.
    pub(super) fn sync(&mut self) {
        if self.synced.elapsed() >= SYNC {
            self.cursor.sync();
            self.synced = Instant::now();
        }
    }

    /// At the end, to the disk.
    pub(super) fn finish(&mut self) {
        self.cursor.sync();
    }
}
