//! The log stream's format: binary records, self-delimiting, bounded, with losses reported in-band.
//!
//! ```text
//! u32 length of what follows | u8 kind | u64 sequence | …
//! kind 0, 1, 3 (stdout, stderr, sealed): u64 time (ns since 1970) | u32 attempt | u8 flags (bit 0: partial line) |
//!                                        u16 name length | name | line bytes
//! kind 2 (dropped):                      u64 records | name      (`sequence` is the first that is missing;
//!                                                                 an empty name: it is not known whose they were)
//! ```
//! All integers are big-endian. Reading copies nothing: what a [`Decoder`] gives shares the buffer that it was read into.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

pub use bytes::{Bytes, BytesMut};

/// Largest record: a line of 16 KiB, a name, and room to grow.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Bytes of a record beside its name and its text.
pub const RECORD_HEAD_BYTES: usize = 4 + 1 + 8 + 8 + 4 + 1 + 2;
/// Bytes of a gap's entry beside the name.
const DROPPED_HEAD_BYTES: usize = 4 + 1 + 8 + 8;

const PARTIAL: u8 = 1;
const KIND_STDOUT: u8 = 0;
const KIND_STDERR: u8 = 1;
const KIND_DROPPED: u8 = 2;
const KIND_SEALED: u8 = 3;

/// Where the next line ends in `bytes`.
pub fn newline(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

/// Name of a container; cheap to clone, since most records have the name of the one before.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::from("")
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One piece of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Grows by one with each record of this boot, over all containers.
    pub sequence: u64,
    /// Nanoseconds since 1970-01-01 UTC, by the enclave's clock.
    pub time_ns: u64,
    /// Name of the container.
    pub container: Name,
    /// Its instance: 0 for the first.
    pub attempt: u32,
    /// Which output.
    pub stream: LogStream,
    /// The line goes on in the next record of this output.
    pub partial: bool,
    /// The line, without its newline.
    pub bytes: Bytes,
}

/// An output of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both, encrypted to the log back-end: the host sees a batch of them as one record.
    Sealed,
}

impl LogStream {
    /// The word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Sealed => "sealed",
        }
    }
}

/// Records that were dropped because no host read them in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Sequence of the first missing record.
    pub first: u64,
    /// How many are missing.
    pub records: u64,
    /// Whose they were; `None`: it is not known.
    pub container: Option<Name>,
}

/// What the log stream consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A record.
    Record(LogRecord),
    /// A gap.
    Dropped(Dropped),
}

impl Entry {
    /// The greatest sequence that this entry accounts for.
    pub fn last_sequence(&self) -> u64 {
        match self {
            Self::Record(record) => record.sequence,
            Self::Dropped(dropped) => dropped.first.saturating_add(dropped.records).saturating_sub(1),
        }
    }

    /// Bytes that [`Entry::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Record(record) => record.as_ref().encoded_len(),
            Self::Dropped(dropped) => {
                DROPPED_HEAD_BYTES + dropped.container.as_ref().map_or(0, |name| name.len())
            }
        }
    }

    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Record(record) => record.as_ref().encode(out),
            Self::Dropped(dropped) => {
                let name = dropped.container.as_deref().unwrap_or_default();
                out.extend_from_slice(&length(self.encoded_len() - 4).to_be_bytes());
                out.push(KIND_DROPPED);
                out.extend_from_slice(&dropped.first.to_be_bytes());
                out.extend_from_slice(&dropped.records.to_be_bytes());
                out.extend_from_slice(name.as_bytes());
            }
        }
    }
}

impl LogRecord {
    /// The same without a share in its buffer.
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef {
            sequence: self.sequence,
            time_ns: self.time_ns,
            container: &self.container,
            attempt: self.attempt,
            stream: self.stream,
            partial: self.partial,
            bytes: &self.bytes,
        }
    }
}

/// A record in somebody else's buffer. Its fields are those of a [`LogRecord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are documented in `LogRecord`")]
pub struct RecordRef<'a> {
    pub sequence: u64,
    pub time_ns: u64,
    pub container: &'a str,
    pub attempt: u32,
    pub stream: LogStream,
    pub partial: bool,
    pub bytes: &'a [u8],
}

