//! The log back-end's side: opens batches and tells what is missing, moved, repeated or forged.

use std::collections::BTreeMap;
use std::fmt;

use x25519_dalek::StaticSecret;

use super::{INFO, Unopened};
use crate::seal::{PublicKey, Receiver, SealError};

/// Sources that are told apart; the host may invent any number.
const MAX_SOURCES: usize = 4096;
/// Runs of missing batches that are remembered of a source, in case they come late.
const MAX_RUNS: usize = 1024;

/// The log back-end's private key.
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// From its 32 bytes (RFC 7748).
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }

    /// What belongs into the bundle.
    pub fn public(&self) -> PublicKey {
        x25519_dalek::PublicKey::from(&self.0).to_bytes()
    }
}

/// A batch that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which source: tells boots and containers apart.
    pub source: PublicKey,
    /// Place in the source, from 0.
    pub number: u64,
    /// Whose output it is.
    pub container: String,
    /// As in the log stream; empty when the batch is a repetition.
    pub records: Vec<u8>,
    /// What is wrong with the batch's place.
    pub findings: Vec<Finding>,
}

/// What somebody between the enclave and here has done, or what was lost on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Batches before this one are missing.
    Missing {
        /// Number of the first.
        first: u64,
        /// How many batches.
        batches: u64,
        /// How many records are in them.
        records: u64,
        /// Records that the enclave has dropped since the batch before: those of `records` that it accounts for.
        lost_in_enclave: u64,
    },
    /// The batch was missing until now.
    Late,
    /// The batch was here before, and its records are not given again.
    Repeated,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing {
                first,
                batches,
                records,
                lost_in_enclave,
            } => write!(
                f,
                "{batches} batches from number {first} on, with {records} records, are missing; the enclave had dropped \
                 {lost_in_enclave} records by then"
            ),
            Self::Late => f.write_str("it comes late: it was reported as missing"),
            Self::Repeated => f.write_str("it was here before"),
        }
    }
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Which.
    pub source: PublicKey,
    /// Whose output it is.
    pub container: String,
    /// Batches that are here.
    pub batches: u64,
    /// Batches that are missing among them.
    pub missing: u64,
    /// Whether the batch is here after which nothing comes. While a container runs it is not; afterwards, the end was cut off.
    pub complete: bool,
}

struct Source {
    receiver: Receiver,
    container: String,
    next: u64,
    records: u64,
    lost: u64,
    complete: bool,
    batches: u64,
    /// First and last number.
    missing: BTreeMap<u64, u64>,
}

/// Opens the batches of any number of sources, in the order in which they are found.
pub struct Opener {
    private: PrivateKey,
    sources: BTreeMap<PublicKey, Source>,
}

impl Opener {
    /// With the key that the logs were sealed to.
    pub fn new(private: PrivateKey) -> Self {
        Self {
            private,
            sources: BTreeMap::new(),
        }
    }

    /// Opens a batch.
    ///
    /// # Errors
    ///
    /// [`SealError::Truncated`]: it is no batch. [`SealError::Forged`]: it was changed, or is sealed to another key.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Batch, SealError> {
        let unopened = Unopened::read(bytes).ok_or(SealError::Truncated)?;
        let Unopened { source, number, .. } = unopened;
        let header = unopened.unverified;
        let fresh;
        let receiver = match self.sources.get(&source) {
            Some(known) => &known.receiver,
            None => {
                fresh = Receiver::new(&self.private.0, &source, INFO)?;
                &fresh
            }
        };
        let mut records = receiver.open(number, unopened.associated, unopened.sealed)?;
        // The header is authentic from here on.
        if !self.sources.contains_key(&source) {
            if self.sources.len() >= MAX_SOURCES {
                return Err(SealError::TooLong("the list of sources", MAX_SOURCES));
            }
            let begun = Source {
                receiver: Receiver::new(&self.private.0, &source, INFO)?,
                container: header.container.to_owned(),
                next: 0,
                records: 0,
                lost: 0,
                complete: false,
                batches: 0,
                missing: BTreeMap::new(),
            };
            self.sources.insert(source, begun);
        }
        let Some(known) = self.sources.get_mut(&source) else {
            return Err(SealError::Forged);
        };
        let mut findings = Vec::new();
        if number >= known.next {
            if number > known.next {
                findings.push(Finding::Missing {
                    first: known.next,
                    batches: number - known.next,
                    records: header.before.saturating_sub(known.records),
                    lost_in_enclave: header.lost.saturating_sub(known.lost),
                });
                if known.missing.len() >= MAX_RUNS {
                    known.missing.pop_first();
                }
                known.missing.insert(known.next, number - 1);
            }
            known.next = number + 1;
            known.records = header.before.saturating_add(u64::from(header.records));
            known.lost = header.lost;
        } else if known.take_missing(number) {
            findings.push(Finding::Late);
        } else {
            records.clear();
            findings.push(Finding::Repeated);
        }
        if findings.last() != Some(&Finding::Repeated) {
            known.batches += 1;
            known.complete |= header.last;
        }
        Ok(Batch {
            source,
            number,
            container: header.container.to_owned(),
            records,
            findings,
        })
    }

    /// How each source stands now.
    pub fn rest(&self) -> Vec<Rest> {
        let rest = self.sources.iter().map(|(source, known)| Rest {
            source: *source,
            container: known.container.clone(),
            batches: known.batches,
            missing: known.missing.iter().map(|(first, last)| last - first + 1).sum(),
            complete: known.complete,
        });
        rest.collect()
    }
}

impl Source {
    /// Whether batch `number` was missing; it is not any more.
    fn take_missing(&mut self, number: u64) -> bool {
        let Some((&first, &last)) = self.missing.range(..=number).next_back() else {
            return false;
        };
        if last < number {
            return false;
        }
        self.missing.remove(&first);
        if first < number {
            self.missing.insert(first, number - 1);
        }
        if number < last {
            self.missing.insert(number + 1, last);
        }
        true
    }
}
