//! What the loop does for secrets: asking the host for connections to the broker, handing them to the `attest` service,
//! placing what comes back, and saying what did not.

use std::os::fd::OwnedFd;

use attest::Secret;
use cloister_init::supervisor::event::Event;
use manifest_sync::link::Stream;
use manifest_sync::plan::VolumeSource;
use manifest_sync::protocol::FromEnclave;
use manifest_sync::status::EventType::{Normal, Warning};

use super::event_loop::Pid1;
use super::secrets::{Outcome, Secrets};
use super::volume::{self, Refreshed};
use crate::attestation::message::FromAttest;
use crate::sys::fd;

/// Most characters of the host's words that are repeated.
const MAX_HOST_WORDS: usize = 256;
/// Most bytes of a set of secrets.
const MAX_SET: usize = attest::seal::MAX_PLAINTEXT;

impl Pid1 {
    /// The Pod has been accepted: its classes are asked for.
    pub(super) fn begin_secrets(&mut self) {
        let Some(plan) = self.plan.clone() else { return };
        match Secrets::new(&plan, self.now()) {
            Ok(secrets) => self.secrets = secrets,
            // Validation has read the names, by the same rules.
            Err(error) => log::error!("{error}"),
        }
        self.ask_for_broker();
    }

    pub(super) fn ask_for_broker(&mut self) {
        for request in self.secrets.wanted() {
            self.connections
                .send_to_controller(&FromEnclave::NeedBroker { request });
        }
    }

    pub(super) fn broker_connected(&mut self, request: u64, stream: Stream) {
        let Some((names, broker_key)) = self.secrets.connected(request) else {
            return log::info!("broker request {request}: nobody waits for a connection");
        };
        let asked = stream.into_std_fd().and_then(|connection| {
            let attestation = self.services.attestation().ok_or(std::io::ErrorKind::NotFound)?;
            attestation.release(request, names, broker_key, &connection)
        });
        if let Err(error) = asked {
            self.release_failed(request, format!("the attest service cannot be asked: {error}"));
        }
    }

    pub(super) fn broker_unavailable(&mut self, request: u64, message: &str) {
        let message: String = message.chars().take(MAX_HOST_WORDS).collect();
        self.release_failed(
            request,
            format!("the host has no connection to the broker: {message}"),
        );
    }

    pub(super) fn attested(&mut self, message: FromAttest, attached: Option<OwnedFd>) {
        match message {
            FromAttest::Failed { request, message } => self.release_failed(request, message),
            FromAttest::Released { request } => match attached.map(|file| fd::read_memfd(file, MAX_SET)) {
                Some(Ok(bytes)) => {
                    let now = self.now();
                    let outcome = self.secrets.arrived(request, &Secret::new(bytes), now);
                    self.settle(outcome);
                }
                Some(Err(error)) => {
                    self.release_failed(request, format!("cannot read what was released: {error}"));
                }
                None => self.release_failed(request, "what was released did not come along".to_owned()),
            },
        }
    }

    fn release_failed(&mut self, request: u64, message: String) {
        let now = self.now();
        let outcome = self.secrets.failed(request, message, now);
        self.settle(outcome);
    }

    pub(super) fn advance_secrets(&mut self) {
        let now = self.now();
        for outcome in self.secrets.advance(now) {
            self.settle(Some(outcome));
        }
        self.ask_for_broker();
    }

    /// What follows from the end of a request.
    fn settle(&mut self, outcome: Option<Outcome>) {
        match outcome {
            None | Some(Outcome::Unchanged) => {}
            Some(Outcome::Arrived { class }) => {
                log::info!("secrets of SecretProviderClass {class} have been released");
                if self.secrets.are_complete() {
                    self.step(Event::SecretsReady);
                }
            }
            Some(Outcome::Changed { class }) => self.rotate(&class),
            Some(Outcome::Failed {
                class,
                rotation,
                message,
            }) => {
                log::warn!("secrets of SecretProviderClass {class}: {message}");
                // The words of the Secrets Store CSI driver, and of the kubelet.
                let (reason, message) = if rotation {
                    (
                        "MountRotationFailed",
                        format!("failed to rotate the secrets of class {class}: {message}"),
                    )
                } else {
                    let volumes = self.volumes_of(&class).join(", ");
                    (
                        "FailedMount",
                        format!("MountVolume.SetUp failed for volume \"{volumes}\" : {message}"),
                    )
                };
                self.emit(None, Warning, reason, &message);
            }
        }
    }

    /// Files that are mounted get the new values; variables get them at the next start of their container, as on a node.
    fn rotate(&mut self, class: &str) {
        if let Some((volume, error)) = self.refresh_volumes().failed.pop() {
            let message = format!("cannot update volume {volume}: {error}");
            return self.emit(None, Warning, "MountRotationFailed", &message);
        }
        let message = format!("successfully rotated the secrets of class {class}");
        self.emit(None, Normal, "MountRotationComplete", &message);
    }

    /// Mounted files follow the objects of the plan and what has been released.
    pub(super) fn refresh_volumes(&self) -> Refreshed {
        let Some(plan) = self.plan.clone() else {
            return Refreshed::default();
        };
        volume::refresh(&self.ingredients(&plan))
    }

    fn volumes_of(&self, class: &str) -> Vec<String> {
        let volumes = self.plan.iter().flat_map(|plan| &plan.volumes);
        let of_class = volumes.filter(
            |volume| matches!(&volume.source, VolumeSource::SecretProvider { class: its } if its == class),
        );
        of_class.map(|volume| volume.name.clone()).collect()
    }
}
