//! How much the files of the Pod take, looked at from time to time if anything limits that (K-383, K-451). Each emptyDir and
//! each writable layer is a file system of its own, so a look is one statfs(2) for each: no file is visited.

use std::os::fd::OwnedFd;
use std::time::Duration;

use cloister_init::eviction::{Limits, Usage};
use cloister_init::supervisor::event::{Event, Pid};
use cloister_init::supervisor::time::Time;
use cloister_init::supervisor::unit::UnitId;
use manifest_sync::plan::Plan;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{Statfs, fstatfs, statfs};

use super::event_loop::Pid1;
use super::layout;

/// The kubelet's `monitoringInterval`.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is looked at, and when.
pub(super) struct Watch {
    limits: Limits,
    /// emptyDirs of the default medium. They are held open: what a container mounts over one later is not what is meant,
    /// and could keep us waiting.
    volumes: Vec<(String, OwnedFd)>,
    next: Time,
}

impl Watch {
    /// Begins when the volumes are there. `None`: nothing is limited.
    pub(super) fn begin(plan: &Plan, now: Time) -> Option<Self> {
        let limits = Limits::of(plan)?;
        let volumes = limits.measured_volumes.iter().filter_map(|name| {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            match open(&layout::volume(name), flags, Mode::empty()) {
                Ok(volume) => Some((name.clone(), volume)),
                Err(error) => {
                    log::error!("the use of volume {name} cannot be watched: {error}");
                    None
                }
            }
        });
        Some(Self {
            volumes: volumes.collect(),
            limits,
            next: now + INTERVAL,
        })
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Time {
        self.next
    }
}

impl Pid1 {
    /// Looks, if it is time to.
    pub(super) fn watch_storage(&mut self) {
        let now = self.now();
        let Some(watch) = self.storage.as_mut().filter(|watch| watch.next <= now) else {
            return;
        };
        watch.next = now + INTERVAL;
        let volumes = watch.volumes.iter().filter_map(|(name, volume)| {
            let used = used(&fstatfs(volume).ok()?);
            Some((name.clone(), used))
        });
        let mut usage = Usage {
            volumes: volumes.collect(),
            ..Usage::default()
        };
        for (pid, child) in &self.children {
            // Until its program is executed, its root may be ours.
            if !matches!(child.unit, UnitId::Service(_))
                && child.report.is_none()
                && let Some(used) = layer(*pid)
            {
                usage
                    .containers
                    .insert(self.supervisor.unit_name(child.unit).to_owned(), used);
            }
        }
        let exceeded = self
            .storage
            .as_ref()
            .and_then(|watch| watch.limits.exceeded(&usage));
        if let Some(message) = exceeded {
            self.storage = None;
            self.step(Event::Evicted { message });
        }
    }
}

/// Bytes of a container's writable layer: overlayfs answers for the file system that it is on. `None`: its process has ended,
/// or is not in its root yet.
fn layer(pid: Pid) -> Option<u64> {
    let root = statfs(format!("/proc/{pid}/root").as_str()).ok()?;
    Some(used(&root))
}

fn used(all: &Statfs) -> u64 {
    let block = u64::try_from(all.block_size()).unwrap_or(0);
    all.blocks()
        .saturating_sub(all.blocks_free())
        .saturating_mul(block)
}
