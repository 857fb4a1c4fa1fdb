//! What a kubelet and its runtime write into cgroup v2 files for `resources` (spec section 18.3 to 18.5). Pure.

use manifest_sync::plan::{ContainerPlan, Plan, RestartPolicy};
use manifest_sync::pod_resources::Amount;
use manifest_sync::resources::{QosClass, ResourcesPlan};

/// A file of a cgroup and its content.
pub type CgroupFile = (&'static str, String);

/// `cpu.cfs_period` of Kubernetes, microseconds.
const PERIOD_US: u64 = 100_000;
/// The smallest quota that the kernel accepts, microseconds (K-444).
const MIN_QUOTA_US: u64 = 1_000;
/// Bounds of `cpu.shares`, which weights are computed from.
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;

/// Files of a container's cgroup (K-440) that follow its resources; these are its own [within](ResourcesPlan::within) its Pod's.
pub fn container_files(resources: &ResourcesPlan) -> Vec<CgroupFile> {
    vec![
        ("cpu.max", cpu_max(resources.cpu_limit)),
        (
            "cpu.weight",
            container_weight(shares(resources.cpu_request)).to_string(),
        ),
        ("memory.max", memory_max(resources.memory_limit)),
    ]
}

/// Whom the kernel kills when a container has used up its memory (K-442).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomKill {
    /// All of the container, as a kubelet does unless told otherwise.
    Container,
    /// One process: what is left of the container may go on.
    Process,
}

/// Files of a container's cgroup that its resources do not change.
pub fn fixed_files(oom_kill: OomKill) -> Vec<CgroupFile> {
    let group = match oom_kill {
        OomKill::Container => "1",
        OomKill::Process => "0",
    };
    vec![
        ("memory.swap.max", "0".to_owned()),
        ("memory.oom.group", group.to_owned()),
    ]
}

/// Files of the Pod's cgroup (K-446). What is not limited is left as the kernel made it.
pub fn pod_files(plan: &Plan) -> Vec<CgroupFile> {
    let request = pod_request(plan, |resources| resources.cpu_request);
    let weight = pod_weight(shares(Some(request)));
    vec![
        (
            "cpu.max",
            cpu_max(pod_limit(plan, |resources| resources.cpu_limit)),
        ),
        ("cpu.weight", weight.to_string()),
        ("memory.max", memory_max(pod_memory_limit(plan))),
    ]
}

/// Memory that the Pod requests, bytes (K-447).
pub fn pod_memory_request(plan: &Plan) -> u64 {
    pod_request(plan, |resources| resources.memory_request)
}

/// `memory.max` of the Pod's cgroup, bytes; `None`: it has no limit.
pub fn pod_memory_limit(plan: &Plan) -> Option<u64> {
    pod_limit(plan, |resources| resources.memory_limit)
}

/// The Pod's own request overrides the sum (K-448).
fn pod_request(plan: &Plan, pick: Amount) -> u64 {
    pick(&plan.resources).unwrap_or_else(|| plan.aggregate(pick))
}

/// The Pod's own limit overrides the sum (K-448), which says something only when every container has a limit.
fn pod_limit(plan: &Plan, pick: Amount) -> Option<u64> {
    let known = |resources: &ResourcesPlan| pick(resources).filter(|amount| *amount > 0);
    let all_known = || {
        plan.all_containers()
            .all(|container| known(&container.resources).is_some())
    };
    known(&plan.resources).or_else(|| all_known().then(|| plan.aggregate(pick)))
}

/// What counts as a container's memory request for its OOM score, bytes. A sidecar must not die before the containers that
/// need it (K-452); what the Pod requests beyond its containers is shared equally among them.
fn oom_request(plan: &Plan, container: &ContainerPlan) -> u64 {
    let request = |container: &ContainerPlan| container.resources.memory_request.unwrap_or(0);
    let is_init = plan
        .init_containers
        .iter()
        .any(|init| init.name == container.name);
    let is_sidecar = is_init && container.restart_policy == Some(RestartPolicy::Always);
    let own = request(container);
    let smallest = plan.containers.iter().map(request).min();
    let counted = match smallest {
        Some(smallest) if is_sidecar => own.max(smallest),
        _ => own,
    };
    let together = plan.aggregate(|resources| resources.memory_request);
    let beyond = plan
        .resources
        .memory_request
        .unwrap_or(0)
        .saturating_sub(together);
    let count = u64::try_from(plan.all_containers().count()).unwrap_or(u64::MAX);
    counted.saturating_add(beyond / count.max(1))
}

/// K-450. `capacity`: memory of the machine, bytes.
pub fn oom_score_adj(plan: &Plan, container: &ContainerPlan, capacity: u64) -> i32 {
    score(plan.qos_class(), oom_request(plan, container), capacity)
}

