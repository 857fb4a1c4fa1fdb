//! The real supervisor in the scenario's world.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use cloister_init::supervisor::action::Action;
use cloister_init::supervisor::event::{Event, ExitStatus, Pid, ProbeKind, ProbeOutcome};
use cloister_init::supervisor::time::Time;
use cloister_init::supervisor::unit::UnitId;
use cloister_init::supervisor::{Identity, Limits, Supervisor};
use manifest_sync::plan::Plan;
use manifest_sync::status::{ContainerState, ContainerStatus, Phase, PodStatus};

use crate::scenario::{Answer, Exit, Scenario, TICK_MS};
use crate::trace::{Observation, State, Status, UnitStatus};
use crate::world::{Fact, World};

pub(crate) struct Core<'a> {
    supervisor: Supervisor,
    world: World<'a>,
    inits: usize,
    stops: usize,
    next_pid: Pid,
    /// Process of each container.
    pids: Vec<Option<Pid>>,
    observation: Observation,
    status: Option<Rc<Status>>,
    /// Everything that was heard and done, in order.
    journal: Vec<Entry>,
}

/// One line of the journal.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Started {
        unit: usize,
        attempt: u32,
    },
    Signalled {
        unit: usize,
    },
    /// `code` as the status has to show it.
    Ended {
        unit: usize,
        code: i32,
        oom: bool,
    },
    Stop {
        grace: Option<u64>,
    },
    Status(Box<PodStatus>),
    Finished,
}

