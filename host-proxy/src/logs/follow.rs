//! Follows the enclave's log stream across connections, from the last record that was taken. What the enclave names is
//! checked here, because names become paths, labels and lines of text behind it.

use std::sync::Arc;
use std::time::Duration;

use manifest_sync::config::CONTROL_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::log_record::{Decoder, Entry, LogRecord};
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;

use super::join::Joiner;
use super::ring::Ring;
use crate::enclave::Enclave;
use crate::sink::{Cause, Notice, Origin, Pipeline, notice_line};
use crate::view::{Link, View};

/// Pause before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last records of an ended Pod may take, and the sinks after them.
const LAST_RECORDS: Duration = Duration::from_secs(4);

/// How long the Pod's report may take that names it to the sinks; it comes before the first record of any container.
const REPORT: Duration = Duration::from_secs(5);
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What the follower works with.
pub struct Follower {
    /// The enclave.
    pub enclave: Enclave,
    /// Tells when to connect and when the Pod has ended.
    pub view: View,
    /// Where lines are kept.
    pub ring: Ring,
    /// Where records go.
    pub pipeline: Pipeline,
    /// The last record that was put into the ring, and the boot that it belongs to. An enclave that goes on is read
    /// from the oldest that it has, so that the ring is full again.
    pub seen: (String, u64),
    /// Told when the last line of an ended Pod is out.
    pub drained: oneshot::Sender<()>,
    /// Unfinished lines; empty at the start.
    pub joiner: Joiner,
}

/// Whether a stream goes on after the newest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    PodEnds,
    Newest,
}

impl Follower {
    /// Runs until the Pod has ended and everything is printed.
    pub async fn run(mut self) {
        while let Some(session) = self.next_session().await {
            if self.view.borrow().ended {
                break;
            }
            if let Err(error) = self.stream(session, Until::PodEnds).await {
                log::debug!("logs: {error}");
            }
            if !self.view.borrow().ended {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let session = self.view.borrow().session.clone();
        if let Some(session) = session {
            let last = tokio::time::timeout(LAST_RECORDS, self.stream(session, Until::Newest)).await;
            log::debug!("logs: the last records: {last:?}");
        }
        for line in self.joiner.finish() {
            self.ring.push(Arc::new(line));
        }
        self.ring.end();
        self.pipeline.finish(LAST_RECORDS).await;
        let _ = self.drained.send(());
    }

    /// The key as soon as the enclave is connected; `None` when nobody will tell any more.
    async fn next_session(&mut self) -> Option<String> {
        // A closed channel keeps its last value, which may well say Connected.
        self.view.has_changed().ok()?;
        let connected = |snapshot: &crate::view::Snapshot| snapshot.link == Link::Connected || snapshot.ended;
        let snapshot = self.view.wait_for(connected).await.ok()?;
        snapshot.session.clone()
    }

    /// Reads one stream to its end.
    async fn stream(&mut self, session: String, until: Until) -> std::io::Result<()> {
        let boot = Origin::boot_of(&session);
        if self.seen.0 != boot {
            self.seen = (boot, 0);
        }
        let kind = StreamKind::Logs {
            container: None,
            after: self.seen.1,
            follow: until == Until::PodEnds,
        };
        let open = self.enclave.open(CONTROL_PORT, Some(session), kind).await;
        let mut stream = open.map_err(std::io::Error::other)?;
        let mut decoder = Decoder::new();
        let mut view = self.view.clone();
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut origin = None;
        loop {
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read?,
                ended = view.wait_for(|snapshot| snapshot.ended), if until == Until::PodEnds => {
                    drop(ended);
                    return Ok(());
                }
            };
            if read == 0 {
                return Ok(());
            }
            decoder.push(buffer.get(..read).unwrap_or_default());
            let mut entries = Vec::new();
            while let Some(entry) = decoder.next_entry().map_err(std::io::Error::other)? {
                entries.push(checked(entry));
            }
            if entries.is_empty() {
                continue;
            }
            for entry in &entries {
                self.show(entry);
            }
            let origin = match &origin {
                Some(origin) => origin,
                None => origin.insert(self.origin().await),
            };
            self.pipeline.push(origin, entries).await;
        }
    }

    /// The Pod as it names itself.
    async fn origin(&mut self) -> Arc<Origin> {
        let report = self.view.wait_for(|snapshot| snapshot.report.is_some());
        let known = tokio::time::timeout(REPORT, report).await;
        let report = known
            .ok()
            .and_then(Result::ok)
            .and_then(|snapshot| snapshot.report.clone());
        let report = report.unwrap_or_default();
        let or = |text: &str, default: &str| {
            let text = name(text, 253);
            if text.is_empty() { default.to_owned() } else { text }
        };
        Arc::new(Origin {
            namespace: or(&report.namespace, "default"),
            pod: or(&report.name, "enclave"),
            uid: or(&report.uid, &self.seen.0),
            boot: self.seen.0.clone(),
        })
    }

    /// Puts an entry into the ring.
    fn show(&mut self, entry: &Entry) {
        let last = entry.last_sequence();
        if last <= self.seen.1 {
            return;
        }
        let first_of_all = self.seen.1 == 0;
        self.seen.1 = last;
        let line = match entry {
            Entry::Record(record) => self.joiner.join(0, record.clone()),
            // Whoever starts reading has missed nothing.
            Entry::Dropped(dropped) if first_of_all && dropped.first == 1 && self.pipeline.has_read() => None,
            Entry::Dropped(dropped) => Some(notice_line(&Notice {
                container: None,
                records: dropped.records,
                cause: Cause::Enclave,
                time_ns: crate::time::now().saturating_mul(1_000_000_000),
            })),
        };
        if let Some(line) = line {
            self.ring.push(Arc::new(line));
        }
    }
}

/// An entry whose container has a name that is safe in a path, and whose text is one line.
fn checked(entry: Entry) -> Entry {
    let Entry::Record(record) = entry else {
        return entry;
    };
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let container = if (1..=63).contains(&record.container.len()) && record.container.bytes().all(label) {
        record.container
    } else {
        match name(&record.container, 63) {
            empty if empty.is_empty() => "unnamed".to_owned(),
            good => good,
        }
    };
    let mut bytes = record.bytes;
    if bytes.contains(&b'\n') {
        // The enclave never sends one: it would forge lines of others.
        bytes = bytes
            .split(|byte| *byte == b'\n')
            .collect::<Vec<_>>()
            .join(&b"\\n"[..]);
    }
    Entry::Record(LogRecord {
        container,
        bytes,
        ..record
    })
}

/// What of a name may stand in a path: letters, digits, `-` and, not at its start, dots.
fn name(text: &str, longest: usize) -> String {
    let safe = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => character,
        _ => '-',
    };
    let text: String = text.chars().map(safe).take(longest).collect();
    text.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use manifest_sync::log_record::LogStream;

    use super::*;

    #[test]
    fn names_and_lines_of_a_hostile_enclave_are_made_safe() {
        assert_eq!(name("../../etc", 63), "-..-etc");
        assert_eq!(name("a_b\u{1b}", 3), "a-b");
        let Entry::Record(record) = checked(Entry::Record(LogRecord {
            sequence: 1,
            time_ns: 0,
            container: "..".to_owned(),
            attempt: 0,
            stream: LogStream::Stdout,
            partial: false,
            bytes: b"one\n2026-01-01T00:00:00Z stdout F forged".to_vec(),
        })) else {
            panic!("no record")
        };
        assert_eq!(record.container, "unnamed");
        assert_eq!(record.bytes, b"one\\n2026-01-01T00:00:00Z stdout F forged");
    }
}
