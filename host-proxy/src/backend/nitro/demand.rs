//! What the containers of a Pod ask for, read from the bundle (which has been validated: what is not understood here
//! counts as absent), and Kubernetes' rule for the sum.

use manifest_sync::quantity::Quantity;
use serde_json::Value;

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Container {
    name: String,
    /// `spec.containers[0]`.
    path: String,
    /// An init container that is restarted always runs beside the others.
    sidecar: bool,
    cpu: Amount,
    memory: Amount,
}

/// Limit and request, in thousandths of a CPU or in bytes. A limit of 0 is none, as in Kubernetes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    limit: Option<u64>,
    request: Option<u64>,
}

impl Amount {
    fn largest(self) -> u64 {
        self.limit.unwrap_or(0).max(self.request.unwrap_or(0))
    }

    /// What a Pod with this amount may use whose containers may use so much together.
    fn most(self, containers: u64) -> u64 {
        let sum = self.request.unwrap_or(0).max(containers);
        self.limit.unwrap_or(sum)
    }

    /// What it requests; one that has only a limit requests what its containers do, or else as much as its limit.
    fn asked(self, containers: u64) -> u64 {
        let sum = Some(containers).filter(|sum| *sum > 0);
        self.request.or(sum).or(self.limit).unwrap_or(0)
    }

    /// A container that has only a limit requests as much.
    fn least(self) -> u64 {
        self.request.or(self.limit).unwrap_or(0)
    }
}

/// A Pod and its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// `spec.resources`, which counts instead of what the containers add up to.
    cpu: Amount,
    memory: Amount,
    containers: Vec<Container>,
    inits: Vec<Container>,
}

impl Demand {
    /// Of the Pod in a bundle.
    pub(super) fn of(bundle: &Value) -> Self {
        let spec = pod(bundle).and_then(|pod| pod.get("spec"));
        let list = |field: &str| {
            let all = spec.and_then(|spec| spec.get(field)).and_then(Value::as_array);
            let all = all.into_iter().flatten().enumerate();
            all.map(|(index, one)| container(one, format!("spec.{field}[{index}]")))
                .collect()
        };
        let (cpu, memory) = spec.map(amounts).unwrap_or_default();
        Self {
            cpu,
            memory,
            containers: list("containers"),
            inits: list("initContainers"),
        }
    }

    /// Thousandths of a CPU that can be put to use: limits, or requests where they are larger.
    pub(super) fn milli_cpus(&self) -> u64 {
        self.cpu.most(self.effective(|one| one.cpu.largest()))
    }

    /// Thousandths of a CPU that were asked for.
    pub(super) fn requested_milli_cpus(&self) -> u64 {
        self.cpu.asked(self.effective(|one| one.cpu.least()))
    }

    /// Bytes that may be used; containers without a limit count with their request.
    pub(super) fn memory(&self) -> u64 {
        self.memory.most(self.effective(|one| one.memory.largest()))
    }

    /// Bytes that were asked for.
    pub(super) fn requested_memory(&self) -> u64 {
        self.memory.asked(self.effective(|one| one.memory.least()))
    }

    /// Name and path of the first container without a memory limit, where the Pod has none either.
    pub(super) fn unlimited(&self) -> Option<(&str, &str)> {
        if self.memory.limit.is_some() {
            return None;
        }
        let mut all = self.inits.iter().chain(&self.containers);
        let found = all.find(|one| one.memory.limit.is_none())?;
        Some((&found.name, &found.path))
    }

    /// Kubernetes' rule: regular containers and sidecars run together; before them each init container runs with the
    /// sidecars that were started before it.
    fn effective(&self, amount: impl Fn(&Container) -> u64) -> u64 {
        let mut sidecars: u64 = 0;
        let mut highest: u64 = 0;
        for one in &self.inits {
            let with = sidecars.saturating_add(amount(one));
            highest = highest.max(with);
            if one.sidecar {
                sidecars = with;
            }
        }
        let regular = self.containers.iter().map(amount);
        highest.max(regular.fold(sidecars, u64::saturating_add))
    }
}

/// The Pod of a bundle, which is a `v1/List` or the Pod itself.
pub(super) fn pod(bundle: &Value) -> Option<&Value> {
    let is_pod = |one: &&Value| one.get("kind").is_some_and(|kind| kind == "Pod");
    match bundle.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().find(is_pod),
        None => Some(bundle).filter(is_pod),
    }
}

fn container(one: &Value, path: String) -> Container {
    let text = |field: &str| one.get(field).and_then(Value::as_str).unwrap_or_default();
    let (cpu, memory) = amounts(one);
    Container {
        name: text("name").to_owned(),
        path,
        sidecar: text("restartPolicy") == "Always",
        cpu,
        memory,
    }
}

/// `resources` of a container or of a Pod's `spec`: cpu and memory.
fn amounts(one: &Value) -> (Amount, Amount) {
    let amount = |resource: &str, read: fn(Quantity) -> i64| Amount {
        limit: quantity(one, "limits", resource, read).filter(|limit| *limit > 0),
        request: quantity(one, "requests", resource, read),
    };
    (
        amount("cpu", Quantity::milli_value),
        amount("memory", Quantity::value),
    )
}

fn quantity(one: &Value, list: &str, resource: &str, read: fn(Quantity) -> i64) -> Option<u64> {
    let text = match one.get("resources")?.get(list)?.get(resource)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    text.parse()
        .map(read)
        .ok()
        .and_then(|value| u64::try_from(value).ok())
}