impl RecordRef<'_> {
    /// Bytes that [`RecordRef::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        RECORD_HEAD_BYTES + self.container.len() + self.bytes.len()
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = self.container.as_bytes();
        let kind = match self.stream {
            LogStream::Stdout => KIND_STDOUT,
            LogStream::Stderr => KIND_STDERR,
            LogStream::Sealed => KIND_SEALED,
        };
        let mut head = [0; RECORD_HEAD_BYTES];
        let rest = &mut head.as_mut_slice();
        put(rest, length(self.encoded_len() - 4).to_be_bytes());
        put(rest, [kind]);
        put(rest, self.sequence.to_be_bytes());
        put(rest, self.time_ns.to_be_bytes());
        put(rest, self.attempt.to_be_bytes());
        put(rest, [if self.partial { PARTIAL } else { 0 }]);
        put(rest, u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.reserve(self.encoded_len());
        out.extend_from_slice(&head);
        out.extend_from_slice(name);
        out.extend_from_slice(self.bytes);
    }
}

/// Writes a field of a known size: stores, where copies of slices would be calls, seven for each log line in PID 1.
#[inline(always)]
fn put<const N: usize>(rest: &mut &mut [u8], field: [u8; N]) {
    if let Some((to, after)) = std::mem::take(rest).split_first_chunk_mut() {
        *to = field;
        *rest = after;
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes that are no log stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedLog;

impl fmt::Display for MalformedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed log record")
    }
}

impl std::error::Error for MalformedLog {}

/// Takes bytes as they come and gives entries.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What has arrived and is not a whole entry yet, or was not asked for.
    buffer: BytesMut,
    /// Whole entries.
    ready: Bytes,
    /// Name of the last record's container.
    name: Name,
}

impl Decoder {
    /// Nothing has arrived yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For bytes that hold whole entries only; a part of one at the end is malformed.
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            ready: bytes,
            ..Self::default()
        }
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where to read into, instead of [`Decoder::push`]; only to be appended to.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next complete entry. After an error the decoder is of no more use.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, MalformedLog> {
        if self.ready.is_empty() {
            let whole = whole(&self.buffer);
            if whole == 0 {
                return match frame(&self.buffer) {
                    Frame::TooLong => Err(MalformedLog),
                    Frame::Whole(_) | Frame::Part => Ok(None),
                };
            }
            self.ready = self.buffer.split_to(whole).freeze();
        }
        let Frame::Whole(end) = frame(&self.ready) else {
            return Err(MalformedLog);
        };
        let body = self.ready.get(4..end).ok_or(MalformedLog)?;
        let entry = match parse(body).ok_or(MalformedLog)? {
            Parsed::Record(record) => {
                if self.name != record.container {
                    self.name = Name::from(record.container);
                }
                Entry::Record(LogRecord {
                    sequence: record.sequence,
                    time_ns: record.time_ns,
                    container: self.name.clone(),
                    attempt: record.attempt,
                    stream: record.stream,
                    partial: record.partial,
                    bytes: self.ready.slice(end - record.bytes.len()..end),
                })
            }
            Parsed::Dropped(dropped) => Entry::Dropped(dropped),
        };
        bytes::Buf::advance(&mut self.ready, end);
        Ok(Some(entry))
    }
}

/// Where a record is in the stream, and how long it is: what is known without looking further than its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// [`RecordRef::sequence`].
    pub sequence: u64,
    /// Bytes of the whole record, encoded.
    pub length: usize,
    /// Bytes of its text.
    pub text: usize,
}

/// The head of the record at the start of `bytes`, which [`RecordRef::encode`] wrote.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let mut rest = bytes.get(..RECORD_HEAD_BYTES)?;
    let length = u32::from_be_bytes(take(&mut rest)?);
    let [_kind] = take(&mut rest)?;
    let sequence = u64::from_be_bytes(take(&mut rest)?);
    let name = u16::from_be_bytes(*bytes.get(RECORD_HEAD_BYTES - 2..)?.first_chunk()?);
    let length = 4 + usize::try_from(length).ok()?;
    let text = length.checked_sub(RECORD_HEAD_BYTES + usize::from(name))?;
    (length <= bytes.len()).then_some(Head {
        sequence,
        length,
        text,
    })
}

/// Walks whole records, as [`RecordRef::encode`] wrote them. Each comes with the bytes that it takes.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = (RecordRef<'_>, usize)> {
    std::iter::from_fn(move || {
        let Frame::Whole(end) = frame(bytes) else {
            return None;
        };
        let Parsed::Record(record) = parse(bytes.get(4..end)?)? else {
            return None;
        };
        bytes = bytes.get(end..)?;
        Some((record, end))
    })
}

enum Frame {
    /// The first entry ends here.
    Whole(usize),
    Part,
    TooLong,
}

