//! Transcripts, and random histories.
//!
//! A transcript is a text file of virtual time: `@2s > exited app code=1` is an event, an indented `< spawn app` is an
//! action that must follow, in order. `UPDATE_TRANSCRIPTS=1` writes what happens instead of comparing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use manifest_sync::digest::{BundleDigest, Digest};
use manifest_sync::lifecycle::{Hook, Hooks};
use manifest_sync::plan::{
    ContainerPlan, DnsPlan, Plan, RestartPolicy, RestartRule, RuleOperator, SecurityPlan,
};
use manifest_sync::probe::{ProbeHandler, ProbePlan, Probes};
use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status::{ContainerState, PodReport};
use proptest::prelude::*;

use super::action::Action;
use super::event::{Event, ExitStatus, HookKind, Pid, ProbeKind, ProbeOutcome, Readiness, SpawnError};
use super::time::Time;
use super::unit::UnitId;
use super::{Identity, Supervisor};

fn container(name: &str) -> ContainerPlan {
    ContainerPlan {
        name: name.to_owned(),
        image: format!("{name}:1"),
        image_digest: Digest::sha256(name.as_bytes()),
        command: None,
        args: None,
        working_dir: None,
        env_from: Vec::new(),
        env: Vec::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        restart_policy: None,
        restart_rules: Vec::new(),
        security: SecurityPlan::default(),
        termination_message_path: "/dev/termination-log".to_owned(),
        termination_message_from_logs: false,
        resources: ResourcesPlan::default(),
        probes: Probes::default(),
        hooks: Hooks::default(),
    }
}

fn probe(settings: &str) -> ProbePlan {
    let mut plan = ProbePlan {
        handler: ProbeHandler::Exec {
            command: vec!["true".to_owned()],
        },
        initial_delay_seconds: 0,
        timeout_seconds: 1,
        period_seconds: 10,
        success_threshold: 1,
        failure_threshold: 3,
        grace_seconds: None,
    };
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').expect("name=value");
        let value = value.parse().expect("a number");
        match name {
            "delay" => plan.initial_delay_seconds = value,
            "period" => plan.period_seconds = value,
            "success" => plan.success_threshold = value,
            "failure" => plan.failure_threshold = value,
            "grace" => plan.grace_seconds = Some(value),
            other => panic!("no setting {other} of a probe"),
        }
    }
    plan
}

/// `startup`, `liveness`, `readiness`.
fn probe_kind(name: &str) -> ProbeKind {
    [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness]
        .into_iter()
        .find(|kind| kind.to_string().to_lowercase() == name)
        .unwrap_or_else(|| panic!("no probe {name}"))
}

fn outcome(name: &str) -> ProbeOutcome {
    match name {
        "success" => ProbeOutcome::Success,
        "warning" => ProbeOutcome::Warning("redirected".to_owned()),
        "failure" => ProbeOutcome::Failure("no".to_owned()),
        "error" => ProbeOutcome::Error("no such program".to_owned()),
        other => panic!("no outcome {other}"),
    }
}

fn plan(policy: RestartPolicy, grace_seconds: u32, containers: Vec<ContainerPlan>) -> Plan {
    Plan {
        digest: BundleDigest::of(b""),
        name: "pod".to_owned(),
        namespace: "default".to_owned(),
        uid: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        hostname: "pod".to_owned(),
        domain: None,
        restart_policy: policy,
        grace_seconds,
        active_deadline_seconds: None,
        init_containers: Vec::new(),
        containers,
        volumes: Vec::new(),
        host_aliases: Vec::new(),
        dns: DnsPlan::default(),
        fs_group: None,
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
        secret_classes: BTreeMap::new(),
    }
}

/// A supervisor whose shell answers at once, and what happened.
struct World {
    supervisor: Supervisor,
    now: Time,
    next_pid: Pid,
    live: BTreeMap<Pid, UnitId>,
    spawned: BTreeMap<UnitId, u32>,
    killed: Vec<Pid>,
    log: String,
    /// What the next spawns of containers are answered with, instead of a process.
    spawn_errors: Vec<(SpawnError, String)>,
    image_error: Option<String>,
    start_error: Option<String>,
    finished: Option<u8>,
    /// What probes are answered with: success if it is not here, nothing if it is `None`.
    answers: BTreeMap<String, Option<ProbeOutcome>>,
    /// Hooks that were ever started.
    hooked: BTreeSet<(Pid, HookKind)>,
    /// Probes without an answer.
    asked: BTreeMap<(Pid, ProbeKind), String>,
    /// Whether a Stop was asked for: no container may be started afterwards.
    stopped: bool,
}

