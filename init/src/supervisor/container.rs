//! One container: what each event makes of its state. When its turn comes is decided in `pod`; what users see of it is
//! projected in `status`.

use std::time::Duration;

use manifest_sync::lifecycle::Hooks;
use manifest_sync::plan::{ContainerPlan, Plan, RestartPolicy};
use manifest_sync::resize::ResizePlan;
use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status::EventType::{Normal, Warning};

use super::action::Action;
use super::backoff::{CrashLoop, Doubling};
use super::event::{HookKind, Pid, ProbeKind, SpawnError};
use super::probe::{Answer, Worker};
use super::restart::Policies;
use super::state::{End, Live, Next, Program, Reason, State, Termination, go_duration};
use super::stopping::{Signal, Stopping, Turn};
use super::time::Time;
use super::unit::UnitId;
use super::update::Definition;
use super::{Output, probing};

/// K-006, K-025: flat retry of a container that could not be created.
const CONFIG_RETRY: Duration = Duration::from_secs(10);
/// K-200.
pub(super) const PULL: Doubling = Doubling::new(Duration::from_secs(10), Duration::from_secs(300));
/// How long a failed pull shows before the back-off does: a kubelet looks at the Pod again when the runtime reports that
/// it has changed (K-003).
const PULL_ERROR: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Container {
    pub(super) unit: UnitId,
    pub(super) role: Role,
    pub(super) name: String,
    /// What its next instance is made from.
    pub(super) definition: Definition,
    /// What is being pulled, or was pulled last.
    pulled: Option<Definition>,
    /// When it was last asked for.
    asked: Time,
    /// What its newest instance was made from.
    pub(super) made_from: Option<Definition>,
    /// Its instance is stopped because its definition has changed, and counts as unready from then on.
    pub(super) retired: bool,
    /// What its next instance is given, and what its newest one has.
    pub(super) resources: ResourcesPlan,
    pub(super) enforced: ResourcesPlan,
    pub(super) on_resize: ResizePlan,
    /// `NAME_NS(UID)` with the Pod's name, as the kubelet's messages have it.
    pod: String,
    pub(super) policies: Policies,
    pub(super) state: State,
    /// Its next try is due, but something else has to come first.
    blocked: bool,
    /// Instances that were created.
    pub(super) instances: u32,
    /// Its last instance was removed, and none has been created since (K-051).
    pub(super) removed: bool,
    /// The newest that ended, and the one before.
    pub(super) newest: Option<Termination>,
    pub(super) previous: Option<Termination>,
    pub(super) crash_loop: CrashLoop,
    pub(super) pull: Doubling,
    pub(super) probes: Vec<Worker>,
    pub(super) hooks: Hooks,
}

/// What a container is to its Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next one starts (section 3).
    Init,
    /// Starts among the init containers and lasts as long as the Pod (section 4).
    Sidecar,
    Regular,
    /// Added to a Pod that runs; runs once, and nothing depends on it (K-015).
    Ephemeral,
}

/// What is known of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) took: Duration,
    pub(super) bytes: u64,
}

/// Whether the end of an instance decides what becomes of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// Its Pod ends, or all containers are removed.
    Sealed,
}

/// What the end of an instance means for the Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// Nothing beyond its container.
    Ordinary,
    /// Its container has failed for good, with this code.
    Failure(i32),
    /// All containers are to be restarted (K-045).
    RestartAll,
}

/// Whether a container may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Closed,
}

