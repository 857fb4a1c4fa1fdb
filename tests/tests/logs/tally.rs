//! What arrived: numbers of lines by container, what came twice, what is said to be missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Everything that a server has.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Distinct lines of each container.
    pub(crate) lines: BTreeMap<String, BTreeSet<u64>>,
    /// Records that are said to be missing, by container; `-` for those of nobody in particular.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Lines that say that they may come twice.
    pub(crate) resent: u64,
    /// Lines that did.
    pub(crate) doubled: u64,
    /// Lines that did without saying so.
    pub(crate) doubled_unmarked: u64,
}

impl Tally {
    pub(crate) fn distinct(&self) -> u64 {
        self.lines.values().map(|lines| lines.len() as u64).sum()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// The output of rsyslog: structured data and text of each message.
pub(crate) fn read_syslog(path: &Path) -> Tally {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut tally = Tally::default();
    let mut sequences: HashMap<u64, u32> = HashMap::new();
    // The last line may be half of one.
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.starts_with("[cloister") && line.ends_with('\n'))
    {
        if let Some(dropped) = parameter(line, "dropped") {
            let container = parameter(line, "container").unwrap_or("-").to_owned();
            *tally.dropped.entry(container).or_default() += dropped.parse::<u64>().expect("a number");
            continue;
        }
        let (Some(container), Some(sequence)) = (parameter(line, "container"), parameter(line, "sequence"))
        else {
            continue;
        };
        let number = line.trim_end().rsplit_once("line ").expect("a counted line").1;
        let number = number.parse().expect("a number");
        let marked = parameter(line, "resent").is_some();
        let times = sequences.entry(sequence.parse().expect("a number")).or_default();
        *times += 1;
        tally.resent += u64::from(marked);
        tally.doubled += u64::from(*times > 1);
        tally.doubled_unmarked += u64::from(*times > 1 && !marked);
        tally
            .lines
            .entry(container.to_owned())
            .or_default()
            .insert(number);
    }
    tally
}

fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"')?.0)
}

/// Numbers of a file in the CRI format, in order.
pub(crate) fn read_cri(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be half of one.
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        // A notice lies with the lines of whom it is about.
        .filter(|line| !line.contains(" stderr F -- "))
        .map(|line| {
            let number = line.split_once(" stdout F line ");
            let number = number.unwrap_or_else(|| panic!("{}: {line:?}", path.display())).1;
            number
                .parse()
                .unwrap_or_else(|_| panic!("{}: {line:?}", path.display()))
        })
        .collect()
}
