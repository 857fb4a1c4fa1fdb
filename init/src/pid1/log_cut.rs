//! Cuts an output into lines: what was read together stays together, in runs of whole lines. Pure.

use manifest_sync::log_record::{self, RUN_HEAD_BYTES};

use super::log_ring::PIECE_BYTES;

/// Full runs that fit into a piece of a ring: few heads, and little that is lost at once when a ring is full.
const RUNS_IN_PIECE: usize = 4;

/// One output.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The line that has no end yet.
    line: Vec<u8>,
    /// Longest line kept in one record; longer ones become several, marked partial (as CRI logs are).
    max_line: usize,
    /// Most bytes of whole lines in one run.
    max_run: usize,
}

/// What was cut off: whole lines, one line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    /// The lines, with a newline between two of them.
    pub(super) text: &'a [u8],
    /// How many.
    pub(super) records: u32,
    /// The line goes on.
    pub(super) partial: bool,
}

impl<'a> Cut<'a> {
    fn one(text: &'a [u8]) -> Self {
        Self {
            text,
            records: 1,
            partial: false,
        }
    }
}

impl Cutter {
    /// For an output of a container, whose name is in the head of each run.
    pub(super) fn new(max_line: usize, container: &str) -> Self {
        let run = (PIECE_BYTES / RUNS_IN_PIECE).saturating_sub(RUN_HEAD_BYTES + container.len());
        Self {
            line: Vec::new(),
            max_line,
            max_run: run.min(max_line),
        }
    }

    /// Takes bytes as they were read.
    pub(super) fn cut(&mut self, mut bytes: &[u8], mut push: impl FnMut(Cut<'_>)) {
        loop {
            if self.line.is_empty()
                && let Some(whole) = log_record::whole_lines(bytes, self.max_run)
            {
                bytes = whole.rest;
                push(Cut {
                    records: whole.records,
                    ..Cut::one(whole.text)
                });
                continue;
            }
            // A line that has begun before, or is too long for a run.
            let Some(end) = log_record::newline(bytes) else {
                break;
            };
            let (rest, after) = bytes.split_at(end);
            bytes = after.get(1..).unwrap_or_default();
            let rest = self.pieces(rest, &mut push);
            self.line.extend_from_slice(rest);
            push(Cut::one(&self.line));
            self.line.clear();
        }
        let rest = self.pieces(bytes, &mut push);
        self.line.extend_from_slice(rest);
    }

    /// The output has ended, which ends its last line; says whether there was one without an end.
    pub(super) fn finish(&mut self, mut push: impl FnMut(Cut<'_>)) -> bool {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            push(Cut::one(&line));
        }
        !line.is_empty()
    }

    /// Cuts full pieces off a line that is too long; returns what of `bytes` is left, which has room in the line.
    fn pieces<'a>(&mut self, mut bytes: &'a [u8], push: &mut impl FnMut(Cut<'_>)) -> &'a [u8] {
        while self.line.len() + bytes.len() > self.max_line {
            let (now, later) = bytes.split_at((self.max_line - self.line.len()).min(bytes.len()));
            bytes = later;
            self.line.extend_from_slice(now);
            push(Cut {
                partial: true,
                ..Cut::one(&self.line)
            });
            self.line.clear();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_is_in_one_record_wherever_it_was_cut(
            bytes in prop::collection::vec(prop_oneof![3 => Just(b'a'), 1 => Just(b'\n')], 0..200),
            chunk in 1usize..50,
            (max_line, max_run) in (1usize..20).prop_flat_map(|line| (Just(line), 1..=line)),
        ) {
            let mut cutter = Cutter { line: Vec::new(), max_line, max_run };
            let mut whole = Vec::new();
            let mut push = |cut: Cut<'_>| {
                let lines: Vec<_> = cut.text.split(|byte| *byte == b'\n').collect();
                assert_eq!(lines.len(), usize::try_from(cut.records).expect("few"));
                assert!(lines.iter().all(|line| line.len() <= max_line), "{cut:?}");
                assert!(lines.len() == 1 || cut.text.len() <= max_run, "{cut:?}");
                assert!(!cut.partial || cut.text.len() == max_line, "{cut:?}");
                whole.extend_from_slice(cut.text);
                if !cut.partial {
                    whole.push(b'\n');
                }
            };
            for piece in bytes.chunks(chunk) {
                cutter.cut(piece, &mut push);
            }
            let had_rest = cutter.finish(&mut push);
            let mut expected = bytes.clone();
            if had_rest {
                expected.push(b'\n');
            }
            prop_assert_eq!(whole, expected);
        }
    }

    #[test]
    fn what_was_read_together_is_one_run() {
        let mut cutter = Cutter::new(16 << 10, "app");
        let line = [b'x'; 99];
        let many = [&line[..], b"\n"].concat().repeat(200);
        let mut runs = Vec::new();
        cutter.cut(&many, |cut| runs.push((cut.records, cut.text.len())));
        assert_eq!(runs, [(81, 8099), (81, 8099), (38, 3799)]);
    }
}
