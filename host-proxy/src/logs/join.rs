//! Puts the pieces of long lines together, up to a bound.

use std::collections::BTreeMap;

use manifest_sync::log_record::{LogRecord, LogStream};

use super::line::{Line, Source};

/// A line longer than this is given in pieces.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Unfinished lines kept; a hostile enclave could name any number of containers.
const MAX_PARTS: usize = 128;

/// Unfinished lines by container, and whether they are of standard error.
#[derive(Debug, Default)]
pub struct Joiner {
    parts: BTreeMap<(String, bool), Part>,
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
            let part = Part {
                place,
                time_ms,
                text: record.bytes,
            };
            return Some(line((record.container, record.stream == LogStream::Stderr), part));
        }
        let key = (record.container, record.stream == LogStream::Stderr);
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

fn line((container, error): (String, bool), part: Part) -> Line {
    Line {
        time_ms: part.time_ms,
        container,
        source: if error { Source::Stderr } else { Source::Stdout },
        text: part.text,
    }
}
