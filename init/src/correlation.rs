//! Which events are told, and how: repeated ones are counted, similar ones combined, and floods cut off, as client-go's
//! `EventCorrelator` does it for the kubelet (K-540). Pure: time comes in, a verdict comes out.
//!
//! Only hashes are kept of what was said, of at most [`MAX_KEYS`] different events.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use manifest_sync::status::EventType;

use crate::supervisor::time::Time;

/// This many different messages of the same type and reason, and the next is combined with the last.
const SIMILAR: usize = 10;
/// Similar events that are further apart have nothing to do with each other.
const INTERVAL: Duration = Duration::from_secs(600);
/// Events at once, for each source.
const BURST: u32 = 25;
/// One more after each of these.
const REFILL: Duration = Duration::from_secs(300);
/// Different events remembered; client-go remembers 4096 for all Pods of a node.
pub const MAX_KEYS: usize = 1024;

/// Who says it; each has a burst of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// What a kubelet would say.
    Kubelet,
    /// What only an enclave has to say.
    Enclave,
}

/// One event, as it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// Who says it.
    pub source: Source,
    /// Normal or Warning.
    pub r#type: EventType,
    /// CamelCase.
    pub reason: &'a str,
    /// In words.
    pub message: &'a str,
    /// The container it is about.
    pub field_path: Option<&'a str>,
}

/// How it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The same for all that are told as one.
    pub id: u64,
    /// How often it has happened.
    pub count: u32,
    /// When it happened first.
    pub first: Time,
    /// `None`: the message of the occurrence.
    pub message: Option<String>,
}

/// What was told before.
#[derive(Debug, Default)]
pub struct Correlator {
    hasher: RandomState,
    similar: BTreeMap<u64, Similar>,
    seen: BTreeMap<u64, Seen>,
    buckets: BTreeMap<Source, Bucket>,
    last_id: u64,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<u64>,
    last: Time,
}

#[derive(Debug)]
struct Seen {
    id: u64,
    count: u32,
    first: Time,
    last: Time,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    /// When the last token was added; meaningless in a full one.
    filled: Time,
}

