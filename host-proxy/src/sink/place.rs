//! One sink's place in the spool, and what it has missed.

use manifest_sync::log_record::{Dropped, Entry};

use super::item::{Body, Lost};
use super::segment::Segment;

/// Where one sink is.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Next entry that it reads.
    pub(super) position: u64,
    /// Entries before this one are of no more use to it.
    pub(super) released: u64,
    /// What it missed and has not been told yet.
    pub(super) lost: Lost,
    /// Records that it missed, in all.
    pub(super) lost_total: u64,
}

impl Place {
    /// Counts what `segment` has that this sink has not read.
    pub(super) fn miss(&mut self, segment: &Segment) {
        let before = self.lost.total();
        self.lost
            .count_unnamed(segment.first.saturating_sub(self.position));
        let from = self.position.max(segment.first);
        let (items, damaged) = segment.items_from(from);
        for item in items {
            match item.body {
                Body::Run(run) => self.lost.count(&Entry::Run(run)),
                Body::Notice(notice) => {
                    self.lost.count(&Entry::Dropped(Dropped {
                        first: 0,
                        records: notice.records,
                        container: notice.container.map(Into::into),
                    }));
                }
            }
        }
        self.lost.count_unnamed(damaged);
        self.lost_total += self.lost.total() - before;
        self.position = segment.end;
        self.released = self.released.max(segment.end);
    }

    /// Counts places up to `to` whose content nobody knows.
    pub(super) fn skip(&mut self, to: u64) {
        let places = to.saturating_sub(self.position);
        self.lost.count_unnamed(places);
        self.lost_total += places;
        self.position = self.position.max(to);
    }
}
