//! The Pod's limits as a whole, and what is said where there are none (section 18 of the kubelet semantics): a machine whose
//! kernel or whose owner gives us no cgroups limits nothing, and nothing may look as if it did.

use manifest_sync::plan::Plan;
use manifest_sync::reject::Finding;
use manifest_sync::status::EventType::Warning;

use super::event_loop::Pid1;

impl Pid1 {
    /// Makes the Pod's cgroup. Where that cannot be done, one event says so to whoever has asked for limits.
    pub(super) fn limit(&mut self, plan: &Plan) {
        let failed = match &self.cgroups {
            None => Some(self.unlimited.clone()),
            Some(cgroups) => cgroups.accept(plan).err().map(|error| error.to_string()),
        };
        let Some(reason) = failed else { return };
        if asked(plan).is_some() {
            let message = format!(
                "resources of the Pod are not enforced: {reason}; its containers can take all that there is"
            );
            self.emit(None, Warning, "ResourcesNotEnforced", &message);
        }
        if self.cgroups.is_some() {
            log::error!("cannot limit the Pod: {reason}");
        }
    }

    /// What the answer to a bundle says of it.
    pub(super) fn unenforced(&self, plan: &Plan) -> Option<Finding> {
        let path = asked(plan).filter(|_| self.cgroups.is_none())?;
        Some(Finding {
            object: format!("Pod/{}", plan.name),
            path: path.to_owned(),
            message: format!("is not enforced here: {}", self.unlimited),
        })
    }
}

/// Where a Pod asks for resources; `None`: nowhere.
fn asked(plan: &Plan) -> Option<&'static str> {
    if plan
        .all_containers()
        .any(|container| !container.resources.is_unset())
    {
        Some("spec.containers[*].resources")
    } else if plan.resources.is_unset() {
        None
    } else {
        Some("spec.resources")
    }
}
