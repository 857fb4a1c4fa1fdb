//! The end: the final status is offered until the host has acknowledged it and read the logs, or has had its time.

use std::time::Duration;

use cloister_init::supervisor::time::Time;

/// How long a connected controller may take to acknowledge.
const ACKNOWLEDGE: Duration = Duration::from_secs(30);
/// How long the result waits for a controller when none is connected: a launcher Pod may be restarting.
const PICK_UP: Duration = Duration::from_secs(600);
/// How long log streams may take to deliver what is left, once the status is acknowledged.
const FLUSH: Duration = Duration::from_secs(5);

/// The Pod's end, waiting to be acknowledged.
pub(crate) struct Finish {
    /// Exit code for the launcher.
    pub(crate) exit_code: u8,
    deadline: Time,
    acknowledged: bool,
}

/// Whether somebody is there to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A controller is connected.
    Present,
    /// Nobody is.
    Absent,
}

impl Finish {
    /// The Pod ended at `now`.
    pub(crate) fn new(exit_code: u8, now: Time, audience: Audience) -> Self {
        let mut finish = Self {
            exit_code,
            deadline: now,
            acknowledged: false,
        };
        finish.audience_changed(now, audience);
        finish
    }

    /// A controller came or went.
    pub(crate) fn audience_changed(&mut self, now: Time, audience: Audience) {
        if !self.acknowledged {
            self.deadline = now
                + if audience == Audience::Present {
                    ACKNOWLEDGE
                } else {
                    PICK_UP
                };
        }
    }

    /// The controller has the final status.
    pub(crate) fn acknowledge(&mut self, now: Time) {
        if !self.acknowledged {
            self.acknowledged = true;
            self.deadline = now + FLUSH;
        }
    }

    /// Whether the enclave may end now.
    pub(crate) fn is_over(&self, now: Time, log_streams: usize) -> bool {
        now >= self.deadline || (self.acknowledged && log_streams == 0)
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Time {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1000);

    #[test]
    fn an_acknowledged_end_waits_for_the_logs_only() {
        let mut finish = Finish::new(3, START, Audience::Present);
        assert!(!finish.is_over(START, 0));
        finish.acknowledge(START);
        assert!(!finish.is_over(START, 1));
        assert!(finish.is_over(START, 0));
        assert!(finish.is_over(START + FLUSH, 1));
    }

    #[test]
    fn a_result_that_nobody_fetches_waits_longer_than_one_that_nobody_acknowledges() {
        let mut finish = Finish::new(0, START, Audience::Absent);
        assert!(!finish.is_over(START + ACKNOWLEDGE, 0));
        finish.audience_changed(START, Audience::Present);
        assert!(finish.is_over(START + ACKNOWLEDGE, 0));
    }
}