fn score(class: QosClass, request: u64, capacity: u64) -> i32 {
    match class {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let share = 1000 * u128::from(request) / u128::from(capacity.max(1));
            let score = 1000_i64.saturating_sub(i64::try_from(share).unwrap_or(i64::MAX));
            i32::try_from(score.clamp(3, 999)).unwrap_or(999)
        }
    }
}

fn cpu_max(limit: Option<u64>) -> String {
    match limit.filter(|milli| *milli > 0) {
        None => format!("max {PERIOD_US}"),
        Some(milli) => {
            let quota = u128::from(milli) * u128::from(PERIOD_US) / 1000;
            format!("{} {PERIOD_US}", quota.max(MIN_QUOTA_US.into()))
        }
    }
}

fn memory_max(limit: Option<u64>) -> String {
    match limit.filter(|bytes| *bytes > 0) {
        None => "max".to_owned(),
        Some(bytes) => bytes.to_string(),
    }
}

/// `MilliCPUToShares`.
fn shares(request: Option<u64>) -> u64 {
    match request.unwrap_or(0) {
        0 => MIN_SHARES,
        milli => (u128::from(milli) * 1024 / 1000)
            .try_into()
            .unwrap_or(MAX_SHARES)
            .clamp(MIN_SHARES, MAX_SHARES),
    }
}

/// The kubelet's linear map (K-441).
fn pod_weight(shares: u64) -> u64 {
    1 + (shares - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES)
}

/// The runtime's map (K-441): 2 → 1, 1024 → 100, 262144 → 10000.
fn container_weight(shares: u64) -> u64 {
    if shares <= MIN_SHARES {
        return 1;
    }
    if shares >= MAX_SHARES {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "shares are below 2^19")]
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 10000 for shares between the bounds"
    )]
    let weight = 10_f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

#[cfg(test)]
mod upstream;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(files: &[CgroupFile], name: &str) -> String {
        let (_, value) = files.iter().find(|(file, _)| *file == name).expect("a file");
        value.clone()
    }

    #[test]
    fn a_container_gets_what_a_kubelet_writes() {
        let files = container_files(&ResourcesPlan {
            cpu_request: Some(500),
            cpu_limit: Some(1500),
            memory_request: Some(1 << 20),
            memory_limit: Some(64 << 20),
            ..ResourcesPlan::default()
        });
        assert_eq!(value(&files, "cpu.max"), "150000 100000");
        assert_eq!(value(&files, "cpu.weight"), "59");
        assert_eq!(value(&files, "memory.max"), "67108864");
        let files = container_files(&ResourcesPlan::default());
        assert_eq!(value(&files, "cpu.max"), "max 100000");
        assert_eq!(value(&files, "cpu.weight"), "1");
        assert_eq!(value(&files, "memory.max"), "max");
    }

    #[test]
    fn a_limit_of_one_thousandth_is_the_smallest_that_the_kernel_takes() {
        assert_eq!(cpu_max(Some(1)), "1000 100000");
        assert_eq!(cpu_max(Some(10)), "1000 100000");
        assert_eq!(cpu_max(Some(11)), "1100 100000");
    }

    #[test]
    fn weights_are_those_of_kubelet_and_runtime() {
        assert_eq!([2, 1024, 262_144].map(pod_weight), [1, 39, 10_000]);
        assert_eq!([2, 1024, 262_144].map(container_weight), [1, 100, 10_000]);
        assert_eq!(shares(None), 2);
        assert_eq!(shares(Some(1)), 2);
        assert_eq!(shares(Some(1000)), 1024);
        assert_eq!(shares(Some(u64::MAX)), MAX_SHARES);
    }

    #[test]
    fn oom_scores_follow_the_quality_of_service() {
        let half = 512 << 20;
        assert_eq!(score(QosClass::Guaranteed, half, 1 << 30), -997);
        assert_eq!(score(QosClass::BestEffort, half, 1 << 30), 1000);
        assert_eq!(score(QosClass::Burstable, half, 1 << 30), 500);
        assert_eq!(score(QosClass::Burstable, half, 1), 3);
        assert_eq!(score(QosClass::Burstable, 0, 1 << 30), 999);
    }

    #[test]
    fn lc_262_a_process_is_killed_alone_only_where_the_configuration_says_so() {
        let group = |oom_kill| {
            let files = fixed_files(oom_kill);
            files
                .iter()
                .find(|(name, _)| *name == "memory.oom.group")
                .map(|(_, value)| value.clone())
        };
        assert_eq!(group(OomKill::Container).as_deref(), Some("1"));
        assert_eq!(group(OomKill::Process).as_deref(), Some("0"));
    }
}
