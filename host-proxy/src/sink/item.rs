//! What travels to a sink: records and notices of what is missing, each with its place in the spool.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifest_sync::log_record::{Entry, LogRun};
use serde::{Deserialize, Serialize};

/// Where records come from: one boot of one enclave, and the Pod in it. What the enclave says of itself is a label
/// here and nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Tells boots apart, 32 hexadecimal digits. Sequences begin anew with each.
    pub boot: String,
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub pod: String,
    /// UID of the Pod.
    pub uid: String,
}

impl Origin {
    /// The boot that a session key stands for. The key is made at boot and is a secret; its digest is none.
    pub fn boot_of(session: &str) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"cloister: boot of a log stream\0");
        context.update(session.as_bytes());
        let digest = context.finish();
        digest
            .as_ref()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Largest gap that is believed: a hostile enclave must not overflow the numbering.
const MAX_GAP: u64 = 1 << 40;

/// Places in the spool that an entry takes: one for each record, missing or not, so that subtraction counts.
pub(super) fn span(entry: &Entry) -> u64 {
    match entry {
        Entry::Run(run) => u64::from(run.records),
        Entry::Dropped(dropped) => dropped.records.clamp(1, MAX_GAP),
    }
}

/// Records that were read together, or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Place in the spool, of the first record.
    pub(super) index: u64,
    /// Place of what follows.
    pub(super) next: u64,
    /// They may have been delivered before: whoever sent them ended before it was told.
    pub(super) resent: bool,
    /// The content.
    pub(super) body: Body,
}

/// Content of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Run(LogRun),
    Notice(Notice),
}

impl Item {
    /// An entry at its place.
    pub(super) fn new(index: u64, entry: Entry) -> Self {
        let places = span(&entry);
        let next = index.saturating_add(places);
        let body = match entry {
            Entry::Run(run) => Body::Run(run),
            Entry::Dropped(dropped) => Body::Notice(Notice {
                container: dropped.container.as_deref().map(str::to_owned),
                // A gap that was cut down to what is believed is told as it is counted.
                records: places,
                cause: Cause::Enclave,
                time_ns: now_ns(),
            }),
        };
        Self {
            index,
            next,
            resent: false,
            body,
        }
    }

    /// Records in it; a notice is none.
    pub(super) fn records(&self) -> u64 {
        match &self.body {
            Body::Run(run) => u64::from(run.records),
            Body::Notice(_) => 0,
        }
    }

    /// Roughly what it takes in a batch.
    pub(super) fn weight(&self) -> usize {
        match &self.body {
            Body::Run(run) => {
                let each = run.container.len() + 64;
                run.text.len() + each * usize::try_from(run.records).unwrap_or(usize::MAX)
            }
            Body::Notice(_) => 128,
        }
    }

    /// Place after the record `sequence`, if that is in it or before it.
    pub(super) fn place_after(&self, sequence: u64) -> Option<u64> {
        match &self.body {
            Body::Run(run) => {
                let known = sequence.checked_sub(run.sequence)?.saturating_add(1);
                Some(self.index.saturating_add(known).min(self.next))
            }
            Body::Notice(_) => None,
        }
    }

    /// Leaves what is before `place` in this item and returns the rest, if it is a run that goes across it.
    pub(super) fn split_off(&mut self, place: u64) -> Option<Self> {
        let Body::Run(run) = &mut self.body else {
            return None;
        };
        let rest = run.split_off(place.checked_sub(self.index).filter(|before| *before > 0)?)?;
        let rest = Self {
            index: place,
            next: self.next,
            resent: self.resent,
            body: Body::Run(rest),
        };
        self.next = place;
        Some(rest)
    }
}

/// Leaves what is before `place` in `items` and returns the rest; a notice is not cut.
pub(super) fn split_off(items: &mut Vec<Item>, place: u64) -> Vec<Item> {
    let whole = items.partition_point(|item| item.next <= place);
    let mut rest = items.split_off(whole);
    if let Some(first) = rest.first_mut()
        && let Some(after) = first.split_off(place)
    {
        items.push(std::mem::replace(first, after));
    }
    rest
}

