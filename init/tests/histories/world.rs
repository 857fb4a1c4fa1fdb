//! The processes and probes of one side: what they do, and when, is the scenario's.

use std::collections::BTreeMap;

use crate::scenario::{Answer, Exit, KILLED, Scenario};

/// Something that happens to a Pod without its supervisor's doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The process of a container ended.
    Exited { unit: usize, exit: Exit },
    /// A probe was answered; `kind` is an index of [`crate::scenario::KINDS`].
    Answered {
        unit: usize,
        kind: usize,
        answer: Answer,
    },
    /// Somebody asks for a stop with this grace period in seconds.
    Stop { grace: Option<u64> },
}

#[derive(Debug)]
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    /// Live processes by container: number of the run, and when and how it ends.
    processes: BTreeMap<usize, (usize, Option<(u64, Exit)>)>,
    runs: BTreeMap<usize, usize>,
    /// Open questions by container and kind: when and how they are answered.
    questions: BTreeMap<(usize, usize), (u64, Answer)>,
    asked: BTreeMap<(usize, usize), usize>,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            processes: BTreeMap::new(),
            runs: BTreeMap::new(),
            questions: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// A process is made. Whether it executes its program.
    pub(crate) fn start(&mut self, unit: usize, now: u64) -> bool {
        let run = self.runs.entry(unit).or_default();
        let number = *run;
        *run += 1;
        if self.scenario.fails_to_start(unit, number) {
            return false;
        }
        let end = self.scenario.life(unit, number);
        let end = end.map(|(ticks, exit)| (now + ticks, exit));
        let before = self.processes.insert(unit, (number, end));
        assert!(before.is_none(), "{unit} has a process already");
        true
    }

    pub(crate) fn terminate(&mut self, unit: usize, now: u64) {
        let (run, end) = self
            .processes
            .get_mut(&unit)
            .expect("a live process is signalled");
        if let Some((ticks, exit)) = self.scenario.on_terminate(unit, *run)
            && end.is_none_or(|(at, _)| at > now + ticks)
        {
            *end = Some((now + ticks, exit));
        }
    }

    /// It is gone with the next tick.
    pub(crate) fn kill(&mut self, unit: usize, now: u64) {
        let (_, end) = self.processes.get_mut(&unit).expect("a live process is killed");
        *end = Some((now + 1, KILLED));
    }

    pub(crate) fn ask(&mut self, unit: usize, kind: usize, now: u64) {
        assert!(self.processes.contains_key(&unit), "a live process is asked");
        let number = self.asked.entry((unit, kind)).or_default();
        let (ticks, answer) = self.scenario.answer(unit, kind, *number);
        *number += 1;
        let before = self.questions.insert((unit, kind), (now + ticks, answer));
        assert!(before.is_none(), "{unit} is asked twice at once");
    }

    /// When the next fact is, if nothing is done before.
    pub(crate) fn next_tick(&self, stops: usize) -> u64 {
        let ends = self
            .processes
            .values()
            .filter_map(|(_, end)| end.map(|(at, _)| at));
        let answers = self.questions.values().map(|(at, _)| *at);
        let stop = self.scenario.stops.get(stops).map(|(at, _)| *at);
        ends.chain(answers).chain(stop).min().unwrap_or(u64::MAX)
    }

    /// The next fact of this tick: exits in the order of containers, then answers, then stops.
    pub(crate) fn next(&mut self, now: u64, stops: &mut usize) -> Option<Fact> {
        let mut processes = self.processes.iter();
        let ended = processes.find_map(|(unit, (_, end))| {
            let (_, exit) = end.filter(|(at, _)| *at <= now)?;
            Some((*unit, exit))
        });
        if let Some((unit, exit)) = ended {
            self.processes.remove(&unit);
            // Nobody is left to answer.
            self.questions.retain(|(asked, _), _| *asked != unit);
            return Some(Fact::Exited { unit, exit });
        }
        let due = self.questions.iter().find(|(_, (at, _))| *at <= now);
        if let Some(((unit, kind), (_, answer))) = due.map(|(asked, answer)| (*asked, *answer)) {
            self.questions.remove(&(unit, kind));
            return Some(Fact::Answered { unit, kind, answer });
        }
        let (_, grace) = self.scenario.stops.get(*stops).filter(|(at, _)| *at <= now)?;
        *stops += 1;
        Some(Fact::Stop { grace: *grace })
    }
}
