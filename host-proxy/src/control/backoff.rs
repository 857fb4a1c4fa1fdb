//! Pauses between tries: doubling, bounded, with jitter so that many proxies do not dial in step.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// The first pause: a local enclave listens within milliseconds.
const FIRST: Duration = Duration::from_millis(10);
/// The longest pause: what it adds to the boot of a machine must not be noticed, and dialling costs next to nothing.
const LONGEST: Duration = Duration::from_millis(250);

/// The sequence of pauses.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next pause: between one half and the whole of the nominal one.
    pub(super) fn next(&mut self) -> Duration {
        let nominal = self.next;
        self.next = (nominal * 2).min(LONGEST);
        // The hasher's random keys are randomness enough for jitter.
        let random = RandomState::new().build_hasher().finish() % 512;
        nominal * u32::try_from(random + 512).unwrap_or(1024) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_bounded() {
        let mut backoff = Backoff::new();
        let mut nominal = FIRST;
        for _ in 0..20 {
            let pause = backoff.next();
            assert!(
                pause >= nominal / 2 && pause <= nominal,
                "{pause:?} of {nominal:?}"
            );
            nominal = (nominal * 2).min(LONGEST);
        }
    }
}