/// Records that nobody will see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whose; `None`: unknown, or of several.
    pub(crate) container: Option<String>,
    /// How many.
    pub(crate) records: u64,
    /// Why.
    pub(crate) cause: Cause,
    /// When it was noticed, in nanoseconds since 1970.
    pub(crate) time_ns: u64,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The enclave's ring was full.
    Enclave,
    /// The spool was full, or damaged.
    Spool,
}

impl Notice {
    /// The notice for people.
    pub(crate) fn text(&self) -> String {
        let records = self.records;
        let of = match &self.container {
            Some(container) => format!("{records} records of container {container} were dropped"),
            None => format!("{records} records were dropped"),
        };
        match self.cause {
            Cause::Enclave => format!("{of} in the enclave: nobody read them in time"),
            Cause::Spool => format!("{of}: the log spool was full"),
        }
    }

    /// The word for programs.
    pub(super) fn cause_word(&self) -> &'static str {
        match self.cause {
            Cause::Enclave => "enclave",
            Cause::Spool => "spool",
        }
    }
}

/// Containers told apart in a count; a hostile enclave could name any number.
const MAX_NAMES: usize = 128;

/// What a sink will not get, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lost {
    containers: BTreeMap<String, u64>,
    unnamed: u64,
    /// What the enclave dropped; an empty name: of somebody.
    enclave: BTreeMap<String, u64>,
}

impl Lost {
    /// Counts one entry.
    pub(super) fn count(&mut self, entry: &Entry) {
        match entry {
            Entry::Dropped(dropped) => {
                let full = self.enclave.len() >= MAX_NAMES;
                let name = dropped.container.as_deref().filter(|_| !full).unwrap_or_default();
                let count = self.enclave.entry(name.to_owned()).or_default();
                *count = count.saturating_add(dropped.records);
            }
            Entry::Run(run) => {
                let records = u64::from(run.records);
                let full = self.containers.len() >= MAX_NAMES;
                match self.containers.get_mut(&*run.container) {
                    Some(count) => *count += records,
                    None if full => self.unnamed += records,
                    None => {
                        self.containers.insert(run.container.to_string(), records);
                    }
                }
            }
        }
    }

    /// Counts places whose content is unknown.
    pub(super) fn count_unnamed(&mut self, places: u64) {
        self.unnamed += places;
    }

    /// Records that this side lost; those that the enclave dropped are not among them.
    pub(super) fn total(&self) -> u64 {
        self.containers.values().sum::<u64>() + self.unnamed
    }

    /// Whether there is nothing to report.
    pub(super) fn is_empty(&self) -> bool {
        self.total() == 0 && self.enclave.is_empty()
    }

    /// One notice for each container, at place `next`.
    pub(super) fn into_items(self, next: u64) -> Vec<Item> {
        let notice = |container, records, cause| Item {
            index: next.saturating_sub(1),
            next,
            resent: false,
            body: Body::Notice(Notice {
                container,
                records,
                cause,
                time_ns: now_ns(),
            }),
        };
        let mut items = Vec::new();
        for (container, records) in self.enclave {
            let container = Some(container).filter(|name| !name.is_empty());
            items.push(notice(container, records, Cause::Enclave));
        }
        for (container, records) in self.containers {
            items.push(notice(Some(container), records, Cause::Spool));
        }
        if self.unnamed > 0 {
            items.push(notice(None, self.unnamed, Cause::Spool));
        }
        items
    }
}

/// What is delivered together: of one origin, in order.
#[derive(Debug)]
pub(super) struct Batch {
    /// Of all items.
    pub(super) origin: Arc<Origin>,
    /// At least one.
    pub(super) items: Vec<Item>,
}

impl Batch {
    /// Place of what follows the last item.
    pub(super) fn end(&self) -> u64 {
        self.items.last().map_or(0, |item| item.next)
    }

    /// Records in it.
    pub(super) fn records(&self) -> u64 {
        self.items.iter().map(Item::records).sum()
    }

    /// Sequence of the last record before `place`.
    pub(super) fn last_sequence(&self, place: u64) -> Option<u64> {
        self.items.iter().rev().find_map(|item| match &item.body {
            Body::Run(run) if item.index < place => {
                let taken = place.min(item.next) - item.index;
                Some(run.sequence.saturating_add(taken - 1))
            }
            Body::Run(_) | Body::Notice(_) => None,
        })
    }
}

/// Nanoseconds since 1970, now.
pub(super) fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
