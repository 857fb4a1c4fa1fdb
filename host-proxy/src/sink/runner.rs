//! One sink at work, on a thread of its own: takes batches from the spool, delivers them, tries again, keeps its place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::counts::{Tally, add};
use super::item::{Batch, Body, Item, Origin, split_off};
use super::output::{Output, Trouble};
use super::progress::Progress;
use super::reader::{Reader, Step};
use super::spec::Spec;
use super::spool::Spool;

/// How long an idle sink sleeps at most.
const IDLE: Duration = Duration::from_secs(1);
/// How long another trouble waits to be reported: it may be the same in other words.
const REPORT: Duration = Duration::from_secs(10);

/// A sink and all that it needs.
pub(super) struct Runner {
    pub(super) spec: Spec,
    pub(super) spool: Arc<Spool>,
    pub(super) number: usize,
    pub(super) reader: Reader,
    pub(super) output: Output,
    pub(super) progress: Progress,
    pub(super) tally: Arc<Tally>,
    /// What an earlier process has delivered and what it may have.
    pub(super) earlier: Earlier,
    pub(super) backoff: Backoff,
    pub(super) stash: Option<(Arc<Origin>, Vec<Item>)>,
    /// The trouble that it is in, as it was last reported, and when.
    pub(super) trouble: Option<(String, Instant)>,
    /// Whether a refusal was reported.
    pub(super) refusal_reported: bool,
}

/// Where an earlier process ended.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Boot of the sequences.
    pub(super) boot: String,
    /// It has everything up to this one; 0 when places say so.
    pub(super) has: u64,
    /// It may have everything up to this one.
    pub(super) may_have: u64,
    /// It may have everything before this place.
    pub(super) may_have_places: u64,
}

impl Earlier {
    /// Removes what is delivered already, and marks what may be.
    fn sort(&self, origin: &Origin, items: &mut Vec<Item>) -> u64 {
        if self.boot != origin.boot {
            return 0;
        }
        // Gaps before the last record that it has are known there, too.
        let up_to = |items: &[Item], sequence| items.iter().rev().find_map(|item| item.place_after(sequence));
        if let Some(place) = up_to(items, self.has) {
            *items = split_off(items, place);
        }
        let sent = self.may_have_places.max(up_to(items, self.may_have).unwrap_or(0));
        let rest = split_off(items, sent);
        let marked = mark_resent(items);
        items.extend(rest);
        marked
    }
}

/// Moves items into a batch until its weight is `most`, which one record may exceed; returns the rest.
fn take(items: Vec<Item>, batch: &mut Vec<Item>, weight: &mut usize, most: usize) -> Vec<Item> {
    let mut items = VecDeque::from(items);
    while *weight < most
        && let Some(mut item) = items.pop_front()
    {
        let (whole, room) = (item.weight(), most - *weight);
        if whole > room {
            // As many records as there is room for, if they are all alike.
            let fitting = item.records() * room as u64 / whole as u64;
            if let Some(rest) = item.split_off(item.index + fitting.max(1)) {
                items.push_front(rest);
            }
        }
        *weight += item.weight();
        batch.push(item);
    }
    items.into()
}

/// Takes half of a batch off; `None`: it is one record.
fn halve(batch: &mut Batch) -> Option<Batch> {
    let items = match batch.items.as_mut_slice() {
        [one] => vec![one.split_off(one.index + one.records() / 2)?],
        items => {
            let half = items.len() / 2;
            batch.items.split_off(half)
        }
    };
    let origin = Arc::clone(&batch.origin);
    Some(Batch { origin, items })
}

/// Marks records that may be delivered a second time, and counts them.
fn mark_resent(items: &mut [Item]) -> u64 {
    let mut marked = 0;
    for item in items.iter_mut().filter(|item| !item.resent) {
        item.resent = true;
        marked += item.records();
    }
    marked
}

