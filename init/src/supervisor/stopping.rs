//! The stop of one instance: its turn, the signal, SIGKILL (section 5.2 of the kubelet semantics). Pure arithmetic; who
//! is signalled is the caller's to know.

use std::time::Duration;

use super::time::Time;

/// K-142: what is left of a grace period at the signal is never less.
const MINIMUM_GRACE_SECONDS: u32 = 2;

/// A stop in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stopping {
    step: Step,
    /// When this step began.
    since: Time,
    /// What was left of the grace period when it began.
    remaining_seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its preStop hook runs (K-221).
    Hook,
    /// Others have to end first (K-162).
    Turn,
    /// The stop signal is sent; SIGKILL follows when the time is over.
    Signalled,
    Killed,
}

/// Whether those that have to end first have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    Later,
}

/// What is sent to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Terminate,
    Kill,
}

impl Stopping {
    pub(super) fn new(now: Time, grace_seconds: u32) -> Self {
        Self {
            step: Step::Turn,
            since: now,
            remaining_seconds: grace_seconds,
        }
    }

    /// The same, of a container with a preStop hook. There is none without a grace period (K-220).
    pub(super) fn after_hook(now: Time, grace_seconds: u32) -> Self {
        Self {
            step: if grace_seconds > 0 { Step::Hook } else { Step::Turn },
            ..Self::new(now, grace_seconds)
        }
    }

    /// Whether the preStop hook is to run.
    pub(super) fn has_hook(&self) -> bool {
        self.step == Step::Hook
    }

    /// The preStop hook has ended, whatever came of it.
    pub(super) fn hook_ended(&mut self, now: Time) {
        if self.step == Step::Hook {
            *self = Self::new(now, self.remaining_seconds.saturating_sub(self.elapsed(now)));
        }
    }

    /// Of a process that was killed before anything else could be done.
    pub(super) fn killed(now: Time) -> Self {
        Self {
            step: Step::Killed,
            since: now,
            remaining_seconds: 0,
        }
    }

    /// Another stop came: it can only shorten this one (K-131).
    pub(super) fn shorten(&mut self, now: Time, grace_seconds: u32) {
        let minimum = match self.step {
            Step::Hook | Step::Turn => 0,
            Step::Signalled | Step::Killed => MINIMUM_GRACE_SECONDS,
        };
        let grace_seconds = grace_seconds.max(minimum);
        // Counted from now: a fraction of the time that has passed must not be taken off, least of all from the minimum.
        if self
            .deadline()
            .is_some_and(|deadline| now + seconds(grace_seconds) < deadline)
        {
            (self.since, self.remaining_seconds) = (now, grace_seconds);
        }
    }

    /// When the step ends if nobody ends it before.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.step {
            Step::Hook | Step::Turn | Step::Signalled => Some(self.since + seconds(self.remaining_seconds)),
            Step::Killed => None,
        }
    }

    /// The signal that is due, if any; once each.
    pub(super) fn advance(&mut self, now: Time, turn: Turn) -> Option<Signal> {
        if self.step == Step::Hook && self.deadline().is_some_and(|deadline| deadline <= now) {
            // Its time is over; it ends with the container.
            self.hook_ended(now);
        }
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        match self.step {
            Step::Turn if due || turn == Turn::Now => {
                let left = self.remaining_seconds.saturating_sub(self.elapsed(now));
                *self = Self {
                    step: Step::Signalled,
                    since: now,
                    remaining_seconds: left.max(MINIMUM_GRACE_SECONDS),
                };
                Some(Signal::Terminate)
            }
            Step::Signalled if due => {
                self.step = Step::Killed;
                Some(Signal::Kill)
            }
            Step::Hook | Step::Turn | Step::Signalled | Step::Killed => None,
        }
    }

    /// Whole seconds since the step began (K-141).
    fn elapsed(&self, now: Time) -> u32 {
        u32::try_from((now - self.since).as_secs()).unwrap_or(u32::MAX)
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn what_is_left_at_the_signal_is_whole_seconds_and_never_less_than_two() {
        // Grace, milliseconds of waiting, milliseconds from the signal to SIGKILL.
        for (grace, waited, left) in [
            (30, 0, 30_000),
            (30, 900, 30_000),
            (30, 5_100, 25_000),
            (30, 29_500, 2_000),
            (1, 0, 2_000),
            (0, 0, 2_000),
        ] {
            let mut stopping = Stopping::new(at(0), grace);
            let signal = stopping.advance(at(waited), Turn::Now);
            assert_eq!(signal, Some(Signal::Terminate));
            assert_eq!(stopping.deadline(), Some(at(waited + left)), "{grace} {waited}");
            assert_eq!(stopping.advance(at(waited + left), Turn::Now), Some(Signal::Kill));
            assert_eq!(stopping.deadline(), None);
        }
    }

    #[test]
    fn nobody_waits_for_others_longer_than_the_grace_period() {
        let mut stopping = Stopping::new(at(0), 30);
        assert_eq!(stopping.advance(at(29_999), Turn::Later), None);
        assert_eq!(stopping.advance(at(30_000), Turn::Later), Some(Signal::Terminate));
        assert_eq!(stopping.deadline(), Some(at(32_000)));
    }

    #[test]
    fn a_hook_is_charged_to_the_grace_period() {
        // Grace, milliseconds of the hook, milliseconds from the signal to SIGKILL.
        for (grace, hook, left) in [(30, 5_900, 25_000), (30, 29_500, 2_000), (5, 0, 5_000)] {
            let mut stopping = Stopping::after_hook(at(0), grace);
            assert_eq!(stopping.advance(at(hook), Turn::Now), None, "{grace} {hook}");
            stopping.hook_ended(at(hook));
            assert_eq!(stopping.advance(at(hook), Turn::Now), Some(Signal::Terminate));
            assert_eq!(stopping.deadline(), Some(at(hook + left)), "{grace} {hook}");
        }
        let mut endless = Stopping::after_hook(at(0), 30);
        assert_eq!(endless.advance(at(30_000), Turn::Now), Some(Signal::Terminate));
        assert_eq!(endless.deadline(), Some(at(32_000)));
        assert!(!Stopping::after_hook(at(0), 0).has_hook());
    }

    #[test]
    fn a_later_stop_shortens_and_never_lengthens() {
        let mut stopping = Stopping::new(at(0), 30);
        stopping.advance(at(0), Turn::Now);
        stopping.shorten(at(10_000), 60);
        assert_eq!(stopping.deadline(), Some(at(30_000)));
        stopping.shorten(at(10_000), 5);
        assert_eq!(stopping.deadline(), Some(at(15_000)));
        stopping.shorten(at(11_900), 0);
        assert_eq!(stopping.deadline(), Some(at(13_900)));
    }
}
