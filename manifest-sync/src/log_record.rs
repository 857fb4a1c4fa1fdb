//! The log stream's format: binary entries, self-delimiting, bounded, with losses reported in-band.
//!
//! A record is one line of a container, or a piece of a long one, and has a sequence of its own. Records of one output that
//! were read together travel, and are kept, as one *run*: a flood costs a head for every few kilobytes, not one for each line.
//!
//! ```text
//! u32 length of what follows | u8 kind | u64 sequence | …
//! kind 0, 1 (stdout, stderr): u64 time (ns since 1970) | u32 attempt | u8 flags (bit 0: the last line is partial) |
//!                             u32 records | u16 name length | name | lines, a newline between two of them
//!                             (`sequence` is that of the first, the others follow)
//! kind 3 (sealed):            the same with one record, which is any bytes
//! kind 2 (dropped):           u64 records | name      (`sequence` is the first that is missing;
//!                                                      an empty name: it is not known whose they were)
//! ```
//! All integers are big-endian. Reading copies nothing: what a [`Decoder`] gives shares the buffer that it was read into.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

pub use bytes::{Bytes, BytesMut};

/// Largest entry: a line of 16 KiB, a name, and room to grow.
pub const MAX_ENTRY_BYTES: usize = 64 * 1024;
/// Bytes of a run beside its name and its text.
pub const RUN_HEAD_BYTES: usize = 4 + 1 + 8 + 8 + 4 + 1 + 4 + 2;
/// Bytes of a gap's entry beside the name.
const DROPPED_HEAD_BYTES: usize = 4 + 1 + 8 + 8;

const PARTIAL: u8 = 1;
const KIND_STDOUT: u8 = 0;
const KIND_STDERR: u8 = 1;
const KIND_DROPPED: u8 = 2;
const KIND_SEALED: u8 = 3;

/// Where the first line ends in `bytes`.
pub fn newline(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

/// The whole lines at the start of `bytes`, at most `most` bytes of them.
pub fn whole_lines(bytes: &[u8], most: usize) -> Option<WholeLines<'_>> {
    let window = bytes.get(..=most).unwrap_or(bytes);
    let end = memchr::memrchr(b'\n', window)?;
    let text = bytes.get(..end)?;
    Some(WholeLines {
        text,
        records: u32::try_from(1 + memchr::memchr_iter(b'\n', text).count()).ok()?,
        rest: bytes.get(end + 1..)?,
    })
}

/// Lines that are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeLines<'a> {
    /// As in a [`LogRun`]: without the last newline.
    pub text: &'a [u8],
    /// How many lines.
    pub records: u32,
    /// What follows them.
    pub rest: &'a [u8],
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

/// Records of one output of a container that were read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRun {
    /// Of the first record. Grows by one with each record of this boot, over all containers.
    pub sequence: u64,
    /// Nanoseconds since 1970-01-01 UTC, by the enclave's clock.
    pub time_ns: u64,
    /// Name of the container.
    pub container: Name,
    /// Its instance: 0 for the first.
    pub attempt: u32,
    /// Which output.
    pub stream: LogStream,
    /// The last line goes on in the next record of this output.
    pub partial: bool,
    /// How many there are; at least one.
    pub records: u32,
    /// The lines, with a newline between two of them.
    pub text: Bytes,
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
    /// Records.
    Run(LogRun),
    /// A gap.
    Dropped(Dropped),
}

impl Entry {
    /// The greatest sequence that this entry accounts for.
    pub fn last_sequence(&self) -> u64 {
        match self {
            Self::Run(run) => run.last_sequence(),
            Self::Dropped(dropped) => dropped.first.saturating_add(dropped.records).saturating_sub(1),
        }
    }

    /// Bytes that [`Entry::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Run(run) => run.as_ref().encoded_len(),
            Self::Dropped(dropped) => {
                DROPPED_HEAD_BYTES + dropped.container.as_ref().map_or(0, |name| name.len())
            }
        }
    }

    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run(run) => run.as_ref().encode(out),
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

impl LogRun {
    /// The same without a share in its buffer.
    pub fn as_ref(&self) -> RunRef<'_> {
        RunRef {
            sequence: self.sequence,
            time_ns: self.time_ns,
            container: &self.container,
            attempt: self.attempt,
            stream: self.stream,
            partial: self.partial,
            records: self.records,
            text: &self.text,
        }
    }

    /// Sequence of the last record.
    pub fn last_sequence(&self) -> u64 {
        self.sequence
            .saturating_add(u64::from(self.records.saturating_sub(1)))
    }

    /// Bytes of all lines, without what is between them.
    pub fn line_bytes(&self) -> u64 {
        (self.text.len() as u64).saturating_sub(u64::from(self.records.saturating_sub(1)))
    }

    /// What has a sequence above `sequence`.
    pub fn after(mut self, sequence: u64) -> Option<Self> {
        match sequence.checked_sub(self.sequence) {
            None => Some(self),
            Some(known) => self.split_off(known.saturating_add(1)),
        }
    }

    /// Leaves the first `records` in this run and returns the others; `None` when there are none. At least one stays.
    pub fn split_off(&mut self, records: u64) -> Option<Self> {
        let stay = u32::try_from(records).unwrap_or(u32::MAX).max(1);
        if stay >= self.records {
            return None;
        }
        let at = memchr::memchr_iter(b'\n', &self.text).nth(usize::try_from(stay - 1).ok()?)?;
        let rest = Self {
            sequence: self.sequence.saturating_add(u64::from(stay)),
            container: self.container.clone(),
            records: self.records - stay,
            text: self.text.slice(at + 1..),
            ..*self
        };
        self.text.truncate(at);
        (self.records, self.partial) = (stay, false);
        Some(rest)
    }
}