fn frame(bytes: &[u8]) -> Frame {
    let Some(length) = bytes.first_chunk().map(|length| u32::from_be_bytes(*length)) else {
        return Frame::Part;
    };
    match usize::try_from(length) {
        Ok(length) if length <= MAX_RECORD_BYTES && bytes.len() >= 4 + length => Frame::Whole(4 + length),
        Ok(length) if length <= MAX_RECORD_BYTES => Frame::Part,
        _ => Frame::TooLong,
    }
}

/// Bytes of all whole entries at the start.
fn whole(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(Frame::Whole(end)) = bytes.get(at..).map(frame) {
        at += end;
    }
    at
}

enum Parsed<'a> {
    Record(RecordRef<'a>),
    Dropped(Dropped),
}

fn parse(mut body: &[u8]) -> Option<Parsed<'_>> {
    let [kind] = take::<1>(&mut body)?;
    let sequence = u64::from_be_bytes(take(&mut body)?);
    let stream = match kind {
        KIND_STDOUT => LogStream::Stdout,
        KIND_STDERR => LogStream::Stderr,
        KIND_SEALED => LogStream::Sealed,
        KIND_DROPPED => {
            let records = u64::from_be_bytes(take(&mut body)?);
            let name = std::str::from_utf8(body).ok()?;
            return Some(Parsed::Dropped(Dropped {
                first: sequence,
                records,
                container: (!name.is_empty()).then(|| Name::from(name)),
            }));
        }
        _ => return None,
    };
    let time_ns = u64::from_be_bytes(take(&mut body)?);
    let attempt = u32::from_be_bytes(take(&mut body)?);
    let [flags] = take::<1>(&mut body)?;
    let name_length = usize::from(u16::from_be_bytes(take(&mut body)?));
    let (name, bytes) = body.split_at_checked(name_length)?;
    Some(Parsed::Record(RecordRef {
        sequence,
        time_ns,
        container: std::str::from_utf8(name).ok()?,
        attempt,
        stream,
        partial: flags & PARTIAL != 0,
        bytes,
    }))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let record = (
            any::<(u64, u64, u32, bool)>(),
            prop::sample::select(vec![LogStream::Stdout, LogStream::Stderr, LogStream::Sealed]),
            "[a-z]{0,63}",
            prop::collection::vec(any::<u8>(), 0..300),
        )
            .prop_map(
                |((sequence, time_ns, attempt, partial), stream, container, bytes)| {
                    Entry::Record(LogRecord {
                        sequence,
                        time_ns,
                        container: container.into(),
                        attempt,
                        stream,
                        partial,
                        bytes: bytes.into(),
                    })
                },
            );
        let dropped = (any::<(u64, u64)>(), "[a-z]{0,63}").prop_map(|((first, records), name)| {
            Entry::Dropped(Dropped {
                first,
                records,
                container: (!name.is_empty()).then(|| name.into()),
            })
        });
        prop_oneof![record, dropped]
    }

    proptest! {
        #[test]
        fn entries_survive_any_chunking(entries in prop::collection::vec(entry(), 0..10), chunk in 1usize..64) {
            let mut bytes = Vec::new();
            for entry in &entries {
                entry.encode(&mut bytes);
            }
            prop_assert_eq!(bytes.len(), entries.iter().map(Entry::encoded_len).sum::<usize>());
            let mut decoder = Decoder::new();
            let mut decoded = Vec::new();
            for piece in bytes.chunks(chunk) {
                decoder.push(piece);
                while let Some(entry) = decoder.next_entry().expect("well-formed") {
                    decoded.push(entry);
                }
            }
            prop_assert_eq!(decoded, entries);
        }

        #[test]
        fn garbage_never_panics_and_is_never_kept_without_bound(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_entry() {}
        }
    }

    #[test]
    fn records_are_walked_where_they_lie() {
        let record = |sequence, text: &'static str| RecordRef {
            sequence,
            time_ns: 1,
            container: "app",
            attempt: 0,
            stream: LogStream::Stdout,
            partial: false,
            bytes: text.as_bytes(),
        };
        let mut bytes = Vec::new();
        record(1, "one").encode(&mut bytes);
        record(2, "").encode(&mut bytes);
        let walked: Vec<_> = records(&bytes).collect();
        assert_eq!(walked, [(record(1, "one"), 34), (record(2, ""), 31)]);
        let first = Head {
            sequence: 1,
            length: 34,
            text: 3,
        };
        assert_eq!(head(&bytes), Some(first));
        assert_eq!(head(&bytes[..33]), None);
        assert_eq!(records(&bytes[..bytes.len() - 1]).count(), 1);
    }
}
