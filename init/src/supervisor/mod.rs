//! The supervisor: a pure state machine that decides what runs, when it is started again, and how it ends.
//!
//! It knows no clock and no kernel. [`Supervisor::step`] takes the time and one [`Event`] and appends the
//! [`Action`]s that follow; [`Supervisor::next_deadline`] says when to step with [`Event::Tick`] at the latest. The
//! answer to an action is an event, stepped before any other.
//!
//! Base services come first; containers start when all of them are ready, in the order that `pod` keeps. A service is
//! always started again. A container goes through these states:
//!
//! ```text
//! Pending ─► Pulling ─► Spawning ─► Live ──exit──► decide ─► Terminated
//!              ▲ │fails    ▲ │fails                   │
//!              └─┴─ Waiting ┴─┴───────────────────────┘
//! ```
//!
//! An exit may also have all containers removed and the Pod start over (`restart_all`).
//!
//! A Stop interrupts every state: what lives is signalled and, when its grace is over, killed; what does not live ends
//! where it is. When all containers have ended for good, the services are stopped, and then the Pod is finished.
//!
//! Invariants, held by property tests: a unit has at most one live process; a `Spawn` is answered before the next; a
//! container whose policy is Never is never started twice; after Stop everything ends by the latest deadline; no action
//! names a process that is not alive; no container is started before what it has to wait for.

pub mod action;
mod amount;
mod backoff;
mod condition;
mod container;
pub mod event;
mod hook;
mod message_share;
mod phase;
mod pod;
mod probe;
mod probing;
mod resizing;
mod restart;
mod restart_all;
mod service;
mod state;
mod status;
mod stopping;
pub mod time;
mod timestamp;
pub mod unit;
mod update;
mod volumes;

use std::time::Duration;

use manifest_sync::plan::Plan;
use manifest_sync::status::{EventType, PodReport};

use self::action::Action;
use self::container::{Container, Fetched};
use self::event::{Event, Pid};
use self::pod::Pod;
use self::service::Service;
use self::state::End;
use self::status::Publisher;
use self::time::Time;
use self::unit::UnitId;

/// What there is around a Pod, and what its status says besides its plan.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Wall-clock time of [`Time`] zero, in milliseconds since 1970.
    pub boot_unix_ms: u64,
    /// `metadata.uid` of a Pod that brings none.
    pub uid: String,
    /// Address of the Pod.
    pub pod_ip: String,
    /// The longest delay before a restart (K-180).
    pub restart_cap: Duration,
    /// Whether anything limits what containers take.
    pub limits: Limits,
}

/// What becomes of `resources`. Statuses tell only of limits that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// Cgroups enforce them.
    Enforced,
    /// This machine has no cgroups for us.
    Absent,
}

/// The state of all units.
#[derive(Debug)]
pub struct Supervisor {
    identity: Identity,
    services: Vec<Service>,
    pod: Option<Pod>,
    stop: Option<Stop>,
    publisher: Publisher,
    finished: Option<u8>,
}

/// A stop that was asked for.
#[derive(Debug, Clone, Copy)]
struct Stop {
    /// Exit code of a container that had failed before.
    failure: Option<i32>,
}

/// What an event means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Something may follow from it.
    News,
    /// Only what is due follows. Usually that is a probe, whose answer is routine, too, when it is that of the last time: so
    /// are most steps of a Pod that simply runs, and to make the status again for each was most of what PID 1 did.
    Routine,
}

/// Where steps leave what is to be done.
struct Output<'a> {
    now: Time,
    actions: &'a mut Vec<Action>,
}

impl Output<'_> {
    fn emit(&mut self, unit: UnitId, r#type: EventType, reason: &'static str, message: String) {
        self.actions.push(Action::Emit {
            container: Some(unit),
            r#type,
            reason,
            message,
        });
    }
}

impl Supervisor {
    /// Nothing runs yet.
    pub fn new(identity: Identity) -> Self {
        let publisher = Publisher::new(identity.boot_unix_ms);
        Self {
            identity,
            services: Vec::new(),
            pod: None,
            stop: None,
            publisher,
            finished: None,
        }
    }

    /// Takes note of one event at `now` and appends what is to be done.
    pub fn step(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        let mut out = Output { now, actions };
        let heard = self.hear(event, &mut out);
        if heard == Heard::Routine && self.deadline().is_none_or(|deadline| deadline > now) {
            if let Some(pod) = &mut self.pod {
                pod.ask(&mut out);
            }
            debug_assert!(!self.status_differs(now), "a routine step changes the status");
            return;
        }
        self.advance(&mut out);
        self.publish(&mut out);
    }

