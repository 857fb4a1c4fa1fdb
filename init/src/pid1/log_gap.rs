//! What the rings have dropped: how many records of whom, for each run of missing sequences. Pure.
//!
//! Runs that touch become one, so there are never more of them than records that are kept. A run is not joined across a
//! place where a reader stood lately: what such a reader misses when it comes back can then be told exactly.

use std::collections::{BTreeMap, VecDeque};

/// Places of readers that are remembered: more than the batches that may be on their way when a connection breaks.
const BOUNDARIES: usize = 16;

/// Number of a ring.
pub(super) type RingId = usize;

/// A part of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing {
    /// Whose; `None`: of several, or not known any more.
    pub(super) ring: Option<RingId>,
    /// How many.
    pub(super) records: u64,
}

/// All gaps.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// By first sequence.
    runs: BTreeMap<u64, Run>,
    boundaries: VecDeque<u64>,
    /// What is dropped up to this sequence has been given to readers, and is not noted.
    floor: u64,
}

#[derive(Debug)]
struct Run {
    last: u64,
    counts: Vec<Missing>,
}

impl Gaps {
    /// The records from `first` to `last` are dropped by their ring.
    pub(super) fn note(&mut self, first: u64, last: u64, ring: RingId) {
        let mut first = first.max(self.floor + 1);
        // Readers stood at some of these, in no order: a takeover begins further back.
        while let Some(end) = (first <= last).then(|| self.next_boundary(first, last)) {
            self.note_between_boundaries(first, end, ring);
            first = end + 1;
        }
    }

    /// The first boundary in this run, or its end.
    fn next_boundary(&self, first: u64, last: u64) -> u64 {
        let inside = |at: &&u64| (first..last).contains(*at);
        self.boundaries
            .iter()
            .filter(inside)
            .min()
            .copied()
            .unwrap_or(last)
    }

    fn note_between_boundaries(&mut self, first: u64, last: u64, ring: RingId) {
        let mut run = Run {
            last,
            counts: vec![Missing {
                ring: Some(ring),
                records: last - first + 1,
            }],
        };
        if !self.boundaries.contains(&last)
            && let Some(next) = self.runs.remove(&(last + 1))
        {
            run.last = next.last;
            run.add(next.counts);
        }
        if !self.boundaries.contains(&(first - 1))
            && let Some((_, before)) = self.runs.range_mut(..first).next_back()
            && before.last == first - 1
        {
            before.last = run.last;
            before.add(run.counts);
            return;
        }
        self.runs.insert(first, run);
    }

    /// A reader has been given everything up to here.
    pub(super) fn given(&mut self, sequence: u64) {
        if self.boundaries.back() == Some(&sequence) {
            return;
        }
        self.boundaries.push_back(sequence);
        if self.boundaries.len() > BOUNDARIES
            && let Some(oldest) = self.boundaries.pop_front()
        {
            self.floor = self.floor.max(oldest);
            while let Some(run) = self.runs.first_entry()
                && run.get().last <= self.floor
            {
                run.remove();
            }
        }
    }

    /// Who misses what of the sequences `first` to `last`, none of which is in a ring; it adds up to all of them.
    pub(super) fn between(&self, first: u64, last: u64) -> Vec<Missing> {
        let mut parts: Vec<Missing> = Vec::new();
        let mut at = first;
        let start = self
            .runs
            .range(..=first)
            .next_back()
            .map_or(first, |(start, _)| *start);
        for (&start, run) in self.runs.range(start..=last) {
            if run.last < at {
                continue;
            }
            // What is not in a run was dropped too long ago to be known.
            push(&mut parts, None, start.saturating_sub(at));
            let (from, to) = (start.max(at), run.last.min(last));
            match run.counts.as_slice() {
                [one] => push(&mut parts, one.ring, to - from + 1),
                counts if (from, to) == (start, run.last) => {
                    counts
                        .iter()
                        .for_each(|part| push(&mut parts, part.ring, part.records));
                }
                _ => push(&mut parts, None, to - from + 1),
            }
            at = to + 1;
        }
        push(&mut parts, None, (last + 1).saturating_sub(at));
        parts
    }
}

