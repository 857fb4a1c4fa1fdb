//! What the model's status says: sections 9 to 11, from its records.

use crate::model::{Model, Run};
use crate::scenario::{Kind, Role};
use crate::trace::{State, Status, UnitStatus};

impl Model<'_> {
    pub(crate) fn status(&self) -> Status {
        let units: Vec<UnitStatus> = (0..self.records.len()).map(|index| self.of_unit(index)).collect();
        let over = matches!(self.phase, "Succeeded" | "Failed");
        let mut lasting = self.of_role(&[Role::Sidecar, Role::Regular]);
        Status {
            phase: self.phase,
            is_ready: !over && lasting.all(|index| units[index].ready),
            is_initialized: self.phase == "Succeeded" || self.is_initialized(),
            units,
        }
    }

    /// K-275.
    fn is_initialized(&self) -> bool {
        let complete = |index: usize| match self.unit(index).role {
            Role::Init => self.is_ready(index),
            _ => self.is_started(index),
        };
        let mut regular = self.of_role(&[Role::Regular]);
        regular.any(|index| !self.records[index].runs.is_empty()) || (0..self.scenario.inits()).all(complete)
    }

    /// K-082, K-240.
    fn is_ready(&self, index: usize) -> bool {
        let record = &self.records[index];
        if self.unit(index).role == Role::Init {
            return record.runs.last().is_some_and(Self::succeeded);
        }
        let readiness = record.probes[Kind::Readiness as usize].as_ref();
        self.is_started(index)
            && readiness.is_none_or(|prober| prober.published(record.runs.len()) == Some(true))
    }

    fn of_unit(&self, index: usize) -> UnitStatus {
        let record = &self.records[index];
        let ended: Vec<&Run> = record.runs.iter().filter(|run| run.end.is_some()).collect();
        let newest = ended.last().map(|run| terminated(run));
        let (state, last) = if self.live(index).is_some() {
            (State::Running, newest)
        } else if self.is_done(index) {
            match newest {
                Some(newest) => (newest, ended.iter().rev().nth(1).map(|run| terminated(run))),
                // K-172.
                None if self.over && self.was_reached(index) => {
                    (State::Terminated("ContainerStatusUnknown".to_owned(), 137), None)
                }
                None => (self.creating(), None),
            }
        } else if record.in_crash_loop {
            (State::Waiting("CrashLoopBackOff".to_owned()), newest)
        } else {
            (self.creating(), newest)
        };
        UnitStatus {
            restarts: record.runs.len().saturating_sub(1),
            ready: self.is_ready(index),
            started: match self.unit(index).role {
                Role::Init => self.live(index).is_some(),
                _ => self.is_started(index),
            },
            state,
            last,
        }
    }

    /// K-083.
    fn creating(&self) -> State {
        let reason = if self.scenario.inits() == 0 {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        State::Waiting(reason.to_owned())
    }

    /// K-172: regular containers of a Pod that had initialised, init containers up to the last that has started (the
    /// first is looked at in any case).
    fn was_reached(&self, index: usize) -> bool {
        let ran = |index: usize| !self.records[index].runs.is_empty();
        let inits = self.scenario.inits();
        let last_done = |last: usize| match self.unit(last).role {
            Role::Init => self.records[last].runs.iter().any(Self::succeeded),
            _ => self.records[last].was_started,
        };
        let initialized =
            inits.checked_sub(1).is_none_or(last_done) || self.of_role(&[Role::Regular]).any(ran);
        initialized || (index < inits && index <= (0..inits).rev().find(|init| ran(*init)).unwrap_or(0))
    }

    /// K-290, on published states; K-169, K-171, K-294, K-323.
    pub(crate) fn next_phase(&self) -> &'static str {
        if matches!(self.phase, "Succeeded" | "Failed") {
            return self.phase;
        }
        let phase = self.computed_phase();
        let alive = (0..self.records.len()).any(|index| self.live(index).is_some());
        match phase {
            _ if self.over && (self.deadline_exceeded || matches!(phase, "Pending" | "Running")) => "Failed",
            "Succeeded" | "Failed" if alive => self.phase,
            _ if self.deadline_exceeded && alive => self.phase,
            phase => phase,
        }
    }

    fn computed_phase(&self) -> &'static str {
        let (mut failed_for_good, mut pending_init, mut pending_sidecar) = (0, 0, 0);
        let (mut waiting, mut running, mut stopped, mut stopped_for_good, mut succeeded) = (0, 0, 0, 0, 0);
        for index in 0..self.records.len() {
            let status = self.of_unit(index);
            let role = self.unit(index).role;
            match (role, &status.state, &status.last) {
                (Role::Init, State::Running, _) | (Role::Init, State::Waiting(_), None) => pending_init += 1,
                (Role::Init, State::Terminated(_, code), _)
                | (Role::Init, State::Waiting(_), Some(State::Terminated(_, code))) => {
                    if *code != 0 && (self.is_done(index) || !self.policy_restarts(index, *code)) {
                        failed_for_good += 1;
                    }
                }
                (Role::Sidecar, State::Running, _) => {
                    running += 1;
                    pending_sidecar += u32::from(!status.started);
                }
                (Role::Sidecar, State::Waiting(_), None) => {
                    waiting += 1;
                    pending_sidecar += 1;
                }
                (Role::Sidecar, _, _) => {}
                (Role::Regular, State::Running, _) => running += 1,
                (Role::Regular, State::Terminated(_, code), _) => {
                    stopped += 1;
                    succeeded += u32::from(*code == 0);
                    stopped_for_good += u32::from(!self.policy_restarts(index, *code));
                }
                (Role::Regular, State::Waiting(_), Some(State::Terminated(_, code))) => {
                    stopped += 1;
                    stopped_for_good += u32::from(!self.policy_restarts(index, *code));
                }
                (Role::Regular, State::Waiting(_), _) => waiting += 1,
                (_, _, Some(_)) => panic!("lastState is a terminated one"),
            }
        }
        let mut regular = self.of_role(&[Role::Regular]);
        let has_started = regular.any(|index| !self.records[index].runs.is_empty());
        match () {
            () if failed_for_good > 0 => "Failed",
            () if pending_init > 0 || (pending_sidecar > 0 && !has_started) => "Pending",
            () if waiting > 0 => "Pending",
            () if running > 0 => "Running",
            () if self.over && stopped > 0 => ["Failed", "Succeeded"][usize::from(stopped == succeeded)],
            () if stopped > 0 && stopped != stopped_for_good => "Running",
            () if stopped > 0 && stopped == succeeded => "Succeeded",
            () if stopped > 0 => "Failed",
            () => "Pending",
        }
    }
}

fn terminated(run: &Run) -> State {
    let end = run.end.expect("it has ended");
    let code = Model::code(run);
    let reason = match () {
        () if run.failed_to_start => "StartError",
        // K-305.
        () if end.exit.oom => "OOMKilled",
        () if code == 0 => "Completed",
        () => "Error",
    };
    State::Terminated(reason.to_owned(), code)
}
