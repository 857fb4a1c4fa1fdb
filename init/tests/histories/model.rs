//! The naive model. It keeps a record of what has happened, decides nothing ahead, and at every tick asks of every
//! container, from its record, what the kubelet semantics want done now. It is written from those semantics (K-nnn) and
//! knows nothing of the supervisor.

use std::rc::Rc;

use crate::probes::Prober;
use crate::rules::{self, Past, Policy, SECOND};
use crate::scenario::{Answer, Exit, KINDS, Kind, Role, Scenario, Unit};
use crate::trace::{Observation, Status};
use crate::world::{Fact, World};

/// One instance of a container.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) started: u64,
    /// Its program could not be executed (K-026).
    pub(crate) failed_to_start: bool,
    pub(crate) end: Option<End>,
    stop: Option<Stop>,
    /// It follows one that was killed for a probe, and was started in the same sync (K-029, K-193).
    at_once: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) at: u64,
    pub(crate) exit: Exit,
}

/// A stop of one instance.
#[derive(Debug, Clone, Copy)]
struct Stop {
    since: u64,
    /// Seconds.
    grace: u64,
    /// When SIGKILL is due, once the stop signal has been sent.
    kill_at: Option<u64>,
    killed: bool,
    /// Another is to take its place.
    replace: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) runs: Vec<Run>,
    pub(crate) probes: [Option<Prober>; 3],
    /// The startup probe has succeeded at some time, or the container ran and has none.
    pub(crate) was_started: bool,
    /// The next start follows in the same sync as the kill.
    replace_now: bool,
    /// It waits for its back-off, or has done so.
    pub(crate) in_crash_loop: bool,
}

