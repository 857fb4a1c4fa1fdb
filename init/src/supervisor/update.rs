//! A change of the running Pod (section 19.2 of the kubelet semantics): which containers it restarts, and when. What may
//! change at all has been judged before ([`manifest_sync::update`]).
//!
//! A container's definition is its image alone (K-463): the text as written, and here the digest too, since that is what
//! runs. A regular container whose definition has changed is stopped at once, a sidecar when its startup probe has succeeded
//! (K-097), and takes no traffic from then on; whoever is not running has the new image at its next start. The new image is
//! pulled when the old instance has ended (K-467).

use manifest_sync::plan::{ContainerPlan, Plan};

use super::Output;
use super::container::{Container, PULL, Role};
use super::pod::Pod;
use super::state::{Next, Reason, State};
use super::time::Time;
use super::unit::UnitId;

/// What a container is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    /// The image as written.
    pub(super) image: String,
    /// Its digest.
    pub(super) digest: String,
}

impl Definition {
    pub(super) fn of(container: &ContainerPlan) -> Self {
        Self {
            image: container.image.clone(),
            digest: container.image_digest.as_str().to_owned(),
        }
    }
}

impl Pod {
    /// Takes the place of the plan; a Pod that ends is not changed any more (K-466).
    pub(super) fn update(&mut self, plan: Plan, infeasible: Option<String>, out: &mut Output<'_>) {
        if !self.is_running() {
            return;
        }
        let mut resized = self.plan.resources != plan.resources;
        for container in self.containers_mut() {
            let planned = match container.unit {
                UnitId::Init(index) => plan.init_containers.get(index),
                UnitId::Container(index) => plan.containers.get(index),
                UnitId::Ephemeral(index) => plan.ephemeral_containers.get(index),
                UnitId::Service(_) => None,
            };
            if let Some(planned) = planned {
                container.update(planned, out.now);
                resized |= container.set_resources(planned.resources);
            }
        }
        self.volumes.objects_changed(out.now);
        for (index, planned) in plan
            .ephemeral_containers
            .iter()
            .enumerate()
            .skip(self.ephemeral().len())
        {
            let unit = UnitId::Ephemeral(index);
            let added = Container::new(&plan, unit, planned, &self.uid, self.restart_cap, out.now);
            self.add(added);
        }
        let uid = self.plan.uid.take();
        self.plan = plan;
        self.plan.uid = self.plan.uid.take().or(uid);
        self.begin_resize(infeasible, resized, out);
    }

    /// Stops those whose definition has changed, as soon as they may be stopped. Whether there were any.
    pub(super) fn retire_outdated(&mut self, out: &mut Output<'_>) -> bool {
        let grace_seconds = self.plan.grace_seconds;
        let mut any = false;
        if self.is_running() && !self.restart_all.is_going_on() {
            for container in self.containers_mut() {
                if let Some(message) = container.is_outdated() {
                    container.retire(grace_seconds, message, out);
                    any = true;
                }
            }
        }
        any
    }
}

impl Container {
    fn update(&mut self, planned: &ContainerPlan, now: Time) {
        let definition = Definition::of(planned);
        let changed = self.definition != definition;
        self.definition = definition;
        if changed {
            // K-185: the delays belong to the image.
            self.crash_loop.reset();
            self.pull = PULL;
        }
        if let State::Waiting { until, next, reason } = &mut self.state {
            if changed && matches!(next, Next::HoldPull(_)) {
                *next = Next::Pull;
            }
            let again = match next {
                Next::Pull | Next::Again => changed,
                // What could not be created may be possible now.
                Next::Spawn => true,
                Next::HoldPull(_) | Next::AgainAtOnce | Next::Replacement => false,
            };
            if again {
                *until = now.min(*until);
            }
            if changed && *next == Next::Again {
                *reason = Reason::Creating;
            }
        }
    }

    /// Why what runs is not what should run and has to be stopped for it, in the kubelet's words.
    fn is_outdated(&self) -> Option<String> {
        let may_be_stopped = match self.role {
            // K-078.
            Role::Init | Role::Ephemeral => false,
            Role::Sidecar => self.is_started(),
            Role::Regular => self.is_running(),
        };
        if !may_be_stopped || self.live().is_some_and(|live| live.stop.is_some()) {
            return None;
        }
        if self.made_from.as_ref() != Some(&self.definition) {
            return Some(match self.role {
                Role::Init | Role::Sidecar => format!("Init container {} definition changed", self.name),
                Role::Regular | Role::Ephemeral => {
                    format!("Container {} definition changed, will be restarted", self.name)
                }
            });
        }
        // K-472.
        self.is_restarted_for_resize()
            .then(|| format!("Container {} resize requires restart", self.name))
    }

    /// K-464: stopped with the whole grace period, and replaced whatever its policy.
    fn retire(&mut self, grace_seconds: u32, message: String, out: &mut Output<'_>) {
        self.kill(grace_seconds, message, out);
        self.retired = true;
        if let State::Live(live) = &mut self.state {
            live.replaced = true;
        }
    }
}