    /// When to step again if nothing happens.
    pub fn next_deadline(&self) -> Option<Time> {
        let probe = self.pod.as_ref().and_then(Pod::next_probe);
        self.deadline().into_iter().chain(probe).min()
    }

    /// When something is due but a probe.
    fn deadline(&self) -> Option<Time> {
        let services = self.services.iter().filter_map(Service::deadline);
        let pod = self.pod.as_ref().and_then(Pod::deadline);
        services.chain(pod).min()
    }

    /// The newest status; `None` before a Pod was accepted.
    pub fn report(&self) -> Option<PodReport> {
        self.publisher.report().cloned()
    }

    /// The exit code, once everything has ended.
    pub fn finished(&self) -> Option<u8> {
        self.finished
    }

    /// Conditions that may be set from outside (K-274).
    pub fn readiness_gates(&self) -> &[String] {
        self.pod.as_ref().map_or(&[], |pod| &pod.plan.readiness_gates)
    }

    /// Name of a unit for messages.
    pub fn unit_name(&self, unit: UnitId) -> &str {
        match unit {
            UnitId::Service(index) => self.services.get(index).map_or("", Service::name),
            UnitId::Init(_) | UnitId::Container(_) | UnitId::Ephemeral(_) => {
                let container = self.pod.as_ref().and_then(|pod| pod.get(unit));
                container.map_or("", |container| container.name.as_str())
            }
        }
    }

    /// A moment as the status writes it: RFC 3339 in whole seconds.
    pub fn timestamp(&self, time: Time) -> String {
        self.publisher.timestamp(time)
    }

    fn hear(&mut self, event: Event, out: &mut Output<'_>) -> Heard {
        let now = out.now;
        match event {
            Event::Boot { services } => {
                self.services = services
                    .into_iter()
                    .enumerate()
                    .map(|(index, (name, readiness))| Service::new(index, name, readiness, out.now))
                    .collect();
            }
            Event::Accept(plan) => self.accept(*plan, out),
            Event::Update { plan, infeasible } => {
                if let Some(pod) = &mut self.pod {
                    pod.update(*plan, infeasible, out);
                }
            }
            Event::Resized(resized) => {
                if let Some(pod) = &mut self.pod {
                    pod.resized(resized, out);
                }
            }
            Event::SecretsReady => {
                if let Some(pod) = &mut self.pod {
                    pod.volumes.secrets_released(now);
                }
            }
            Event::VolumesSetUp(result) => {
                if let Some(pod) = &mut self.pod {
                    pod.volumes.set_up(result, out);
                }
            }
            Event::Evicted { message } => {
                if let Some(pod) = &mut self.pod {
                    pod.evict(message, out);
                }
            }
            Event::ImageReady { unit, took, bytes } => {
                if let Some(pod) = &mut self.pod {
                    pod.image_ready(unit, Fetched { took, bytes }, out);
                }
            }
            Event::ImageFailed { unit, message } => {
                self.with_container(unit, |container| container.image_failed(&message, out));
            }
            Event::Spawned { unit, pid } => match unit {
                UnitId::Service(index) => self.with_service(index, |service| service.spawned(pid, out.now)),
                UnitId::Init(_) | UnitId::Container(_) | UnitId::Ephemeral(_) => {
                    self.with_container(unit, |container| container.spawned(pid, out));
                }
            },
            Event::SpawnFailed {
                unit,
                reason,
                message,
            } => match unit {
                UnitId::Service(index) => self.with_service(index, |service| service.ended(out.now)),
                UnitId::Init(_) | UnitId::Container(_) | UnitId::Ephemeral(_) => {
                    self.with_container(unit, |container| container.spawn_failed(reason, &message, out));
                }
            },
            Event::Started { pid } => match self.service_with_pid(pid) {
                Some(service) => service.started(now),
                None => self.with_pid(pid, |container| container.started(out)),
            },
            Event::StartFailed { pid, message } => {
                self.with_pid(pid, |container| container.start_failed(message));
            }
            Event::ServiceReady { pid } => {
                if let Some(service) = self.service_with_pid(pid) {
                    service.ready();
                }
            }
            Event::Exited {
                pid,
                status,
                oom_killed,
                message,
            } => {
                let end = End {
                    status,
                    oom_killed,
                    message,
                };
                // An orphan belongs to nobody.
                if let Some(service) = self.service_with_pid(pid) {
                    service.ended(now);
                } else if let Some(pod) = &mut self.pod {
                    pod.exited(pid, end, out);
                }
            }
            Event::Probed { pid, kind, outcome } => {
                if let Some(pod) = &mut self.pod {
                    return pod.probed(pid, kind, &outcome, out);
                }
            }
            Event::HookEnded { pid, kind, result } => {
                if let Some(pod) = &mut self.pod {
                    pod.hook_ended(pid, kind, result, out);
                }
            }
            Event::SetCondition(condition) => {
                if let Some(pod) = &mut self.pod {
                    pod.set_condition(condition);
                }
            }
            Event::Stop { grace_seconds } => self.stop(grace_seconds, out),
            Event::Tick => return Heard::Routine,
        }
        Heard::News
    }

