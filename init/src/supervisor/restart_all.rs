//! RestartAllContainers (K-045 to K-057): an exit that a rule names has every container removed, one after another, and
//! then the Pod starts over from its first init container. Volumes, addresses and logs stay.
//!
//! Unlike at a node's, the restarts back off (K-555): a container that ends so right after every start would otherwise
//! have the Pod start over as fast as it can. The delays are those of a crash loop, kept for the Pod as a whole.

use std::collections::VecDeque;
use std::time::Duration;

use manifest_sync::plan::RuleAction;

use super::Output;
use super::backoff::CrashLoop;
use super::container::Container;
use super::pod::Pod;
use super::state::{Next, Reason, State, Termination};
use super::time::Time;
use super::unit::UnitId;

/// Reason and message of a removed container (K-051).
pub(super) const REASON: &str = "RestartingAllContainers";
const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// Restarts of a Pod as a whole.
#[derive(Debug)]
pub(super) struct RestartAll {
    round: Option<Round>,
    crash_loop: CrashLoop,
}

/// One restart in progress.
#[derive(Debug)]
struct Round {
    /// What is still to be removed.
    queue: VecDeque<UnitId>,
    /// Whose exit it was, and when.
    trigger: UnitId,
    exited: Time,
    /// All are removed, and the Pod starts over then.
    until: Option<Time>,
}

/// Whether a container is out of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    Done,
    /// Its process has to end first.
    Pending,
}

impl RestartAll {
    /// None is in progress; the longest delay between two is `cap`.
    pub(super) fn new(cap: Duration) -> Self {
        Self {
            round: None,
            crash_loop: CrashLoop::new(cap),
        }
    }

    /// Whether a restart is in progress: nothing is started meanwhile.
    pub(super) fn is_going_on(&self) -> bool {
        self.round.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.round.as_ref()?.until
    }

    /// The Pod ends: nothing starts over.
    pub(super) fn cancel(&mut self) {
        self.round = None;
    }
}

impl Pod {
    /// K-046: whether some container has such a rule.
    pub(super) fn may_start_over(&self) -> bool {
        let mut rules = self
            .plan
            .all_containers()
            .flat_map(|container| &container.restart_rules);
        rules.any(|rule| rule.action == RuleAction::RestartAllContainers)
    }

    /// K-045, K-047: the container that triggers it goes last, and regular containers go before init containers.
    pub(super) fn restart_all(&mut self, trigger: UnitId, now: Time) {
        let regular = self.regular().iter().map(|container| container.unit);
        let inits = self.inits().iter().map(|container| container.unit);
        let mut queue: VecDeque<UnitId> = regular.chain(inits).filter(|unit| *unit != trigger).collect();
        queue.push_back(trigger);
        self.restart_all.round = Some(Round {
            queue,
            trigger,
            exited: now,
            until: None,
        });
    }

    /// Removes what can be removed; when nothing is left and the back-off is over, the Pod may start over.
    pub(super) fn advance_restart_all(&mut self, out: &mut Output<'_>) {
        let Some(mut round) = self.restart_all.round.take() else {
            return;
        };
        while let Some(unit) = round.queue.front().copied() {
            let removal = self.get_mut(unit).map(|container| container.remove(out));
            if removal == Some(Removal::Pending) {
                self.restart_all.round = Some(round);
                return;
            }
            round.queue.pop_front();
        }
        if let Some((until, delay)) = self.restart_all.crash_loop.wait(round.exited)
            && until > out.now
        {
            if round.until.replace(until).is_none()
                && let Some(trigger) = self.get_mut(round.trigger)
            {
                trigger.back_off(until, delay, Next::AgainAtOnce, out);
            }
            self.restart_all.round = Some(round);
            return;
        }
        self.restart_all.crash_loop.advance(round.exited, out.now);
        if let Some(trigger) = self.get_mut(round.trigger) {
            trigger.wait_removed(out.now);
        }
        self.start_over();
    }
}

impl Container {
    /// K-047, K-048: a container that runs is stopped without its preStop; one that has never run is left alone.
    fn remove(&mut self, out: &mut Output<'_>) -> Removal {
        match &mut self.state {
            State::Live(live) => {
                match &mut live.stop {
                    Some(stop) => stop.shorten(out.now, 0),
                    None => self.kill(0, "killing".to_owned(), out),
                }
                Removal::Pending
            }
            State::Pending | State::Pulling | State::Spawning => Removal::Done,
            State::Waiting { .. } | State::Terminated => {
                if let Some(attempt) = self.instances.checked_sub(1).filter(|_| !self.removed) {
                    self.removed = true;
                    self.previous = None;
                    self.newest = Some(Termination::removed(attempt, out.now));
                    self.wait_removed(out.now);
                }
                Removal::Done
            }
        }
    }

    /// Of a container that was removed: it waits for its turn.
    fn wait_removed(&mut self, now: Time) {
        self.state = State::Waiting {
            until: now,
            next: Next::AgainAtOnce,
            reason: Reason::Because(REASON, MESSAGE.to_owned()),
        };
    }
}

impl Termination {
    /// Whether it stands for an instance that was removed.
    pub(super) fn is_removal(&self) -> bool {
        self.reason == REASON
    }

    /// K-051: of an instance that was removed.
    fn removed(attempt: u32, now: Time) -> Self {
        Self {
            exit_code: 137,
            signal: None,
            reason: REASON,
            message: Some(MESSAGE.to_owned()),
            started: None,
            finished: now,
            attempt,
        }
    }
}
