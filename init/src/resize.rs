//! Which files of cgroups a resize writes, and in which order (K-473, K-474). Pure.
//!
//! Memory comes before cpu. The Pod's limit is raised before those of its containers and lowered after them, so that the
//! containers always fit. A memory limit is not lowered below what is used: the kernel would reclaim, and then kill.

use manifest_sync::plan::Plan;
use manifest_sync::resources::ResourcesPlan;

use crate::resources::{CgroupFile, container_files, pod_files};

/// One instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name of its container.
    pub container: String,
    /// Number of starts before it.
    pub attempt: u32,
    /// What it has.
    pub old: ResourcesPlan,
    /// What it is to have.
    pub new: ResourcesPlan,
}

/// Which cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// Of the Pod.
    Pod,
    /// Of one instance: container and attempt.
    Instance(String, u32),
}

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub group: Group,
    /// Which file, and its content.
    pub file: CgroupFile,
}

/// A memory limit that is lowered: usage must not be above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// Of what.
    pub group: Group,
    /// The new limit, bytes.
    pub limit: u64,
}

impl Lowered {
    /// K-474, when this much is used, in the kubelet's words.
    ///
    /// # Errors
    /// The limit is below.
    pub fn check(&self, usage: u64) -> Result<(), String> {
        if usage <= self.limit {
            return Ok(());
        }
        let whose = match &self.group {
            Group::Pod => "pod memory limit".to_owned(),
            Group::Instance(name, _) => format!("container \"{name}\" memory limit"),
        };
        Err(format!(
            "cannot decrease memory limits: attempting to set {whose} ({}) below current usage ({usage})",
            self.limit
        ))
    }
}

/// What a resize does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steps {
    /// What has to hold before anything is written.
    pub lowered: Vec<Lowered>,
    /// What is written, in this order.
    pub writes: Vec<Step>,
}

/// The resize of a Pod from `old` to `new` with these instances.
pub fn steps(old: &Plan, new: &Plan, instances: &[Instance]) -> Steps {
    let mut steps = Steps::default();
    let pod = (pod_files(old), pod_files(new));
    lowered(Group::Pod, &pod, &mut steps);
    let groups: Vec<_> = instances
        .iter()
        .map(|one| {
            let group = Group::Instance(one.container.clone(), one.attempt);
            (group, (container_files(&one.old), container_files(&one.new)))
        })
        .collect();
    for (group, files) in &groups {
        lowered(group.clone(), files, &mut steps);
    }
    for resource in [&["memory.max"][..], &["cpu.max", "cpu.weight"]] {
        let write = |group: &Group, files: &(Vec<CgroupFile>, Vec<CgroupFile>), wanted: Option<Direction>| {
            let changes = files
                .1
                .iter()
                .filter(|file| resource.contains(&file.0) && !files.0.contains(file));
            let due = changes.filter(|file| wanted.is_none_or(|wanted| direction(&files.0, file) == wanted));
            due.map(|file| Step {
                group: group.clone(),
                file: file.clone(),
            })
            .collect::<Vec<_>>()
        };
        steps.writes.extend(write(&Group::Pod, &pod, Some(Direction::Up)));
        for (group, files) in &groups {
            steps.writes.extend(write(group, files, None));
        }
        steps
            .writes
            .extend(write(&Group::Pod, &pod, Some(Direction::Down)));
    }
    steps
}

