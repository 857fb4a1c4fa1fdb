//! What the loop does for a bundle that comes while a Pod runs: judged, it takes the place of the one before. Files in
//! volumes change at once; which containers are started again, the supervisor knows.

use std::rc::Rc;

use cloister_init::resize::{self, Instance};
use cloister_init::supervisor::event::{Event, Resized};
use manifest_sync::plan::{ContainerPlan, Plan};
use manifest_sync::protocol::FromEnclave;
use manifest_sync::reject::Rejection;
use manifest_sync::status::EventType::Warning;
use manifest_sync::trust::VerifiedBundle;
use manifest_sync::update::{self, History, Relation, Running};

use super::attestation::Identity;
use super::event_loop::Pid1;

/// The bundle that runs, beside its plan.
pub(super) struct Release {
    running: Running,
    /// Of it and all bundles before.
    pub(super) history: History,
}

impl Release {
    /// The first bundle of this boot.
    pub(super) fn first(verified: &VerifiedBundle) -> Self {
        Self {
            running: verified.running(),
            history: History::default().then(verified.digest(), verified.generation()),
        }
    }
}

impl Pid1 {
    /// A bundle that may run here has come while one runs.
    pub(super) fn succeed(&mut self, verified: VerifiedBundle) -> FromEnclave {
        match self.judge(&verified) {
            Err(rejection) => FromEnclave::Rejected { rejection },
            Ok(relation) => {
                let digest = verified.digest().to_string();
                let warnings = self.warnings(&verified);
                if relation == Relation::Successor {
                    self.update(verified);
                }
                FromEnclave::Applied { digest, warnings }
            }
        }
    }

    fn judge(&self, verified: &VerifiedBundle) -> Result<Relation, Rejection> {
        let (Some(plan), Some(release)) = (&self.plan, &self.release) else {
            return Err(Rejection::of("enclave", "no Pod runs"));
        };
        let relation = update::judge(&release.running, plan, verified, &self.policy)?;
        if relation == Relation::Successor && !self.supervisor.takes_updates() {
            let message = "the Pod is ending: it cannot be changed any more";
            return Err(Rejection::of("enclave", message));
        }
        Ok(relation)
    }

    fn update(&mut self, verified: VerifiedBundle) {
        let (Some(before), Some(release)) = (self.plan.clone(), &mut self.release) else {
            return;
        };
        release.running = verified.running();
        release.history = release.history.then(verified.digest(), verified.generation());
        log::info!(
            "bundle {}: accepted as an update, generation {}, history {}",
            verified.digest(),
            verified.generation(),
            release.history
        );
        let identity = Identity::of(&verified, release.history);
        let introduced = match (identity, self.services.attestation()) {
            (Ok(identity), Some(attestation)) => {
                attestation.update(identity).map_err(|error| error.to_string())
            }
            (Err(error), _) => Err(error),
            (Ok(_), None) => Ok(()),
        };
        if let Err(error) = introduced {
            log::error!("the attest service cannot be told of the update: {error}");
        }
        let mut plan = verified.into_plan();
        plan.uid.clone_from(&before.uid);
        let infeasible = self.infeasible(&before, &plan);
        if infeasible.is_some() {
            plan.resources = before.resources;
            keep_resources(&mut plan.init_containers, &before.init_containers);
            keep_resources(&mut plan.containers, &before.containers);
        }
        if before.egress != plan.egress {
            self.open_egress(&plan);
        }
        self.plan = Some(Rc::new(plan.clone()));
        // Before the containers: one that starts again sees the new files.
        self.show_new_content();
        self.step(Event::Update {
            plan: Box::new(plan),
            infeasible,
        });
        self.free_images();
    }

    /// Why other resources than those of `before` cannot be had here, if others are asked for.
    fn infeasible(&self, before: &Plan, plan: &Plan) -> Option<String> {
        let mut pairs = before.all_containers().zip(plan.all_containers());
        if before.resources == plan.resources
            && pairs.all(|(before, after)| before.resources == after.resources)
        {
            return None;
        }
        match &self.cgroups {
            None => Some(format!("{}: nothing limits containers", self.unlimited)),
            Some(cgroups) => cgroups.infeasible(plan),
        }
    }

    /// The cgroups get what the plan says; those of instances that are to be started again have to do with what they have.
    pub(super) fn resize(&mut self) -> Vec<Event> {
        let (Some(plan), Some(cgroups)) = (self.plan.clone(), &self.cgroups) else {
            return Vec::new();
        };
        let mut instances = Vec::new();
        for child in self.children.values() {
            let Some(container) = self.container(child.unit) else {
                continue;
            };
            if !container
                .resize
                .needs_restart(&child.resources, &container.resources)
            {
                instances.push(Instance {
                    container: container.name.clone(),
                    attempt: child.attempt,
                    old: child.enforced,
                    new: container.resources.within(&plan.resources),
                });
            }
        }
        let before = self.sized.clone().unwrap_or_else(|| Rc::clone(&plan));
        let resized = match cgroups.resize(&resize::steps(&before, &plan, &instances)) {
            Err(message) => Resized::Failed { message },
            Ok(()) => {
                for child in self.children.values_mut() {
                    let done = instances.iter().find(|done| {
                        done.attempt == child.attempt && child.container.as_deref() == Some(&*done.container)
                    });
                    if let Some(done) = done {
                        child.enforced = done.new;
                        let planned = plan.all_containers().find(|one| one.name == done.container);
                        child.resources = planned.map_or(child.resources, |planned| planned.resources);
                    }
                }
                self.sized = Some(plan);
                Resized::Done
            }
        };
        vec![Event::Resized(resized)]
    }

    /// What is mounted shows the new content; what cannot be had stays as it was (K-388).
    fn show_new_content(&mut self) {
        for (volume, reason) in self.refresh_volumes().failed {
            let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {reason}");
            self.emit(None, Warning, "FailedMount", &message);
        }
    }
}

fn keep_resources(containers: &mut [ContainerPlan], before: &[ContainerPlan]) {
    for (container, before) in containers.iter_mut().zip(before) {
        container.resources = before.resources;
    }
}
