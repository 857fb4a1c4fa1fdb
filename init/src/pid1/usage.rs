//! What containers use, by their cgroups, for the host's metrics. Read when the host asks, at most every few seconds: a host
//! that asks all the time must not keep PID 1 busy with files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use manifest_sync::protocol::UsageCounters;

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(5);

/// Sums over instances that have ended, and the last answer.
#[derive(Debug, Default)]
pub(super) struct Usage {
    ended: BTreeMap<String, CpuTime>,
    answer: Vec<UsageCounters>,
    read: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CpuTime {
    used_us: u64,
    throttled_us: u64,
}

impl Usage {
    /// An instance has ended; its cgroup is still there.
    pub(super) fn ended(&mut self, container: &str, cgroup: &Path) {
        let last = CpuTime::read(cgroup);
        let sum = self.ended.entry(container.to_owned()).or_default();
        *sum = sum.plus(last);
    }

    /// What each container uses; `running` are the cgroups of instances.
    pub(super) fn counters<'a>(
        &mut self,
        running: impl Iterator<Item = (&'a str, std::path::PathBuf)>,
    ) -> Vec<UsageCounters> {
        if self.read.is_some_and(|read| read.elapsed() < FRESH) {
            return self.answer.clone();
        }
        let mut all: BTreeMap<&str, UsageCounters> = BTreeMap::new();
        for (container, sum) in &self.ended {
            all.insert(container, counters(container, *sum, None));
        }
        for (container, cgroup) in running {
            let before = self.ended.get(container).copied().unwrap_or_default();
            let sum = before.plus(CpuTime::read(&cgroup));
            all.insert(container, counters(container, sum, Some(&cgroup)));
        }
        self.answer = all.into_values().collect();
        self.read = Some(Instant::now());
        self.answer.clone()
    }
}

fn counters(container: &str, sum: CpuTime, cgroup: Option<&Path>) -> UsageCounters {
    let number = |file: &str| fs::read_to_string(cgroup?.join(file)).ok()?.trim().parse().ok();
    UsageCounters {
        container: container.to_owned(),
        cpu_us: sum.used_us,
        throttled_us: sum.throttled_us,
        memory_bytes: number("memory.current").unwrap_or(0),
        // Without a limit it says `max`.
        memory_limit_bytes: number("memory.max"),
    }
}

impl CpuTime {
    fn read(cgroup: &Path) -> Self {
        Self::parse(&fs::read_to_string(cgroup.join("cpu.stat")).unwrap_or_default())
    }

    /// `cpu.stat` of the kernel's cgroup-v2 document.
    fn parse(text: &str) -> Self {
        let number = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            used_us: number("usage_usec"),
            throttled_us: number("throttled_usec"),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            used_us: self.used_us.saturating_add(other.used_us),
            throttled_us: self.throttled_us.saturating_add(other.throttled_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(directory: &Path, name: &str, used: u64, max: &str) -> std::path::PathBuf {
        let path = directory.join(name);
        fs::create_dir(&path).expect("a directory");
        let stat =
            format!("usage_usec {used}\nuser_usec 1\nsystem_usec 2\nnr_throttled 3\nthrottled_usec 4\n");
        fs::write(path.join("cpu.stat"), stat).expect("written");
        fs::write(path.join("memory.current"), "4096\n").expect("written");
        fs::write(path.join("memory.max"), format!("{max}\n")).expect("written");
        path
    }

    #[test]
    fn instances_add_up_and_the_answer_is_kept_for_a_while() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = cgroup(directory.path(), "app-0", 100, "max");
        let second = cgroup(directory.path(), "app-1", 10, "8192");
        let mut usage = Usage::default();
        usage.ended("app", &first);
        let expected = UsageCounters {
            container: "app".to_owned(),
            cpu_us: 110,
            throttled_us: 8,
            memory_bytes: 4096,
            memory_limit_bytes: Some(8192),
        };
        let answer = usage.counters([("app", second)].into_iter());
        assert_eq!(answer, std::slice::from_ref(&expected));
        assert_eq!(usage.counters(std::iter::empty()), [expected]);
        usage.read = None;
        let gone = &usage.counters(std::iter::empty())[0];
        assert_eq!(
            (gone.cpu_us, gone.memory_bytes, gone.memory_limit_bytes),
            (100, 0, None)
        );
    }
}
