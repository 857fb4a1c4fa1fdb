//! How long to wait before the next try: exponential, with full jitter, so that many proxies do not come back at once.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Tries since the last success.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next try: at random up to a ceiling that doubles, and not less than the server asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 4];
        // Without randomness: the ceiling.
        let part = match SystemRandom::new().fill(&mut random) {
            Ok(()) => f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        ceiling.mul_f64(part).max(asked.unwrap_or_default().min(LONGEST))
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        assert!((0..200).all(|_| backoff.next(None) <= LONGEST));
        let sum: Duration = (0..100).map(|_| backoff.next(None)).sum();
        assert!(
            sum > LONGEST * 30,
            "full jitter waits half the ceiling on average: {sum:?}"
        );
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
        assert_eq!(backoff.next(Some(Duration::from_secs(9))), Duration::from_secs(9));
    }
}
