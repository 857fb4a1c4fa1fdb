//! A world around the supervisor: a shell that answers at once, and what happened in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use manifest_sync::config::MAX_RESTART_PERIOD;
use manifest_sync::plan::Plan;
use manifest_sync::status::ContainerState;

use super::summary::summary;
use crate::supervisor::action::Action;
use crate::supervisor::event::{
    Event, ExitStatus, HookKind, Pid, ProbeKind, ProbeOutcome, Readiness, Resized, SpawnError,
};
use crate::supervisor::time::Time;
use crate::supervisor::unit::UnitId;
use crate::supervisor::{Identity, Limits, Supervisor};

/// A supervisor whose shell answers at once, and what happened.
pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) now: Time,
    pub(super) next_pid: Pid,
    pub(super) live: BTreeMap<Pid, UnitId>,
    pub(super) spawned: BTreeMap<UnitId, u32>,
    pub(super) killed: Vec<Pid>,
    pub(super) log: String,
    /// What the next spawns of containers are answered with, instead of a process.
    pub(super) spawn_errors: Vec<(SpawnError, String)>,
    /// What the next tries to set volumes up are answered with.
    pub(super) volume_errors: Vec<String>,
    pub(super) image_error: Option<String>,
    pub(super) start_error: Option<String>,
    pub(super) finished: Option<u8>,
    /// What probes are answered with: success if it is not here, nothing if it is `None`.
    pub(super) answers: BTreeMap<String, Option<ProbeOutcome>>,
    /// Hooks that were ever started.
    pub(super) hooked: BTreeSet<(Pid, HookKind)>,
    /// Probes without an answer.
    pub(super) asked: BTreeMap<(Pid, ProbeKind), String>,
    /// Whether a Stop was asked for: no container may be started afterwards.
    pub(super) stopped: bool,
    /// What resizes are answered with, and why the next update's is not tried.
    pub(super) resize_error: Option<String>,
    pub(super) infeasible: Option<String>,
    /// The Pod's plan, for updates.
    pub(super) plan: Option<Plan>,
}

