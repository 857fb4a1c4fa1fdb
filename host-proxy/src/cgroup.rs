//! The memory that this process may have: the limit of its cgroup and of those above it, version 1 or 2 (cgroups(7)), and what
//! is left of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit above this is none: version 1 says "no limit" by a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;
/// How long the amount of page cache is taken for what it was: reading it takes the kernel longer than reading a count.
const CACHE_AGE: Duration = Duration::from_millis(1);

/// All limits that this process is under; at least one.
#[derive(Debug)]
pub struct Memory {
    levels: Vec<Level>,
    /// Page cache of each level, and when it was read.
    cache: Mutex<Option<(Instant, Vec<u64>)>>,
}

/// A cgroup that has a limit.
#[derive(Debug)]
struct Level {
    directory: PathBuf,
    version: &'static Version,
    limit: u64,
}

/// What the files of a version are called.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: pages of files, of this cgroup and those below it.
    cache: [&'static str; 2],
}

const ONE: Version = Version {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};
const TWO: Version = Version {
    limit: "memory.max",
    usage: "memory.current",
    cache: ["inactive_file", "active_file"],
};

impl Memory {
    /// The limits; `None`: there is none, or nothing is known of it.
    pub fn of_this_process() -> Option<Self> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::at(&places(&cgroups, &mounts))
    }

    fn at(places: &[Place]) -> Option<Self> {
        let mut levels = Vec::new();
        for place in places {
            let below = place.directory.ancestors();
            for directory in below.take_while(|directory| directory.starts_with(&place.root)) {
                // The root of version 2 has no such file.
                let limit = fs::read_to_string(directory.join(place.version.limit)).ok();
                // `max` is no number.
                let limit = limit.and_then(|text| text.trim().parse().ok());
                if let Some(limit) = limit.filter(|limit| *limit < NO_LIMIT) {
                    levels.push(Level {
                        directory: directory.to_owned(),
                        version: place.version,
                        limit,
                    });
                }
            }
        }
        levels.sort_by_key(|level| level.limit);
        (!levels.is_empty()).then(|| Self {
            levels,
            cache: Mutex::default(),
        })
    }

    /// The lowest limit, in bytes.
    pub fn limit(&self) -> u64 {
        self.levels.first().map_or(u64::MAX, |level| level.limit)
    }

    /// The file that has the lowest limit.
    pub fn file(&self) -> PathBuf {
        self.levels
            .first()
            .map_or_else(PathBuf::new, |level| level.directory.join(level.version.limit))
    }

    /// Bytes that are left below every limit. Page cache counts as used: fewer than there are.
    pub fn free(&self) -> u64 {
        let free = self
            .levels
            .iter()
            .map(|level| level.limit.saturating_sub(level.used()));
        free.min().unwrap_or(u64::MAX)
    }

    /// The same, where page cache counts as free, since the kernel takes it back first. It may be a millisecond old.
    pub fn free_with_cache(&self) -> u64 {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache.take().filter(|(at, _)| at.elapsed() < CACHE_AGE);
        let (at, pages) = known.unwrap_or_else(|| {
            let pages = self.levels.iter().map(Level::cache).collect();
            (Instant::now(), pages)
        });
        let left =
            |(level, cache): (&Level, &u64)| level.limit.saturating_sub(level.used().saturating_sub(*cache));
        let free = self.levels.iter().zip(&pages).map(left).min();
        *cache = Some((at, pages));
        free.unwrap_or(u64::MAX)
    }
}

impl Level {
    /// What cannot be read is taken for full.
    fn used(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join(self.version.usage)).ok();
        text.and_then(|text| text.trim().parse().ok())
            .unwrap_or(self.limit)
    }

    fn cache(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join("memory.stat")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let of_files = lines.filter(|(name, _)| self.version.cache.contains(name));
        of_files.filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum()
    }
}

/// The cgroup of this process in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The highest that can be seen.
    root: PathBuf,
    directory: PathBuf,
    version: &'static Version,
}

