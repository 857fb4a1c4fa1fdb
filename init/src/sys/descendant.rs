//! Killing a process with all its descendants where no cgroup holds them, which is on machines whose cgroups are not ours.
//! A process that leaves its group and its session, and whose parent ends, would escape; so a process of ours stays
//! its ancestor ("adopter", prctl(2) `PR_SET_CHILD_SUBREAPER`), and whoever gives the command up goes down the tree.
//!
//! ```text
//! waiting process, outside ─► adopter, in the container's namespaces ─► command ─► …
//! ```
//!
//! Where nothing shall be left of a command that has ended, the adopter stops itself then (SIGSTOP): whoever waits outside
//! kills what is left below it, and lets it go on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process;
use std::time::Duration;

use cloister_init::supervisor::event::{ExitStatus, Pid};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, fork};

use super::{kill, reap};
use crate::child::spec::Leftovers;

/// Between two looks at who is left.
const LOOK: Duration = Duration::from_millis(1);
/// Looks before it is given up: somebody forks faster than we kill, and only the container's end will help.
const LOOKS: usize = 5000;

/// Makes the signals that [`wait_and_exit`] waits for wait, too. Returns the mask before.
pub(crate) fn hold_signals() -> io::Result<SigSet> {
    Ok(awaited().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?)
}

fn awaited() -> SigSet {
    [Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect()
}

/// Exits as `child` does. SIGTERM says that its descendants have to be killed first. The signals are held already.
pub(crate) fn wait_and_exit(child: Pid, leftovers: Leftovers) -> ! {
    loop {
        if let Ok(Signal::SIGTERM) = awaited().wait() {
            kill_descendants(child);
            kill::kill(child);
        }
        if leftovers == Leftovers::End && reap::has_stopped(child) {
            kill_descendants(child);
            kill::resume(child);
        }
        reap::reap(|pid, status| {
            if pid == child {
                process::exit(code(status));
            }
        });
    }
}

/// Goes on in a child. This process stays behind, adopts what loses its parent, and exits as the child does. `release`
/// drops what only the child shall hold.
pub(crate) fn leave_adopter(leftovers: Leftovers, release: impl FnOnce()) -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    // SAFETY: an applet has a single thread, so the child's memory is as consistent as ours.
    match unsafe { fork() }? {
        ForkResult::Child => super::join::die_with_parent(),
        ForkResult::Parent { child } => {
            release();
            while let Some((pid, status)) = reap::next() {
                if pid == child.as_raw() {
                    if leftovers == Leftovers::End {
                        kill::suspend(process::id().cast_signed());
                    }
                    process::exit(code(status));
                }
            }
            process::exit(super::join::NO_CODE)
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
    }
}

/// Kills everything below `ancestor`, which is stopped, so that it goes on adopting and does not end.
fn kill_descendants(ancestor: Pid) {
    kill::suspend(ancestor);
    for _ in 0..LOOKS {
        let below = descendants(ancestor, &parents());
        if below.is_empty() {
            return;
        }
        below.into_iter().for_each(kill::kill);
        std::thread::sleep(LOOK);
    }
}

/// All below `ancestor`.
fn descendants(ancestor: Pid, parents: &BTreeMap<Pid, Pid>) -> BTreeSet<Pid> {
    let mut found = BTreeSet::from([ancestor]);
    loop {
        let children = parents.iter().filter(|(_, parent)| found.contains(parent));
        let new: Vec<Pid> = children
            .map(|(pid, _)| *pid)
            .filter(|pid| !found.contains(pid))
            .collect();
        if new.is_empty() {
            found.remove(&ancestor);
            return found;
        }
        found.extend(new);
    }
}

/// Every live process and its parent (proc_pid_stat(5)).
fn parents() -> BTreeMap<Pid, Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may hold anything.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            (state != "Z").then_some((pid, parent))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_found_whole_in_any_order_of_numbers() {
        let parents = BTreeMap::from([(10, 1), (11, 90), (90, 10), (12, 11), (50, 1), (51, 50)]);
        assert_eq!(descendants(10, &parents), BTreeSet::from([11, 12, 90]));
        assert_eq!(descendants(51, &parents), BTreeSet::new());
    }
}
