//! The log rings: what containers wrote and no host has read yet. Bounded per container, oldest first out, every
//! loss counted. A container is never blocked by a host that does not read: its pipe is always drained.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::SystemTime;

use manifest_sync::log_record::{Dropped, Entry, LogRecord, LogStream};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::sys::fd;

/// Longest line kept in one record; longer ones become several, marked partial (as CRI logs are).
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Book-keeping charged to each record, so that a flood of empty lines is bounded too.
const RECORD_OVERHEAD: usize = 96;
/// K-333: the log tail that becomes a termination message.
const TAIL_LINES: usize = 80;
const TAIL_BYTES: usize = 2048;

/// All rings of the Pod.
pub(crate) struct LogStore {
    rings: BTreeMap<String, Ring>,
    next_sequence: u64,
    ring_bytes: usize,
    withholds: bool,
    closed: bool,
    changed: Rc<Notify>,
    /// Bytes taken from containers since boot.
    pub(crate) taken_bytes: u64,
    /// Bytes dropped since boot because a ring was full.
    pub(crate) dropped_bytes: u64,
}

#[derive(Default)]
struct Ring {
    records: VecDeque<LogRecord>,
    bytes: usize,
}

impl LogStore {
    /// Rings of `ring_bytes` each.
    pub(crate) fn new(ring_bytes: u32) -> Self {
        Self {
            rings: BTreeMap::new(),
            next_sequence: 1,
            ring_bytes: usize::try_from(ring_bytes).unwrap_or(usize::MAX),
            withholds: false,
            closed: false,
            changed: Rc::new(Notify::new()),
            taken_bytes: 0,
            dropped_bytes: 0,
        }
    }

    /// Keeps nothing of what it is given: a policy does not let it leave in clear text.
    pub(crate) fn withholding() -> Self {
        Self {
            withholds: true,
            ..Self::new(0)
        }
    }

    /// Wakes whoever waits for records.
    pub(crate) fn changed(&self) -> Rc<Notify> {
        Rc::clone(&self.changed)
    }

