//! Puts the pieces of long lines together, up to a bound.

use std::collections::BTreeMap;

use manifest_sync::log_record::{LogRecord, LogStream, Name};

use super::line::Line;

/// A line longer than this is given in pieces.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Unfinished lines kept; a hostile enclave could name any number of containers.
const MAX_PARTS: usize = 128;

/// Unfinished lines by container and stream.
#[derive(Debug, Default)]
pub struct Joiner {
    parts: BTreeMap<(Name, LogStream), Part>,
}

#[derive(Debug)]
struct Part {
    place: u64,
    time_ms: u64,
    text: Vec<u8>,
}

impl Joiner {
    /// Takes the record at `place`; gives the line that it ends.
    pub fn join(&mut self, place: u64, record: LogRecord) -> Option<Line> {
        let time_ms = record.time_ns / 1_000_000;
        if self.parts.is_empty() && !record.partial {
            // Nearly always.
            return Some(Line {
                time_ms,
                container: record.container,
                source: record.stream.into(),
                text: record.bytes,
            });
        }
        let key = (record.container, record.stream);
        let mut part = self.parts.remove(&key).unwrap_or(Part {
            place,
            time_ms,
            text: Vec::new(),
        });
        part.time_ms = time_ms;
        part.text.extend_from_slice(&record.bytes);
        if record.partial && part.text.len() < MAX_LINE_BYTES && self.parts.len() < MAX_PARTS {
            self.parts.insert(key, part);
            return None;
        }
        Some(line(key, part))
    }

    /// Place of the first record of an unfinished line.
    pub fn oldest(&self) -> Option<u64> {
        self.parts.values().map(|part| part.place).min()
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.parts)
            .into_iter()
            .map(|(key, part)| line(key, part))
            .collect()
    }
}

fn line((container, stream): (Name, LogStream), part: Part) -> Line {
    Line {
        time_ms: part.time_ms,
        container,
        source: stream.into(),
        text: part.text.into(),
    }
}
