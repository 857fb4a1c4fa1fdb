//! The accepted Pod: whose turn it is to start and to be stopped, and when the Pod has ended.
//!
//! Init containers start one after another, each once the one before it has done its work or, if that is a sidecar,
//! runs; regular containers follow the last. The Pod ends when all regular containers have ended for good, when an init
//! container has failed for good, when its deadline has come, or when it is stopped. Then everything gets its preStop and grace period at once, but
//! the signals of sidecars wait for all that came after them in the start.

use std::borrow::Cow;
use std::time::Duration;

use manifest_sync::plan::Plan;
use manifest_sync::protocol::GateCondition;
use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status::EventType;

use super::action::Action;
use super::container::{Aftermath, Container, Fate, Fetched, Gate, Role};
use super::event::{HookKind, Pid, ProbeKind, ProbeOutcome};
use super::probe::Answer;
use super::resizing::Resize;
use super::restart_all::RestartAll;
use super::state::End;
use super::stopping::Turn;
use super::time::Time;
use super::unit::UnitId;
use super::volumes::Volumes;
use super::{Heard, Output};

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) plan: Plan,
    pub(super) accepted: Time,
    /// For messages about containers.
    pub(super) uid: String,
    /// The longest delay of a crash loop.
    pub(super) restart_cap: Duration,
    /// Init containers in spec order, then regular ones, then ephemeral ones.
    containers: Vec<Container>,
    /// Exit code of the first container that failed for good.
    first_failure: Option<i32>,
    /// Why the Pod fails, whatever its containers end with.
    pub(super) verdict: Option<Verdict>,
    life: Life,
    pub(super) restart_all: RestartAll,
    /// Conditions of readiness gates, in the order in which they were first set.
    pub(super) gates: Vec<GateCondition>,
    pub(super) resize: Resize,
    /// What the Pod as a whole has; its plan says what it should have.
    pub(super) enforced: ResourcesPlan,
    /// Of the resize that is tried again and again.
    pub(super) last_resize_error: Option<String>,
    /// What comes before everything else.
    pub(super) volumes: Volumes,
    /// The last init container has done its work, or a regular container has run.
    initialized: bool,
}

/// Why a Pod fails as a whole: `status.reason` and `status.message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) reason: &'static str,
    pub(super) message: Cow<'static, str>,
}

/// K-323.
const DEADLINE_EXCEEDED: Verdict = Verdict {
    reason: "DeadlineExceeded",
    message: Cow::Borrowed("Pod was active on the node longer than the specified deadline"),
};
/// K-383: the grace period of containers whose Pod is evicted.
const EVICTION_GRACE_SECONDS: u32 = 1;

/// K-131: of a Pod that ends; so a preStop hook runs whatever the Pod says.
const MINIMUM_GRACE_SECONDS: u32 = 1;

/// How far the Pod's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Nothing is started any more.
    Ending,
    /// All containers have ended.
    Ended,
}

impl Pod {
    pub(super) fn new(plan: Plan, uid: &str, restart_cap: Duration, now: Time) -> Self {
        let inits = plan.init_containers.iter().enumerate();
        let inits = inits.map(|(index, container)| (UnitId::Init(index), container));
        let regular = plan.containers.iter().enumerate();
        let regular = regular.map(|(index, container)| (UnitId::Container(index), container));
        let ephemeral = plan.ephemeral_containers.iter().enumerate();
        let ephemeral = ephemeral.map(|(index, container)| (UnitId::Ephemeral(index), container));
        let containers = inits
            .chain(regular)
            .chain(ephemeral)
            .map(|(unit, container)| Container::new(&plan, unit, container, uid, restart_cap, now))
            .collect();
        Self {
            volumes: Volumes::new(&plan, now),
            uid: uid.to_owned(),
            restart_cap,
            enforced: plan.resources,
            plan,
            accepted: now,
            containers,
            first_failure: None,
            verdict: None,
            life: Life::Running,
            restart_all: RestartAll::new(restart_cap),
            gates: Vec::new(),
            resize: Resize::None,
            last_resize_error: None,
            initialized: false,
        }
    }

