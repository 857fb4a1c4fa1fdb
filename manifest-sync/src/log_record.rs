//! The log stream's format: binary records, self-delimiting, bounded, with losses reported in-band.
//!
//! ```text
//! u32 length of what follows | u8 kind | u64 sequence | …
//! kind 0, 1 (stdout, stderr): u64 time (ns since 1970) | u32 attempt | u8 flags (bit 0: partial line) |
//!                             u16 name length | name | line bytes
//! kind 2 (dropped):           u64 records          (`sequence` is the first that is missing)
//! ```
//! All integers are big-endian.

use std::fmt;

/// Largest record: a line of 16 KiB, a name, and room to grow.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

const PARTIAL: u8 = 1;
const KIND_DROPPED: u8 = 2;

/// One piece of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Grows by one with each record of this boot, over all containers.
    pub sequence: u64,
    /// Nanoseconds since 1970-01-01 UTC, by the enclave's clock.
    pub time_ns: u64,
    /// Name of the container.
    pub container: String,
    /// Its instance: 0 for the first.
    pub attempt: u32,
    /// Which output.
    pub stream: LogStream,
    /// The line goes on in the next record of this output.
    pub partial: bool,
    /// The line, without its newline.
    pub bytes: Vec<u8>,
}

/// An output of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Records that were dropped because no host read them in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Sequence of the first missing record.
    pub first: u64,
    /// How many are missing.
    pub records: u64,
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

    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match self {
            Self::Record(record) => encode_record(record, out),
            Self::Dropped(dropped) => {
                out.push(KIND_DROPPED);
                out.extend_from_slice(&dropped.first.to_be_bytes());
                out.extend_from_slice(&dropped.records.to_be_bytes());
            }
        }
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(prefix) = out.get_mut(start..start + 4) {
            prefix.copy_from_slice(&length.to_be_bytes());
        }
    }
}

fn encode_record(record: &LogRecord, out: &mut Vec<u8>) {
    out.push(match record.stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    });
    out.extend_from_slice(&record.sequence.to_be_bytes());
    out.extend_from_slice(&record.time_ns.to_be_bytes());
    out.extend_from_slice(&record.attempt.to_be_bytes());
    out.push(if record.partial { PARTIAL } else { 0 });
    let name = record.container.as_bytes();
    out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&record.bytes);
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
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Nothing has arrived yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete entry. After an error the decoder is of no more use.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, MalformedLog> {
        let mut rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some(length) = take::<4>(&mut rest).map(u32::from_be_bytes) else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_RECORD_BYTES {
            return Err(MalformedLog);
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let entry = decode(body).ok_or(MalformedLog)?;
        self.taken += 4 + length;
        Ok(Some(entry))
    }
}

fn decode(mut body: &[u8]) -> Option<Entry> {
    let [kind] = take::<1>(&mut body)?;
    let sequence = u64::from_be_bytes(take(&mut body)?);
    let stream = match kind {
        0 => LogStream::Stdout,
        1 => LogStream::Stderr,
        KIND_DROPPED => {
            let records = u64::from_be_bytes(take(&mut body)?);
            return body.is_empty().then_some(Entry::Dropped(Dropped {
                first: sequence,
                records,
            }));
        }
        _ => return None,
    };
    let time_ns = u64::from_be_bytes(take(&mut body)?);
    let attempt = u32::from_be_bytes(take(&mut body)?);
    let [flags] = take::<1>(&mut body)?;
    let name_length = usize::from(u16::from_be_bytes(take(&mut body)?));
    let (name, bytes) = body.split_at_checked(name_length)?;
    Some(Entry::Record(LogRecord {
        sequence,
        time_ns,
        container: String::from_utf8(name.to_vec()).ok()?,
        attempt,
        stream,
        partial: flags & PARTIAL != 0,
        bytes: bytes.to_vec(),
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
            any::<(u64, u64, u32, bool, bool)>(),
            "[a-z]{0,63}",
            prop::collection::vec(any::<u8>(), 0..300),
        )
            .prop_map(
                |((sequence, time_ns, attempt, error, partial), container, bytes)| {
                    let stream = if error {
                        LogStream::Stderr
                    } else {
                        LogStream::Stdout
                    };
                    Entry::Record(LogRecord {
                        sequence,
                        time_ns,
                        container,
                        attempt,
                        stream,
                        partial,
                        bytes,
                    })
                },
            );
        let dropped =
            any::<(u64, u64)>().prop_map(|(first, records)| Entry::Dropped(Dropped { first, records }));
        prop_oneof![record, dropped]
    }

    proptest! {
        #[test]
        fn entries_survive_any_chunking(entries in prop::collection::vec(entry(), 0..10), chunk in 1usize..64) {
            let mut bytes = Vec::new();
            for entry in &entries {
                entry.encode(&mut bytes);
            }
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
}