pub(crate) struct Model<'a> {
    pub(crate) scenario: &'a Scenario,
    world: World<'a>,
    stops: usize,
    pub(crate) records: Vec<Record>,
    /// Nothing is started any more.
    pub(crate) ending: bool,
    pub(crate) deadline_exceeded: bool,
    /// Everything has ended.
    pub(crate) over: bool,
    finished: bool,
    /// Whether a container had failed for good when somebody asked for a stop.
    failed_before_stop: Option<bool>,
    /// A container has failed for good.
    failed: bool,
    pub(crate) phase: &'static str,
    observation: Observation,
    /// The Pod's end has begun, which shows even where nothing is left to be done.
    end_began: bool,
    status: Option<Rc<Status>>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let record = |unit: &Unit| Record {
            probes: [0, 1, 2].map(|kind| {
                unit.probes[kind]
                    .as_ref()
                    .map(|probe| Prober::new(KINDS[kind], probe))
            }),
            ..Record::default()
        };
        let mut model = Self {
            scenario,
            world: World::new(scenario),
            stops: 0,
            records: scenario.units.iter().map(record).collect(),
            ending: false,
            deadline_exceeded: false,
            over: false,
            finished: false,
            failed_before_stop: None,
            failed: false,
            phase: "Pending",
            observation: Observation::default(),
            end_began: false,
            status: None,
        };
        model.settle(0);
        model.look();
        model
    }

    pub(crate) fn tick(&mut self, now: u64) -> Observation {
        while let Some(fact) = self.world.next(now, &mut self.stops) {
            match fact {
                Fact::Exited { unit, exit } => self.exited(unit, exit, now),
                Fact::Answered { unit, kind, answer } => self.answered(unit, kind, answer, now),
                Fact::Stop { grace } => {
                    self.failed_before_stop
                        .get_or_insert(self.failed || self.deadline_exceeded);
                    self.end(now, grace.unwrap_or(self.scenario.grace));
                }
            }
            self.settle(now);
            self.look();
        }
        self.settle(now);
        if std::mem::take(&mut self.end_began) || self.observation != Observation::default() {
            self.look();
        }
        self.observation.sort();
        Observation {
            status: self.status.clone(),
            ..std::mem::take(&mut self.observation)
        }
    }

    /// Nothing is due before this tick, unless something happens.
    pub(crate) fn quiet_until(&self, now: u64) -> u64 {
        let mut until = self.world.next_tick(self.stops);
        if let Some(deadline) = self.scenario.deadline.filter(|_| !self.ending) {
            until = until.min(deadline * SECOND);
        }
        for (index, record) in self.records.iter().enumerate() {
            if self.live(index).is_some_and(|run| run.stop.is_some()) {
                return now + 1;
            }
            if let Some(newest) = record.runs.last().filter(|_| !self.is_done(index))
                && let Some(waits) = self.back_off(index, newest, now)
            {
                until = until.min(waits);
            }
            for prober in record.probes.iter().flatten() {
                until = until.min(prober.next_tick(now));
            }
        }
        until.max(now + 1)
    }

    pub(crate) fn unit(&self, index: usize) -> &Unit {
        &self.scenario.units[index]
    }

    pub(crate) fn of_role(&self, roles: &'static [Role]) -> impl Iterator<Item = usize> + use<'a> {
        let units = &self.scenario.units;
        (0..units.len()).filter(move |index| roles.contains(&units[*index].role))
    }

    /// The live instance.
    pub(crate) fn live(&self, index: usize) -> Option<&Run> {
        self.records[index].runs.last().filter(|run| run.end.is_none())
    }

    /// K-240.
    pub(crate) fn is_started(&self, index: usize) -> bool {
        let startup = self.records[index].probes[Kind::Startup as usize].as_ref();
        self.live(index).is_some()
            && startup.is_none_or(|prober| prober.published(self.records[index].runs.len()) == Some(true))
    }

    /// K-071.
    pub(crate) fn succeeded(run: &Run) -> bool {
        !run.failed_to_start
            && run
                .end
                .is_some_and(|end| end.exit.code == Some(0) && !end.exit.oom)
    }

    /// Exit code as the status has it (K-304).
    pub(crate) fn code(run: &Run) -> i32 {
        match run.end {
            _ if run.failed_to_start => 128,
            Some(End {
                exit: Exit { code: Some(code), .. },
                ..
            }) => code,
            Some(End { exit, .. }) => 128 + exit.signal.expect("a signal"),
            None => panic!("it runs"),
        }
    }

    /// Whether it is not started again (K-021, K-072, K-092), after its newest instance ended.
    pub(crate) fn is_done(&self, index: usize) -> bool {
        if self.live(index).is_some() {
            return false;
        }
        let record = &self.records[index];
        match record.runs.last() {
            _ if self.ending => true,
            None => false,
            Some(_) if record.replace_now => false,
            Some(run) => match self.unit(index).role {
                Role::Sidecar => false,
                Role::Init => Self::succeeded(run) || !self.policy_restarts(index, Self::code(run)),
                Role::Regular => !self.policy_restarts(index, Self::code(run)),
            },
        }
    }

    pub(crate) fn policy_restarts(&self, index: usize, code: i32) -> bool {
        let unit = self.unit(index);
        rules::restarts(unit.policy.unwrap_or(self.scenario.policy), &unit.rules, code)
    }

    fn exited(&mut self, index: usize, exit: Exit, now: u64) {
        let was_ending = self.ending;
        let run = self.records[index].runs.last_mut().expect("a run");
        run.end = Some(End { at: now, exit });
        let replace = run.stop.is_some_and(|stop| stop.replace);
        let runs = &self.records[index].runs;
        // K-193: the status is stale, so the instance before counts.
        let before = runs.len().checked_sub(2).map(|before| &runs[before]);
        let held_back = before.is_some_and(|before| self.back_off(index, before, now).is_some());
        let held_back_later = self.back_off(index, &runs[runs.len() - 1], now).is_some();
        let record = &mut self.records[index];
        record.replace_now = replace && !held_back && !was_ending;
        record.in_crash_loop = !record.replace_now && held_back_later;
        if self.is_done(index) {
            let run = &self.records[index].runs[self.records[index].runs.len() - 1];
            // K-098: a sidecar never fails its Pod.
            self.failed |= match self.unit(index).role {
                Role::Sidecar => false,
                Role::Init => !Self::succeeded(run),
                Role::Regular => Self::code(run) != 0,
            };
        }
    }

    fn answered(&mut self, index: usize, kind: usize, answer: Answer, now: u64) {
        let runs = self.records[index].runs.len();
        let stopping = self.live(index).is_some_and(|run| run.stop.is_some());
        let prober = self.records[index].probes[kind].as_mut().expect("a probe");
        // K-244.
        if prober.answered(answer, runs, stopping && KINDS[kind] != Kind::Readiness) {
            self.ask(index, kind, now);
        }
        let failed = self.records[index].probes[kind]
            .as_ref()
            .and_then(|prober| prober.published(runs))
            == Some(false);
        if failed && KINDS[kind] != Kind::Readiness && !stopping {
            self.kill_for_probe(index, kind, now);
        }
    }

    /// K-247, K-019, K-029, K-132.
    fn kill_for_probe(&mut self, index: usize, kind: usize, now: u64) {
        let unit = self.unit(index);
        let replace =
            unit.role == Role::Sidecar || unit.policy.unwrap_or(self.scenario.policy) != Policy::Never;
        let mut others = self.of_role(&[Role::Regular]);
        let last = others.all(|other| other == index || self.is_done(other));
        if !replace && last {
            self.end(now, self.scenario.grace);
            return;
        }
        let own = unit.probes[kind].as_ref().and_then(|probe| probe.grace);
        let grace = own.unwrap_or(self.scenario.grace);
        let run = self.records[index].runs.last_mut().expect("a run");
        run.stop = Some(Stop {
            since: now,
            grace,
            kill_at: None,
            killed: false,
            replace,
        });
    }

    /// K-160. A later stop can only shorten the one in progress, and does (the decision at K-562).
    fn end(&mut self, now: u64, grace: u64) {
        // K-131.
        let grace = grace.max(1);
        self.ending = true;
        self.end_began = true;
        for record in &mut self.records {
            record.replace_now = false;
            let Some(run) = record.runs.last_mut().filter(|run| run.end.is_none()) else {
                continue;
            };
            match &mut run.stop {
                None => {
                    run.stop = Some(Stop {
                        since: now,
                        grace,
                        kill_at: None,
                        killed: false,
                        replace: false,
                    });
                }
                Some(stop) => match stop.kill_at {
                    // K-142.
                    Some(kill_at) => stop.kill_at = Some(kill_at.min(now + grace.max(2) * SECOND)),
                    None if now + grace * SECOND < stop.since + stop.grace * SECOND => {
                        (stop.since, stop.grace) = (now, grace);
                    }
                    None => {}
                },
            }
        }
    }

    /// Does what is to be done until nothing is.
    fn settle(&mut self, now: u64) {
        loop {
            let due = self
                .scenario
                .deadline
                .is_some_and(|deadline| now >= deadline * SECOND);
            if due && !self.ending {
                self.deadline_exceeded = true;
                self.end(now, self.scenario.grace);
            }
            // K-028, K-072.
            let all_done = self.of_role(&[Role::Regular]).all(|index| self.is_done(index));
            let mut inits = self.of_role(&[Role::Init]);
            let failed_init = inits.any(|index| {
                self.is_done(index) && !self.records[index].runs.last().is_some_and(Self::succeeded)
            });
            if !self.ending && (all_done || failed_init) {
                self.end(now, self.scenario.grace);
            }
            if self.ending && (0..self.records.len()).all(|index| self.live(index).is_none()) {
                self.over = true;
            }
            for index in 0..self.records.len() {
                self.records[index].was_started |= self.is_started(index);
                self.signal(index, now);
            }
            let restarted = self.start_what_may(now);
            for index in 0..self.records.len() {
                for kind in 0..KINDS.len() {
                    self.ask_if_due(index, kind, now);
                }
            }
            if !restarted {
                break;
            }
        }
        if self.over && !self.finished {
            self.finished = true;
            let failed = self.failed || self.deadline_exceeded;
            self.observation.finished = Some(self.failed_before_stop.unwrap_or(failed));
        }
    }

    /// Nothing else changes the status than what happens or is done.
    fn look(&mut self) {
        self.phase = self.next_phase();
        self.status = Some(Rc::new(self.status()));
    }

    /// K-140 to K-142, K-162, K-163.
    fn signal(&mut self, index: usize, now: u64) {
        let is_sidecar = self.unit(index).role == Role::Sidecar;
        let mut later = index + 1..self.records.len();
        let others_live =
            later.any(|other| self.unit(other).role != Role::Init && self.live(other).is_some());
        let waits = self.ending && is_sidecar && others_live;
        let Some(run) = self.records[index]
            .runs
            .last_mut()
            .filter(|run| run.end.is_none())
        else {
            return;
        };
        let Some(stop) = &mut run.stop else { return };
        match stop.kill_at {
            None if !waits || now >= stop.since + stop.grace * SECOND => {
                let left = stop.grace.saturating_sub((now - stop.since) / SECOND);
                stop.kill_at = Some(now + left.max(2) * SECOND);
                self.observation.terminated.push(index);
                self.world.terminate(index, now);
            }
            Some(kill_at) if now >= kill_at && !stop.killed => {
                stop.killed = true;
                self.observation.killed.push(index);
                self.world.kill(index, now);
            }
            _ => {}
        }
    }

    /// K-008: init containers and sidecars, then regular ones. Whether something has to be looked at again.
    fn start_what_may(&mut self, now: u64) -> bool {
        // What may be started is decided before anything is (K-002).
        let all = 0..self.records.len();
        let chosen: Vec<usize> = all.filter(|index| self.may_start(*index, now)).collect();
        for index in &chosen {
            let record = &mut self.records[*index];
            record.runs.push(Run {
                started: now,
                failed_to_start: false,
                end: None,
                stop: None,
                at_once: std::mem::take(&mut record.replace_now),
            });
            record.in_crash_loop = false;
            self.observation.starts.push(*index);
        }
        for index in &chosen {
            if !self.world.start(*index, now) {
                let run = self.records[*index].runs.last_mut().expect("a run");
                run.failed_to_start = true;
                let exit = Exit {
                    code: Some(1),
                    signal: None,
                    oom: false,
                };
                self.exited(*index, exit, now);
            }
        }
        !chosen.is_empty()
    }

    fn may_start(&self, index: usize, now: u64) -> bool {
        if self.ending || self.live(index).is_some() || self.is_done(index) {
            return false;
        }
        let record = &self.records[index];
        if record.replace_now {
            return true;
        }
        let inits = self.scenario.inits();
        // K-070, K-090.
        let lets_pass = |init: usize| match self.unit(init).role {
            Role::Init => self.records[init].runs.last().is_some_and(Self::succeeded),
            _ => self.is_started(init),
        };
        let open = if index < inits {
            // K-075: one that has a record is looked at before those in front of it.
            !record.runs.is_empty() || index == 0 || lets_pass(index - 1)
        } else {
            // K-076.
            let regular_live = self
                .of_role(&[Role::Regular])
                // One that was killed to be replaced was alive when the sync began that does both.
                .any(|other| self.live(other).is_some() || self.records[other].replace_now);
            regular_live || inits == 0 || lets_pass(inits - 1)
        };
        let free = record
            .runs
            .last()
            .is_none_or(|newest| self.back_off(index, newest, now).is_none());
        open && free
    }

    /// Until when a container whose exited instance `seen` was looked up must not be started.
    fn back_off(&self, index: usize, seen: &Run, now: u64) -> Option<u64> {
        let past = |run: &Run| Past {
            started: run.started,
            ended: run.end.map(|end| end.at),
            at_once: run.at_once,
        };
        let past: Vec<Past> = self.records[index].runs.iter().map(past).collect();
        rules::back_off(&past, seen.end?.at, now)
    }

    fn ask_if_due(&mut self, index: usize, kind: usize, now: u64) {
        let started = self.is_started(index);
        let runs = self.records[index].runs.len();
        let live = self.live(index).map(|run| (run.started, run.stop.is_some()));
        // K-167, K-236.
        let since = live.filter(|(_, stopping)| match KINDS[kind] {
            Kind::Startup => !started && !stopping,
            Kind::Liveness => started && !stopping,
            Kind::Readiness => started,
        });
        let Some(prober) = &mut self.records[index].probes[kind] else {
            return;
        };
        if prober.is_due(runs, since.map(|(since, _)| since), now) {
            self.ask(index, kind, now);
        }
    }

    fn ask(&mut self, index: usize, kind: usize, now: u64) {
        self.observation.asked.push((index, kind));
        self.world.ask(index, kind, now);
    }
}