    /// Init containers in spec order, then regular ones, then ephemeral ones.
    pub(super) fn containers(&self) -> &[Container] {
        &self.containers
    }

    pub(super) fn inits(&self) -> &[Container] {
        self.containers
            .get(..self.plan.init_containers.len())
            .unwrap_or_default()
    }

    pub(super) fn regular(&self) -> &[Container] {
        let inits = self.plan.init_containers.len();
        let end = inits.saturating_add(self.plan.containers.len());
        self.containers.get(inits..end).unwrap_or_default()
    }

    /// Ephemeral containers in spec order.
    pub(super) fn ephemeral(&self) -> &[Container] {
        let others = self
            .plan
            .init_containers
            .len()
            .saturating_add(self.plan.containers.len());
        self.containers.get(others..).unwrap_or_default()
    }

    pub(super) fn add(&mut self, container: Container) {
        self.containers.push(container);
    }

    pub(super) fn get(&self, unit: UnitId) -> Option<&Container> {
        self.containers.iter().find(|container| container.unit == unit)
    }

    pub(super) fn get_mut(&mut self, unit: UnitId) -> Option<&mut Container> {
        self.containers
            .iter_mut()
            .find(|container| container.unit == unit)
    }

    pub(super) fn with_pid(&mut self, pid: Pid) -> Option<&mut Container> {
        self.containers
            .iter_mut()
            .find(|container| container.pid() == Some(pid))
    }

    pub(super) fn containers_mut(&mut self) -> &mut [Container] {
        &mut self.containers
    }

    /// Whether nothing has ended it yet.
    pub(super) fn is_running(&self) -> bool {
        self.life == Life::Running
    }

    pub(super) fn has_ended(&self) -> bool {
        self.life == Life::Ended
    }