    /// No more records will come: readers end when they have read all.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.changed.notify_waiters();
    }

    /// Whether [`LogStore::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn push(&mut self, mut record: LogRecord) {
        if self.withholds {
            self.taken_bytes += record.bytes.len() as u64;
            self.dropped_bytes += record.bytes.len() as u64;
            return;
        }
        record.sequence = self.next_sequence;
        self.next_sequence += 1;
        self.taken_bytes += record.bytes.len() as u64;
        let ring = self.rings.entry(record.container.clone()).or_default();
        ring.bytes += record.bytes.len() + RECORD_OVERHEAD;
        ring.records.push_back(record);
        while ring.bytes > self.ring_bytes && ring.records.len() > 1 {
            let Some(old) = ring.records.pop_front() else {
                break;
            };
            ring.bytes -= old.bytes.len() + RECORD_OVERHEAD;
            self.dropped_bytes += old.bytes.len() as u64;
        }
        self.changed.notify_waiters();
    }

    /// What a reader that has everything up to sequence `after` gets next: at most `max_bytes`, in sequence, with
    /// a notice for every gap. Empty: nothing new.
    pub(crate) fn read_after(&self, after: u64, container: Option<&str>, max_bytes: usize) -> Vec<Entry> {
        let wanted = |name: &str| container.is_none_or(|wanted| wanted == name);
        let rings: Vec<&Ring> = self
            .rings
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, ring)| ring)
            .collect();
        let mut cursors: Vec<usize> = rings
            .iter()
            .map(|ring| ring.records.partition_point(|record| record.sequence <= after))
            .collect();
        let (mut entries, mut bytes, mut last) = (Vec::new(), 0, after);
        while bytes < max_bytes {
            let next = rings
                .iter()
                .zip(&cursors)
                .enumerate()
                .filter_map(|(index, (ring, cursor))| Some((ring.records.get(*cursor)?, index)))
                .min_by_key(|(record, _)| record.sequence);
            let Some((record, index)) = next else { break };
            // Sequences are given to all containers in turn, so only a reader of all of them can tell a gap.
            if container.is_none() && record.sequence > last + 1 {
                entries.push(Entry::Dropped(Dropped {
                    first: last + 1,
                    records: record.sequence - last - 1,
                }));
            }
            last = record.sequence;
            bytes += record.bytes.len() + RECORD_OVERHEAD;
            cursors[index] += 1;
            entries.push(Entry::Record(record.clone()));
        }
        entries
    }

    /// The last lines of one instance, for a termination message (K-333).
    pub(crate) fn tail(&self, container: &str, attempt: u32) -> String {
        let Some(ring) = self.rings.get(container) else {
            return String::new();
        };
        let lines = ring
            .records
            .iter()
            .rev()
            .take_while(|record| record.attempt == attempt)
            .take(TAIL_LINES);
        let mut text = Vec::new();
        for record in lines {
            let mut line = record.bytes.clone();
            if !record.partial {
                line.push(b'\n');
            }
            line.extend_from_slice(&text);
            text = line;
            if text.len() >= TAIL_BYTES {
                text.drain(..text.len() - TAIL_BYTES);
                break;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// One output of one container instance, on its way into the rings.
pub(crate) struct LogPipe {
    fd: AsyncFd<OwnedFd>,
    line: RefCell<Vec<u8>>,
    container: String,
    attempt: u32,
    stream: LogStream,
    store: Rc<RefCell<LogStore>>,
}

impl LogPipe {
    /// Takes the read end of a pipe; it must be non-blocking.
    pub(crate) fn new(
        pipe: OwnedFd,
        container: &str,
        attempt: u32,
        stream: LogStream,
        store: &Rc<RefCell<LogStore>>,
    ) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            fd: fd::watch(pipe)?,
            line: RefCell::new(Vec::new()),
            container: container.to_owned(),
            attempt,
            stream,
            store: Rc::clone(store),
        }))
    }

    /// Reads until the other end is closed. One chunk a turn, so that a flood starves nobody.
    pub(crate) async fn drain(self: Rc<Self>) {
        loop {
            let Ok(mut ready) = self.fd.readable().await else {
                return;
            };
            match ready.try_io(|fd| self.read_chunk(fd.get_ref())) {
                Ok(Ok(0)) => {
                    self.finish_line();
                    return;
                }
                Ok(Ok(_)) => tokio::task::yield_now().await,
                Ok(Err(error)) => {
                    log::warn!("log of container {}: {error}", self.container);
                    return;
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Takes what is in the pipe now, at most one pipe buffer: the writer is dead, and its last words are wanted
    /// before its exit is reported.
    pub(crate) fn drain_now(&self) {
        for _ in 0..PIPE_CHUNKS {
            match self.read_chunk(self.fd.get_ref()) {
                Ok(0) => return self.finish_line(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn read_chunk(&self, fd: &OwnedFd) -> io::Result<usize> {
        let mut chunk = [0; MAX_LINE_BYTES];
        let count = nix::unistd::read(fd, &mut chunk)?;
        let mut rest = &chunk[..count];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.append(&rest[..end]);
            self.emit(Partial::No);
            rest = &rest[end + 1..];
        }
        self.append(rest);
        Ok(count)
    }

    fn append(&self, mut bytes: &[u8]) {
        loop {
            let room = MAX_LINE_BYTES - self.line.borrow().len();
            if bytes.len() <= room {
                self.line.borrow_mut().extend_from_slice(bytes);
                return;
            }
            let (now, later) = bytes.split_at(room);
            self.line.borrow_mut().extend_from_slice(now);
            self.emit(Partial::Yes);
            bytes = later;
        }
    }

    /// The end of the output ends its last line.
    fn finish_line(&self) {
        if !self.line.borrow().is_empty() {
            self.emit(Partial::No);
        }
    }

    fn emit(&self, partial: Partial) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.store.borrow_mut().push(LogRecord {
            sequence: 0,
            time_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            container: self.container.clone(),
            attempt: self.attempt,
            stream: self.stream,
            partial: partial == Partial::Yes,
            bytes: self.line.take(),
        });
    }
}

/// Chunks in a default pipe buffer of 64 KiB (pipe(7)), and one more to see its end.
const PIPE_CHUNKS: usize = 64 * 1024 / MAX_LINE_BYTES + 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Partial {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(container: &str, text: &str) -> LogRecord {
        LogRecord {
            sequence: 0,
            time_ns: 0,
            container: container.to_owned(),
            attempt: 0,
            stream: LogStream::Stdout,
            partial: false,
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn texts(entries: &[Entry]) -> Vec<String> {
        entries
            .iter()
            .map(|entry| match entry {
                Entry::Record(record) => String::from_utf8_lossy(&record.bytes).into_owned(),
                Entry::Dropped(dropped) => format!("dropped {}", dropped.records),
            })
            .collect()
    }

    #[test]
    fn records_of_all_containers_come_in_the_order_they_were_written() {
        let mut store = LogStore::new(1 << 20);
        for (container, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
            store.push(record(container, text));
        }
        assert_eq!(texts(&store.read_after(0, None, 1 << 20)), ["1", "2", "3"]);
        assert_eq!(texts(&store.read_after(1, None, 1 << 20)), ["2", "3"]);
        assert_eq!(texts(&store.read_after(0, Some("a"), 1 << 20)), ["1", "3"]);
    }

    #[test]
    fn a_flood_drops_its_own_oldest_records_and_says_how_many() {
        let mut store = LogStore::new(4096);
        store.push(record("quiet", "kept"));
        for number in 0..1000 {
            store.push(record("flood", &format!("{number:04}")));
        }
        let entries = texts(&store.read_after(0, None, 1 << 20));
        assert_eq!(entries[0], "kept");
        let kept = entries.len() - 2;
        assert_eq!(entries[1], format!("dropped {}", 1000 - kept));
        assert_eq!(entries[entries.len() - 1], "0999");
        assert_eq!(store.dropped_bytes, 4 * (1000 - kept as u64));
    }

    #[test]
    fn the_tail_has_the_last_lines_of_one_instance_only() {
        let mut store = LogStore::new(1 << 20);
        store.push(LogRecord {
            attempt: 0,
            ..record("a", "old")
        });
        for number in 0..100 {
            store.push(LogRecord {
                attempt: 1,
                ..record("a", &format!("line {number}"))
            });
        }
        let tail = store.tail("a", 1);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 99\n"));
    }

    #[test]
    fn what_must_not_leave_is_not_even_kept() {
        let mut store = LogStore::withholding();
        store.push(record("a", "secret"));
        assert!(store.read_after(0, None, 1 << 20).is_empty());
        assert_eq!(store.tail("a", 0), "");
        assert_eq!((store.taken_bytes, store.dropped_bytes), (6, 6));
    }
}