/// A run in somebody else's buffer. Its fields are those of a [`LogRun`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are documented in `LogRun`")]
pub struct RunRef<'a> {
    pub sequence: u64,
    pub time_ns: u64,
    pub container: &'a str,
    pub attempt: u32,
    pub stream: LogStream,
    pub partial: bool,
    pub records: u32,
    pub text: &'a [u8],
}

/// One record of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its own.
    pub sequence: u64,
    /// The line goes on in the next record of this output.
    pub partial: bool,
    /// The line, without its newline.
    pub line: &'a [u8],
}

impl<'a> RunRef<'a> {
    /// Bytes that [`RunRef::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        RUN_HEAD_BYTES + self.container.len() + self.text.len()
    }

    /// Appends the run to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = self.container.as_bytes();
        out.reserve(self.encoded_len());
        out.extend_from_slice(&length(self.encoded_len() - 4).to_be_bytes());
        out.push(match self.stream {
            LogStream::Stdout => KIND_STDOUT,
            LogStream::Stderr => KIND_STDERR,
            LogStream::Sealed => KIND_SEALED,
        });
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.time_ns.to_be_bytes());
        out.extend_from_slice(&self.attempt.to_be_bytes());
        out.push(if self.partial { PARTIAL } else { 0 });
        out.extend_from_slice(&self.records.to_be_bytes());
        out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(self.text);
    }

    /// The records, in sequence.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let (sequence, partial) = (self.sequence, self.partial);
        let last = u64::from(self.records).saturating_sub(1);
        // What is sealed is one record, whatever its bytes.
        let lines = split(self.text, last);
        (0..=last).zip(lines).map(move |(number, line)| Record {
            sequence: sequence.saturating_add(number),
            partial: partial && number == last,
            line,
        })
    }
}

/// Splits text at its newlines.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(text, u64::MAX)
}

/// Splits text at its first newlines, `most` of them.
fn split(text: &[u8], most: u64) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut left) = (Some(text), most);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let end = if left > 0 { newline(text) } else { None };
        let Some(end) = end else {
            return Some(text);
        };
        left -= 1;
        rest = text.get(end + 1..);
        text.get(..end)
    })
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes that are no log stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedLog;

impl fmt::Display for MalformedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed log entry")
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
    /// Name of the last run's container.
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
            Parsed::Run(run) => {
                if self.name != run.container {
                    self.name = Name::from(run.container);
                }
                Entry::Run(LogRun {
                    sequence: run.sequence,
                    time_ns: run.time_ns,
                    container: self.name.clone(),
                    attempt: run.attempt,
                    stream: run.stream,
                    partial: run.partial,
                    records: run.records,
                    text: self.ready.slice(end - run.text.len()..end),
                })
            }
            Parsed::Dropped(dropped) => Entry::Dropped(dropped),
        };
        bytes::Buf::advance(&mut self.ready, end);
        Ok(Some(entry))
    }
}

/// Where a run is in the stream, and how long it is: what is known without looking further than its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Sequence of the first record.
    pub first: u64,
    /// Sequence of the last.
    pub last: u64,
    /// Bytes of the whole run, encoded.
    pub length: usize,
    /// Bytes of its lines, without what is between them.
    pub line_bytes: usize,
}

/// The head of the run at the start of `bytes`, which [`RunRef::encode`] wrote.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let mut rest = bytes.get(..RUN_HEAD_BYTES)?;
    let length = u32::from_be_bytes(take(&mut rest)?);
    let [_kind] = take(&mut rest)?;
    let first = u64::from_be_bytes(take(&mut rest)?);
    let (_time, _attempt, _flags) = (
        take::<8>(&mut rest)?,
        take::<4>(&mut rest)?,
        take::<1>(&mut rest)?,
    );
    let others = u32::from_be_bytes(take(&mut rest)?).checked_sub(1)?;
    let name = u16::from_be_bytes(take(&mut rest)?);
    let length = 4 + usize::try_from(length).ok()?;
    let text = length.checked_sub(RUN_HEAD_BYTES + usize::from(name))?;
    (length <= bytes.len()).then_some(Head {
        first,
        last: first.saturating_add(u64::from(others)),
        length,
        line_bytes: text.saturating_sub(usize::try_from(others).ok()?),
    })
}

