//! What holds in every history, whatever the Pod and the world: the status never goes back, every exit is reported once
//! and as it was, nothing starts before what it waits for or when it must not, and a stop ends in time. That no unit has
//! two processes, no action names a dead one and no deadline is in the past, the core's driver asserts.

use manifest_sync::status::{ContainerState, ContainerStatus, Phase, PodStatus};

use crate::core::{Core, Entry};
use crate::rules::{Policy, SECOND};
use crate::scenario::{Role, Scenario};

const HISTORIES: u64 = 2_000;

#[test]
fn every_history_holds_the_invariants() {
    let first = crate::first_seed();
    println!("{HISTORIES} histories from DIFFERENTIAL_SEED={first}");
    for index in 0..HISTORIES {
        let scenario = Scenario::new(first.wrapping_add(index));
        let mut core = Core::new(&scenario);
        let mut witness = Witness::new(&scenario);
        let mut now = 0;
        loop {
            core.tick(now);
            for entry in core.journal() {
                witness.hear(now, &entry);
            }
            if witness.finished {
                break;
            }
            witness.check_time(now);
            now = core.next_tick().max(now + 1);
        }
    }
}

/// What has been seen of one history.
struct Witness<'a> {
    scenario: &'a Scenario,
    /// Started, by container: whether a process lives, and the codes of those that ended.
    live: Vec<bool>,
    ended: Vec<Vec<i32>>,
    /// The newest ended with 0 and without an OOM kill (K-071).
    done: Vec<bool>,
    /// The records of ended instances by container and attempt, as they were first shown.
    shown: Vec<Vec<ContainerState>>,
    status: Option<PodStatus>,
    /// The latest moment at which everything has ended.
    ends_by: Option<u64>,
    finished: bool,
}

impl<'a> Witness<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let count = scenario.units.len();
        Self {
            scenario,
            live: vec![false; count],
            ended: vec![Vec::new(); count],
            done: vec![false; count],
            shown: vec![Vec::new(); count],
            status: None,
            ends_by: None,
            finished: false,
        }
    }

    fn hear(&mut self, now: u64, entry: &Entry) {
        let seed = self.scenario.seed;
        match entry {
            // A wish that came too late.
            Entry::Stop { .. } if self.finished => {}
            _ if self.finished => panic!("seed {seed}: {entry:?} after the end"),
            Entry::Started { unit, attempt } => self.started(*unit, *attempt),
            Entry::Signalled { unit } => assert!(self.live[*unit], "seed {seed}: {unit} is not alive"),
            Entry::Ended { unit, code, oom } => {
                self.live[*unit] = false;
                self.done[*unit] = *code == 0 && !oom;
                self.ended[*unit].push(*code);
            }
            Entry::Stop { grace } => {
                let grace = grace.unwrap_or(self.scenario.grace);
                // A sidecar is signalled when the grace period is over and has two seconds then (K-163); SIGKILL takes a
                // tick.
                let ends_by = now + (grace.max(2) + 2) * SECOND + 1;
                self.ends_by = Some(self.ends_by.map_or(ends_by, |before| before.min(ends_by)));
            }
            Entry::Status(status) => self.reported(status),
            Entry::Finished => {
                self.finished = true;
                assert!(
                    self.live.iter().all(|live| !live),
                    "seed {seed}: not everything has ended"
                );
                self.check_exits();
            }
        }
    }

    fn check_time(&self, now: u64) {
        let seed = self.scenario.seed;
        assert!(
            self.ends_by.is_none_or(|ends_by| now <= ends_by),
            "seed {seed}: the stop takes too long, at tick {now}"
        );
    }

    fn started(&mut self, unit: usize, attempt: u32) {
        let seed = self.scenario.seed;
        let what = &self.scenario.units[unit];
        assert!(
            self.ends_by.is_none(),
            "seed {seed}: {unit} is started after a stop"
        );
        assert_eq!(
            attempt as usize,
            self.ended[unit].len(),
            "seed {seed}: attempt of {unit}"
        );
        let never = what.policy.unwrap_or(self.scenario.policy) == Policy::Never && what.rules.is_empty();
        assert!(
            !never || attempt == 0,
            "seed {seed}: {unit} is started again under Never"
        );
        // K-074.
        assert!(
            what.role != Role::Init || !self.done[unit],
            "seed {seed}: {unit} had done its work"
        );
        let before = if what.role == Role::Regular {
            self.scenario.inits()
        } else {
            unit
        };
        for init in 0..before {
            let done = match self.scenario.units[init].role {
                Role::Init => self.done[init],
                _ => self.live[init] || !self.ended[init].is_empty(),
            };
            assert!(done, "seed {seed}: {unit} is started before {init} has let it");
        }
        self.live[unit] = true;
    }

    fn reported(&mut self, status: &PodStatus) {
        let seed = self.scenario.seed;
        for (unit, now) in status.all_containers().enumerate() {
            self.record(unit, now);
            let runs = matches!(now.state, ContainerState::Running { .. });
            assert!(!now.ready || now.started || !runs, "seed {seed}: {now:?}");
        }
        if let Some(before) = &self.status {
            let rank = |phase: Phase| match phase {
                Phase::Pending => 0,
                Phase::Running => 1,
                Phase::Succeeded | Phase::Failed => 2,
            };
            let (old, new) = (before.phase, status.phase);
            assert!(rank(new) >= rank(old), "seed {seed}: {old:?} became {new:?}");
            assert!(rank(old) < 2 || new == old, "seed {seed}: {old:?} became {new:?}");
            assert_eq!(before.start_time, status.start_time);
            for (old, new) in before.all_containers().zip(status.all_containers()) {
                assert!(
                    new.restart_count >= old.restart_count,
                    "seed {seed}: {old:?}, then {new:?}"
                );
                assert!(
                    new.restart_count <= old.restart_count + 1,
                    "seed {seed}: {old:?}, then {new:?}"
                );
            }
        }
        self.status = Some(status.clone());
    }

    /// Notes the ended instances that a status shows. What was said of one never changes.
    fn record(&mut self, unit: usize, status: &ContainerStatus) {
        let seed = self.scenario.seed;
        for state in [status.last_state.as_ref(), Some(&status.state)]
            .into_iter()
            .flatten()
        {
            let ContainerState::Terminated {
                exit_code,
                reason,
                container_id,
                ..
            } = state
            else {
                continue;
            };
            if reason == "ContainerStatusUnknown" {
                continue;
            }
            let attempt: usize = container_id
                .rsplit('/')
                .next()
                .and_then(|attempt| attempt.parse().ok())
                .expect("an attempt");
            assert_eq!(
                self.ended[unit].get(attempt),
                Some(exit_code),
                "seed {seed}: {status:?}"
            );
            match self.shown[unit].get(attempt) {
                Some(before) => assert_eq!(before, state, "seed {seed}"),
                None => {
                    assert_eq!(
                        self.shown[unit].len(),
                        attempt,
                        "seed {seed}: an exit was left out"
                    );
                    self.shown[unit].push(state.clone());
                }
            }
        }
    }

    /// Every exit was shown.
    fn check_exits(&self) {
        for (shown, ended) in self.shown.iter().zip(&self.ended) {
            assert_eq!(
                shown.len(),
                ended.len(),
                "seed {}: an exit was not reported",
                self.scenario.seed
            );
        }
    }
}
