//! CPU and memory of containers: validation, defaults (K-436) and the quality of service that follows (K-437). Those of
//! the Pod as a whole are [`crate::pod_resources`]'s.

use crate::byte_quantity::ByteQuantity;
use crate::decode::Node;
use crate::plan::Plan;
use crate::quantity::Quantity;

/// `resources` of a container, with limits as requests where a request is absent (K-436).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResourcesPlan {
    /// `requests.cpu`, thousandths of a CPU.
    pub cpu_request: Option<u64>,
    /// `limits.cpu`, thousandths of a CPU.
    pub cpu_limit: Option<u64>,
    /// `requests.memory`, bytes.
    pub memory_request: Option<u64>,
    /// `limits.memory`, bytes.
    pub memory_limit: Option<u64>,
    /// `requests.ephemeral-storage`.
    pub storage_request: Option<ByteQuantity>,
    /// `limits.ephemeral-storage`: how much the files of the container may take (K-451).
    pub storage_limit: Option<ByteQuantity>,
}

/// Quality of service of a Pod (K-437).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// The Pod, or every container of one without resources of its own, has limits for both, equal to its requests.
    Guaranteed,
    /// Anything else.
    Burstable,
    /// Nothing has a request or a limit.
    BestEffort,
}

impl QosClass {
    /// As in `status.qosClass`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

impl Plan {
    /// K-437. A value of 0 counts as absent; resources of the Pod count instead of its containers'.
    pub fn qos_class(&self) -> QosClass {
        let some = |value: Option<u64>| value.filter(|value| *value > 0);
        let guaranteed = |resources: &ResourcesPlan| {
            let equal = |limit, request| some(limit).is_some() && some(limit) == some(request);
            equal(resources.cpu_limit, resources.cpu_request)
                && equal(resources.memory_limit, resources.memory_request)
        };
        let best_effort = |resources: &ResourcesPlan| {
            let all = [
                resources.cpu_request,
                resources.cpu_limit,
                resources.memory_request,
                resources.memory_limit,
            ];
            all.into_iter().all(|value| some(value).is_none())
        };
        let own = Some(&self.resources).filter(|own| !own.is_unset());
        let containers = self.all_containers().filter(|_| own.is_none());
        let mut all = own
            .into_iter()
            .chain(containers.map(|container| &container.resources));
        if all.clone().all(best_effort) {
            QosClass::BestEffort
        } else if all.all(guaranteed) {
            QosClass::Guaranteed
        } else {
            QosClass::Burstable
        }
    }
}

/// Reads `resources`.
pub(crate) fn read(node: &Node<'_>) -> ResourcesPlan {
    node.fields(&["limits", "requests"], &[], &["claims"]);
    let list = |field: &str| {
        let node = node.get(field);
        node.map(|node| amounts(&node, &CONTAINER)).unwrap_or_default()
    };
    let (limits, requests) = (list("limits"), list("requests"));
    bounded(node, &limits, &requests);
    ResourcesPlan {
        cpu_request: requests.cpu.or(limits.cpu),
        cpu_limit: limits.cpu,
        memory_request: requests.memory.or(limits.memory),
        memory_limit: limits.memory,
        storage_request: requests.storage.or(limits.storage),
        storage_limit: limits.storage,
    }
}

/// No request may be above its limit.
pub(crate) fn bounded(node: &Node<'_>, limits: &Amounts, requests: &Amounts) {
    for (name, limit, request, unit) in [
        ("cpu", limits.cpu, requests.cpu, "m"),
        ("memory", limits.memory, requests.memory, ""),
        (
            "ephemeral-storage",
            limits.storage.map(|limit| limit.bytes),
            requests.storage.map(|request| request.bytes),
            "",
        ),
    ] {
        if let (Some(limit), Some(request)) = (limit, request)
            && request > limit
        {
            node.error_at(
                &format!("requests['{name}']"),
                format!("must be less than or equal to the {name} limit of {limit}{unit}"),
            );
        }
    }
}

/// `limits` or `requests`: thousandths of a CPU, bytes, bytes as they are written.
#[derive(Default)]
pub(crate) struct Amounts {
    pub(crate) cpu: Option<u64>,
    pub(crate) memory: Option<u64>,
    pub(crate) storage: Option<ByteQuantity>,
}

/// Which resources there are beside cpu and memory, and what is said of the others.
pub(crate) struct Known {
    /// Whether there is ephemeral-storage.
    pub(crate) storage: bool,
    /// What to do.
    pub(crate) otherwise: &'static str,
}

const CONTAINER: Known = Known {
    storage: true,
    otherwise: "an enclave has cpu, memory and ephemeral-storage; remove it",
};

/// Reads `limits` or `requests`.
pub(crate) fn amounts(node: &Node<'_>, known: &Known) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, node) in node.entries() {
        let quantity = quantity(&node);
        let positive = |value: i64| u64::try_from(value).ok();
        match name.as_str() {
            "cpu" => amounts.cpu = quantity.and_then(|quantity| positive(quantity.milli_value())),
            "memory" => amounts.memory = quantity.and_then(|quantity| positive(quantity.value())),
            "ephemeral-storage" if known.storage => {
                amounts.storage = quantity.and_then(|_| ByteQuantity::parse(&written(&node)?));
            }
            _ => node.error(known.otherwise),
        }
    }
    amounts
}

/// A quantity as it is written: JSON numbers are allowed.
pub(crate) fn written(node: &Node<'_>) -> Option<String> {
    if node.value.is_number() {
        Some(node.value.to_string())
    } else {
        node.text()
    }
}

/// A quantity that is not negative.
pub(crate) fn quantity(node: &Node<'_>) -> Option<Quantity> {
    let text = written(node)?;
    match text.parse::<Quantity>() {
        Ok(quantity) if quantity.value() >= 0 => Some(quantity),
        Ok(_) => {
            node.error("must not be negative");
            None
        }
        Err(message) => {
            node.error(message);
            None
        }
    }
}