impl<'a> Core<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let identity = Identity {
            boot_unix_ms: 0,
            uid: "uid".to_owned(),
            pod_ip: "127.0.0.1".to_owned(),
            // K-180.
            restart_cap: Duration::from_secs(300),
            limits: Limits::Enforced,
        };
        let (plan, _) = Plan::from_bundle_bytes(&scenario.bundle())
            .unwrap_or_else(|error| panic!("seed {}: {error}", scenario.seed));
        let mut core = Self {
            supervisor: Supervisor::new(identity),
            world: World::new(scenario),
            inits: scenario.inits(),
            stops: 0,
            next_pid: 100,
            pids: vec![None; scenario.units.len()],
            observation: Observation::default(),
            status: None,
            journal: Vec::new(),
        };
        core.step(0, Event::Boot { services: Vec::new() });
        core.step(0, Event::Accept(Box::new(plan)));
        core
    }

    pub(crate) fn tick(&mut self, now: u64) -> Observation {
        while let Some(fact) = self.world.next(now, &mut self.stops) {
            let event = self.event(&fact);
            self.step(now, event);
        }
        while let Some(deadline) = self
            .supervisor
            .next_deadline()
            .filter(|deadline| *deadline <= time(now))
        {
            assert_eq!(
                deadline,
                time(now),
                "a deadline between two ticks, or one that was forgotten"
            );
            self.step(now, Event::Tick);
        }
        self.observation.sort();
        Observation {
            status: self.status.clone(),
            ..std::mem::take(&mut self.observation)
        }
    }

    /// When something is due or happens next.
    pub(crate) fn next_tick(&self) -> u64 {
        let deadline = self
            .supervisor
            .next_deadline()
            .map(|deadline| deadline.as_millis().div_ceil(TICK_MS));
        deadline.unwrap_or(u64::MAX).min(self.world.next_tick(self.stops))
    }

    /// What has happened since the last look.
    pub(crate) fn journal(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.journal)
    }

    fn event(&mut self, fact: &Fact) -> Event {
        match *fact {
            Fact::Exited { unit, exit } => {
                let code = exit.code.or(exit.signal.map(|signal| 128 + signal));
                self.journal.push(Entry::Ended {
                    unit,
                    code: code.expect("a code or a signal"),
                    oom: exit.oom,
                });
                exited(self.pids[unit].take().expect("a process"), exit)
            }
            Fact::Answered { unit, kind, answer } => Event::Probed {
                pid: self.pids[unit].expect("a process"),
                kind: [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness][kind],
                outcome: match answer {
                    Answer::Yes => ProbeOutcome::Success,
                    Answer::No => ProbeOutcome::Failure("no".to_owned()),
                    Answer::Error => ProbeOutcome::Error("no such program".to_owned()),
                },
            },
            Fact::Stop { grace } => {
                self.journal.push(Entry::Stop { grace });
                Event::Stop {
                    grace_seconds: grace.map(|grace| u32::try_from(grace).expect("seconds")),
                }
            }
        }
    }

    fn step(&mut self, now: u64, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut actions = Vec::new();
            self.supervisor.step(time(now), event, &mut actions);
            for action in actions {
                self.perform(now, &action, &mut events);
            }
        }
    }

    fn perform(&mut self, now: u64, action: &Action, events: &mut VecDeque<Event>) {
        match *action {
            Action::PullImage(unit) => events.push_back(Event::ImageReady {
                unit,
                took: Duration::ZERO,
                bytes: 0,
            }),
            Action::Spawn { unit: id, attempt } => {
                let unit = self.index(id);
                self.observation.starts.push(unit);
                self.journal.push(Entry::Started { unit, attempt });
                let pid = self.next_pid;
                self.next_pid += 1;
                self.pids[unit] = Some(pid);
                events.push_back(Event::Spawned { unit: id, pid });
                if self.world.start(unit, now) {
                    events.push_back(Event::Started { pid });
                } else {
                    self.pids[unit] = None;
                    let message = format!("attempt {attempt}");
                    events.push_back(Event::StartFailed { pid, message });
                    self.journal.push(Entry::Ended {
                        unit,
                        code: 128,
                        oom: false,
                    });
                    let end = Exit {
                        code: Some(1),
                        signal: None,
                        oom: false,
                    };
                    events.push_back(exited(pid, end));
                }
            }
            Action::Terminate(pid) => {
                let unit = self.unit(pid);
                self.observation.terminated.push(unit);
                self.journal.push(Entry::Signalled { unit });
                self.world.terminate(unit, now);
            }
            Action::Kill(pid) => {
                let unit = self.unit(pid);
                self.observation.killed.push(unit);
                self.journal.push(Entry::Signalled { unit });
                self.world.kill(unit, now);
            }
            Action::Probe { pid, kind, .. } => {
                let (unit, kind) = (self.unit(pid), kind as usize);
                self.observation.asked.push((unit, kind));
                self.world.ask(unit, kind, now);
            }
            Action::Finish { exit_code } => {
                self.observation.finished = Some(exit_code != 0);
                self.journal.push(Entry::Finished);
            }
            Action::StatusChanged => {
                let report = self.supervisor.report().expect("a report");
                self.status = Some(Rc::new(status(&report.status)));
                self.journal.push(Entry::Status(Box::new(report.status)));
            }
            _ => {}
        }
    }

    fn index(&self, unit: UnitId) -> usize {
        match unit {
            UnitId::Init(index) => index,
            UnitId::Container(index) => self.inits + index,
            UnitId::Service(_) | UnitId::Ephemeral(_) => panic!("there are none"),
        }
    }

    fn unit(&self, pid: Pid) -> usize {
        let found = self.pids.iter().position(|own| *own == Some(pid));
        found.unwrap_or_else(|| panic!("process {pid} is not alive"))
    }
}

fn time(tick: u64) -> Time {
    Time::from_millis(tick * TICK_MS)
}

fn exited(pid: Pid, exit: Exit) -> Event {
    let status = match (exit.code, exit.signal) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => panic!("a process ends with a code or a signal"),
    };
    Event::Exited {
        pid,
        status,
        oom_killed: exit.oom,
        message: None,
    }
}

fn status(status: &PodStatus) -> Status {
    let holds = |name: &str| {
        let mut all = status.conditions.iter();
        all.any(|condition| condition.r#type == name && condition.status == "True")
    };
    Status {
        phase: match status.phase {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        },
        is_ready: holds("Ready"),
        is_initialized: holds("Initialized"),
        units: status.all_containers().map(of_container).collect(),
    }
}

fn of_container(status: &ContainerStatus) -> UnitStatus {
    UnitStatus {
        restarts: status.restart_count as usize,
        ready: status.ready,
        started: status.started,
        state: state(&status.state),
        last: status.last_state.as_ref().map(state),
    }
}

fn state(state: &ContainerState) -> State {
    match state {
        ContainerState::Waiting { reason, .. } => State::Waiting(reason.clone()),
        ContainerState::Running { .. } => State::Running,
        ContainerState::Terminated {
            reason, exit_code, ..
        } => State::Terminated(reason.clone(), *exit_code),
    }
}
