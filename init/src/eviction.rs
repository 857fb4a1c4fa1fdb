//! When a Pod has to go because its files take more than they may (K-383, K-451). Pure: how much they take is measured
//! elsewhere.

use std::collections::BTreeMap;

use manifest_sync::byte_quantity::ByteQuantity;
use manifest_sync::plan::{ContainerPlan, Medium, Plan, RestartPolicy, VolumeSource};

/// What is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// emptyDirs of the default medium with a `sizeLimit`.
    volumes: Vec<(String, ByteQuantity)>,
    /// Containers with a limit of `ephemeral-storage`.
    containers: Vec<(String, ByteQuantity)>,
    /// What the limits of the containers add up to.
    pod: Option<ByteQuantity>,
    /// Names of all emptyDirs of the default medium: their files count for the Pod.
    pub measured_volumes: Vec<String>,
}

/// How many bytes files take, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of emptyDirs of the default medium.
    pub volumes: BTreeMap<String, u64>,
    /// Of the writable layers of containers that run.
    pub containers: BTreeMap<String, u64>,
}

impl Limits {
    /// The limits of a Pod; `None`: there are none, so that nothing needs to be measured.
    pub fn of(plan: &Plan) -> Option<Self> {
        let default_medium = plan.volumes.iter().filter_map(|volume| match volume.source {
            VolumeSource::EmptyDir {
                medium: Medium::Default,
                size_limit,
            } => Some((volume.name.clone(), size_limit)),
            _ => None,
        });
        let default_medium: Vec<_> = default_medium.collect();
        let limits = Self {
            volumes: default_medium
                .iter()
                .filter_map(|(name, limit)| Some((name.clone(), (*limit)?)))
                .collect(),
            containers: plan
                .all_containers()
                .filter_map(|container| Some((container.name.clone(), limit(container)?)))
                .collect(),
            pod: pod_limit(plan),
            measured_volumes: default_medium.into_iter().map(|(name, _)| name).collect(),
        };
        (!limits.volumes.is_empty() || limits.pod.is_some()).then_some(limits)
    }

    /// Why the Pod is evicted, in the kubelet's words and order; `None`: it is not.
    pub fn exceeded(&self, usage: &Usage) -> Option<String> {
        let over = |limits: &[(String, ByteQuantity)], usage: &BTreeMap<String, u64>| {
            let mut limits = limits.iter();
            let found = limits.find(|(name, limit)| usage.get(name).is_some_and(|used| *used > limit.bytes));
            found.cloned()
        };
        if let Some((name, limit)) = over(&self.volumes, &usage.volumes) {
            return Some(format!(
                "Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\". "
            ));
        }
        let all = usage.volumes.values().chain(usage.containers.values());
        let all = all.fold(0_u64, |sum, used| sum.saturating_add(*used));
        if let Some(limit) = self.pod.filter(|limit| all > limit.bytes) {
            return Some(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
            ));
        }
        let (name, limit) = over(&self.containers, &usage.containers)?;
        Some(format!(
            "Container {name} exceeded its local ephemeral storage limit \"{limit}\". "
        ))
    }
}

fn limit(container: &ContainerPlan) -> Option<ByteQuantity> {
    container.resources.storage_limit.filter(|limit| limit.bytes > 0)
}

/// K-447: lasting containers together, or an ordinary init container with the sidecars before it, if that is more.
fn pod_limit(plan: &Plan) -> Option<ByteQuantity> {
    let sum = |sum: Option<ByteQuantity>, container: &ContainerPlan| match (sum, limit(container)) {
        (Some(sum), Some(limit)) => Some(sum.plus(limit)),
        (sum, limit) => sum.or(limit),
    };
    let mut most = plan.lasting_containers().fold(None, sum);
    let mut sidecars = None;
    for init in &plan.init_containers {
        let together = sum(sidecars, init);
        if init.restart_policy == Some(RestartPolicy::Always) {
            sidecars = together;
        } else if together.map(|one| one.bytes) > most.map(|one| one.bytes) {
            most = together;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits(spec: &Value) -> Option<Limits> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod]});
        let (plan, _) = Plan::from_bundle_bytes(list.to_string().as_bytes()).expect("valid");
        Limits::of(&plan)
    }

    fn container(name: &str, limit: Option<&str>) -> Value {
        let image = format!("app@sha256:{}", "a".repeat(64));
        match limit {
            Some(limit) => {
                json!({"name": name, "image": image, "resources": {"limits": {"ephemeral-storage": limit}}})
            }
            None => json!({"name": name, "image": image}),
        }
    }

    fn usage(volumes: &[(&str, u64)], containers: &[(&str, u64)]) -> Usage {
        let map = |entries: &[(&str, u64)]| {
            entries
                .iter()
                .map(|(name, used)| ((*name).to_owned(), *used))
                .collect()
        };
        Usage {
            volumes: map(volumes),
            containers: map(containers),
        }
    }

    #[test]
    fn without_a_limit_nothing_is_measured() {
        let volumes = json!([{"name": "a", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
        assert_eq!(
            limits(&json!({"containers": [container("a", None)], "volumes": volumes})),
            None
        );
    }

    #[test]
    fn a_volume_over_its_limit_is_named() {
        let volumes =
            json!([{"name": "v", "emptyDir": {"sizeLimit": "1024Ki"}}, {"name": "w", "emptyDir": {}}]);
        let limits =
            limits(&json!({"containers": [container("a", None)], "volumes": volumes})).expect("limits");
        assert_eq!(limits.measured_volumes, ["v", "w"]);
        assert_eq!(
            limits.exceeded(&usage(&[("v", 1 << 20), ("w", 1 << 40)], &[])),
            None
        );
        assert_eq!(
            limits.exceeded(&usage(&[("v", (1 << 20) + 1)], &[])).as_deref(),
            Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ")
        );
    }

    #[test]
    fn containers_and_their_pod_have_limits() {
        let spec = json!({
            "containers": [container("a", Some("10M")), container("b", Some("20M"))],
            "initContainers": [container("i", Some("25M"))],
            "volumes": [{"name": "v", "emptyDir": {}}],
        });
        let limits = limits(&spec).expect("limits");
        assert_eq!(
            limits.exceeded(&usage(
                &[("v", 5_000_000)],
                &[("a", 10_000_000), ("b", 5_000_000)]
            )),
            None
        );
        assert_eq!(
            limits.exceeded(&usage(&[], &[("a", 10_000_001)])).as_deref(),
            Some("Container a exceeded its local ephemeral storage limit \"10M\". ")
        );
        assert_eq!(
            limits.exceeded(&usage(&[("v", 30_000_001)], &[])).as_deref(),
            Some("Pod ephemeral local storage usage exceeds the total limit of containers 30M. ")
        );
        let only_init =
            json!({"containers": [container("a", None)], "initContainers": [container("i", Some("25M"))]});
        let limits = self::limits(&only_init).expect("limits");
        assert!(
            limits
                .exceeded(&usage(&[], &[("a", 25_000_001)]))
                .is_some_and(|message| message.contains("25M"))
        );
    }
}
