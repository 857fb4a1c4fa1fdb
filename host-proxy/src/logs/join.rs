//! Puts the pieces of long lines together, up to a bound.

use std::collections::BTreeMap;

use manifest_sync::log_record::{LogRun, LogStream, Name};

use super::line::Lines;

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
    /// Takes the run whose first record is at `place`; gives what is complete with it to `lines`.
    pub fn join(&mut self, mut place: u64, mut run: LogRun, lines: &mut Vec<Lines>) {
        if self.parts.is_empty() && !run.partial {
            // Nearly always.
            lines.push(run.into());
            return;
        }
        let key = (run.container.clone(), run.stream);
        if let Some(mut part) = self.parts.remove(&key) {
            let rest = run.split_off(1);
            part.time_ms = run.time_ns / 1_000_000;
            part.text.extend_from_slice(&run.text);
            if run.partial && part.text.len() < MAX_LINE_BYTES {
                self.parts.insert(key, part);
                return;
            }
            lines.push(joined(key.clone(), part));
            let Some(rest) = rest else { return };
            (run, place) = (rest, place + 1);
        }
        if !run.partial || self.parts.len() >= MAX_PARTS {
            lines.push(run.into());
            return;
        }
        let complete = u64::from(run.records) - 1;
        let last = match run.split_off(complete) {
            None => run,
            Some(last) => {
                lines.push(run.into());
                last
            }
        };
        let part = Part {
            place: place + complete,
            time_ms: last.time_ns / 1_000_000,
            text: last.text.to_vec(),
        };
        self.parts.insert(key, part);
    }

    /// Place of the first record of an unfinished line.
    pub fn oldest(&self) -> Option<u64> {
        self.parts.values().map(|part| part.place).min()
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Vec<Lines> {
        std::mem::take(&mut self.parts)
            .into_iter()
            .map(|(key, part)| joined(key, part))
            .collect()
    }
}

fn joined((container, stream): (Name, LogStream), part: Part) -> Lines {
    Lines {
        time_ms: part.time_ms,
        container,
        source: stream.into(),
        count: 1,
        text: part.text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sequence: u64, partial: bool, text: &'static str) -> LogRun {
        LogRun {
            sequence,
            time_ns: 1,
            container: "app".into(),
            attempt: 0,
            stream: LogStream::Stdout,
            partial,
            records: u32::try_from(text.split('\n').count()).expect("few"),
            text: text.into(),
        }
    }

    #[test]
    fn pieces_become_lines_wherever_runs_begin_and_end() {
        let mut joiner = Joiner::default();
        let mut lines = Vec::new();
        let mut told = |joiner: &mut Joiner, run: LogRun| {
            joiner.join(run.sequence, run, &mut lines);
            let told = |lines: Lines| (lines.count, String::from_utf8_lossy(&lines.text).into_owned());
            lines.drain(..).map(told).collect::<Vec<_>>()
        };
        let one = |text: &str| (1, text.to_owned());
        assert_eq!(told(&mut joiner, run(1, false, "a\nb")), [(2, "a\nb".to_owned())]);
        assert_eq!(
            told(&mut joiner, run(3, true, "c\nd\nlo")),
            [(2, "c\nd".to_owned())]
        );
        assert_eq!(joiner.oldest(), Some(5));
        assert_eq!(told(&mut joiner, run(6, true, "n")), []);
        assert_eq!(
            told(&mut joiner, run(7, true, "g\ne\nha")),
            [one("long"), one("e")]
        );
        assert_eq!(joiner.oldest(), Some(9));
        assert_eq!(told(&mut joiner, run(10, false, "lf")), [one("half")]);
        assert_eq!((joiner.oldest(), joiner.finish()), (None, vec![]));
        assert_eq!(told(&mut joiner, run(11, true, "end")), []);
        assert_eq!(joiner.finish().len(), 1);
    }
}
