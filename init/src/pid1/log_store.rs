//! The log rings: what containers wrote and no host has read yet. Bounded per container, oldest first out, every
//! loss counted. A container is never blocked by a host that does not read: its pipe is always drained.
//!
//! What becomes of a container's output is decided here: it lies in its ring in clear text, or in encrypted batches, or it
//! is counted and forgotten.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use attest::seal::SealError;
use manifest_sync::log_plan::{LogPlan, LogPolicy};
use manifest_sync::log_record::{Dropped, Entry, LogStream, Name, RunRef};
use manifest_sync::protocol::LogCounters;
use tokio::sync::Notify;

use super::log_gap::{Gaps, RingId};
use super::log_ring::{Cursor, Ring};
use super::log_sealed::Sealed;

/// Longest line of a record in clear text.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// How long a line may wait for others to be sealed with it.
const SEAL_DELAY: Duration = Duration::from_millis(200);

/// All rings of the Pod.
pub(crate) struct LogStore {
    lanes: Vec<Lane>,
    names: BTreeMap<String, RingId>,
    gaps: Gaps,
    plan: LogPlan,
    /// What becomes of clear text: the trust policy decides.
    clear: Clear,
    next_sequence: u64,
    /// The last sequence that a reader was given.
    given: u64,
    ring_bytes: usize,
    closed: bool,
    pushed: bool,
    changed: Rc<Notify>,
    waiting: Rc<Notify>,
    buffer: Vec<u8>,
    /// Bytes taken from containers since boot.
    pub(crate) taken_bytes: u64,
    /// Bytes dropped since boot because a ring was full and nobody had read them, or because they must not leave.
    pub(crate) dropped_bytes: u64,
}

/// Whether clear text may leave the enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clear {
    /// It may.
    Leaves,
    /// It may not.
    Stays,
}

/// One container.
struct Lane {
    name: Name,
    fate: Fate,
    ring: Ring,
    counters: LogCounters,
}

enum Fate {
    Clear,
    Withheld,
    Sealed(Box<Sealed>),
}

/// A piece of output: whole lines that were read together, or one line, or part of one.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) ring: RingId,
    pub(crate) time_ns: u64,
    pub(crate) attempt: u32,
    pub(crate) stream: LogStream,
    pub(crate) partial: bool,
    pub(crate) records: u32,
    /// As in a run: a newline between two lines.
    pub(crate) text: &'a [u8],
}

impl Piece<'_> {
    /// Bytes of its lines.
    pub(super) fn line_bytes(&self) -> u64 {
        self.text.len() as u64 + 1 - u64::from(self.records)
    }
}

impl LogStore {
    /// Rings of `ring_bytes` each.
    pub(crate) fn new(ring_bytes: u32, clear: Clear) -> Self {
        Self {
            lanes: Vec::new(),
            names: BTreeMap::new(),
            gaps: Gaps::default(),
            plan: LogPlan::default(),
            clear,
            next_sequence: 1,
            given: 0,
            ring_bytes: usize::try_from(ring_bytes).unwrap_or(usize::MAX),
            closed: false,
            pushed: false,
            changed: Rc::new(Notify::new()),
            waiting: Rc::new(Notify::new()),
            buffer: Vec::new(),
            taken_bytes: 0,
            dropped_bytes: 0,
        }
    }

