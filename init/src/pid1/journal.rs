//! The latest events, for a host that comes back. What repeats is one event with a count (`correlation`).

use std::collections::VecDeque;

use cloister_init::correlation::{Correlator, Occurrence};
use cloister_init::supervisor::time::Time;
use manifest_sync::status::Event;

/// Events kept. A host that was away longer than this many events sees the gap in their sequence.
const CAPACITY: usize = 512;
/// Bytes of messages kept; one of a probe may have 10 KiB.
const CAPACITY_BYTES: usize = 512 << 10;

/// A bounded list of events.
#[derive(Default)]
pub(crate) struct Journal {
    events: VecDeque<Event>,
    bytes: usize,
    last: u64,
    correlator: Correlator,
}

impl Journal {
    /// Numbers and keeps an event, in the place of an earlier one that it repeats. `None`: it is one too many.
    pub(crate) fn record(
        &mut self,
        now: Time,
        occurrence: Occurrence<'_>,
        timestamp: impl Fn(Time) -> String,
    ) -> Option<Event> {
        let told = self.correlator.observe(now, occurrence)?;
        self.last += 1;
        let event = Event {
            sequence: self.last,
            id: told.id,
            count: told.count,
            first_time: timestamp(told.first),
            time: timestamp(now),
            r#type: occurrence.r#type,
            reason: occurrence.reason.to_owned(),
            message: told.message.unwrap_or_else(|| occurrence.message.to_owned()),
            field_path: occurrence.field_path.map(ToOwned::to_owned),
        };
        if let Some(place) = self.events.iter().position(|earlier| earlier.id == event.id) {
            let earlier = self.events.remove(place);
            self.bytes -= earlier.map_or(0, |earlier| earlier.message.len());
        }
        self.bytes += event.message.len();
        self.events.push_back(event.clone());
        while self.events.len() > CAPACITY || self.bytes > CAPACITY_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.message.len();
        }
        Some(event)
    }

    /// Events with a sequence greater than `sequence`.
    pub(crate) fn after(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.sequence > sequence)
    }
}