    fn accept(&mut self, plan: Plan, out: &Output<'_>) {
        if self.pod.is_some() || self.stop.is_some() {
            return;
        }
        let uid = plan.uid.clone().unwrap_or_else(|| self.identity.uid.clone());
        self.pod = Some(Pod::new(plan, &uid, self.identity.restart_cap, out.now));
    }

    fn with_service(&mut self, index: usize, act: impl FnOnce(&mut Service)) {
        if let Some(service) = self.services.get_mut(index) {
            act(service);
        }
    }

    fn service_with_pid(&mut self, pid: Pid) -> Option<&mut Service> {
        self.services
            .iter_mut()
            .find(|service| service.pid() == Some(pid))
    }

    fn with_container(&mut self, unit: UnitId, act: impl FnOnce(&mut Container)) {
        if let Some(container) = self.pod.as_mut().and_then(|pod| pod.get_mut(unit)) {
            act(container);
        }
    }

    fn with_pid(&mut self, pid: Pid, act: impl FnOnce(&mut Container)) {
        if let Some(container) = self.pod.as_mut().and_then(|pod| pod.with_pid(pid)) {
            act(container);
        }
    }

    fn stop(&mut self, grace_seconds: Option<u32>, out: &mut Output<'_>) {
        let Some(pod) = &mut self.pod else {
            self.stop.get_or_insert(Stop { failure: None });
            return;
        };
        self.stop.get_or_insert(Stop {
            failure: pod.failure(),
        });
        pod.stop(grace_seconds.unwrap_or(pod.plan.grace_seconds), out);
    }

    /// What is due, and what follows from what has happened.
    fn advance(&mut self, out: &mut Output<'_>) {
        if self.pod.as_mut().is_some_and(|pod| pod.retire_outdated(out)) {
            // Whoever sends them traffic hears of it before they do.
            self.publish(out);
        }
        let ready = self.services_are_ready();
        let ended = match &mut self.pod {
            Some(pod) => {
                pod.advance(ready, out);
                pod.has_ended()
            }
            None => self.stop.is_some(),
        };
        for service in &mut self.services {
            if ended {
                service.stop(out);
            }
            service.advance(out);
        }
        if ended && self.finished.is_none() && self.services.iter().all(Service::is_done) {
            let exit_code = self.exit_code();
            self.finished = Some(exit_code);
            // The last status first: Finish carries it.
            self.publish(out);
            out.actions.push(Action::Finish { exit_code });
        }
    }

    /// Whether there is a Pod that can still be changed.
    pub fn takes_updates(&self) -> bool {
        self.stop.is_none() && self.pod.as_ref().is_some_and(Pod::is_running)
    }

    /// Whether all base services run and are ready.
    pub fn services_are_ready(&self) -> bool {
        self.services.iter().all(Service::is_ready)
    }

    /// Whether base services are stopped because nothing is left that needs them.
    pub fn services_are_stopped(&self) -> bool {
        self.services.iter().any(Service::is_stopped)
    }

    fn exit_code(&self) -> u8 {
        let failure = match (&self.stop, &self.pod) {
            (Some(stop), _) => stop.failure,
            (None, Some(pod)) => pod.failure(),
            (None, None) => None,
        };
        // A failure is a failure, even if its code looks like 0 in eight bits.
        failure.map_or(0, |code| u8::try_from(code & 0xff).unwrap_or(1).max(1))
    }

    fn publish(&mut self, out: &mut Output<'_>) {
        if self.status_differs(out.now) {
            out.actions.push(Action::StatusChanged);
        }
    }

    /// Makes the report again; whether it is another one.
    fn status_differs(&mut self, now: Time) -> bool {
        let ready = self.services_are_ready();
        let Some(pod) = &self.pod else { return false };
        self.publisher.update(pod, &self.identity, ready, now)
    }
}

#[cfg(test)]
mod tests;