    /// When something is due but a probe.
    pub(super) fn deadline(&self) -> Option<Time> {
        let containers = self.containers.iter().filter_map(Container::deadline);
        let own = self
            .active_deadline()
            .into_iter()
            .chain(self.restart_all.deadline())
            .chain(self.resize_deadline())
            .chain(self.volumes_deadline());
        containers.chain(own).min()
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Time> {
        self.containers.iter().filter_map(Container::next_probe).min()
    }

    /// Sends the probes that are due.
    pub(super) fn ask(&mut self, out: &mut Output<'_>) {
        for container in &mut self.containers {
            container.ask(out);
        }
    }

    /// K-321.
    fn active_deadline(&self) -> Option<Time> {
        let seconds = self.plan.active_deadline_seconds?;
        (self.life == Life::Running).then(|| self.accepted + Duration::from_secs(seconds.into()))
    }

    /// Exit code of what has failed for good. A Pod with a verdict has failed, whatever its containers ended with.
    pub(super) fn failure(&self) -> Option<i32> {
        self.first_failure.or(self.verdict.as_ref().map(|_| 1))
    }

    /// K-274.
    pub(super) fn set_condition(&mut self, condition: GateCondition) {
        if !self.plan.readiness_gates.contains(&condition.r#type) {
            return;
        }
        match self.gates.iter_mut().find(|gate| gate.r#type == condition.r#type) {
            Some(gate) => *gate = condition,
            None => self.gates.push(condition),
        }
    }

    /// An image has arrived; others that want the same have it, too.
    pub(super) fn image_ready(&mut self, unit: UnitId, fetched: Fetched, out: &mut Output<'_>) {
        let index = self
            .containers
            .iter()
            .position(|container| container.unit == unit);
        let gate = index.map_or(Gate::Closed, |index| self.gate(index, true));
        if let Some(container) = self.get_mut(unit) {
            container.image_ready(gate, fetched, out);
        }
        let digest = self.get(unit).and_then(Container::present_image).cloned();
        if let Some(digest) = digest {
            for container in &mut self.containers {
                container.image_is_present(&digest);
            }
        }
    }

    pub(super) fn exited(&mut self, pid: Pid, end: End, out: &mut Output<'_>) {
        let fate = if self.life != Life::Running || self.restart_all.is_going_on() {
            Fate::Sealed
        } else {
            Fate::Open
        };
        let Some(container) = self.with_pid(pid) else {
            return;
        };
        let unit = container.unit;
        match container.exited(end, fate, out) {
            Aftermath::Failure(code) => {
                self.first_failure.get_or_insert(code);
            }
            Aftermath::RestartAll => self.restart_all(unit, out.now),
            Aftermath::Ordinary => {}
        }
    }

    /// Everything was removed: what had failed before is forgotten.
    pub(super) fn start_over(&mut self) {
        self.first_failure = None;
    }

    /// Whether the answer changes anything.
    pub(super) fn probed(
        &mut self,
        pid: Pid,
        kind: ProbeKind,
        outcome: &ProbeOutcome,
        out: &mut Output<'_>,
    ) -> Heard {
        let container = self.with_pid(pid);
        let Some(published) = container.and_then(|container| container.probed(kind, outcome, out)) else {
            return Heard::Routine;
        };
        if kind != ProbeKind::Readiness && published == Answer::Failure {
            self.kill_for_probe(pid, kind, out);
        }
        Heard::News
    }

    /// K-247: a startup or liveness probe that fails kills its container, or its Pod, if nothing else would be left
    /// (K-019).
    fn kill_for_probe(&mut self, pid: Pid, kind: ProbeKind, out: &mut Output<'_>) {
        let grace_seconds = self.plan.grace_seconds;
        if self.restart_all.is_going_on() {
            return;
        }
        let Some(container) = self.with_pid(pid) else {
            return;
        };
        if container.live().is_some_and(|live| live.stop.is_some()) {
            return;
        }
        let unit = container.unit;
        let is_last = !container.is_replaced()
            && self
                .regular()
                .iter()
                .all(|other| other.unit == unit || other.is_over());
        if is_last {
            self.stop(grace_seconds, out);
        } else if let Some(container) = self.with_pid(pid) {
            container.kill_for_probe(kind, grace_seconds, out);
        }
    }

    pub(super) fn hook_ended(
        &mut self,
        pid: Pid,
        kind: HookKind,
        result: Result<(), String>,
        out: &mut Output<'_>,
    ) {
        let grace_seconds = self.plan.grace_seconds;
        if let Some(container) = self.with_pid(pid) {
            container.hook_ended(kind, result, grace_seconds, out);
        }
    }

    /// K-131, K-160. A later stop can only shorten the grace period; unlike the kubelet's (K-562), it takes effect on a
    /// stop in progress.
    pub(super) fn stop(&mut self, grace_seconds: u32, out: &mut Output<'_>) {
        if self.life == Life::Running {
            self.life = Life::Ending;
        }
        self.restart_all.cancel();
        let grace_seconds = grace_seconds.max(MINIMUM_GRACE_SECONDS);
        for container in &mut self.containers {
            container.stop(grace_seconds, out);
        }
    }

    /// K-383, K-535. A Pod that ends already has nothing to be evicted from.
    pub(super) fn evict(&mut self, message: String, out: &mut Output<'_>) {
        if self.life != Life::Running {
            return;
        }
        out.actions.push(Action::Emit {
            container: None,
            r#type: EventType::Warning,
            reason: "Evicted",
            message: message.clone(),
        });
        self.verdict = Some(Verdict {
            reason: "Evicted",
            message: message.into(),
        });
        self.stop(EVICTION_GRACE_SECONDS, out);
    }

    fn volumes_deadline(&self) -> Option<Time> {
        self.volumes.deadline().filter(|_| self.life == Life::Running)
    }

    /// Does what is due, and what follows from what has happened.
    pub(super) fn advance(&mut self, services_ready: bool, out: &mut Output<'_>) {
        self.initialized |= self.start_is_over();
        if self.active_deadline().is_some_and(|deadline| deadline <= out.now) {
            self.verdict = Some(DEADLINE_EXCEEDED);
            out.actions.push(Action::Emit {
                container: None,
                r#type: EventType::Normal,
                reason: DEADLINE_EXCEEDED.reason,
                message: DEADLINE_EXCEEDED.message.into_owned(),
            });
            self.stop(self.plan.grace_seconds, out);
        }
        self.advance_restart_all(out);
        self.retry_resize(out);
        if self.life == Life::Running
            && !self.restart_all.is_going_on()
            && (self.work_is_over() || self.start_has_failed())
        {
            self.stop(self.plan.grace_seconds, out);
        }
        if self.life == Life::Ending && self.containers.iter().all(Container::is_over) {
            self.life = Life::Ended;
            self.finalise(out.now);
        }
        if self.life == Life::Running {
            self.volumes.advance(out);
        }
        let can_start = services_ready && self.volumes.are_ready() && self.plan.kernel_hostname.is_ok();
        let turns: Vec<(Gate, Turn)> = (0..self.containers.len())
            .map(|index| (self.gate(index, can_start), self.turn(index)))
            .collect();
        for (container, (gate, turn)) in self.containers.iter_mut().zip(turns) {
            container.advance(gate, turn, out);
            container.ask(out);
        }
    }

    /// K-028.
    fn work_is_over(&self) -> bool {
        self.regular().iter().all(Container::is_over)
    }

    /// K-072.
    fn start_has_failed(&self) -> bool {
        let mut inits = self.inits().iter();
        inits.any(|init| init.role == Role::Init && init.is_over() && !init.has_succeeded())
    }

    /// Whether regular containers may start (K-070, K-076, K-090).
    fn start_is_over(&self) -> bool {
        // What is replaced in the same sync was alive when that sync began, and everything else of the sync was decided then.
        let mut regular = self.regular().iter();
        regular.any(|container| container.live().is_some() || container.is_replacement())
            || self.inits().last().is_none_or(Container::lets_next_start)
    }

    /// Whether the container may start, or start again. K-075: one that has been started was not too early.
    fn gate(&self, index: usize, can_start: bool) -> Gate {
        let inits = self.inits();
        let own = self.containers.get(index);
        let is_new = own.is_some_and(|container| container.instances == 0 || container.removed);
        let turn = match index.checked_sub(1).and_then(|before| inits.get(before)) {
            // K-015: whatever else is going on.
            _ if index >= inits.len().saturating_add(self.regular().len()) => true,
            _ if index >= inits.len() => {
                let mut before = self.containers.iter().take(index).skip(inits.len());
                self.start_is_over() && !before.any(Container::holds_others_back)
            }
            Some(before) => !is_new || before.lets_next_start(),
            None => true,
        };
        let turn = turn || own.is_some_and(Container::is_replacement);
        if turn && (can_start || !is_new) && !self.restart_all.is_going_on() {
            Gate::Open
        } else {
            Gate::Closed
        }
    }

    /// K-162, K-164: a sidecar of a Pod that ends is signalled after the regular containers and later sidecars.
    fn turn(&self, index: usize) -> Turn {
        let (before, later) = self
            .containers
            .split_at(index.saturating_add(1).min(self.containers.len()));
        let is_sidecar = before.last().is_some_and(|own| own.role == Role::Sidecar);
        let others = later
            .iter()
            .any(|other| matches!(other.role, Role::Sidecar | Role::Regular) && other.live().is_some());
        if self.life != Life::Running && is_sidecar && others {
            Turn::Later
        } else {
            Turn::Now
        }
    }

    /// K-172: containers that the Pod got to and that left no trace are recorded as lost; the others keep waiting.
    fn finalise(&mut self, now: Time) {
        let inits = self.plan.init_containers.len();
        let reached = if self.initialized {
            self.containers.len()
        } else {
            let last = self.inits().iter().rposition(Container::has_run);
            // The first is reached as soon as there is a Pod.
            last.map_or(1, |last| last.saturating_add(1)).min(inits)
        };
        for container in self.containers.iter_mut().take(reached) {
            container.finalise(now);
        }
    }
}
