//! Follows the enclave's log stream across connections, from the last record that was taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manifest_sync::config::CONTROL_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::log_record::{Decoder, Entry, LogRecord, LogStream};
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;

use super::line::{Line, Source};
use super::print::Printer;
use super::ring::Ring;
use crate::enclave::Enclave;
use crate::view::{Link, View};

/// Pause before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last records of an ended Pod may take, and standard output after them.
const LAST_RECORDS: Duration = Duration::from_secs(4);

/// A line longer than this is printed in pieces.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Unfinished lines kept; a hostile enclave could name any number of containers.
const MAX_PARTS: usize = 128;

/// Unfinished lines by container, and whether they are of standard error.
type Parts = BTreeMap<(String, bool), Vec<u8>>;

/// Keeps the cursor: the sequence of the last record that was taken.
pub type StoreCursor = Box<dyn Fn(u64) + Send>;

/// What the follower works with.
pub struct Follower {
    /// The enclave.
    pub enclave: Enclave,
    /// Tells when to connect and when the Pod has ended.
    pub view: View,
    /// Where lines are kept.
    pub ring: Ring,
    /// Where lines are printed.
    pub printer: Printer,
    /// The last record that an earlier run took.
    pub cursor: u64,
    /// Keeps it for a later run.
    pub store: StoreCursor,
    /// Told when the last line of an ended Pod is out.
    pub drained: oneshot::Sender<()>,
    /// Unfinished lines; empty at the start.
    pub parts: Parts,
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
            (self.store)(self.cursor);
            if !self.view.borrow().ended {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let session = self.view.borrow().session.clone();
        if let Some(session) = session {
            let last = tokio::time::timeout(LAST_RECORDS, self.stream(session, Until::Newest)).await;
            log::debug!("logs: the last records: {last:?}");
        }
        (self.store)(self.cursor);
        self.ring.end();
        self.printer.finish(LAST_RECORDS).await;
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
        let kind = StreamKind::Logs {
            container: None,
            after: self.cursor,
            follow: until == Until::PodEnds,
        };
        let open = self.enclave.open(CONTROL_PORT, Some(session), kind).await;
        let mut stream = open.map_err(std::io::Error::other)?;
        let mut decoder = Decoder::new();
        let mut view = self.view.clone();
        let mut buffer = vec![0; 64 << 10];
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
            while let Some(entry) = decoder.next_entry().map_err(std::io::Error::other)? {
                self.take(entry).await;
            }
        }
    }

    async fn take(&mut self, entry: Entry) {
        self.cursor = self.cursor.max(entry.last_sequence());
        let line = match entry {
            Entry::Record(record) => self.join(record),
            Entry::Dropped(dropped) => {
                let text = format!(
                    "-- {} log records dropped in the enclave: nobody read them in time --",
                    dropped.records
                );
                let time_ms = crate::time::now() * 1000;
                Some(Line {
                    time_ms,
                    container: String::new(),
                    source: Source::System,
                    text: text.into_bytes(),
                })
            }
        };
        if let Some(line) = line {
            let line = Arc::new(line);
            self.ring.push(line.clone());
            self.printer.print(line).await;
        }
    }

    /// Puts the parts of a long line together, up to [`MAX_LINE_BYTES`].
    fn join(&mut self, record: LogRecord) -> Option<Line> {
        let source = match record.stream {
            LogStream::Stdout => Source::Stdout,
            LogStream::Stderr => Source::Stderr,
        };
        let key = (record.container.clone(), record.stream == LogStream::Stderr);
        let mut text = self.parts.remove(&key).unwrap_or_default();
        text.extend_from_slice(&record.bytes);
        if record.partial && text.len() < MAX_LINE_BYTES && self.parts.len() < MAX_PARTS {
            self.parts.insert(key, text);
            return None;
        }
        Some(Line {
            time_ms: record.time_ns / 1_000_000,
            container: record.container,
            source,
            text,
        })
    }
}