/// Walks whole runs, as [`RunRef::encode`] wrote them.
pub fn runs(mut bytes: &[u8]) -> impl Iterator<Item = RunRef<'_>> {
    std::iter::from_fn(move || {
        let Frame::Whole(end) = frame(bytes) else {
            return None;
        };
        let Parsed::Run(run) = parse(bytes.get(4..end)?)? else {
            return None;
        };
        bytes = bytes.get(end..)?;
        Some(run)
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
        Ok(length) if length <= MAX_ENTRY_BYTES && bytes.len() >= 4 + length => Frame::Whole(4 + length),
        Ok(length) if length <= MAX_ENTRY_BYTES => Frame::Part,
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
    Run(RunRef<'a>),
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
    let records = u32::from_be_bytes(take(&mut body)?);
    let name_length = usize::from(u16::from_be_bytes(take(&mut body)?));
    let (name, text) = body.split_at_checked(name_length)?;
    let lines = match stream {
        LogStream::Sealed => 1,
        // A run that says less would forge lines of its own.
        LogStream::Stdout | LogStream::Stderr => 1 + memchr::memchr_iter(b'\n', text).count(),
    };
    (u32::try_from(lines) == Ok(records)).then_some(Parsed::Run(RunRef {
        sequence,
        time_ns,
        container: std::str::from_utf8(name).ok()?,
        attempt,
        stream,
        partial: flags & PARTIAL != 0,
        records,
        text,
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

    fn run() -> impl Strategy<Value = LogRun> {
        (
            (any::<u32>(), any::<u64>(), any::<u32>(), any::<bool>()),
            prop::sample::select(vec![LogStream::Stdout, LogStream::Stderr, LogStream::Sealed]),
            "[a-z]{0,63}",
            prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n')], 0..300),
        )
            .prop_map(
                |((sequence, time_ns, attempt, partial), stream, container, text)| {
                    let lines = text.split(|byte| *byte == b'\n').count();
                    LogRun {
                        sequence: u64::from(sequence),
                        time_ns,
                        container: container.into(),
                        attempt,
                        stream,
                        partial,
                        records: if stream == LogStream::Sealed {
                            1
                        } else {
                            u32::try_from(lines).expect("few")
                        },
                        text: text.into(),
                    }
                },
            )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let dropped = (any::<(u64, u64)>(), "[a-z]{0,63}").prop_map(|((first, records), name)| {
            Entry::Dropped(Dropped {
                first,
                records,
                container: (!name.is_empty()).then(|| name.into()),
            })
        });
        prop_oneof![run().prop_map(Entry::Run), dropped]
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

    proptest! {
        #[test]
        fn a_run_is_its_records_wherever_it_is_split(run in run(), at in 1u64..20) {
            let told = |run: &LogRun| {
                let records: Vec<_> = run.as_ref().records().map(|one| (one.sequence, one.partial, one.line.to_vec())).collect();
                assert_eq!(records.len(), usize::try_from(run.records).expect("few"));
                assert_eq!(records.iter().map(|(.., line)| line.len() as u64).sum::<u64>(), run.line_bytes());
                assert_eq!(records.last().map(|last| (last.0, last.1)), Some((run.last_sequence(), run.partial)));
                records
            };
            let whole = told(&run);
            let mut first = run.clone();
            let rest = first.split_off(at);
            prop_assert_eq!(rest.is_some(), u64::from(run.records) > at);
            let mut parts = told(&first);
            parts.extend(rest.iter().flat_map(told));
            prop_assert_eq!(parts, whole);
        }
    }

    #[test]
    fn runs_are_walked_where_they_lie() {
        let run = |sequence, records, text: &'static str| RunRef {
            sequence,
            time_ns: 1,
            container: "app",
            attempt: 0,
            stream: LogStream::Stdout,
            partial: false,
            records,
            text: text.as_bytes(),
        };
        let mut bytes = Vec::new();
        run(1, 2, "one\ntwo").encode(&mut bytes);
        run(3, 1, "").encode(&mut bytes);
        assert_eq!(
            runs(&bytes).collect::<Vec<_>>(),
            [run(1, 2, "one\ntwo"), run(3, 1, "")]
        );
        let first = Head {
            first: 1,
            last: 2,
            length: 42,
            line_bytes: 6,
        };
        assert_eq!(head(&bytes), Some(first));
        assert_eq!(head(&bytes[..41]), None);
        assert_eq!(runs(&bytes[..bytes.len() - 1]).count(), 1);
    }

    #[test]
    fn a_run_that_counts_its_lines_wrong_is_malformed() {
        for (stream, records, good) in [
            (LogStream::Stdout, 1, false),
            (LogStream::Stdout, 2, true),
            (LogStream::Stderr, 3, false),
            (LogStream::Stdout, 0, false),
            (LogStream::Sealed, 2, false),
            (LogStream::Sealed, 1, true),
        ] {
            let mut bytes = Vec::new();
            RunRef {
                sequence: 1,
                time_ns: 1,
                container: "app",
                attempt: 0,
                stream,
                partial: false,
                records,
                text: b"one\nforged",
            }
            .encode(&mut bytes);
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            assert_eq!(decoder.next_entry().is_ok(), good, "{stream:?} {records}");
        }
    }
}
