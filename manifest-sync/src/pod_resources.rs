//! `spec.resources` of a Pod: what its containers share (K-437, K-446 to K-448). Validation and defaults are an API
//! server's; what follows for a container is the kubelet's. Amounts of a single container are [`crate::resources`]'s.

use crate::decode::Node;
use crate::plan::{ContainerPlan, Plan, RestartPolicy};
use crate::resources::{Amounts, ResourcesPlan, amounts, bounded};

/// One amount of `resources`.
pub type Amount = fn(&ResourcesPlan) -> Option<u64>;

impl ResourcesPlan {
    /// Whether nothing of it is set, as in a Pod without `spec.resources`.
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// What the cgroup of a container with these amounts is made from in a Pod with those of `pod`: where it has no limit
    /// of its own it has the Pod's (K-448), and where it has no request, its limit is the request (K-440).
    pub fn within(self, pod: &Self) -> Self {
        let known = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
        let cpu_limit = known(self.cpu_limit).or(pod.cpu_limit);
        Self {
            cpu_request: self.cpu_request.or(cpu_limit),
            cpu_limit,
            memory_limit: known(self.memory_limit).or(pod.memory_limit),
            ..self
        }
    }
}

impl Plan {
    /// What runs together at most asks for (K-447): all lasting containers, or an init container and the sidecars before
    /// it. Thousandths of a CPU or bytes.
    pub fn aggregate(&self, pick: Amount) -> u64 {
        aggregate(&self.init_containers, &self.containers, pick)
    }
}

fn aggregate(inits: &[ContainerPlan], containers: &[ContainerPlan], pick: Amount) -> u64 {
    let amount = |container: &ContainerPlan| pick(&container.resources).unwrap_or(0);
    let mut most = 0;
    let mut sidecars: u64 = 0;
    for init in inits {
        let with_sidecars = sidecars.saturating_add(amount(init));
        if init.restart_policy == Some(RestartPolicy::Always) {
            sidecars = with_sidecars;
        } else {
            most = with_sidecars.max(most);
        }
    }
    let lasting = containers.iter().map(amount);
    lasting.fold(sidecars, u64::saturating_add).max(most)
}

/// Reads `spec.resources`; `inits` and `containers` are the Pod's. As an API server does, this holds requests of the whole
/// against the sum of the containers', and the limit of every regular container against that of the whole.
pub(crate) fn read(spec: &Node<'_>, inits: &[ContainerPlan], containers: &[ContainerPlan]) -> ResourcesPlan {
    let Some(node) = spec.get("resources") else {
        return ResourcesPlan::default();
    };
    node.fields(&["limits", "requests"], &[], &["claims"]);
    let list = |field: &str| {
        let node = node.get(field);
        node.map(|node| amounts(&node, &POD_LEVEL)).unwrap_or_default()
    };
    let (limits, mut requests) = (list("limits"), list("requests"));
    let any = |pick: Amount| {
        let mut all = inits.iter().chain(containers);
        all.any(|container| pick(&container.resources).is_some())
    };
    let sum = |pick: Amount| any(pick).then(|| aggregate(inits, containers, pick));
    let sums = Amounts {
        cpu: sum(|one| one.cpu_request),
        memory: sum(|one| one.memory_request),
        storage: None,
    };
    for (name, request, sum, unit) in [
        ("cpu", requests.cpu, sums.cpu, "m"),
        ("memory", requests.memory, sums.memory, ""),
    ] {
        if let (Some(request), Some(sum)) = (request, sum)
            && request < sum
        {
            node.error_at(
                &format!("requests['{name}']"),
                format!("must be greater than or equal to aggregate container requests of {sum}{unit}"),
            );
        }
    }
    // Without limits nothing is filled in: the requests of the containers add up in any case.
    if limits.cpu.is_some() || limits.memory.is_some() {
        requests.cpu = requests.cpu.or(sums.cpu).or(limits.cpu);
        requests.memory = requests.memory.or(sums.memory).or(limits.memory);
    }
    bounded(&node, &limits, &requests);
    for (index, container) in containers.iter().enumerate() {
        let own = &container.resources;
        for (name, limit, pod, unit) in [
            ("cpu", own.cpu_limit, limits.cpu, "m"),
            ("memory", own.memory_limit, limits.memory, ""),
        ] {
            if let (Some(limit), Some(pod)) = (limit, pod)
                && limit > pod
            {
                spec.error_at(
                    &format!("containers[{index}].resources.limits['{name}']"),
                    format!("must be less than or equal to pod limits of {pod}{unit}"),
                );
            }
        }
    }
    ResourcesPlan {
        cpu_request: requests.cpu,
        cpu_limit: limits.cpu,
        memory_request: requests.memory,
        memory_limit: limits.memory,
        ..ResourcesPlan::default()
    }
}

/// What a Pod as a whole may have, and what is said of anything else.
const POD_LEVEL: crate::resources::Known = crate::resources::Known {
    storage: false,
    otherwise: "a Pod as a whole has cpu and memory here; remove it, or give ephemeral-storage to its containers",
};