/// A supervisor that has not been booted.
pub(super) fn supervisor(restart_cap: Duration) -> Supervisor {
    Supervisor::new(Identity {
        boot_unix_ms: 0,
        uid: "uid".to_owned(),
        pod_ip: "127.0.0.1".to_owned(),
        restart_cap,
        limits: Limits::Enforced,
    })
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            supervisor: supervisor(MAX_RESTART_PERIOD),
            now: Time::default(),
            next_pid: 100,
            live: BTreeMap::new(),
            spawned: BTreeMap::new(),
            killed: Vec::new(),
            log: String::new(),
            spawn_errors: Vec::new(),
            volume_errors: Vec::new(),
            image_error: None,
            start_error: None,
            finished: None,
            answers: BTreeMap::new(),
            asked: BTreeMap::new(),
            hooked: BTreeSet::new(),
            stopped: false,
            resize_error: None,
            infeasible: None,
            plan: None,
        }
    }

    pub(super) fn boot(&mut self) {
        self.step(Event::Boot {
            services: vec![("net".to_owned(), Readiness::Exec)],
        });
    }

    pub(super) fn name(&self, unit: UnitId) -> String {
        self.supervisor.unit_name(unit).to_owned()
    }

    pub(super) fn step(&mut self, event: Event) {
        self.stopped |= matches!(event, Event::Stop { .. });
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut actions = Vec::new();
            self.supervisor.step(self.now, event, &mut actions);
            for action in actions {
                events.extend(self.perform(action));
            }
        }
        if let Some(deadline) = self.supervisor.next_deadline() {
            assert!(
                deadline > self.now,
                "a deadline at {deadline} is left over at {}",
                self.now
            );
        }
    }

    pub(super) fn perform(&mut self, action: Action) -> Vec<Event> {
        match action {
            Action::PullImage(unit) => {
                self.note(&format!("pull {}", self.name(unit)));
                match self.image_error.clone() {
                    Some(message) => vec![Event::ImageFailed { unit, message }],
                    None => vec![Event::ImageReady {
                        unit,
                        took: Duration::from_millis(20),
                        bytes: 4096,
                    }],
                }
            }
            Action::SetUpVolumes => {
                self.note("make volumes");
                vec![Event::VolumesSetUp(match self.volume_errors.pop() {
                    Some(message) => Err(message),
                    None => Ok(()),
                })]
            }
            Action::Spawn { unit, attempt } => self.spawn(unit, attempt),
            Action::Terminate(pid) => {
                let unit = *self.live.get(&pid).expect("Terminate names a live process");
                self.note(&format!("terminate {}", self.name(unit)));
                Vec::new()
            }
            Action::Kill(pid) => {
                let unit = *self.live.get(&pid).expect("Kill names a live process");
                self.note(&format!("kill {}", self.name(unit)));
                self.killed.push(pid);
                Vec::new()
            }
            Action::Probe { unit, pid, kind } => self.ask(unit, pid, kind),
            Action::Hook { unit, pid, kind } => {
                self.note(&format!("hook {} {kind:?}", self.name(unit)));
                assert_eq!(self.live.get(&pid), Some(&unit), "a hook is of a live process");
                assert!(self.hooked.insert((pid, kind)), "a hook runs once");
                Vec::new()
            }
            Action::Resize => {
                self.note("resize");
                vec![Event::Resized(match self.resize_error.clone() {
                    None => Resized::Done,
                    Some(message) => Resized::Failed { message },
                })]
            }
            Action::Emit { reason, message, .. } => {
                // The end of K-511 is the same in all transcripts.
                let message = message.split("\" in 20ms (").next().unwrap_or_default();
                let quote = if message.starts_with("Successfully pulled") {
                    "\""
                } else {
                    ""
                };
                self.note(&format!("event {reason} {message}{quote}"));
                Vec::new()
            }
            Action::StatusChanged => {
                let report = self.supervisor.report().expect("a report has changed");
                self.note(&format!("status {}", summary(&report)));
                Vec::new()
            }
            Action::Finish { exit_code } => {
                self.note(&format!("finish {exit_code}"));
                assert_eq!(self.finished.replace(exit_code), None, "Finish comes once");
                Vec::new()
            }
        }
    }

    pub(super) fn spawn(&mut self, unit: UnitId, attempt: u32) -> Vec<Event> {
        self.note(&format!("spawn {} attempt={attempt}", self.name(unit)));
        assert!(
            !self.live.values().any(|live| *live == unit),
            "{unit} has a process already"
        );
        let is_container = !matches!(unit, UnitId::Service(_));
        if is_container {
            assert!(!self.stopped, "{unit} is started after a stop");
            self.check_turn(unit);
        }
        if is_container && let Some((reason, message)) = self.spawn_errors.pop() {
            return vec![Event::SpawnFailed {
                unit,
                reason,
                message,
            }];
        }
        let pid = self.next_pid;
        self.next_pid += 1;
        self.live.insert(pid, unit);
        *self.spawned.entry(unit).or_default() += 1;
        let spawned = Event::Spawned { unit, pid };
        match (is_container, self.start_error.take()) {
            (true, Some(message)) => {
                self.live.remove(&pid);
                let status = ExitStatus::Code(128);
                let exited = Event::Exited {
                    pid,
                    status,
                    oom_killed: false,
                    message: None,
                };
                vec![spawned, Event::StartFailed { pid, message }, exited]
            }
            _ => vec![spawned, Event::Started { pid }],
        }
    }

    pub(super) fn ask(&mut self, unit: UnitId, pid: Pid, kind: ProbeKind) -> Vec<Event> {
        let name = format!("{}/{}", self.name(unit), kind.to_string().to_lowercase());
        self.note(&format!("probe {name}"));
        assert_eq!(self.live.get(&pid), Some(&unit), "a probe asks a live process");
        assert!(
            !self.asked.contains_key(&(pid, kind)),
            "{name} is asked twice at once"
        );
        match self
            .answers
            .get(&name)
            .cloned()
            .unwrap_or(Some(ProbeOutcome::Success))
        {
            Some(outcome) => vec![Event::Probed { pid, kind, outcome }],
            None => {
                self.asked.insert((pid, kind), name);
                Vec::new()
            }
        }
    }

    pub(super) fn answer(&mut self, (pid, kind): (Pid, ProbeKind), outcome: ProbeOutcome) {
        self.asked.remove(&(pid, kind));
        self.step(Event::Probed { pid, kind, outcome });
    }

    /// K-070, K-090: whatever comes before a container in the Pod's start has let it pass.
    pub(super) fn check_turn(&self, unit: UnitId) {
        let status = self.supervisor.report().expect("accepted").status;
        let before = match unit {
            UnitId::Service(_) | UnitId::Ephemeral(_) => return,
            UnitId::Init(index) => index,
            UnitId::Container(_) => status.init_container_statuses.len(),
        };
        // A sidecar may have ended again since (K-095); only one that has never run must not be passed.
        for init in status.init_container_statuses.iter().take(before) {
            let has_run = init.last_state.is_some() || !matches!(init.state, ContainerState::Waiting { .. });
            assert!(has_run, "{unit} is started before {} has run", init.name);
            // After a restart of all, the same again (K-050).
            let removed = matches!(&init.state, ContainerState::Waiting { reason, .. } if reason == "RestartingAllContainers");
            assert!(!removed, "{unit} is started again before {}", init.name);
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.log, "      < {text}");
    }

    pub(super) fn exit(&mut self, pid: Pid, (status, oom_killed): (ExitStatus, bool)) {
        self.live.remove(&pid);
        self.asked.retain(|(asked, _), _| *asked != pid);
        self.killed.retain(|killed| *killed != pid);
        self.step(Event::Exited {
            pid,
            status,
            oom_killed,
            message: None,
        });
    }

    pub(super) fn pid_of(&self, name: &str) -> Pid {
        let found = self
            .live
            .iter()
            .find(|(_, unit)| self.supervisor.unit_name(**unit) == name);
        *found.unwrap_or_else(|| panic!("{name} has no process")).0
    }

    /// Lets time pass to `end`, with every deadline on the way.
    pub(super) fn pass_to(&mut self, end: Time) {
        while let Some(deadline) = self
            .supervisor
            .next_deadline()
            .filter(|deadline| *deadline <= end)
        {
            self.now = deadline;
            let _ = writeln!(self.log, "@{} tick", self.now);
            self.step(Event::Tick);
            for pid in std::mem::take(&mut self.killed) {
                self.exit(pid, (ExitStatus::Signal(9), false));
            }
        }
        self.now = self.now.max(end);
    }
}
