//! Follows the enclave's log stream across connections, from the last record that was taken. What the enclave names is
//! checked here, because names become paths, labels and lines of text behind it.

use std::sync::Arc;
use std::time::Duration;

use manifest_sync::config::CONTROL_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::log_record::{self, Bytes, Decoder, Dropped, Entry, LogRecord, LogStream, Name};
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;

use super::join::Joiner;
use super::line::Line;
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
const CHUNK_BYTES: usize = 128 << 10;
/// Bytes of a record with a short line.
const LINE_BYTES: usize = 128;
/// What a sealed batch begins with, as text; base64 follows.
pub(crate) const SEALED_MARK: &str = "cloister-sealed-v1:";

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
        self.ring.push(self.joiner.finish());
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
        let (mut origin, mut checker) = (None, Checker::default());
        loop {
            let buffer = decoder.buffer();
            if buffer.capacity() - buffer.len() < CHUNK_BYTES / 4 {
                buffer.reserve(CHUNK_BYTES);
            }
            let read = tokio::select! {
                read = stream.read_buf(buffer) => read?,
                ended = view.wait_for(|snapshot| snapshot.ended), if until == Until::PodEnds => {
                    drop(ended);
                    return Ok(());
                }
            };
            if read == 0 {
                return Ok(());
            }
            let mut entries = Vec::with_capacity(read / LINE_BYTES + 1);
            while let Some(entry) = decoder.next_entry().map_err(std::io::Error::other)? {
                entries.push(checker.checked(entry));
            }
            if entries.is_empty() {
                continue;
            }
            let mut lines = Vec::with_capacity(entries.len());
            for entry in &entries {
                lines.extend(self.show(entry));
            }
            self.ring.push(lines);
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

    /// The line that an entry ends.
    fn show(&mut self, entry: &Entry) -> Option<Line> {
        let last = entry.last_sequence();
        if last <= self.seen.1 {
            return None;
        }
        let first_of_all = self.seen.1 == 0;
        self.seen.1 = last;
        match entry {
            Entry::Record(record) => self.joiner.join(0, record.clone()),
            // Whoever starts reading has missed nothing.
            Entry::Dropped(dropped) if first_of_all && dropped.first == 1 && self.pipeline.has_read() => None,
            Entry::Dropped(dropped) => Some(notice_line(&Notice {
                container: dropped.container.as_deref().map(str::to_owned),
                records: dropped.records,
                cause: Cause::Enclave,
                time_ns: crate::time::now().saturating_mul(1_000_000_000),
            })),
        }
    }
}

/// Makes what the enclave says safe: names that may stand in a path, and text that is one line.
#[derive(Default)]
struct Checker {
    /// The last name, which nearly always comes again, and what it became.
    last: (Name, Name),
}

impl Checker {
    fn checked(&mut self, entry: Entry) -> Entry {
        match entry {
            Entry::Record(record) => Entry::Record(LogRecord {
                container: self.name(&record.container),
                bytes: text(record.stream, record.bytes),
                ..record
            }),
            Entry::Dropped(dropped) => Entry::Dropped(Dropped {
                container: dropped.container.map(|container| self.name(&container)),
                ..dropped
            }),
        }
    }

    fn name(&mut self, container: &Name) -> Name {
        if self.last.0 != *container {
            let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let good = (1..=63).contains(&container.len()) && container.bytes().all(label);
            let safe = match name(container, 63) {
                _ if good => container.clone(),
                empty if empty.is_empty() => "unnamed".into(),
                safe => safe.into(),
            };
            self.last = (container.clone(), safe);
        }
        self.last.1.clone()
    }
}

/// A sealed batch is text from here on: every sink takes text, and `host-proxy unseal` finds it in any of them.
fn text(stream: LogStream, bytes: Bytes) -> Bytes {
    if stream == LogStream::Sealed {
        return format!("{SEALED_MARK}{}", manifest_sync::base64::encode(&bytes)).into();
    }
    if log_record::newline(&bytes).is_none() {
        return bytes;
    }
    // The enclave never sends one: it would forge lines of others.
    let pieces: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    pieces.join(&b"\\n"[..]).into()
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
    use super::*;

    #[test]
    fn names_and_lines_of_a_hostile_enclave_are_made_safe() {
        assert_eq!(name("../../etc", 63), "-..-etc");
        assert_eq!(name("a_b\u{1b}", 3), "a-b");
        let record = |stream, container: &str, bytes: &'static [u8]| {
            Entry::Record(LogRecord {
                sequence: 1,
                time_ns: 0,
                container: container.into(),
                attempt: 0,
                stream,
                partial: false,
                bytes: bytes.into(),
            })
        };
        let mut checker = Checker::default();
        let forged = record(
            LogStream::Stdout,
            "..",
            b"one\n2026-01-01T00:00:00Z stdout F forged",
        );
        for _ in 0..2 {
            assert_eq!(
                checker.checked(forged.clone()),
                record(
                    LogStream::Stdout,
                    "unnamed",
                    b"one\\n2026-01-01T00:00:00Z stdout F forged"
                )
            );
        }
        assert_eq!(
            checker.checked(record(LogStream::Sealed, "app", b"\n\xff")),
            record(LogStream::Sealed, "app", b"cloister-sealed-v1:Cv8=")
        );
        let dropped = |container: &str| {
            Entry::Dropped(Dropped {
                first: 1,
                records: 1,
                container: Some(container.into()),
            })
        };
        assert_eq!(checker.checked(dropped("a/../b")), dropped("a-..-b"));
    }
}