impl World {
    fn new() -> Self {
        let identity = Identity {
            boot_unix_ms: 0,
            uid: "uid".to_owned(),
            pod_ip: "127.0.0.1".to_owned(),
        };
        Self {
            supervisor: Supervisor::new(identity),
            now: Time::default(),
            next_pid: 100,
            live: BTreeMap::new(),
            spawned: BTreeMap::new(),
            killed: Vec::new(),
            log: String::new(),
            spawn_errors: Vec::new(),
            image_error: None,
            start_error: None,
            finished: None,
            answers: BTreeMap::new(),
            asked: BTreeMap::new(),
            hooked: BTreeSet::new(),
            stopped: false,
        }
    }

    fn boot(&mut self) {
        self.step(Event::Boot {
            services: vec![("net".to_owned(), Readiness::Exec)],
        });
    }

    fn name(&self, unit: UnitId) -> String {
        self.supervisor.unit_name(unit).to_owned()
    }

    fn step(&mut self, event: Event) {
        self.stopped |= matches!(event, Event::Stop { .. });
        let mut events = std::collections::VecDeque::from([event]);
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

    fn perform(&mut self, action: Action) -> Vec<Event> {
        match action {
            Action::PullImage(unit) => {
                self.note(&format!("pull {}", self.name(unit)));
                match self.image_error.clone() {
                    Some(message) => vec![Event::ImageFailed { unit, message }],
                    None => vec![Event::ImageReady { unit }],
                }
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
            Action::Emit { reason, message, .. } => {
                self.note(&format!("event {reason} {message}"));
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

    fn spawn(&mut self, unit: UnitId, attempt: u32) -> Vec<Event> {
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

    fn ask(&mut self, unit: UnitId, pid: Pid, kind: ProbeKind) -> Vec<Event> {
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

    fn answer(&mut self, (pid, kind): (Pid, ProbeKind), outcome: ProbeOutcome) {
        self.asked.remove(&(pid, kind));
        self.step(Event::Probed { pid, kind, outcome });
    }

    /// K-070, K-090: whatever comes before a container in the Pod's start has let it pass.
    fn check_turn(&self, unit: UnitId) {
        let status = self.supervisor.report().expect("accepted").status;
        let before = match unit {
            UnitId::Service(_) => return,
            UnitId::Init(index) => index,
            UnitId::Container(_) => status.init_container_statuses.len(),
        };
        // A sidecar may have ended again since (K-095); only one that has never run must not be passed.
        for init in status.init_container_statuses.iter().take(before) {
            let has_run = init.last_state.is_some() || !matches!(init.state, ContainerState::Waiting { .. });
            assert!(has_run, "{unit} is started before {} has run", init.name);
        }
    }

    fn note(&mut self, text: &str) {
        let _ = writeln!(self.log, "      < {text}");
    }

    fn exit(&mut self, pid: Pid, (status, oom_killed): (ExitStatus, bool)) {
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

    fn pid_of(&self, name: &str) -> Pid {
        let found = self
            .live
            .iter()
            .find(|(_, unit)| self.supervisor.unit_name(**unit) == name);
        *found.unwrap_or_else(|| panic!("{name} has no process")).0
    }

    /// Lets time pass to `end`, with every deadline on the way.
    fn pass_to(&mut self, end: Time) {
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

fn summary(report: &PodReport) -> String {
    let mut text = format!("{:?}", report.status.phase);
    let mut conditions = report.status.conditions.iter();
    if let Some(reason) = &report.status.reason {
        let _ = write!(text, " {reason}");
    }
    if let Some(condition) =
        conditions.find(|condition| condition.r#type == "Initialized" && condition.status == "False")
    {
        let message = condition.message.clone().unwrap_or_default();
        let _ = write!(text, " ({message})");
    }
    for status in report.status.all_containers() {
        let state = |state: &ContainerState| match state {
            ContainerState::Waiting { reason, .. } => format!("waiting:{reason}"),
            ContainerState::Running { .. } => "running".to_owned(),
            ContainerState::Terminated {
                exit_code, reason, ..
            } => format!("terminated:{reason}:{exit_code}"),
        };
        let last = status
            .last_state
            .as_ref()
            .map(|last| format!(" last={}", state(last)))
            .unwrap_or_default();
        let _ = write!(
            text,
            " | {} {} restarts={}{last}",
            status.name,
            state(&status.state),
            status.restart_count
        );
        if matches!(status.state, ContainerState::Running { .. }) {
            text.push_str(match (status.started, status.ready) {
                (false, _) => " unstarted",
                (true, false) => " unready",
                (true, true) => "",
            });
        }
    }
    text
}

/// Runs the script of a transcript: the lines that start with `pod` or `@`, without `tick`s.
fn replay(script: &str) -> String {
    let mut world = World::new();
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["#", ..] => {
                let _ = writeln!(world.log, "{line}");
            }
            ["pod", settings @ ..] => {
                let _ = writeln!(world.log, "{line}");
                world.boot();
                world.step(Event::Accept(Box::new(parse_pod(settings))));
            }
            [at, "set", what, rest @ ..] => {
                world.pass_to(parse_time(at));
                let _ = writeln!(world.log, "{line}");
                set(&mut world, what, &rest.join(" "));
            }
            [at, ">", event @ ..] => {
                world.pass_to(parse_time(at));
                let _ = writeln!(world.log, "{line}");
                happen(&mut world, event);
            }
            [at, "end"] => {
                world.pass_to(parse_time(at));
                let _ = writeln!(world.log, "{line}");
            }
            _ => {}
        }
    }
    world.log
}

fn parse_time(at: &str) -> Time {
    let text = at.trim_start_matches('@');
    let millis = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => millis.parse::<u64>(),
        (None, Some(seconds)) => seconds.parse::<u64>().map(|seconds| seconds * 1000),
        (None, None) => panic!("no time in {at}"),
    };
    Time::from_millis(millis.unwrap_or_else(|error| panic!("{at}: {error}")))
}

/// `policy=Never grace=5 init/first sidecar/log app other:OnFailure third:Never:In:42,43`
/// `probe/app/liveness:period=1,failure=2 hook/app/PreStop`
fn parse_pod(settings: &[&str]) -> Plan {
    let policy = |name: &str| match name {
        "Always" => RestartPolicy::Always,
        "OnFailure" => RestartPolicy::OnFailure,
        "Never" => RestartPolicy::Never,
        other => panic!("no policy {other}"),
    };
    let mut pod = plan(RestartPolicy::Always, 30, Vec::new());
    for setting in settings {
        match setting.split_once('=') {
            Some(("policy", name)) => pod.restart_policy = policy(name),
            Some(("deadline", seconds)) => {
                pod.active_deadline_seconds = Some(seconds.parse().expect("seconds"));
            }
            Some(("grace", seconds)) => pod.grace_seconds = seconds.parse().expect("seconds"),
            _ if setting.starts_with("hook/") => {
                let words: Vec<&str> = setting.split('/').collect();
                let mut all = pod.init_containers.iter_mut().chain(&mut pod.containers);
                let hooks = &mut all.find(|one| one.name == words[1]).expect("a container").hooks;
                let hook = Some(Hook::Sleep { seconds: 0 });
                match words[2] {
                    "PostStart" => hooks.post_start = hook,
                    "PreStop" => hooks.pre_stop = hook,
                    other => panic!("no hook {other}"),
                }
            }
            _ if setting.starts_with("probe/") => {
                let words: Vec<&str> = setting.split(['/', ':']).collect();
                let plan = Some(probe(words.get(3).unwrap_or(&"")));
                let mut all = pod.init_containers.iter_mut().chain(&mut pod.containers);
                let probes = &mut all.find(|one| one.name == words[1]).expect("a container").probes;
                match probe_kind(words[2]) {
                    ProbeKind::Startup => probes.startup = plan,
                    ProbeKind::Liveness => probes.liveness = plan,
                    ProbeKind::Readiness => probes.readiness = plan,
                }
            }
            _ => {
                let parts: Vec<&str> = setting.split(':').collect();
                let (kind, name) = parts[0].split_once('/').unwrap_or(("", parts[0]));
                let mut one = container(name);
                one.restart_policy = parts.get(1).map(|name| policy(name));
                if kind == "sidecar" {
                    one.restart_policy = Some(RestartPolicy::Always);
                }
                if let [_, _, operator, values] = parts.as_slice() {
                    let operator = if *operator == "In" {
                        RuleOperator::In
                    } else {
                        RuleOperator::NotIn
                    };
                    let values = values
                        .split(',')
                        .map(|value| value.parse().expect("code"))
                        .collect();
                    one.restart_rules = vec![RestartRule { operator, values }];
                }
                match kind {
                    "" => pod.containers.push(one),
                    _ => pod.init_containers.push(one),
                }
            }
        }
    }
    pod
}

fn set(world: &mut World, what: &str, value: &str) {
    let message = (!value.is_empty()).then(|| value.to_owned());
    match what {
        "image-error" => world.image_error = message,
        "start-error" => world.start_error = message,
        "config-error" => world.spawn_errors.push((SpawnError::Config, value.to_owned())),
        "volume-error" => world.spawn_errors.push((SpawnError::Volume, value.to_owned())),
        probe if probe.contains('/') => {
            let answer = (value != "hang").then(|| outcome(value));
            world.answers.insert(probe.to_owned(), answer);
        }
        other => panic!("no setting {other}"),
    }
}

fn happen(world: &mut World, event: &[&str]) {
    match event {
        ["exited", name, how] => {
            let end = match how.split_once('=') {
                Some(("code", code)) => (ExitStatus::Code(code.parse().expect("code")), false),
                Some(("signal", signal)) => (ExitStatus::Signal(signal.parse().expect("signal")), false),
                // K-305: the main process may have survived.
                Some(("oom", code)) => (ExitStatus::Code(code.parse().expect("code")), true),
                _ => (ExitStatus::Signal(9), true),
            };
            world.exit(world.pid_of(name), end);
        }
        ["probed", name, kind, result] => {
            let asked = (world.pid_of(name), probe_kind(kind));
            world.answer(asked, outcome(result));
        }
        ["hooked", name, kind, result] => {
            let kind = if *kind == "PreStop" {
                HookKind::PreStop
            } else {
                HookKind::PostStart
            };
            world.step(Event::HookEnded {
                pid: world.pid_of(name),
                kind,
                result: if *result == "success" {
                    Ok(())
                } else {
                    Err("because".to_owned())
                },
            });
        }
        ["stop"] => world.step(Event::Stop { grace_seconds: None }),
        ["stop", grace] => world.step(Event::Stop {
            grace_seconds: Some(grace.parse().expect("seconds")),
        }),
        ["tick"] => world.step(Event::Tick),
        other => panic!("no event {other:?}"),
    }
}

#[test]
fn transcripts_are_what_happens() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/transcripts");
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    let mut count = 0;
    let mut different = Vec::new();
    for entry in std::fs::read_dir(&directory).expect("transcripts") {
        let path = entry.expect("entry").path();
        let expected = std::fs::read_to_string(&path).expect("readable");
        let got = replay(&expected);
        count += 1;
        if got != expected {
            if update {
                std::fs::write(&path, got).expect("writable");
            } else {
                different.push(format!("{}:\n{got}", path.display()));
            }
        }
    }
    assert!(count >= 20, "only {count} transcripts");
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[derive(Debug, Clone)]
enum Move {
    Exit { which: usize, status: u8 },
    Pass { millis: u64 },
    Stop { grace: Option<u32> },
    SpawnErrors { volume: bool },
    ImageError(bool),
    StartError,
    Probed { which: usize, outcome: usize },
    Hooked { which: usize, fails: bool },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (any::<usize>(), 0u8..5).prop_map(|(which, status)| Move::Exit { which, status }),
        6 => (1u64..700_000).prop_map(|millis| Move::Pass { millis }),
        1 => prop::option::of(0u32..40).prop_map(|grace| Move::Stop { grace }),
        1 => any::<bool>().prop_map(|volume| Move::SpawnErrors { volume }),
        1 => any::<bool>().prop_map(Move::ImageError),
        1 => Just(Move::StartError),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, fails)| Move::Hooked { which, fails }),
        8 => (any::<usize>(), 0usize..6).prop_map(|(which, outcome)| Move::Probed { which, outcome }),
    ];
    prop::collection::vec(one, 0..60)
}

fn end_of(number: u8) -> (ExitStatus, bool) {
    match number {
        0 => (ExitStatus::Code(0), false),
        1 => (ExitStatus::Code(1), false),
        2 => (ExitStatus::Signal(15), false),
        3 => (ExitStatus::Signal(9), true),
        _ => (ExitStatus::Signal(9), false),
    }
}

fn random_history(policies: &[u8], sidecars: &[bool], probed: &[u8], moves: &[Move]) {
    let policy = |number: u8| match number % 3 {
        0 => RestartPolicy::Always,
        1 => RestartPolicy::OnFailure,
        _ => RestartPolicy::Never,
    };
    let containers = (1..policies.len())
        .map(|index| container(&format!("c{index}")))
        .collect();
    let pod_policy = policy(policies[0]);
    let mut pod = plan(pod_policy, 30, containers);
    pod.init_containers = sidecars
        .iter()
        .enumerate()
        .map(|(index, is_sidecar)| {
            let mut init = container(&format!("i{index}"));
            init.restart_policy = is_sidecar.then_some(RestartPolicy::Always);
            init
        })
        .collect();
    let mut all: Vec<&mut ContainerPlan> = pod
        .init_containers
        .iter_mut()
        .filter(|init| init.restart_policy.is_some())
        .chain(&mut pod.containers)
        .collect();
    let mut world = World::new();
    for (container, bits) in all.iter_mut().zip(probed) {
        let plan = |bit: u8, settings: &str| (bits & bit != 0).then(|| probe(settings));
        container.probes = Probes {
            startup: plan(1, "period=3,failure=2"),
            liveness: plan(2, "failure=1,grace=7"),
            readiness: plan(4, "period=7,delay=5,success=2"),
        };
        let hook = |bit: u8| (bits & bit != 0).then_some(Hook::Sleep { seconds: 0 });
        container.hooks = Hooks {
            post_start: hook(8),
            pre_stop: hook(16),
        };
        for kind in ["startup", "liveness", "readiness"] {
            // Answers are moves.
            world.answers.insert(format!("{}/{kind}", container.name), None);
        }
    }
    world.boot();
    world.step(Event::Accept(Box::new(pod)));
    let mut restarts: BTreeMap<String, u32> = BTreeMap::new();
    for step in moves {
        match step {
            Move::Exit { which, status } => {
                let pids: Vec<Pid> = world.live.keys().copied().collect();
                if let Some(pid) = pids.get(which % pids.len().max(1)) {
                    world.exit(*pid, end_of(*status));
                }
            }
            Move::Pass { millis } => world.pass_to(world.now + Duration::from_millis(*millis)),
            Move::Stop { grace } => world.step(Event::Stop {
                grace_seconds: *grace,
            }),
            Move::SpawnErrors { volume } => {
                let reason = if *volume {
                    SpawnError::Volume
                } else {
                    SpawnError::Config
                };
                world.spawn_errors.push((reason, "because".to_owned()));
            }
            Move::ImageError(fails) => world.image_error = fails.then(|| "absent".to_owned()),
            Move::Probed {
                which,
                outcome: result,
            } => {
                let asked: Vec<(Pid, ProbeKind)> = world.asked.keys().copied().collect();
                if let Some(asked) = asked.get(which % asked.len().max(1)) {
                    let names = ["success", "success", "warning", "failure", "failure", "error"];
                    world.answer(*asked, outcome(names[*result]));
                }
            }
            Move::Hooked { which, fails } => {
                let hooked: Vec<(Pid, HookKind)> = world.hooked.iter().copied().collect();
                // Late answers, answers twice, answers for the dead: all must do no harm.
                if let Some((pid, kind)) = hooked.get(which % hooked.len().max(1)).copied() {
                    let result = if *fails { Err("because".to_owned()) } else { Ok(()) };
                    world.step(Event::HookEnded { pid, kind, result });
                }
            }
            Move::StartError => world.start_error = Some("no such file".to_owned()),
        }
        for status in world
            .supervisor
            .report()
            .expect("accepted")
            .status
            .all_containers()
        {
            let before = restarts
                .insert(status.name.clone(), status.restart_count)
                .unwrap_or(0);
            assert!(status.restart_count >= before, "restartCount went back");
            let runs = matches!(status.state, ContainerState::Running { .. });
            assert!(!runs || status.started || !status.ready, "{status:?}");
        }
    }
    if pod_policy == RestartPolicy::Never {
        for (unit, count) in &world.spawned {
            let may_restart = match unit {
                UnitId::Service(_) => true,
                UnitId::Init(index) => sidecars[*index],
                UnitId::Container(_) => false,
            };
            assert!(may_restart || *count == 1, "{unit} was started {count} times");
        }
    }
    // After a stop, nothing but time is needed, whoever ignores SIGTERM: the grace of the containers, then that of the
    // services.
    world.image_error = None;
    world.step(Event::Stop { grace_seconds: None });
    let end = world.now + Duration::from_secs(40) + Duration::from_secs(10);
    world.pass_to(end);
    assert!(world.finished.is_some(), "not finished:\n{}", world.log);
    assert!(world.live.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn random_histories_hold_the_invariants(
        policies in prop::collection::vec(0u8..3, 2..5),
        sidecars in prop::collection::vec(any::<bool>(), 0..4),
        probed in prop::collection::vec(0u8..32, 0..6),
        moves in moves(),
    ) {
        random_history(&policies, &sidecars, &probed, &moves);
    }
}
