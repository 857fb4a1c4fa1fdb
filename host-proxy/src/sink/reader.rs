//! One sink's way through the spool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::item::{Item, Origin, split_off};
use super::segment::{Body, Segment};
use super::spool::Spool;

/// What a reader finds.
pub(super) enum Step {
    /// The next items, all of one origin.
    Items(Arc<Origin>, Vec<Item>),
    /// Nothing new yet.
    Empty,
    /// Nothing new will come.
    Ended,
}

/// Reads at the place of one sink.
pub(super) struct Reader {
    spool: Arc<Spool>,
    sink: usize,
    changed: watch::Receiver<()>,
    /// First place of a segment, and the byte of it where the last read ended: saves looking for it.
    at: (u64, u64),
    origin: Option<Arc<Origin>>,
}

/// Where to read without the lock.
struct Spot {
    origin: Arc<Origin>,
    body: Arc<Body>,
    segment: u64,
    bytes: u64,
    end: u64,
    at: u64,
}

impl Reader {
    /// For the sink of this number.
    pub(super) fn new(spool: &Arc<Spool>, sink: usize) -> Self {
        Self {
            spool: Arc::clone(spool),
            sink,
            changed: spool.changes(),
            at: (0, 0),
            origin: None,
        }
    }

    /// Waits until there may be something new, at most for `patience`.
    pub(super) async fn wait(&mut self, patience: Duration) {
        // The spool lives as long as this reader.
        let _ = tokio::time::timeout(patience, self.changed.changed()).await;
    }

    /// The next items, without waiting.
    pub(super) fn step(&mut self) -> Step {
        self.changed.mark_unchanged();
        loop {
            let (spot, position) = match self.find() {
                Ok(found) => found,
                Err(step) => return step,
            };
            let (mut at, mut block) = (spot.at, None);
            while let Some(span) = spot.body.span(at, spot.bytes) {
                let here = at;
                at += span.bytes;
                if span.end > position {
                    block = spot.body.items(here, spot.bytes);
                    break;
                }
            }
            let mut state = self.spool.state();
            let Some(place) = state.sinks.get_mut(self.sink) else {
                return Step::Ended;
            };
            if place.position != position {
                // The segment was dropped while we read it, and what we read is counted as lost.
                continue;
            }
            let Some(mut items) = block.filter(|items| !items.is_empty()) else {
                log::error!("the log spool is damaged: the rest of a segment is lost");
                place.skip(spot.end);
                continue;
            };
            let items = split_off(&mut items, position);
            place.position = items.last().map_or(spot.end, |item| item.next);
            self.at = (spot.segment, at);
            self.origin = Some(Arc::clone(&spot.origin));
            return Step::Items(spot.origin, items);
        }
    }

    /// Where the next block is, or what there is to say before it.
    fn find(&mut self) -> Result<(Spot, u64), Step> {
        let mut state = self.spool.state();
        let (ended, next) = (state.ended, state.next);
        let segments = std::mem::take(&mut state.segments);
        let found = state
            .sinks
            .get_mut(self.sink)
            .ok_or(Step::Ended)
            .and_then(|place| {
                let segment = segments.iter().find(|segment| segment.end > place.position);
                // What lies between could not be written.
                place.skip(segment.map_or(next, |segment| segment.first));
                if !place.lost.is_empty() {
                    let items = std::mem::take(&mut place.lost).into_items(place.position);
                    let origin = segment
                        .or(segments.back())
                        .map(|segment| Arc::clone(&segment.origin));
                    let origin = origin.or_else(|| self.origin.clone()).ok_or(Step::Empty)?;
                    return Err(Step::Items(origin, items));
                }
                match segment {
                    Some(segment) => Ok((self.spot(segment), place.position)),
                    None if ended => Err(Step::Ended),
                    None => Err(Step::Empty),
                }
            });
        state.segments = segments;
        found
    }

    fn spot(&self, segment: &Segment) -> Spot {
        let at = match self.at {
            (first, at) if first == segment.first => at,
            _ => segment.start,
        };
        Spot {
            origin: Arc::clone(&segment.origin),
            body: Arc::clone(&segment.body),
            segment: segment.first,
            bytes: segment.bytes,
            end: segment.end,
            at,
        }
    }

    /// What there still is from place `from` up to `to`, of `origin`: it may have to be sent again.
    pub(super) fn again(&self, origin: &Origin, from: u64, to: u64) -> Vec<Item> {
        let state = self.spool.state();
        let segments = state.segments.iter();
        let ours = segments.filter(|segment| *segment.origin == *origin && segment.first < to);
        let mut items: Vec<Item> = ours.flat_map(|segment| segment.items_from(from).0).collect();
        split_off(&mut items, to);
        items.retain(|item| item.index < to);
        items
    }
}
