//! The model of one probe's worker (section 8.2): a record of answers.

use crate::rules::SECOND;
use crate::scenario::{Answer, Kind, Probe};

#[derive(Debug)]
pub(crate) struct Prober {
    kind: Kind,
    probe: Probe,
    /// A moment at which its ticker ticks (K-234, K-241).
    anchor: u64,
    /// The run that may be asked since it may, if any may.
    askable: Option<usize>,
    /// When it was asked last, by run.
    asked: Option<(usize, u64)>,
    open: bool,
    /// A tick has passed while a question was open: a ticker keeps one.
    owed: bool,
    errors: u32,
    answers: Vec<Entry>,
}

/// One answer that counts.
#[derive(Debug)]
struct Entry {
    run: usize,
    good: bool,
    /// What the published result became with it.
    published: bool,
    /// K-243: the count begins anew after it.
    reset: bool,
}

impl Prober {
    pub(crate) fn new(kind: Kind, probe: &Probe) -> Self {
        Self {
            kind,
            probe: probe.clone(),
            anchor: 0,
            askable: None,
            asked: None,
            open: false,
            owed: false,
            errors: 0,
            answers: Vec::new(),
        }
    }

    /// The result of the instance that is the `run`th, if there is a verdict (K-233).
    pub(crate) fn published(&self, run: usize) -> Option<bool> {
        let mut own = self
            .answers
            .iter()
            .rev()
            .filter(|entry| entry.run == run && entry.published);
        own.next().map(|entry| entry.good)
    }

    /// Whether to ask now. `since`: start of the instance, if it may be asked.
    pub(crate) fn is_due(&mut self, run: usize, since: Option<u64>, now: u64) -> bool {
        if self.asked.is_some_and(|(asked, _)| asked != run) {
            self.open = false;
        }
        // K-245.
        let held = self.answers.iter().any(|entry| entry.run == run && entry.reset);
        let Some(since) = since.filter(|_| !held) else {
            self.askable = None;
            self.owed = false;
            return false;
        };
        if self.askable != Some(run) {
            self.askable = Some(run);
            self.owed = false;
            if self.kind == Kind::Readiness {
                // K-241.
                self.anchor = now;
            }
        }
        let ticks = (now - self.anchor).is_multiple_of(self.probe.period * SECOND);
        let asked_now = self.asked == Some((run, now));
        self.owed |= ticks && !asked_now && now >= since + self.probe.delay * SECOND;
        if !self.owed || self.open {
            return false;
        }
        self.owed = false;
        self.open = true;
        self.errors = 0;
        self.asked = Some((run, now));
        true
    }

    /// The next tick of its ticker, if that matters to anybody.
    pub(crate) fn next_tick(&self, now: u64) -> u64 {
        let period = self.probe.period * SECOND;
        match self.askable {
            Some(_) => now + period - (now - self.anchor) % period,
            None => u64::MAX,
        }
    }

    /// Takes note of the answer to the open question. Whether to ask again at once (K-244).
    pub(crate) fn answered(&mut self, answer: Answer, run: usize, gave_up: bool) -> bool {
        let good = match answer {
            Answer::Yes => true,
            Answer::No => false,
            Answer::Error => {
                self.errors += 1;
                self.open = self.errors < 3 && !gave_up;
                return self.open;
            }
        };
        self.open = false;
        // K-242: the run of equal answers up to and with this one.
        let before = self
            .answers
            .iter()
            .rev()
            .take_while(|entry| entry.good == good && !entry.reset);
        let count = before.count() as u64 + 1;
        let threshold = if good {
            self.probe.successes
        } else {
            self.probe.failures
        };
        let published = count >= threshold;
        let verdict = match self.kind {
            Kind::Startup => true,
            Kind::Liveness => !good,
            Kind::Readiness => false,
        };
        self.answers.push(Entry {
            run,
            good,
            published,
            reset: published && verdict,
        });
        false
    }
}