impl Runner {
    /// Delivers until the end of the spool.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.fill().await {
            self.deliver(batch).await;
            self.progress.sync();
        }
        self.output.finish();
        self.progress.finish();
    }

    /// The next batch; `None` at the end.
    async fn fill(&mut self) -> Option<Batch> {
        let mut batch: Option<(Batch, usize, Instant)> = None;
        loop {
            let step = match self.stash.take() {
                Some((origin, items)) => Step::Items(origin, items),
                None => self.reader.step(),
            };
            match step {
                Step::Items(origin, items) => {
                    if batch.as_ref().is_some_and(|(batch, ..)| batch.origin != origin) {
                        self.stash = Some((origin, items));
                        return batch.map(|(batch, ..)| batch);
                    }
                    let items = self.sorted(&origin, items);
                    if items.is_empty() {
                        continue;
                    }
                    let (batch, weight, _) = batch.get_or_insert_with(|| {
                        let (origin, items) = (Arc::clone(&origin), Vec::new());
                        (Batch { origin, items }, 0, Instant::now())
                    });
                    let rest = take(items, &mut batch.items, weight, self.spec.batch_bytes);
                    self.stash = (!rest.is_empty()).then_some((origin, rest));
                }
                Step::Empty => {
                    let patience = match &batch {
                        Some((_, _, since)) => self.spec.batch_wait.saturating_sub(since.elapsed()),
                        None => IDLE,
                    };
                    if patience.is_zero() {
                        return batch.map(|(batch, ..)| batch);
                    }
                    self.progress.sync();
                    self.reader.wait(patience).await;
                }
                Step::Ended => return batch.map(|(batch, ..)| batch),
            }
            if batch
                .as_ref()
                .is_some_and(|(_, weight, _)| *weight >= self.spec.batch_bytes)
            {
                return batch.map(|(batch, ..)| batch);
            }
        }
    }

    fn sorted(&mut self, origin: &Origin, mut items: Vec<Item>) -> Vec<Item> {
        let end = items.last().map_or(0, |item| item.next);
        let marked = self.earlier.sort(origin, &mut items);
        add(&self.tally.resent, marked);
        if items.is_empty() {
            self.spool.release(self.number, end);
        }
        items
    }

    async fn deliver(&mut self, batch: Batch) {
        let mut queue = VecDeque::from([batch]);
        while let Some(mut batch) = queue.pop_front() {
            while !batch.items.is_empty() {
                self.progress.begin(&batch);
                match self.output.deliver(&batch, &mut self.progress).await {
                    Ok(delivered) => {
                        let refused = delivered.refused.as_ref().map_or(0, |(records, _)| *records);
                        add(&self.tally.sent, batch.records().saturating_sub(refused));
                        if let Some((records, reason)) = delivered.refused {
                            self.refuse(records, &reason);
                        }
                        self.progress.accept(&batch, delivered.accepted);
                        self.spool.release(self.number, delivered.safe);
                        self.well();
                        break;
                    }
                    Err(Trouble::TooLarge { reason }) => match halve(&mut batch) {
                        Some(rest) => queue.push_front(rest),
                        None => {
                            self.give_up(&batch, &reason);
                            break;
                        }
                    },
                    Err(Trouble::Refused { reason }) => {
                        self.give_up(&batch, &reason);
                        break;
                    }
                    Err(Trouble::Retry { reason, after, doubt }) => {
                        self.report(&reason);
                        self.take_back(&mut batch, doubt);
                        let pause = self.backoff.next(after);
                        tokio::time::sleep(pause).await;
                        add(&self.tally.retries, 1);
                    }
                }
            }
        }
    }

    /// Removes what was taken from a batch that was not taken as a whole, and adds what is in doubt again.
    fn take_back(&mut self, batch: &mut Batch, doubt: Option<u64>) {
        let (accepted, end) = (self.progress.mark().accepted, batch.end());
        let rest = split_off(&mut batch.items, accepted);
        add(&self.tally.sent, batch.records());
        batch.items = rest;
        let Some(doubt) = doubt else { return };
        let start = batch.items.first().map_or(end, |item| item.index);
        let mut again = self.reader.again(&batch.origin, doubt, start);
        let before = again.iter().find_map(|item| match &item.body {
            Body::Run(run) => Some(run.sequence.saturating_sub(1)),
            Body::Notice(_) => None,
        });
        if let Some(first) = again.first().map(|item| item.index) {
            self.progress.doubt(first, before);
        }
        again.append(&mut batch.items);
        add(&self.tally.resent, mark_resent(&mut again));
        batch.items = again;
    }

    /// Nobody will ever take it.
    fn give_up(&mut self, batch: &Batch, reason: &str) {
        self.refuse(batch.records(), reason);
        self.progress.accept(batch, batch.end());
        self.spool.release(self.number, batch.end());
        self.backoff.reset();
    }

    fn report(&mut self, reason: &str) {
        let known = self.trouble.as_ref();
        if known.is_some_and(|(reported, when)| reported == reason || when.elapsed() < REPORT) {
            return;
        }
        let shown = crate::table::escape(reason);
        log::warn!("log sink {}: {shown}; trying again", self.spec.name);
        self.trouble = Some((reason.to_owned(), Instant::now()));
    }

    fn well(&mut self) {
        if self.trouble.take().is_some() {
            log::warn!("log sink {}: it works again", self.spec.name);
        }
        self.backoff.reset();
    }

    fn refuse(&mut self, records: u64, reason: &str) {
        add(&self.tally.errors, 1);
        add(&self.tally.refused, records);
        if !self.refusal_reported {
            let reason = crate::table::escape(reason);
            log::warn!(
                "log sink {}: {records} records are refused: {reason}; further refusals are only counted",
                self.spec.name
            );
        }
        self.refusal_reported = true;
    }
}
