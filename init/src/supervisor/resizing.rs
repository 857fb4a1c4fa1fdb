//! A resize of the running Pod (section 19.3 of the kubelet semantics): which containers are started again for it, and what
//! users see of it. The files of cgroups are the shell's; it answers with [`Resized`].

use std::time::Duration;

use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status::EventType::{Normal, Warning};
use serde_json::{Map, Value, json};

use super::Output;
use super::action::Action;
use super::container::{Container, Role};
use super::event::Resized;
use super::pod::Pod;
use super::time::Time;

/// K-474: how long after a failure it is tried again; a kubelet does at its next sync.
const RETRY: Duration = Duration::from_secs(10);

/// What a resize has come to; nothing, when none is under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Resize {
    #[default]
    None,
    /// The shell has been asked.
    Asked,
    /// It could not, for this reason, and is asked again then.
    Failed { message: String, retry: Time },
    /// It never can: what was asked for is not what the Pod has (K-475, `Infeasible`).
    Infeasible { message: String },
}

impl Pod {
    pub(super) fn resize_deadline(&self) -> Option<Time> {
        match &self.resize {
            Resize::Failed { retry, .. } if self.is_running() => Some(*retry),
            _ => None,
        }
    }

    /// The plan has other amounts, or the shell says why it cannot have those that were asked for.
    pub(super) fn begin_resize(&mut self, infeasible: Option<String>, changed: bool, out: &mut Output<'_>) {
        if let Some(message) = infeasible {
            self.emit_resize(
                Warning,
                "ResizeInfeasible",
                "Pod resize infeasible",
                Some(&message),
                out,
            );
            self.resize = Resize::Infeasible { message };
            return;
        }
        self.resize = Resize::None;
        if changed {
            self.emit_resize(Normal, "ResizeStarted", "Pod resize started", None, out);
            self.ask_for_resize(out);
        }
    }

    fn ask_for_resize(&mut self, out: &mut Output<'_>) {
        self.resize = Resize::Asked;
        out.actions.push(Action::Resize);
    }

    pub(super) fn retry_resize(&mut self, out: &mut Output<'_>) {
        if self.resize_deadline().is_some_and(|retry| retry <= out.now) {
            self.ask_for_resize(out);
        }
    }

    pub(super) fn resized(&mut self, resized: Resized, out: &mut Output<'_>) {
        if self.resize != Resize::Asked {
            return;
        }
        match resized {
            Resized::Done => {
                self.resize = Resize::None;
                self.enforced = self.plan.resources;
                for container in self.containers_mut() {
                    if !container.is_restarted_for_resize() {
                        container.enforced = container.resources;
                    }
                }
                self.emit_resize(Normal, "ResizeCompleted", "Pod resize completed", None, out);
            }
            Resized::Failed { message } => {
                if self.last_resize_error.as_ref() != Some(&message) {
                    self.emit_resize(Warning, "ResizeError", "Pod resize error", Some(&message), out);
                    self.last_resize_error = Some(message.clone());
                }
                let retry = out.now + RETRY;
                self.resize = Resize::Failed { message, retry };
            }
        }
    }

    /// K-537, K-538: the message ends with what every container has or should have.
    fn emit_resize(
        &self,
        r#type: manifest_sync::status::EventType,
        reason: &'static str,
        what: &str,
        error: Option<&str>,
        out: &mut Output<'_>,
    ) {
        let list = |containers: &[Container]| -> Vec<Value> {
            let one = |container: &Container| json!({"name": container.name, "resources": resources(&container.resources)});
            containers.iter().map(one).collect()
        };
        let mut summary = Map::new();
        if !self.plan.resources.is_unset() {
            summary.insert("resources".to_owned(), resources(&self.plan.resources));
        }
        let inits = list(self.inits());
        if !inits.is_empty() {
            summary.insert("initContainers".to_owned(), inits.into());
        }
        summary.insert("containers".to_owned(), list(self.regular()).into());
        if let Some(error) = error {
            summary.insert("error".to_owned(), error.into());
        }
        out.actions.push(Action::Emit {
            container: None,
            r#type,
            reason,
            message: format!("{what}: {}", Value::Object(summary)),
        });
    }
}

/// `v1/ResourceRequirements`.
fn resources(plan: &ResourcesPlan) -> Value {
    serde_json::to_value(super::status::resources(plan)).unwrap_or_default()
}

impl Container {
    /// Takes other amounts. Whether they are others.
    pub(super) fn set_resources(&mut self, resources: ResourcesPlan) -> bool {
        let changed = self.resources != resources;
        self.resources = resources;
        if changed {
            // K-185, K-472.
            self.crash_loop.reset();
        }
        changed
    }

    /// K-472: what runs has other amounts than it should have, and cannot be given them while it runs.
    pub(super) fn is_restarted_for_resize(&self) -> bool {
        self.role != Role::Init
            && self.live().is_some()
            && self.on_resize.needs_restart(&self.enforced, &self.resources)
    }
}
