//! Follows the enclave's log stream across connections, from the last record that was taken. What the enclave names is
//! checked here, because names become paths, labels and lines of text behind it.

use std::sync::Arc;
use std::time::Duration;

use manifest_sync::config::CONTROL_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::log_record::{Bytes, Decoder, Dropped, Entry, LogRun, LogStream, Name};
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;

use super::join::Joiner;
use super::line::Lines;
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
            // What is left of a buffer is kept with it, by the spool.
            if buffer.capacity() - buffer.len() < CHUNK_BYTES / 16 {
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
            let mut entries = Vec::new();
            while let Some(entry) = decoder.next_entry().map_err(std::io::Error::other)? {
                entries.push(checker.checked(entry));
            }
            if entries.is_empty() {
                continue;
            }
            let mut lines = Vec::with_capacity(entries.len());
            for entry in &entries {
                self.show(entry, &mut lines);
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

    /// The lines that are complete with an entry.
    fn show(&mut self, entry: &Entry, lines: &mut Vec<Lines>) {
        let (seen, last) = (self.seen.1, entry.last_sequence());
        if last <= seen {
            return;
        }
        self.seen.1 = last;
        match entry {
            Entry::Run(run) => {
                if let Some(run) = run.clone().after(seen) {
                    self.joiner.join(0, run, lines);
                }
            }
            // Whoever starts reading has missed nothing.
            Entry::Dropped(dropped) if seen == 0 && dropped.first == 1 && self.pipeline.has_read() => {}
            Entry::Dropped(dropped) => lines.push(notice_line(&Notice {
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
            Entry::Run(run) => Entry::Run(LogRun {
                container: self.name(&run.container),
                text: text(run.stream, run.text),
                ..run
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
    bytes
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
        let run = |stream, container: &str, text: &'static [u8]| {
            Entry::Run(LogRun {
                sequence: 1,
                time_ns: 0,
                container: container.into(),
                attempt: 0,
                stream,
                partial: false,
                records: 1,
                text: text.into(),
            })
        };
        let mut checker = Checker::default();
        for _ in 0..2 {
            assert_eq!(
                checker.checked(run(LogStream::Stdout, "..", b"line")),
                run(LogStream::Stdout, "unnamed", b"line")
            );
        }
        assert_eq!(
            checker.checked(run(LogStream::Sealed, "app", b"\n\xff")),
            run(LogStream::Sealed, "app", b"cloister-sealed-v1:Cv8=")
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
