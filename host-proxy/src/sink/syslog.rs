//! Syslog over TCP or TLS: RFC 5424 messages, framed by octet counting (RFC 6587, section 3.4.1; RFC 5425).
//!
//! The protocol has no acknowledgement. What the kernel took counts as delivered as long as the connection lives. When
//! it breaks, the newest bytes may not have been read by the server, so they are sent again, marked `resent`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use manifest_sync::log_record::{LogRun, LogStream, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connect::{Connection, Connector};
use super::item::{Batch, Body, Item, Notice, Origin};
use super::output::{Delivered, Trouble};
use super::progress::Progress;
use super::spec::Syslog;
use crate::time::second;

/// What a connection that broke may have swallowed: what both kernels hold at most, 6 MiB in the receiver's (`tcp_rmem`, tcp(7))
/// and what has not left ours.
const WINDOW_BYTES: usize = 8 << 20;
/// Bytes that were not missed for this long have arrived.
const WINDOW_AGE: Duration = Duration::from_secs(60);
/// How long a server may take nothing.
const STALL: Duration = Duration::from_secs(60);
/// Bytes written before the cursor is moved.
const CHUNK_BYTES: usize = 16 << 10;

/// Severities (RFC 5424, section 6.2.1).
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFO: u8 = 6;

/// One server.
pub(super) struct SyslogOutput {
    options: Syslog,
    connector: Connector,
    connection: Option<Box<dyn Connection>>,
    /// Written on this connection: place, bytes, when.
    window: VecDeque<(u64, usize, Instant)>,
    window_bytes: usize,
}

impl SyslogOutput {
    /// For the server of `options`.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub(super) fn new(options: &Syslog) -> io::Result<Self> {
        Ok(Self {
            connector: Connector::new(&options.server)?,
            options: options.clone(),
            connection: None,
            window: VecDeque::new(),
            window_bytes: 0,
        })
    }

    /// Sends a batch.
    pub(super) async fn deliver(
        &mut self,
        batch: &Batch,
        progress: &mut Progress,
    ) -> Result<Delivered, Trouble> {
        match self.send(batch, progress).await {
            Ok(()) => Ok(Delivered {
                accepted: batch.end(),
                safe: self.window.front().map_or(batch.end(), |(place, ..)| *place),
                refused: None,
            }),
            Err(error) => {
                self.connection = None;
                let doubt = self.window.front().map(|(place, ..)| *place);
                self.window.clear();
                self.window_bytes = 0;
                Err(Trouble::Retry {
                    reason: error.to_string(),
                    after: None,
                    doubt,
                })
            }
        }
    }

    async fn send(&mut self, batch: &Batch, progress: &mut Progress) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(mut connection) => {
                is_open(&mut connection).await?;
                connection
            }
            None => self.connector.connect().await?,
        };
        let (mut bytes, mut ends) = (Vec::new(), VecDeque::new());
        for item in &batch.items {
            let mut before = bytes.len();
            frames(
                item,
                &batch.origin,
                &self.options,
                &mut bytes,
                |place, next, end| {
                    ends.push_back((end, place, next, end - before));
                    before = end;
                },
            );
        }
        let mut written = 0;
        while written < bytes.len() {
            let chunk = bytes.get(written..(written + CHUNK_BYTES).min(bytes.len()));
            let writing = async {
                let count = connection.write(chunk.unwrap_or_default()).await?;
                connection.flush().await?;
                Ok(count)
            };
            let count = match tokio::time::timeout(STALL, writing).await {
                Ok(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
                Ok(result) => result,
                Err(_) => Err(io::Error::other("the server has taken nothing for a minute")),
            };
            written += count?;
            let mut place = None;
            while let Some((_, index, next, size)) = ends.pop_front_if(|(end, ..)| *end <= written) {
                self.window.push_back((index, size, Instant::now()));
                self.window_bytes += size;
                place = Some(next);
            }
            if let Some(place) = place {
                progress.accept(batch, place);
            }
        }
        self.forget();
        self.connection = Some(connection);
        Ok(())
    }

    /// Takes what has certainly arrived out of the window.
    fn forget(&mut self) {
        while let Some((_, size, since)) = self.window.front()
            && (self.window_bytes > WINDOW_BYTES || since.elapsed() > WINDOW_AGE)
        {
            self.window_bytes -= size;
            self.window.pop_front();
        }
    }
}

