//! `resizePolicy` and what an API server checks of a resize (K-470, K-471).

use crate::decode::Node;
use crate::plan::{ContainerPlan, Plan, RestartPolicy};
use crate::reject::Finding;
use crate::resources::ResourcesPlan;

/// What another amount of each resource needs (K-470).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResizePlan {
    /// Of cpu.
    pub cpu: OnResize,
    /// Of memory.
    pub memory: OnResize,
}

/// Whether a container can be given another amount while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnResize {
    /// `NotRequired`: it can.
    #[default]
    NotRequired,
    /// `RestartContainer`: it is started again.
    RestartContainer,
}

impl ResizePlan {
    /// Whether the change from `old` to `new` needs a restart.
    pub fn needs_restart(self, old: &ResourcesPlan, new: &ResourcesPlan) -> bool {
        let cpu = (old.cpu_request, old.cpu_limit) != (new.cpu_request, new.cpu_limit);
        let memory = (old.memory_request, old.memory_limit) != (new.memory_request, new.memory_limit);
        (cpu && self.cpu == OnResize::RestartContainer)
            || (memory && self.memory == OnResize::RestartContainer)
    }
}

/// Reads `resizePolicy` of a container.
pub(crate) fn read(container: &Node<'_>) -> ResizePlan {
    let mut plan = ResizePlan::default();
    let mut seen = Vec::new();
    for node in container.list_of("resizePolicy", 8) {
        node.fields(&["resourceName", "restartPolicy"], &[], &[]);
        let (Some(name), Some(policy)) = (node.required("resourceName"), node.required("restartPolicy"))
        else {
            continue;
        };
        let policy = match policy.as_str() {
            "NotRequired" => OnResize::NotRequired,
            "RestartContainer" => OnResize::RestartContainer,
            _ => {
                node.error_at("restartPolicy", "must be NotRequired or RestartContainer");
                continue;
            }
        };
        match name.as_str() {
            "cpu" => plan.cpu = policy,
            "memory" => plan.memory = policy,
            _ => node.error_at("resourceName", "must be cpu or memory"),
        }
        if seen.contains(&name) {
            node.error_at("resourceName", format!("`{name}` is listed twice"));
        }
        seen.push(name);
    }
    plan
}

/// K-470: a container that is not started again cannot be restarted for a resize.
pub(crate) fn check(container: &Node<'_>, plan: &ContainerPlan, pod: RestartPolicy, is_init: bool) {
    let restarts = [plan.resize.cpu, plan.resize.memory].contains(&OnResize::RestartContainer);
    if !restarts {
        return;
    }
    if pod == RestartPolicy::Never {
        container.error_at(
            "resizePolicy",
            "must be 'NotRequired' when `restartPolicy` is 'Never'",
        );
    }
    if is_init && plan.restart_policy != Some(RestartPolicy::Always) {
        container.error_at(
            "resizePolicy",
            "must not be set for init containers without restartPolicy Always",
        );
    }
}

/// What a resize from `old` to `new` may not do (K-471).
pub(crate) fn forbidden(old: &Plan, new: &Plan, object: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if old.qos_class() != new.qos_class() {
        let message = "Pod QOS Class may not change as a result of resizing";
        findings.push(Finding::new(object, "spec.containers[*].resources", message));
    }
    if !old.resources.is_unset() && new.resources.is_unset() {
        findings.push(Finding::new(
            object,
            "spec.resources",
            "pod-level resources cannot be removed",
        ));
    } else {
        removed(
            &old.resources,
            &new.resources,
            "pod-level resource",
            |what, message| {
                findings.push(Finding::new(object, format!("spec.resources.{what}"), message));
            },
        );
    }
    let lists = [
        ("initContainers", &old.init_containers, &new.init_containers),
        ("containers", &old.containers, &new.containers),
    ];
    for (list, old, new) in lists {
        for (index, (before, after)) in old.iter().zip(new).enumerate() {
            removed(
                &before.resources,
                &after.resources,
                "resource",
                |what, message| {
                    let path = format!("spec.{list}[{index}].resources.{what}");
                    findings.push(Finding::new(object, path, message));
                },
            );
        }
    }
    findings
}

/// Tells of every amount that was set and is not any more.
fn removed(
    before: &ResourcesPlan,
    after: &ResourcesPlan,
    of: &str,
    mut tell: impl FnMut(&'static str, String),
) {
    for (what, before, after) in [
        ("limits.cpu", before.cpu_limit, after.cpu_limit),
        ("limits.memory", before.memory_limit, after.memory_limit),
        ("requests.cpu", before.cpu_request, after.cpu_request),
        ("requests.memory", before.memory_request, after.memory_request),
    ] {
        if before.is_some() && after.is_none() {
            let kind = what.split('.').next().unwrap_or_default();
            tell(what, format!("{of} {kind} cannot be removed"));
        }
    }
}