/// From /proc/self/cgroup (cgroups(7)) and /proc/self/mountinfo (proc_pid_mountinfo(5)).
fn places(cgroups: &str, mounts: &str) -> Vec<Place> {
    let place = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (top, point) = (fields.next()?, fields.next()?);
        let mut fields = file_system.split(' ');
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        let version = match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => &ONE,
            "cgroup2" => &TWO,
            _ => return None,
        };
        let is_ours = |(controllers, _): &(&str, &str)| match *version {
            TWO => controllers.is_empty(),
            _ => controllers.split(',').any(|name| name == "memory"),
        };
        let entries = cgroups
            .lines()
            .filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let (_, path) = entries.into_iter().find(is_ours)?;
        // In a container the mount is of the container's own cgroup, whatever its path is called outside.
        let below = Path::new(path).strip_prefix(top).unwrap_or(Path::new(""));
        let below = if path.contains("..") { Path::new("") } else { below };
        let root = PathBuf::from(point);
        Some(Place {
            directory: root.join(below),
            root,
            version,
        })
    };
    mounts.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";

    fn place(root: &str, directory: &str, version: &'static Version) -> Vec<Place> {
        vec![Place {
            root: root.into(),
            directory: directory.into(),
            version,
        }]
    }

    #[test]
    fn the_cgroup_is_found_in_both_versions_and_in_a_container() {
        let mixed = "4:cpu:/a\n3:memory:/b/c\n0::/d\n";
        let root = "/sys/fs/cgroup/memory";
        assert_eq!(places(mixed, V1), place(root, "/sys/fs/cgroup/memory/b/c", &ONE));
        assert_eq!(
            places("0::/a.slice/b\n", V2),
            place("/sys/fs/cgroup", "/sys/fs/cgroup/a.slice/b", &TWO)
        );
        // Namespaces of cgroups, and bind mounts without them.
        assert_eq!(
            places("0::/\n", V2),
            place("/sys/fs/cgroup", "/sys/fs/cgroup/", &TWO)
        );
        assert_eq!(
            places("0::/../other\n", V2),
            place("/sys/fs/cgroup", "/sys/fs/cgroup/", &TWO)
        );
        let bound = V1.replace("0:32 / ", "0:32 /kubepods/pod1/c1 ");
        for path in ["/kubepods/pod1/c1", "/elsewhere"] {
            let found = places(&format!("3:memory:{path}\n"), &bound);
            assert_eq!(found, place(root, "/sys/fs/cgroup/memory/", &ONE), "{path}");
        }
        assert_eq!(places("3:memory:/a\n", "1 2 0:3 / / rw - ext4 /dev/vda rw"), []);
    }

    #[test]
    fn the_lowest_limit_counts_and_page_cache_can_be_had_back() {
        let scratch = tempfile::tempdir().expect("a directory");
        let inner = scratch.path().join("pod/container");
        fs::create_dir_all(&inner).expect("directories");
        let write = |directory: &Path, name: &str, text: &str| {
            fs::write(directory.join(name), text).expect("a file");
        };
        let at = || {
            Memory::at(&place(
                &scratch.path().display().to_string(),
                &inner.display().to_string(),
                &TWO,
            ))
        };
        assert!(at().is_none());
        write(&inner, "memory.max", "max\n");
        assert!(at().is_none());
        let outer = scratch.path().join("pod");
        write(&outer, "memory.max", "1000\n");
        write(&outer, "memory.current", "900\n");
        write(
            &outer,
            "memory.stat",
            "anon 1\ninactive_file 300\nactive_file 50\n",
        );
        let memory = at().expect("a limit");
        assert_eq!(
            (memory.limit(), memory.free(), memory.free_with_cache()),
            (1000, 100, 450)
        );
        assert_eq!(memory.file(), outer.join("memory.max"));
        write(&inner, "memory.max", "700\n");
        write(&inner, "memory.current", "1\n");
        let memory = at().expect("a limit");
        assert_eq!((memory.limit(), memory.free()), (700, 100));
        // What cannot be known is not there.
        fs::remove_file(inner.join("memory.current")).expect("a file");
        assert_eq!(memory.free(), 0);
    }
}
