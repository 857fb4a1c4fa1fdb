//! The newest lines in memory, for `/logs`. Bounded in bytes; a reader that falls behind is told what it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::line::Lines;
use crate::sink::{Counts, LogCounts};

/// Bytes of log kept for `/logs`.
const MAX_BYTES: usize = 4 << 20;

#[derive(Default)]
struct State {
    /// Each with the number of its first line; lines are numbered from 0 in order of arrival.
    lines: VecDeque<(u64, Lines)>,
    /// Number of the next line.
    next: u64,
    weight: usize,
    ended: bool,
}

/// The newest lines; cheap to clone.
#[derive(Clone)]
pub struct Ring {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
    counts: Counts,
}

impl Ring {
    /// An empty ring.
    pub fn new() -> Self {
        Self::counting(Counts::default())
    }

    /// An empty ring that shows these counters of the whole log path.
    pub fn counting(counts: Counts) -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(())),
            counts,
        }
    }

    /// Adds lines; the oldest make room.
    pub fn push(&self, all: impl IntoIterator<Item = Lines>) {
        let mut state = self.state();
        for lines in all {
            state.weight += lines.weight();
            let number = state.next;
            state.next += lines.count;
            state.lines.push_back((number, lines));
            while state.weight > MAX_BYTES {
                let Some((_, oldest)) = state.lines.pop_front() else {
                    break;
                };
                state.weight -= oldest.weight();
            }
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// No line will come any more: those who follow are done.
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.send_replace(());
    }

    /// The counters.
    pub fn counts(&self) -> LogCounts {
        self.counts.read()
    }

    /// A reader that starts at the oldest line.
    pub fn reader(&self) -> Reader {
        Reader {
            ring: self.clone(),
            next: 0,
            changed: self.changed.subscribe(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

/// Walks the ring at its own pace.
pub struct Reader {
    ring: Ring,
    next: u64,
    changed: watch::Receiver<()>,
}

/// What a reader got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The next lines, and how many were lost before them.
    Lines(Vec<Lines>, u64),
    /// Nothing new yet.
    Empty,
    /// Nothing new will come.
    Ended,
}

/// Bytes handed out at once, and a run of lines more.
const STEP_BYTES: usize = 64 << 10;

impl Reader {
    /// The next lines, without waiting.
    pub fn step(&mut self) -> Step {
        self.changed.mark_unchanged();
        let state = self.ring.state();
        let known = state.lines.partition_point(|(number, _)| *number < self.next);
        let (mut taken, mut bytes, mut lost) = (Vec::new(), 0, 0);
        for (number, lines) in state.lines.iter().skip(known) {
            if bytes >= STEP_BYTES {
                break;
            }
            // A reader that starts late has lost nothing: it asked for what is there.
            if taken.is_empty() && self.next > 0 {
                lost = number - self.next;
            }
            self.next = number + lines.count;
            bytes += lines.weight();
            taken.push(lines.clone());
        }
        match taken.is_empty() {
            true if state.ended => Step::Ended,
            true => Step::Empty,
            false => Step::Lines(taken, lost),
        }
    }

    /// Waits until there may be something new.
    pub async fn wait(&mut self) {
        // The sender lives as long as the ring, and this reader holds the ring.
        let _ = self.changed.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Source;
    use super::*;

    fn line(text: Vec<u8>) -> [Lines; 1] {
        [Lines {
            time_ms: 0,
            container: "app".into(),
            source: Source::Stdout,
            count: 1 + text.iter().filter(|byte| **byte == b'\n').count() as u64,
            text: text.into(),
        }]
    }

    #[test]
    fn the_ring_is_bounded_and_says_what_was_lost() {
        let ring = Ring::new();
        ring.push(line(b"first".to_vec()));
        let mut reader = ring.reader();
        assert!(matches!(reader.step(), Step::Lines(lines, 0) if lines.len() == 1));
        assert_eq!(reader.step(), Step::Empty);
        let mut many = vec![b'x'; MAX_BYTES / 4];
        many[1] = b'\n';
        for _ in 0..10 {
            ring.push(line(many.clone()));
        }
        assert!(matches!(reader.step(), Step::Lines(lines, 14) if lines.len() == 1));
        for _ in 0..2 {
            assert!(matches!(reader.step(), Step::Lines(lines, 0) if lines[0].count == 2));
        }
        ring.end();
        assert_eq!(reader.step(), Step::Ended);
    }

    #[tokio::test]
    async fn a_reader_is_woken() {
        let ring = Ring::new();
        let mut reader = ring.reader();
        assert_eq!(reader.step(), Step::Empty);
        let waiting = tokio::spawn(async move {
            reader.wait().await;
            reader.step()
        });
        ring.push(line(b"x".to_vec()));
        assert!(matches!(waiting.await, Ok(Step::Lines(_, 0))));
    }
}
