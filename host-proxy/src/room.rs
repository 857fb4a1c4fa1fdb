//! How many connections there is memory for. Without a limit of the cgroup: as many as the ports take. With one, a connection is
//! let in as long as all that are open could get stuck with what a relay holds then, and none of it would be too much:
//!
//! ```text
//! limit ─┬─ what the process uses, and its connections (counted by the kernel)
//!        ├─ reserve: the spool in memory; a sixteenth for everything else
//!        ├─ HOLDS for each open connection, while they hold less
//!        └─ room
//! ```
//!
//! A little before that the relays are told that memory is short, and from then on no connection holds more than [`HOLDS`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use manifest_sync::relay::memory_is_short;

use crate::cgroup::Memory;

/// What a connection is when nothing moves: its descriptors, sockets and task. Measured: 11 KiB.
const IDLE_BYTES: u64 = 12 << 10;
/// What a connection holds at most beyond that when both of its ends have stopped reading, while memory is short: 3 KiB read, and
/// the smallest buffers that the kernel gives, for each direction.
const HOLDS: u64 = 24 << 10;
/// Bytes that move between two looks, at least: a look costs a system call or three.
const LOOK: u64 = 256 << 10;
/// Least time between two lines about connections that are refused.
const SAY: Duration = Duration::from_secs(60);
/// Of the limit, for everything else that grows: requests, logs on their way.
const SHARE: u64 = 16;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A client of the Pod.
    Ingress,
    /// A connection of the Pod: let in when clients are no more, since those that are there may need it.
    Egress,
}

/// Counts at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomCounts {
    /// The lowest limit of this process's cgroups.
    pub limit: Option<u64>,
    /// What is left of it; page cache is not in use.
    pub free: Option<u64>,
    /// Whether relays were told that memory is short.
    pub short: bool,
    /// Connections refused for it.
    pub refused: u64,
}

/// Memory of connections; cheap to clone. The default has no limit.
#[derive(Debug, Clone, Default)]
pub struct Room {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    memory: Memory,
    reserve: u64,
    open: AtomicU64,
    /// Bytes that may move before the next look.
    unwatched: AtomicU64,
    short: AtomicBool,
    refused: AtomicU64,
    said: Mutex<Option<Instant>>,
}

impl Room {
    /// Within these limits; `reserve` bytes are for others.
    pub fn new(memory: Option<Memory>, reserve: u64) -> Self {
        let inner = memory.map(|memory| {
            Arc::new(Inner {
                reserve: reserve.saturating_add(memory.limit() / SHARE),
                memory,
                open: AtomicU64::new(0),
                unwatched: AtomicU64::new(0),
                short: AtomicBool::new(false),
                refused: AtomicU64::new(0),
                said: Mutex::default(),
            })
        });
        Self { inner }
    }

    /// The counts.
    pub fn counts(&self) -> RoomCounts {
        let Some(inner) = &self.inner else {
            return RoomCounts::default();
        };
        RoomCounts {
            limit: Some(inner.memory.limit()),
            free: Some(inner.memory.free_with_cache()),
            short: inner.short.load(Relaxed),
            refused: inner.refused.load(Relaxed),
        }
    }

    /// A place for one more connection, until it is dropped. `None`, counted and said now and then: there is none. On the thread
    /// of the relays.
    pub(crate) fn admit(&self, purpose: Purpose) -> Option<Place> {
        if let Some(inner) = &self.inner {
            let open = inner.open.load(Relaxed);
            if !inner.look(open).admits(purpose) {
                inner.refuse(open);
                return None;
            }
            inner.open.fetch_add(1, Relaxed);
        }
        Some(Place(self.clone()))
    }

    /// Bytes have moved. On the thread of the relays.
    pub(crate) fn moved(&self, bytes: u64) {
        if let Some(inner) = &self.inner {
            let left = inner.unwatched.load(Relaxed);
            if left > bytes {
                inner.unwatched.store(left - bytes, Relaxed);
            } else {
                inner.look(inner.open.load(Relaxed));
            }
        }
    }

    /// Whether memory is short.
    pub(crate) fn is_short(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.short.load(Relaxed))
    }
}

