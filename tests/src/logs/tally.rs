//! What arrived: numbers of lines by container, what came twice, what is said to be missing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Everything that a server has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Distinct lines of each container.
    pub lines: BTreeMap<String, BTreeSet<u64>>,
    /// Records that are said to be missing, by container; `-` for those of nobody in particular.
    pub dropped: BTreeMap<String, u64>,
    /// How often that is said.
    pub gaps: u64,
    /// Lines that say that they may come twice.
    pub resent: u64,
    /// Lines that did.
    pub doubled: u64,
    /// Lines that did without saying so.
    pub doubled_unmarked: u64,
    /// Lines that nobody has written.
    pub strange: u64,
    sequences: HashSet<u64>,
    /// Bytes of the server's output that are in here.
    read: u64,
}

impl Tally {
    /// How many lines there are.
    pub fn distinct(&self) -> u64 {
        self.lines.values().map(|lines| lines.len() as u64).sum()
    }

    /// How many are said to be missing.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Lines that are there, or known not to be.
    pub fn accounted(&self) -> u64 {
        self.distinct() + self.dropped()
    }

    /// Goes on with the output of rsyslog, structured data and text of each message, where it stopped.
    pub(super) fn read_on(&mut self, path: &Path) {
        let mut new = Vec::new();
        let read = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut new)
        });
        // There is none yet, or its last line is half of one.
        if read.is_err() {
            return;
        }
        for line in new
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"))
        {
            self.read += line.len() as u64;
            self.take(&String::from_utf8_lossy(line));
        }
    }

    fn take(&mut self, line: &str) {
        if !line.starts_with("[cloister") {
            // What rsyslog says of itself.
            return;
        }
        let number = |name: &str| parameter(line, name)?.parse::<u64>().ok();
        let container = parameter(line, "container");
        if let Some(dropped) = number("dropped") {
            let container = container.unwrap_or("-").to_owned();
            *self.dropped.entry(container).or_default() += dropped;
            self.gaps += 1;
            return;
        }
        let text = line.trim_end().rsplit_once("] line ");
        let counted = text.and_then(|(_, counted)| counted.parse().ok());
        let (Some(container), Some(sequence), Some(counted)) = (container, number("sequence"), counted)
        else {
            self.strange += 1;
            return;
        };
        let marked = parameter(line, "resent").is_some();
        let again = !self.sequences.insert(sequence);
        self.resent += u64::from(marked);
        self.doubled += u64::from(again);
        self.doubled_unmarked += u64::from(again && !marked);
        match self.lines.get_mut(container) {
            Some(lines) => lines.insert(counted),
            None => self
                .lines
                .entry(container.to_owned())
                .or_default()
                .insert(counted),
        };
    }
}

fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"')?.0)
}

/// Numbers of a file in the CRI format, in order.
///
/// # Errors
/// There is a line that counts nothing.
pub(super) fn read_cri(path: &Path) -> Result<Vec<u64>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be half of one.
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        // A notice lies with the lines of whom it is about.
        .filter(|line| !line.contains(" stderr F -- "))
        .map(|line| {
            let number = line.split_once(" stdout F line ").map(|(_, number)| number);
            let number = number.and_then(|number| number.parse().ok());
            number.with_context(|| format!("{}: {line:?}", path.display()))
        })
        .collect()
}
