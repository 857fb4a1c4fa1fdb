//! Counters of the log path, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use manifest_sync::log_record::{LogStream, Name};

use super::spool::{Spool, SpoolCounts};

/// Containers told apart; a hostile enclave could name any number.
const MAX_CONTAINERS: usize = 64;
/// The name under which the others are counted.
const OTHERS: &str = "(others)";

/// What was counted until now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// What the enclave sent.
    pub received: Vec<Received>,
    /// Records that the enclave dropped before anybody read them, by container; an empty name: it is not known whose.
    pub enclave_dropped: BTreeMap<String, u64>,
    /// The spool.
    pub spool: SpoolCounts,
    /// The sinks.
    pub sinks: Vec<SinkCounts>,
}

/// One output of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its container.
    pub container: String,
    /// `stdout`, `stderr` or `sealed`.
    pub stream: &'static str,
    /// Records.
    pub records: u64,
    /// Bytes of text.
    pub bytes: u64,
}

/// One sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// Its name.
    pub sink: String,
    /// Records that it took.
    pub sent: u64,
    /// Records that it was sent a second time, because it is not known whether it took them.
    pub resent: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Batches that it refused for good.
    pub errors: u64,
    /// Records in them.
    pub refused: u64,
    /// Records that it will not get, because the spool was full.
    pub dropped: u64,
    /// Records that wait for it.
    pub lag: u64,
}

/// Counters of one sink, which its thread writes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: AtomicU64,
    pub(super) resent: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) accepted: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Relaxed);
}

/// All counters; cheap to clone.
#[derive(Clone, Default)]
pub struct Counts(Arc<Inner>);

#[derive(Default)]
struct Inner {
    received: Mutex<BTreeMap<(String, LogStream), (u64, u64)>>,
    enclave_dropped: Mutex<BTreeMap<String, u64>>,
    sinks: Mutex<Vec<(String, Arc<Tally>)>>,
    spool: Mutex<Option<Arc<Spool>>>,
}

impl Counts {
    /// Counts records, with their bytes, of one output.
    pub(super) fn received(&self, container: &str, stream: LogStream, (records, bytes): (u64, u64)) {
        let mut received = self.0.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (container.to_owned(), stream);
        if received.len() >= 2 * MAX_CONTAINERS && !received.contains_key(&key) {
            key.0 = OTHERS.to_owned();
        }
        let count = received.entry(key).or_default();
        count.0 += records;
        count.1 += bytes;
    }

    /// Counts records that the enclave dropped, of this container if it is known.
    pub(super) fn enclave_dropped(&self, container: Option<&Name>, records: u64) {
        let mut dropped = self
            .0
            .enclave_dropped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let full = dropped.len() >= MAX_CONTAINERS;
        let name = match container.map_or("", |name| &**name) {
            known if dropped.contains_key(known) => known,
            new if full && !new.is_empty() => OTHERS,
            name => name,
        };
        let count = dropped.entry(name.to_owned()).or_default();
        *count = count.saturating_add(records);
    }

    /// Shows the counters of a spool.
    pub(super) fn show_spool(&self, spool: &Arc<Spool>) {
        *self.0.spool.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(spool));
    }

    /// Shows the counters of a sink; sinks are shown in the order of their numbers in the spool.
    pub(super) fn show_sink(&self, name: &str) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut sinks = self.0.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.push((name.to_owned(), Arc::clone(&tally)));
        tally
    }

    /// What was counted until now.
    pub fn read(&self) -> LogCounts {
        let received = self.0.received.lock().unwrap_or_else(PoisonError::into_inner);
        let received = received
            .iter()
            .map(|((container, stream), (records, bytes))| Received {
                container: container.clone(),
                stream: stream.word(),
                records: *records,
                bytes: *bytes,
            })
            .collect();
        let spool = self
            .0
            .spool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let sinks = self.0.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let sinks = sinks
            .iter()
            .enumerate()
            .map(|(number, (name, tally))| {
                let (next, dropped) = spool.as_ref().map_or((0, 0), |spool| {
                    let state = spool.state();
                    let place = state.sinks.get(number);
                    (state.next, place.map_or(0, |place| place.lost_total))
                });
                SinkCounts {
                    sink: name.clone(),
                    sent: tally.sent.load(Relaxed),
                    resent: tally.resent.load(Relaxed),
                    retries: tally.retries.load(Relaxed),
                    errors: tally.errors.load(Relaxed),
                    refused: tally.refused.load(Relaxed),
                    dropped,
                    lag: next.saturating_sub(tally.accepted.load(Relaxed)),
                }
            })
            .collect();
        let dropped = self.0.enclave_dropped.lock();
        let enclave_dropped = dropped.unwrap_or_else(PoisonError::into_inner).clone();
        LogCounts {
            received,
            enclave_dropped,
            spool: spool.map(|spool| spool.counts()).unwrap_or_default(),
            sinks,
        }
    }
}