impl Container {
    pub(super) fn new(
        plan: &Plan,
        unit: UnitId,
        container: &ContainerPlan,
        uid: &str,
        restart_cap: Duration,
        now: Time,
    ) -> Self {
        let role = match (unit, container.restart_policy) {
            (UnitId::Init(_), Some(RestartPolicy::Always)) => Role::Sidecar,
            (UnitId::Init(_), _) => Role::Init,
            (UnitId::Ephemeral(_), _) => Role::Ephemeral,
            _ => Role::Regular,
        };
        Self {
            unit,
            role,
            name: container.name.clone(),
            definition: Definition::of(container),
            pulled: None,
            asked: now,
            made_from: None,
            retired: false,
            resources: container.resources,
            enforced: container.resources,
            on_resize: container.resize,
            pod: format!("{}_{}({uid})", plan.name, plan.namespace),
            policies: Policies {
                pod: if role == Role::Ephemeral {
                    RestartPolicy::Never
                } else {
                    plan.restart_policy
                },
                container: container.restart_policy,
                rules: container.restart_rules.clone(),
            },
            state: State::Pending,
            blocked: false,
            instances: 0,
            removed: false,
            newest: None,
            previous: None,
            crash_loop: CrashLoop::new(restart_cap),
            pull: PULL,
            probes: probing::workers(&container.probes, now),
            hooks: container.hooks.clone(),
        }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.live().map(|live| live.pid)
    }

    pub(super) fn live(&self) -> Option<&Live> {
        match &self.state {
            State::Live(live) => Some(live),
            _ => None,
        }
    }

    /// Whether its program runs.
    pub(super) fn is_running(&self) -> bool {
        self.live().is_some_and(|live| live.program == Program::Running)
    }

    /// Whether its start was decided together with the kill of the instance before (K-029).
    pub(super) fn is_replacement(&self) -> bool {
        matches!(
            self.state,
            State::Waiting {
                next: Next::Replacement,
                ..
            }
        )
    }

    /// Whether its program has ever run. One that was lost before it was made (K-172) has not.
    pub(super) fn has_run(&self) -> bool {
        self.is_running() || (self.instances > 0 && self.newest.is_some())
    }