/// A syslog server sends nothing: bytes are ignored, and the end is the end, which a write would notice too late.
async fn is_open(connection: &mut Box<dyn Connection>) -> io::Result<()> {
    let mut nothing = [0; 64];
    loop {
        match tokio::time::timeout(Duration::ZERO, connection.read(&mut nothing)).await {
            Err(_) => return Ok(()),
            Ok(Ok(0)) => return Err(io::Error::other("the server closed the connection")),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

/// The frames of one item; a record that is too long becomes several, of one sequence. `ended` is told each record's place, that
/// of what follows, and where its frames end in `out`.
fn frames(
    item: &Item,
    origin: &Origin,
    options: &Syslog,
    out: &mut Vec<u8>,
    mut ended: impl FnMut(u64, u64, usize),
) {
    match &item.body {
        Body::Notice(notice) => {
            let head = notice_head(notice, origin, options.facility);
            frame(&head, notice.text().as_bytes(), out);
            ended(item.index, item.next, out.len());
        }
        Body::Run(run) => {
            for (place, record) in (item.index..).zip(run.as_ref().records()) {
                let head = |part| head(run, &record, item.resent, part, origin, options.facility);
                frames_of(&record, head, options.max_message, out);
                ended(place, place.saturating_add(1), out.len());
            }
        }
    }
}

/// The frames of one record, each with the head for its part.
fn frames_of(
    record: &Record<'_>,
    head: impl Fn(Option<(usize, bool)>) -> String,
    max_message: usize,
    out: &mut Vec<u8>,
) {
    let whole = head(None);
    let longest = whole.len() + " partial=\"1\" part=\"999999\"".len();
    let room = max_message.saturating_sub(longest).max(64);
    if record.line.len() <= room {
        return frame(&whole, record.line, out);
    }
    let last = record.line.len().div_ceil(room) - 1;
    for (part, bytes) in record.line.chunks(room).enumerate() {
        let more = record.partial || part < last;
        frame(&head(Some((part, more))), bytes, out);
    }
}

/// `LENGTH SP MESSAGE`
fn frame(head: &str, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice((head.len() + text.len()).to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(text);
}

/// Everything before the text. Names were checked when they were received: nothing in them needs an escape.
fn head(
    run: &LogRun,
    record: &Record<'_>,
    resent: bool,
    part: Option<(usize, bool)>,
    origin: &Origin,
    facility: u8,
) -> String {
    let stream = run.stream.word();
    let severity = match run.stream {
        LogStream::Stdout | LogStream::Sealed => INFO,
        LogStream::Stderr => ERROR,
    };
    let app: String = run.container.chars().take(48).collect();
    let mut head = format!(
        "<{}>1 {} {} {app} {} {stream} [cloister@32473 namespace=\"{}\" pod=\"{}\" uid=\"{}\" container=\"{}\" \
         stream=\"{stream}\" sequence=\"{}\"",
        facility * 8 + severity,
        time(run.time_ns),
        origin.pod,
        run.attempt,
        origin.namespace,
        origin.pod,
        origin.uid,
        run.container,
        record.sequence,
    );
    if part.map_or(record.partial, |(_, more)| more) {
        head.push_str(" partial=\"1\"");
    }
    if let Some((part, _)) = part {
        let _ = write!(head, " part=\"{part}\"");
    }
    if resent {
        head.push_str(" resent=\"1\"");
    }
    head.push_str("] ");
    head
}

fn notice_head(notice: &Notice, origin: &Origin, facility: u8) -> String {
    let mut head = format!(
        "<{}>1 {} {} cloister - dropped [cloister@32473 namespace=\"{}\" pod=\"{}\" uid=\"{}\" dropped=\"{}\" by=\"{}\"",
        facility * 8 + WARNING,
        time(notice.time_ns),
        origin.pod,
        origin.namespace,
        origin.pod,
        origin.uid,
        notice.records,
        notice.cause_word(),
    );
    if let Some(container) = &notice.container {
        let _ = write!(head, " container=\"{container}\"");
    }
    head.push_str("] ");
    head
}

/// RFC 5424 allows six figures after the point.
fn time(time_ns: u64) -> String {
    let seconds = second(time_ns / 1_000_000_000);
    format!(
        "{}.{:06}Z",
        seconds.trim_end_matches('Z'),
        time_ns / 1000 % 1_000_000
    )
}

#[cfg(test)]
#[path = "syslog_tests.rs"]
mod tests;