impl Correlator {
    /// `None`: it is not told. It counts all the same.
    pub fn observe(&mut self, now: Time, event: Occurrence<'_>) -> Option<Told> {
        let kind = (event.source, event.r#type == EventType::Normal, event.reason);
        let group = self.hasher.hash_one((kind, "similar"));
        let combined = self.is_one_of_many(group, now, event.message);
        let key = if combined {
            group
        } else {
            self.hasher.hash_one((kind, event.field_path, event.message))
        };
        let seen = self.count(key, now);
        let told = Told {
            id: seen.id,
            count: seen.count,
            first: seen.first,
            message: combined.then(|| format!("(combined from similar events): {}", event.message)),
        };
        self.buckets
            .entry(event.source)
            .or_insert_with(Bucket::full)
            .take(now)
            .then_some(told)
    }

    /// Whether there have been too many different messages with this reason.
    fn is_one_of_many(&mut self, group: u64, now: Time, message: &str) -> bool {
        let message = self.hasher.hash_one(message);
        make_room(&mut self.similar, group, |similar| similar.last);
        let similar = self.similar.entry(group).or_insert_with(|| Similar {
            messages: BTreeSet::new(),
            last: now,
        });
        if now - similar.last > INTERVAL {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(message);
        if similar.messages.len() < SIMILAR {
            return false;
        }
        // It does not grow any further.
        similar.messages.pop_first();
        true
    }

    fn count(&mut self, key: u64, now: Time) -> &Seen {
        make_room(&mut self.seen, key, |seen| seen.last);
        let last_id = &mut self.last_id;
        let seen = self.seen.entry(key).or_insert_with(|| {
            *last_id += 1;
            Seen {
                id: *last_id,
                count: 0,
                first: now,
                last: now,
            }
        });
        seen.count = seen.count.saturating_add(1);
        seen.last = now;
        seen
    }
}

impl Bucket {
    fn full() -> Self {
        Self {
            tokens: BURST,
            filled: Time::default(),
        }
    }

    fn take(&mut self, now: Time) -> bool {
        if self.tokens == BURST {
            self.filled = now;
        }
        while self.tokens < BURST && now - self.filled >= REFILL {
            self.tokens += 1;
            self.filled = self.filled + REFILL;
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

/// Forgets the oldest entry for a new one.
fn make_room<T>(entries: &mut BTreeMap<u64, T>, key: u64, last: impl Fn(&T) -> Time) {
    if entries.len() < MAX_KEYS || entries.contains_key(&key) {
        return;
    }
    let oldest = entries.iter().min_by_key(|(_, entry)| last(entry));
    if let Some(oldest) = oldest.map(|(key, _)| *key) {
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn event<'a>(reason: &'a str, message: &'a str) -> Occurrence<'a> {
        Occurrence {
            source: Source::Kubelet,
            r#type: EventType::Warning,
            reason,
            message,
            field_path: Some("spec.containers{app}"),
        }
    }

    #[test]
    fn the_same_event_is_counted() {
        let mut correlator = Correlator::default();
        let first = correlator
            .observe(at(1), event("BackOff", "again"))
            .expect("told");
        let other = correlator
            .observe(at(2), event("BackOff", "other"))
            .expect("told");
        let second = correlator
            .observe(at(3), event("BackOff", "again"))
            .expect("told");
        assert_eq!((first.id, first.count, first.first), (second.id, 1, at(1)));
        assert_eq!((second.count, second.first), (2, at(1)));
        assert_ne!(first.id, other.id);
        // Of another container, or of another type, it is another event.
        let mut elsewhere = event("BackOff", "again");
        elsewhere.field_path = None;
        assert_eq!(correlator.observe(at(4), elsewhere).expect("told").count, 1);
        let mut normal = event("BackOff", "again");
        normal.r#type = EventType::Normal;
        assert_eq!(correlator.observe(at(5), normal).expect("told").count, 1);
    }

    #[test]
    fn the_tenth_similar_event_within_ten_minutes_is_combined() {
        let mut correlator = Correlator::default();
        let mut tell = |second: u64, message: String| {
            correlator
                .observe(at(second), event("Unhealthy", &message))
                .expect("told")
        };
        for number in 0..9 {
            assert_eq!(tell(number, format!("number {number}")).message, None);
        }
        let tenth = tell(9, "number 9".to_owned());
        let text = tenth.message.as_deref();
        assert_eq!(text, Some("(combined from similar events): number 9"));
        let eleventh = tell(10, "number 10".to_owned());
        assert_eq!((eleventh.id, eleventh.count), (tenth.id, 2));
        // Later than ten minutes after the last, they start from nothing.
        assert_eq!(tell(611, "number 11".to_owned()).message, None);
    }

    #[test]
    fn a_flood_is_cut_off_after_25_and_one_more_is_told_each_five_minutes() {
        let mut correlator = Correlator::default();
        let mut told = |second| correlator.observe(at(second), event("Pulled", "again"));
        let at_once = (0..100).filter(|_| told(0).is_some()).count();
        assert_eq!(at_once, 25);
        assert_eq!(told(299), None);
        // What was not told has been counted.
        assert_eq!(told(300).expect("one more").count, 102);
        assert_eq!(told(301), None);
        assert_eq!((0..10).filter(|_| told(1000).is_some()).count(), 2);
        let mut own = event("AttestationLost", "gone");
        own.source = Source::Enclave;
        assert!(correlator.observe(at(1000), own).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for number in 0..5 * MAX_KEYS as u64 {
            let text = number.to_string();
            let _ = correlator.observe(at(number), event(&text, &text));
        }
        assert!(correlator.seen.len() <= MAX_KEYS && correlator.similar.len() <= MAX_KEYS);
    }
}