    /// What the bundle says of these containers; before any of them starts.
    ///
    /// # Errors
    /// The key that logs are to be sealed to is none.
    pub(crate) fn follow<'a>(
        &mut self,
        plan: &LogPlan,
        containers: impl Iterator<Item = &'a str>,
    ) -> Result<(), SealError> {
        self.plan = plan.clone();
        // A bundle before this one was refused.
        self.lanes.clear();
        self.names.clear();
        for container in containers {
            let fate = match (plan.policy_of(container), self.clear) {
                (LogPolicy::Host, Clear::Leaves) => Fate::Clear,
                (LogPolicy::Sealed, _) => {
                    Fate::Sealed(Box::new(Sealed::new(plan.seal_to.as_ref(), container)?))
                }
                (LogPolicy::Host | LogPolicy::None, _) => Fate::Withheld,
            };
            self.open(container, fate);
        }
        Ok(())
    }

    /// Whether what this container says may leave in clear text.
    pub(crate) fn is_clear(&self, container: &str) -> bool {
        self.clear == Clear::Leaves && self.plan.policy_of(container) == LogPolicy::Host
    }

    /// Whether this is so for all containers.
    pub(crate) fn is_all_clear(&self) -> bool {
        let mut said = self.plan.default.iter().chain(self.plan.containers.values());
        self.clear == Clear::Leaves && said.all(|policy| *policy == LogPolicy::Host)
    }

    /// The container's ring, and the longest line that becomes one record.
    pub(super) fn ring(&mut self, container: &str) -> (RingId, usize) {
        let id = match self.names.get(container) {
            Some(id) => *id,
            None => {
                let fate = match self.clear {
                    Clear::Leaves => Fate::Clear,
                    Clear::Stays => Fate::Withheld,
                };
                self.open(container, fate)
            }
        };
        let max_line = match self.lanes.get(id).map(|lane| &lane.fate) {
            Some(Fate::Sealed(_)) => super::log_sealed::MAX_LINE_BYTES,
            _ => MAX_LINE_BYTES,
        };
        (id, max_line)
    }

    fn open(&mut self, container: &str, fate: Fate) -> RingId {
        self.lanes.push(Lane {
            name: container.into(),
            fate,
            ring: Ring::default(),
            counters: LogCounters {
                container: container.to_owned(),
                ..LogCounters::default()
            },
        });
        let id = self.lanes.len() - 1;
        self.names.insert(container.to_owned(), id);
        id
    }

    /// Wakes whoever waits for records.
    pub(crate) fn changed(&self) -> Rc<Notify> {
        Rc::clone(&self.changed)
    }

    /// No more records will come: readers end when they have read all.
    pub(crate) fn close(&mut self) {
        for id in 0..self.lanes.len() {
            self.seal_lane(id, Last::Yes);
        }
        self.closed = true;
        self.changed.notify_waiters();
    }

    /// Whether [`LogStore::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes a piece; whoever waits is told by [`LogStore::wake`].
    pub(super) fn push(&mut self, piece: &Piece<'_>) {
        let (records, bytes) = (u64::from(piece.records), piece.line_bytes());
        self.taken_bytes += bytes;
        let Some(lane) = self.lanes.get_mut(piece.ring) else {
            return;
        };
        lane.counters.records += records;
        lane.counters.bytes += bytes;
        match &mut lane.fate {
            Fate::Withheld => {
                self.dropped_bytes += bytes;
                lane.counters.withheld_records += records;
            }
            Fate::Clear => {
                let sequence = self.next_sequence;
                self.next_sequence += records;
                lane.ring.push(&RunRef {
                    sequence,
                    time_ns: piece.time_ns,
                    container: &lane.name,
                    attempt: piece.attempt,
                    stream: piece.stream,
                    partial: piece.partial,
                    records: piece.records,
                    text: piece.text,
                });
                self.pushed = true;
                self.make_room(piece.ring);
            }
            Fate::Sealed(sealed) => {
                if sealed.is_empty() {
                    self.waiting.notify_one();
                }
                if sealed.has_room(piece.text.len()) {
                    return sealed.push(piece);
                }
                self.seal(piece.ring);
                if let Some(Fate::Sealed(sealed)) = self.lanes.get_mut(piece.ring).map(|lane| &mut lane.fate)
                {
                    sealed.push(piece);
                }
            }
        }
    }

    /// Seals what of this container waits for more.
    pub(super) fn seal(&mut self, ring: RingId) {
        self.seal_lane(ring, Last::No);
    }

    fn seal_lane(&mut self, id: RingId, last: Last) {
        let Some(lane) = self.lanes.get_mut(id) else {
            return;
        };
        let Fate::Sealed(sealed) = &mut lane.fate else {
            return;
        };
        if sealed.is_empty() && last == Last::No {
            return;
        }
        let sequence = self.next_sequence;
        let Some(batch) = sealed.batch(sequence, last == Last::Yes) else {
            // A counter of 64 bits is used up, or a batch is too large: neither happens.
            log::error!("the logs of container {} cannot be sealed", lane.name);
            return;
        };
        self.next_sequence += 1;
        lane.ring.push(&RunRef {
            sequence,
            time_ns: batch.time_ns,
            container: &lane.name,
            attempt: batch.attempt,
            stream: LogStream::Sealed,
            partial: false,
            records: 1,
            text: &batch.bytes,
        });
        self.pushed = true;
        self.make_room(id);
    }

    fn make_room(&mut self, id: RingId) {
        let Some(lane) = self.lanes.get_mut(id) else {
            return;
        };
        if lane.ring.bytes() <= self.ring_bytes {
            return;
        }
        // A full ring makes room for many, instead of for each that comes.
        let limit = self.ring_bytes - self.ring_bytes / 64;
        let most = match lane.fate {
            // A batch is many records.
            Fate::Sealed(_) => 1,
            Fate::Clear | Fate::Withheld => u64::MAX,
        };
        while let Some(gone) = lane.ring.shrink(limit, most, self.given) {
            // What somebody has read only makes room.
            let was_given = gone.last <= self.given;
            let (records, bytes) = match &mut lane.fate {
                Fate::Sealed(sealed) => sealed.gone(gone.first, was_given),
                _ => (gone.last - gone.first + 1, gone.bytes as u64),
            };
            self.gaps.note(gone.first, gone.last, id);
            if was_given {
                continue;
            }
            self.dropped_bytes += bytes;
            lane.counters.dropped_records += records;
            lane.counters.dropped_bytes += bytes;
        }
    }

    /// Tells readers of what was pushed.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.pushed) {
            self.changed.notify_waiters();
        }
    }

    /// A buffer to read into: one is enough, since nothing stays in it.
    pub(super) fn take_buffer(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(bytes, 0);
        buffer
    }

    /// Gives the buffer back.
    pub(super) fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// What a reader that has everything up to sequence `after` gets next: about `most` bytes, encoded, in sequence, with
    /// a notice for every gap. Returns the last sequence that is accounted for; `after`: nothing new.
    pub(crate) fn read_after(
        &mut self,
        after: u64,
        container: Option<&str>,
        most: usize,
        out: &mut Vec<u8>,
    ) -> u64 {
        let wanted =
            |lane: &&Lane| container.is_none_or(|wanted| lane.name == *wanted) && lane.ring.last() > after;
        let lanes = self.lanes.iter().filter(wanted);
        let mut cursors: Vec<Cursor<'_>> = lanes.map(|lane| lane.ring.cursor(after)).collect();
        let mut last = after;
        while out.len() < most {
            let Some((index, sequence, until)) = first_of(&cursors) else {
                break;
            };
            // Sequences are given to all containers in turn, so only a reader of all of them can tell a gap.
            if container.is_none() && sequence > last + 1 {
                self.tell_gap(last + 1, sequence - 1, out);
            }
            if let Some(cursor) = cursors.get_mut(index) {
                last = cursor.copy(until, most, out);
            }
        }
        if container.is_none() && last > after {
            self.gaps.given(last);
            self.given = self.given.max(last);
        }
        last
    }

    fn tell_gap(&self, mut first: u64, last: u64, out: &mut Vec<u8>) {
        for part in self.gaps.between(first, last) {
            let lane = part.ring.and_then(|ring| self.lanes.get(ring));
            let dropped = Dropped {
                first,
                records: part.records,
                container: lane.map(|lane| lane.name.clone()),
            };
            Entry::Dropped(dropped).encode(out);
            first += part.records;
        }
    }

    /// The last lines of one instance, for a termination message (K-333); nothing where they must not leave.
    pub(crate) fn tail(&self, container: &str, attempt: u32) -> String {
        let lane = self.names.get(container).and_then(|id| self.lanes.get(*id));
        match lane {
            Some(lane) if matches!(lane.fate, Fate::Clear) => lane.ring.tail(attempt),
            _ => String::new(),
        }
    }

    /// What each container's ring has seen.
    pub(crate) fn counters(&self) -> Vec<LogCounters> {
        let counters = self.lanes.iter().map(|lane| LogCounters {
            ring_bytes: lane.ring.bytes() as u64,
            ..lane.counters.clone()
        });
        counters.collect()
    }

    /// Bytes that each ring may have.
    pub(crate) fn ring_limit(&self) -> u64 {
        self.ring_bytes as u64
    }
}

/// Seals lines that wait for others for too long; runs for ever.
pub(crate) async fn seal_in_time(store: Rc<RefCell<LogStore>>) {
    let waiting = Rc::clone(&store.borrow().waiting);
    loop {
        waiting.notified().await;
        tokio::time::sleep(SEAL_DELAY).await;
        let mut store = store.borrow_mut();
        for id in 0..store.lanes.len() {
            store.seal(id);
        }
        store.wake();
    }
}

/// The cursor with the smallest sequence, that sequence, and the smallest of the others.
fn first_of(cursors: &[Cursor<'_>]) -> Option<(usize, u64, u64)> {
    let mut best: Option<(usize, u64, u64)> = None;
    for (index, cursor) in cursors.iter().enumerate() {
        let Some(sequence) = cursor.sequence() else {
            continue;
        };
        best = Some(match best {
            None => (index, sequence, u64::MAX),
            Some((_, least, _)) if sequence < least => (index, sequence, least),
            Some((index, least, until)) => (index, least, until.min(sequence)),
        });
    }
    best
}

/// Whether a batch is the last of its container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

#[cfg(test)]
#[path = "log_store_tests.rs"]
mod tests;
