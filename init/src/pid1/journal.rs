//! The latest events, for a host that comes back.

use std::collections::VecDeque;

use manifest_sync::status::Event;

/// Events kept. A host that was away longer than this many events sees the gap in their sequence.
const CAPACITY: usize = 512;

/// A bounded list of events.
#[derive(Default)]
pub(crate) struct Journal {
    events: VecDeque<Event>,
    last: u64,
}

impl Journal {
    /// Numbers and keeps an event.
    pub(crate) fn record(&mut self, mut event: Event) -> Event {
        self.last += 1;
        event.sequence = self.last;
        if self.events.len() == CAPACITY {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
        event
    }

    /// Events with a sequence greater than `sequence`.
    pub(crate) fn after(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.sequence > sequence)
    }
}
