//! What the loop does for a bundle that comes while a Pod runs: judged, it takes the place of the one before. Files in
//! volumes change at once; which containers are started again, the supervisor knows.

use cloister_init::supervisor::event::Event;
use manifest_sync::data::Objects;
use manifest_sync::plan::VolumeSource;
use manifest_sync::protocol::FromEnclave;
use manifest_sync::reject::Rejection;
use manifest_sync::status::EventType::Warning;
use manifest_sync::trust::VerifiedBundle;
use manifest_sync::update::{self, History, Relation, Running};
use manifest_sync::volume::payload;

use super::attestation::Identity;
use super::event_loop::Pid1;
use super::volume;

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
        self.plan = Some(std::rc::Rc::new(plan.clone()));
        // Before the containers: one that starts again sees the new files.
        self.refresh_volumes();
        self.step(Event::Update(Box::new(plan)));
    }

    /// What is mounted shows the new content; what cannot be had stays as it was (K-388).
    fn refresh_volumes(&mut self) {
        let Some(plan) = self.plan.clone() else { return };
        let objects = Objects {
            plan: &plan,
            released: self.secrets.released(),
        };
        let mut failures = Vec::new();
        for one in &plan.volumes {
            let VolumeSource::Object {
                source,
                items,
                default_mode,
                optional,
            } = &one.source
            else {
                continue;
            };
            let files = payload(&objects, source, items, *default_mode, *optional);
            let written = files.and_then(|files| {
                volume::update(&one.name, &files, plan.fs_group).map_err(|error| error.to_string())
            });
            if let Err(reason) = written {
                failures.push(format!(
                    "MountVolume.SetUp failed for volume \"{}\" : {reason}",
                    one.name
                ));
            }
        }
        for failure in failures {
            self.emit(None, Warning, "FailedMount", failure);
        }
    }
}
