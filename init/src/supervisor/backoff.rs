//! Delays between attempts: the crash-loop back-off (section 6 of the kubelet semantics) and plain doubling.

use std::time::Duration;

use super::time::Time;

/// K-180.
const INITIAL: Duration = Duration::from_secs(10);
/// K-182, K-192: forgotten when the exit is this long after the last start.
const RESET: Duration = Duration::from_secs(600);
/// K-192: also forgotten by a sweep, in the middle of a wait too, when the last start was this long ago and the next sweep,
/// two seconds later, has come.
const SWEPT: Duration = Duration::from_secs(602);

/// Back-off of one container. It is measured from the exit (K-189), and the first restart is free (K-190).
#[derive(Debug)]
pub(super) struct CrashLoop {
    /// The longest delay.
    cap: Duration,
    entry: Option<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated: Time,
}

impl CrashLoop {
    /// One whose delays are never longer than `cap`.
    pub(super) fn new(cap: Duration) -> Self {
        Self { cap, entry: None }
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.entry = None;
    }

    /// K-187: until when a container that ended at `finished` must wait, and for how long in total; `None`: it may
    /// start now.
    pub(super) fn wait(&self, finished: Time) -> Option<(Time, Duration)> {
        let entry = self.entry.filter(|entry| finished - entry.updated <= RESET)?;
        let until = finished + entry.delay;
        Some((until.min(entry.updated + SWEPT), entry.delay))
    }

    /// K-188: a container that ended at `finished` is started at `now`.
    pub(super) fn advance(&mut self, finished: Time, now: Time) {
        let delay = match self.entry {
            Some(entry) if finished - entry.updated <= RESET && now - entry.updated < SWEPT => {
                (entry.delay * 2).min(self.cap)
            }
            // K-181.
            _ => INITIAL.min(self.cap),
        };
        self.entry = Some(Entry { delay, updated: now });
    }
}

/// A delay that doubles up to a cap, until it is forgotten.
#[derive(Debug)]
pub(super) struct Doubling {
    initial: Duration,
    cap: Duration,
    next: Duration,
}

impl Doubling {
    pub(super) const fn new(initial: Duration, cap: Duration) -> Self {
        Self {
            initial,
            cap,
            next: initial,
        }
    }

    /// The delay to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.cap);
        delay
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.next = self.initial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(300);

    /// Start times of a container that dies at once.
    fn starts(count: usize, cap: u64) -> Vec<u64> {
        let mut backoff = CrashLoop::new(Duration::from_secs(cap));
        let mut now = Time::default();
        let mut starts = vec![0];
        for _ in 1..count {
            let finished = now;
            now = backoff.wait(finished).map_or(now, |(until, _)| until);
            backoff.advance(finished, now);
            starts.push(now.as_millis() / 1000);
        }
        starts
    }

    #[test]
    fn a_container_that_dies_at_once_starts_when_the_kubelet_would_start_it() {
        assert_eq!(starts(9, 300), [0, 0, 10, 30, 70, 150, 310, 610, 910]);
        assert_eq!(starts(7, 30), [0, 0, 10, 30, 60, 90, 120]);
        assert_eq!(starts(6, 1), [0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn ten_minutes_of_running_are_forgiven_and_five_are_not() {
        let minute = Duration::from_secs(60);
        for (ran, forgiven) in [
            (minute * 5, false),
            (minute * 10, false),
            (minute * 10 + Duration::from_secs(1), true),
        ] {
            let mut backoff = CrashLoop::new(CAP);
            backoff.advance(Time::default(), Time::default());
            assert_eq!(backoff.wait(Time::default() + ran).is_none(), forgiven, "{ran:?}");
        }
    }

    #[test]
    fn a_wait_ends_when_its_reason_is_swept_away() {
        let seconds = Duration::from_secs;
        let start = Time::default();
        let mut backoff = CrashLoop {
            cap: seconds(300),
            entry: Some(Entry {
                delay: seconds(300),
                updated: start,
            }),
        };
        // It ran for eight minutes: five more would be thirteen.
        let exit = start + seconds(480);
        let (until, _) = backoff.wait(exit).expect("it has to wait");
        assert_eq!(until, start + seconds(602));
        backoff.advance(exit, until);
        assert_eq!(
            backoff.wait(until).map(|(next, _)| next),
            Some(until + seconds(10)),
            "as after a first failure"
        );
        // One that crashes every five minutes climbs no more and no less.
        let mut backoff = CrashLoop {
            cap: seconds(300),
            entry: Some(Entry {
                delay: seconds(300),
                updated: start,
            }),
        };
        let exit = start + seconds(300);
        assert_eq!(
            backoff.wait(exit).map(|(until, _)| until),
            Some(start + seconds(600))
        );
        backoff.advance(exit, start + seconds(600));
        assert_eq!(backoff.entry.map(|entry| entry.delay), Some(seconds(300)));
    }

    #[test]
    fn doubling_is_capped_and_forgotten() {
        let mut backoff = Doubling::new(Duration::from_secs(10), Duration::from_secs(30));
        let delays: Vec<u64> = (0..4).map(|_| backoff.next().as_secs()).collect();
        assert_eq!(delays, [10, 20, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next().as_secs(), 10);
    }
}