    /// Whether it has ended for good.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Terminated
    }

    /// K-240.
    pub(super) fn is_started(&self) -> bool {
        let verdict = self.probe(ProbeKind::Startup).map(Worker::result);
        self.is_running() && verdict.is_none_or(|verdict| verdict == Some(Answer::Success))
    }

    /// K-082, K-240.
    pub(super) fn is_ready(&self) -> bool {
        match self.role {
            Role::Init => self.has_succeeded(),
            Role::Ephemeral => false,
            Role::Sidecar | Role::Regular => {
                let answer = self.probe(ProbeKind::Readiness).map(Worker::result);
                !self.retired
                    && self.is_started()
                    && answer.is_none_or(|answer| answer == Some(Answer::Success))
            }
        }
    }

    /// Whether it lets the next one of the Pod's start start (K-070, K-090).
    pub(super) fn lets_next_start(&self) -> bool {
        match self.role {
            Role::Init => self.has_succeeded(),
            Role::Sidecar | Role::Regular | Role::Ephemeral => self.is_started(),
        }
    }

    /// Whether it has done its work.
    pub(super) fn has_succeeded(&self) -> bool {
        self.is_over() && self.newest.as_ref().is_some_and(Termination::is_success)
    }

    /// Whether an end with this code would be followed by a start.
    pub(super) fn restarts(&self, exit_code: i32) -> bool {
        self.role == Role::Sidecar || self.policies.restarts(exit_code)
    }

    /// Whether it is started again when a probe has it killed (K-029).
    pub(super) fn is_replaced(&self) -> bool {
        self.role == Role::Sidecar || self.policies.replaces()
    }

    /// When something is due but a probe.
    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Waiting { until, .. } => (!self.blocked).then_some(*until),
            State::Live(live) => live.stop.as_ref().and_then(Stopping::deadline),
            _ => None,
        }
    }

    /// Digest of its image, if that is there.
    pub(super) fn present_image(&self) -> Option<&String> {
        let pulled = self.pulled.as_ref().filter(|_| self.state != State::Pulling);
        pulled.map(|pulled| &pulled.digest)
    }

    /// An image is there, since another container uses it.
    pub(super) fn image_is_present(&mut self, digest: &str) {
        if self.state != State::Pulling && self.definition.digest == digest {
            self.pulled = Some(self.definition.clone());
        }
    }

    /// K-511.
    pub(super) fn image_ready(&mut self, gate: Gate, fetched: Fetched, out: &mut Output<'_>) {
        if self.state != State::Pulling {
            return;
        }
        if self.has_to_pull() {
            // Another is wanted since.
            return self.start_pull(out);
        }
        self.pull.reset();
        out.emit(
            self.unit,
            Normal,
            "Pulled",
            format!(
                "Successfully pulled image \"{}\" in {} ({} including waiting). Image size: {} bytes.",
                self.definition.image,
                go_duration(fetched.took),
                go_duration(out.now - self.asked),
                fetched.bytes
            ),
        );
        match gate {
            Gate::Open => self.spawn(out),
            // The Pod has started over meanwhile.
            Gate::Closed => {
                self.state = State::Waiting {
                    until: out.now,
                    next: Next::Spawn,
                    reason: Reason::Creating,
                };
            }
        }
    }

    /// K-200, K-513.
    pub(super) fn image_failed(&mut self, error: &str, out: &mut Output<'_>) {
        if self.state != State::Pulling {
            return;
        }
        let image = &self.definition.image;
        out.emit(
            self.unit,
            Warning,
            "Failed",
            format!("Failed to pull image \"{image}\": {error}"),
        );
        out.emit(self.unit, Warning, "Failed", "Error: ErrImagePull".to_owned());
        let again = out.now + self.pull.next();
        self.state = State::Waiting {
            until: out.now + PULL_ERROR,
            next: Next::HoldPull(again),
            reason: Reason::Because("ErrImagePull", error.to_owned()),
        };
    }

    /// K-200, K-514: until then nothing is pulled.
    fn hold_pull(&mut self, until: Time, out: &mut Output<'_>) {
        let State::Waiting {
            reason: Reason::Because(_, error),
            ..
        } = &self.state
        else {
            return;
        };
        let message = format!("Back-off pulling image \"{}\"", self.definition.image);
        let reason = Reason::Because("ImagePullBackOff", format!("{message}: {error}"));
        out.emit(self.unit, Normal, "BackOff", message);
        out.emit(self.unit, Warning, "Failed", "Error: ImagePullBackOff".to_owned());
        self.state = State::Waiting {
            until,
            next: Next::Pull,
            reason,
        };
    }

    pub(super) fn spawned(&mut self, pid: Pid, out: &mut Output<'_>) {
        self.instances += 1;
        self.made_from = Some(self.definition.clone());
        self.retired = false;
        self.enforced = self.resources;
        self.removed = false;
        out.emit(self.unit, Normal, "Created", "Container created".to_owned());
        let stop = self.is_over().then(|| {
            // Stopped while it was being made.
            out.actions.push(Action::Kill(pid));
            Stopping::killed(out.now)
        });
        self.state = State::Live(Live {
            pid,
            since: out.now,
            program: Program::Starting,
            stop,
            replaced: false,
        });
        self.probes.iter_mut().for_each(Worker::new_instance);
    }

    /// No process was made: not an exit (K-025).
    pub(super) fn spawn_failed(&mut self, reason: SpawnError, error: &str, out: &mut Output<'_>) {
        if self.state != State::Spawning {
            return;
        }
        out.emit(self.unit, Warning, "Failed", format!("Error: {error}"));
        let reason = match reason {
            SpawnError::Config => "CreateContainerConfigError",
            SpawnError::Create => "CreateContainerError",
        };
        self.state = State::Waiting {
            until: out.now + CONFIG_RETRY,
            next: Next::Spawn,
            reason: Reason::Because(reason, error.to_owned()),
        };
    }

    pub(super) fn started(&mut self, out: &mut Output<'_>) {
        let State::Live(live) = &mut self.state else {
            return;
        };
        if live.program != Program::Starting {
            return;
        }
        live.program = Program::Running;
        live.since = out.now;
        out.emit(self.unit, Normal, "Started", "Container started".to_owned());
        if self.hooks.post_start.is_some() {
            self.run_post_start(out);
        }
    }

    /// Its exit follows (K-026).
    pub(super) fn start_failed(&mut self, message: String) {
        if let State::Live(live) = &mut self.state
            && live.program == Program::Starting
        {
            live.program = Program::Failed(message);
        }
    }

    /// The instance ended.
    pub(super) fn exited(&mut self, end: End, fate: Fate, out: &mut Output<'_>) -> Aftermath {
        if let State::Live(Live {
            program: Program::Failed(error),
            ..
        }) = &self.state
        {
            out.emit(self.unit, Warning, "Failed", format!("Error: {error}"));
        }
        self.post_start_cut_off(out);
        let replaced = self.live().is_some_and(|live| live.replaced);
        let attempt = self.instances.saturating_sub(1);
        let termination = Termination::of(&self.state, end, attempt, out.now);
        let (exit_code, success) = (termination.exit_code, termination.is_success());
        self.previous = self.newest.replace(termination);
        if replaced && fate == Fate::Open && self.replace(out) {
            return Aftermath::Ordinary;
        }
        if fate == Fate::Open && self.policies.restarts_all(exit_code) {
            self.state = State::Terminated;
            return Aftermath::RestartAll;
        }
        let again = match self.role {
            // K-072, K-074.
            Role::Init => !success && self.policies.restarts(exit_code),
            Role::Sidecar | Role::Regular => self.restarts(exit_code),
            Role::Ephemeral => false,
        };
        if again && fate == Fate::Open {
            self.restart(out);
            return Aftermath::Ordinary;
        }
        self.state = State::Terminated;
        let failed = match self.role {
            Role::Init => !success,
            // K-098.
            Role::Sidecar | Role::Ephemeral => false,
            Role::Regular => exit_code != 0,
        };
        if failed {
            Aftermath::Failure(exit_code)
        } else {
            Aftermath::Ordinary
        }
    }

    /// K-186 to K-196.
    fn restart(&mut self, out: &mut Output<'_>) {
        match self.crash_loop.wait(out.now) {
            Some((until, delay)) if until > out.now => self.back_off(until, delay, Next::Again, out),
            _ => {
                self.state = State::Waiting {
                    until: out.now,
                    next: Next::Again,
                    reason: Reason::Creating,
                };
            }
        }
    }

    /// K-194, K-196.
    pub(super) fn back_off(&mut self, until: Time, delay: Duration, next: Next, out: &mut Output<'_>) {
        let what = format!("restarting failed container {} in pod {}", self.name, self.pod);
        out.emit(self.unit, Warning, "BackOff", format!("Back-off {what}"));
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            go_duration(delay),
            self.name,
            self.pod
        );
        self.state = State::Waiting {
            until,
            next,
            reason: Reason::Because("CrashLoopBackOff", message),
        };
    }

    /// K-193: an instance that was killed for another is replaced at once unless the one before it was too short ago.
    /// `false`: its own end decides, like any other (K-027).
    fn replace(&mut self, out: &Output<'_>) -> bool {
        // A removed instance has no end to measure from (K-055).
        if let Some(before) = self.previous.as_ref().filter(|before| !before.is_removal()) {
            let wait = self.crash_loop.wait(before.finished);
            if wait.is_some_and(|(until, _)| until > out.now) {
                return false;
            }
            self.crash_loop.advance(before.finished, out.now);
        }
        self.state = State::Waiting {
            until: out.now,
            next: Next::Replacement,
            reason: Reason::Creating,
        };
        true
    }

    /// Starts an instance, if its image is there.
    fn spawn_again(&mut self, out: &mut Output<'_>) {
        if self.has_to_pull() {
            return self.start_pull(out);
        }
        // K-512.
        let image = &self.definition.image;
        let message =
            format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
        out.emit(self.unit, Normal, "Pulled", message);
        self.spawn(out);
    }

    /// Whether its next instance needs an image that has not been asked for.
    fn has_to_pull(&self) -> bool {
        self.pulled.as_ref() != Some(&self.definition)
    }

    fn spawn(&mut self, out: &mut Output<'_>) {
        if self.has_to_pull() {
            return self.start_pull(out);
        }
        self.state = State::Spawning;
        out.actions.push(Action::Spawn {
            unit: self.unit,
            attempt: self.instances,
        });
    }

    /// K-140: what runs is stopped, or its stop shortened; what does not run ends where it is.
    pub(super) fn stop(&mut self, grace_seconds: u32, out: &mut Output<'_>) {
        match &mut self.state {
            State::Live(live) => match &mut live.stop {
                Some(stop) => stop.shorten(out.now, grace_seconds),
                None => self.kill(grace_seconds, format!("Stopping container {}", self.name), out),
            },
            State::Pending | State::Pulling | State::Waiting { .. } | State::Spawning => {
                self.state = State::Terminated;
                if self.removed {
                    // K-172: nothing is left of it.
                    self.previous = self.newest.take();
                }
            }
            State::Terminated => {}
        }
    }

    /// Stops what runs.
    pub(super) fn kill(&mut self, grace_seconds: u32, message: String, out: &mut Output<'_>) {
        if let State::Live(live) = &mut self.state
            && live.stop.is_none()
            // K-147: otherwise its process is about to end.
            && !matches!(live.program, Program::Failed(_))
        {
            let executed = live.program != Program::Starting;
            let stop = if self.hooks.pre_stop.is_some() && executed {
                Stopping::after_hook(out.now, grace_seconds)
            } else {
                Stopping::new(out.now, grace_seconds)
            };
            let (pid, has_hook) = (live.pid, stop.has_hook());
            live.stop = Some(stop);
            out.emit(self.unit, Normal, "Killing", message);
            if has_hook {
                out.actions.push(Action::Hook {
                    unit: self.unit,
                    pid,
                    kind: HookKind::PreStop,
                });
            }
        }
    }

    /// The Pod has ended and this container left no trace (K-172).
    pub(super) fn finalise(&mut self, now: Time) {
        if self.newest.is_none() {
            self.newest = Some(Termination::unknown(now));
        }
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, gate: Gate, turn: Turn, out: &mut Output<'_>) {
        self.blocked = false;
        match &mut self.state {
            State::Pending if gate == Gate::Open => self.spawn_again(out),
            State::Waiting { until, next, .. } if *until <= out.now => match (gate, next) {
                (_, Next::HoldPull(again)) => {
                    let again = *again;
                    self.hold_pull(again, out);
                }
                (Gate::Closed, _) => self.blocked = true,
                (Gate::Open, Next::Pull) => self.start_pull(out),
                (Gate::Open, Next::Spawn) => self.spawn(out),
                (Gate::Open, Next::AgainAtOnce | Next::Replacement) => self.spawn_again(out),
                (Gate::Open, Next::Again) => {
                    if let Some(newest) = &self.newest {
                        self.crash_loop.advance(newest.finished, out.now);
                    }
                    self.spawn_again(out);
                }
            },
            State::Live(live) => {
                let pid = live.pid;
                match live.stop.as_mut().and_then(|stop| stop.advance(out.now, turn)) {
                    Some(Signal::Terminate) => out.actions.push(Action::Terminate(pid)),
                    Some(Signal::Kill) => {
                        if live.program == Program::Starting {
                            live.program =
                                Program::Failed("killed before its program was executed".to_owned());
                        }
                        out.actions.push(Action::Kill(pid));
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn start_pull(&mut self, out: &mut Output<'_>) {
        self.state = State::Pulling;
        self.asked = out.now;
        self.pulled = Some(self.definition.clone());
        out.emit(
            self.unit,
            Normal,
            "Pulling",
            format!("Pulling image \"{}\"", self.definition.image),
        );
        out.actions.push(Action::PullImage(self.unit));
    }
}