impl Inner {
    /// Looks at what is left, and tells the relays.
    fn look(&self, open: u64) -> Verdict {
        let was_short = self.short.load(Relaxed);
        let judge = |free: u64| {
            Verdict::new(
                free.saturating_sub(self.reserve),
                open,
                self.memory.limit(),
                was_short,
            )
        };
        let mut verdict = judge(self.memory.free());
        if verdict.short {
            verdict = judge(self.memory.free_with_cache());
        }
        if verdict.short != was_short {
            self.short.store(verdict.short, Relaxed);
            memory_is_short(verdict.short);
        }
        self.unwatched.store((verdict.spare / 8).max(LOOK), Relaxed);
        verdict
    }

    fn refuse(&self, open: u64) {
        self.refused.fetch_add(1, Relaxed);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|at| at.elapsed() < SAY) {
            return;
        }
        *said = Some(Instant::now());
        log::warn!(
            "connections are refused: {open} are open, and the memory limit of {} MiB ({}) has no room for more; raise the limit of \
             this container (docs/ingress.md)",
            self.memory.limit() >> 20,
            self.memory.file().display()
        );
    }
}

/// What follows from one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    /// Bytes that nobody has a claim to.
    spare: u64,
    /// What is kept for egress.
    kept: u64,
    short: bool,
}

impl Verdict {
    /// `free` bytes for `open` connections and one more.
    fn new(free: u64, open: u64, limit: u64, was_short: bool) -> Self {
        let spare = free.saturating_sub(open.saturating_mul(HOLDS));
        // Sooner than connections are refused; and memory that comes and goes is no reason to change all buffers each time.
        let enough = if was_short { limit / 8 } else { limit / 16 };
        Self {
            spare,
            kept: limit / 32,
            short: spare < enough,
        }
    }

    fn admits(self, purpose: Purpose) -> bool {
        let kept = match purpose {
            Purpose::Ingress => self.kept,
            Purpose::Egress => 0,
        };
        self.spare >= kept + IDLE_BYTES + HOLDS
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct Place(Room);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(inner) = &self.0.inner {
            inner.open.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Lets idle clients in until no more are.
    fn crowd(free: u64, limit: u64) -> u64 {
        let verdict = |open: u64| Verdict::new(free.saturating_sub(open * IDLE_BYTES), open, limit, false);
        (0..)
            .find(|open| !verdict(*open).admits(Purpose::Ingress))
            .expect("an end")
    }

    #[test]
    fn all_that_are_in_can_get_stuck() {
        for limit in [16 * MIB, 32 * MIB, 128 * MIB, 1024 * MIB] {
            let free = limit / 2;
            let open = crowd(free, limit);
            assert!(open > 100, "{open}");
            assert!(
                open * (IDLE_BYTES + HOLDS) <= free - limit / 32,
                "{open} of {limit}"
            );
            let full = Verdict::new(free - open * IDLE_BYTES, open, limit, false);
            assert!(full.short && full.admits(Purpose::Egress));
        }
    }

    #[test]
    fn memory_is_short_before_connections_are_refused_and_for_a_while_after() {
        let verdict = |free, was_short| Verdict::new(free, 100, 32 * MIB, was_short);
        let held = 100 * HOLDS;
        assert!(!verdict(held + 2 * MIB, false).short && verdict(held + 2 * MIB, true).short);
        let early = verdict(held + 2 * MIB - 1, false);
        assert!(early.short && early.admits(Purpose::Ingress));
        assert!(!verdict(held + 4 * MIB, true).short);
        let none = verdict(held + HOLDS, false);
        assert!(!none.admits(Purpose::Egress) && !none.admits(Purpose::Ingress));
        assert_eq!(verdict(held - 1, false).spare, 0);
    }

    #[test]
    fn without_a_limit_everybody_is_let_in() {
        let room = Room::default();
        let places: Vec<_> = (0..10_000).map(|_| room.admit(Purpose::Ingress)).collect();
        assert!(places.iter().all(Option::is_some));
        assert_eq!(room.counts(), RoomCounts::default());
    }
}