impl Run {
    fn add(&mut self, counts: Vec<Missing>) {
        for part in counts {
            match self.counts.iter_mut().find(|own| own.ring == part.ring) {
                Some(own) => own.records += part.records,
                None => self.counts.push(part),
            }
        }
    }
}

fn push(parts: &mut Vec<Missing>, ring: Option<RingId>, records: u64) {
    match parts.iter_mut().find(|part| part.ring == ring) {
        _ if records == 0 => {}
        Some(part) => part.records += records,
        None => parts.push(Missing { ring, records }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn missing(ring: impl Into<Option<RingId>>, records: u64) -> Missing {
        Missing {
            ring: ring.into(),
            records,
        }
    }

    #[test]
    fn runs_are_joined_and_counted_by_ring() {
        let mut gaps = Gaps::default();
        for (sequence, ring) in [(1, 0), (3, 1), (2, 0), (6, 1)] {
            gaps.note(sequence, sequence, ring);
        }
        assert_eq!(gaps.runs.len(), 2);
        assert_eq!(gaps.between(1, 3), [missing(0, 2), missing(1, 1)]);
        assert_eq!(gaps.between(6, 6), [missing(1, 1)]);
        // Within a run of several rings nobody knows any more.
        assert_eq!(gaps.between(2, 3), [missing(None, 2)]);
    }

    #[test]
    fn what_a_reader_has_is_told_from_what_it_misses() {
        let mut gaps = Gaps::default();
        gaps.given(4);
        for (sequence, ring) in [(1, 0), (2, 1), (3, 0), (4, 1), (5, 0), (6, 1), (7, 1)] {
            gaps.note(sequence, sequence, ring);
        }
        assert_eq!(gaps.between(5, 7), [missing(0, 1), missing(1, 2)]);
        for sequence in 10..10 + BOUNDARIES as u64 {
            gaps.given(sequence);
        }
        assert_eq!(
            gaps.between(1, 7),
            [missing(None, 4), missing(0, 1), missing(1, 2)]
        );
    }

    proptest! {
        /// Rings drop their own oldest, in any order among each other, while a reader reads now and then.
        #[test]
        fn every_missing_record_is_counted_once_and_named_when_the_reader_stood_still(
            owners in prop::collection::vec(0usize..3, 1..60),
            turns in prop::collection::vec((0usize..4, 1usize..5), 1..80),
        ) {
            let mut gaps = Gaps::default();
            let mut rings: Vec<VecDeque<u64>> = vec![VecDeque::new(); 3];
            for (index, owner) in owners.iter().enumerate() {
                rings[*owner].push_back(index as u64 + 1);
            }
            let total = owners.len() as u64;
            let stood = total / 2;
            gaps.given(stood);
            for (turn, most) in turns {
                // 3 is somebody else's turn.
                let Some(ring) = rings.get_mut(turn) else { continue };
                let Some(first) = ring.pop_front() else { continue };
                let mut last = first;
                while last - first + 1 < most as u64 && ring.front() == Some(&(last + 1)) {
                    last += 1;
                    ring.pop_front();
                }
                gaps.note(first, last, turn);
            }
            let kept: Vec<u64> = rings.iter().flatten().copied().collect();
            let mut told = [0; 3];
            let mut expected = [0; 3];
            let mut at = stood + 1;
            for sequence in stood + 1..=total + 1 {
                if sequence == total + 1 || kept.contains(&sequence) {
                    if at < sequence {
                        let parts = gaps.between(at, sequence - 1);
                        prop_assert_eq!(parts.iter().map(|part| part.records).sum::<u64>(), sequence - at);
                        for part in parts {
                            told[part.ring.expect("it is known whose")] += part.records;
                        }
                    }
                    at = sequence + 1;
                } else {
                    let owner = usize::try_from(sequence - 1).expect("small");
                    expected[owners[owner]] += 1;
                }
            }
            prop_assert_eq!(told, expected);
        }
    }
}