fn lowered(group: Group, (old, new): &(Vec<CgroupFile>, Vec<CgroupFile>), steps: &mut Steps) {
    let limit = |files: &[CgroupFile]| {
        let (_, text) = files.iter().find(|(name, _)| *name == "memory.max")?;
        text.parse::<u64>().ok()
    };
    if let Some(after) = limit(new)
        && limit(old).is_none_or(|before| after < before)
    {
        steps.lowered.push(Lowered { group, limit: after });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Whether a file's first word grows; `max` is more than any number.
fn direction(old: &[CgroupFile], (name, value): &CgroupFile) -> Direction {
    let amount = |text: &str| {
        let word = text.split_whitespace().next().unwrap_or_default().to_owned();
        word.parse::<u64>().unwrap_or(u64::MAX)
    };
    let before = old.iter().find(|(other, _)| other == name);
    match before {
        Some((_, before)) if amount(value) < amount(before) => Direction::Down,
        _ => Direction::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn amounts(cpu: u64, memory: u64) -> ResourcesPlan {
        ResourcesPlan {
            cpu_request: Some(cpu),
            cpu_limit: Some(cpu),
            memory_request: Some(memory * MIB),
            memory_limit: Some(memory * MIB),
            ..ResourcesPlan::default()
        }
    }

    /// A Pod whose containers `c1`, `c2` … have these amounts.
    fn plan(all: &[ResourcesPlan]) -> Plan {
        let containers: Vec<_> = (1..=all.len())
            .map(|number| {
                let image = format!("i@sha256:{}", "0".repeat(64));
                serde_json::json!({"name": format!("c{number}"), "image": image})
            })
            .collect();
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                                     "spec": {"containers": containers}});
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [pod]});
        let (mut plan, _) = Plan::from_bundle_bytes(list.to_string().as_bytes()).expect("a plan");
        for (container, amounts) in plan.containers.iter_mut().zip(all) {
            container.resources = *amounts;
        }
        plan
    }

    fn resize(old: &[ResourcesPlan], new: &[ResourcesPlan]) -> (Vec<String>, Vec<String>) {
        let instances: Vec<Instance> = old
            .iter()
            .zip(new)
            .enumerate()
            .map(|(index, (old, new))| Instance {
                container: format!("c{}", index + 1),
                attempt: 0,
                old: *old,
                new: *new,
            })
            .collect();
        let steps = steps(&plan(old), &plan(new), &instances);
        let name = |group: &Group| match group {
            Group::Pod => "pod".to_owned(),
            Group::Instance(name, attempt) => format!("{name}-{attempt}"),
        };
        let lowered = steps.lowered.iter();
        let lowered = lowered.map(|one| format!("{} {}", name(&one.group), one.limit / MIB));
        let writes = steps.writes.iter();
        let writes = writes
            .filter(|one| one.file.0 != "cpu.weight")
            .map(|one| format!("{} {} {}", name(&one.group), one.file.0, one.file.1));
        (lowered.collect(), writes.collect())
    }

    #[test]
    fn lc_264_the_pod_grows_before_its_containers_and_shrinks_after_them() {
        // A net increase: two grow, one shrinks.
        let old = [amounts(100, 32), amounts(100, 32), amounts(200, 64)];
        let new = [amounts(300, 64), amounts(300, 64), amounts(100, 48)];
        let (lowered, writes) = resize(&old, &new);
        assert_eq!(lowered, ["c3-0 48"]);
        assert_eq!(
            writes,
            [
                format!("pod memory.max {}", 176 * MIB),
                format!("c1-0 memory.max {}", 64 * MIB),
                format!("c2-0 memory.max {}", 64 * MIB),
                format!("c3-0 memory.max {}", 48 * MIB),
                "pod cpu.max 70000 100000".to_owned(),
                "c1-0 cpu.max 30000 100000".to_owned(),
                "c2-0 cpu.max 30000 100000".to_owned(),
                "c3-0 cpu.max 10000 100000".to_owned(),
            ]
        );
        // And the way back.
        let (lowered, writes) = resize(&new, &old);
        assert_eq!(lowered, ["pod 128", "c1-0 32", "c2-0 32"]);
        assert_eq!(
            writes.first().map(String::as_str),
            Some("c1-0 memory.max 33554432")
        );
        assert_eq!(writes[3], format!("pod memory.max {}", 128 * MIB));
        assert_eq!(writes[7], "pod cpu.max 40000 100000");
    }

    #[test]
    fn lc_265_equal_amounts_write_nothing() {
        let same = [amounts(100, 32)];
        assert_eq!(resize(&same, &same), (Vec::new(), Vec::new()));
    }

    #[test]
    fn lc_265_limits_can_be_added() {
        let old = [
            ResourcesPlan {
                memory_request: Some(MIB),
                ..ResourcesPlan::default()
            },
            amounts(100, 32),
        ];
        let new = [amounts(100, 16), amounts(100, 32)];
        let (lowered, writes) = resize(&old, &new);
        assert_eq!(lowered, ["pod 48", "c1-0 16"]);
        assert_eq!(
            writes,
            [
                format!("c1-0 memory.max {}", 16 * MIB),
                format!("pod memory.max {}", 48 * MIB),
                "c1-0 cpu.max 10000 100000".to_owned(),
                "pod cpu.max 20000 100000".to_owned(),
            ]
        );
    }

    #[test]
    fn a_limit_below_the_usage_is_refused_in_the_kubelets_words() {
        let lowered = Lowered {
            group: Group::Instance("c1".to_owned(), 0),
            limit: 10,
        };
        assert_eq!(lowered.check(10), Ok(()));
        let words = "cannot decrease memory limits: attempting to set container \"c1\" memory limit (10) below current \
                     usage (11)";
        assert_eq!(lowered.check(11), Err(words.to_owned()));
    }
}
