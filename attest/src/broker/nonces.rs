//! The nonces that are outstanding: random, given out once, accepted once, for a minute. They are in memory only: after a
//! restart none is outstanding, and an enclave that has one asks again. Memory is bounded by their number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::random::EntropyError;
use crate::release::Nonce;

/// How long a nonce is accepted: an enclave needs one call of its security module and one round trip, milliseconds.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// Most nonces outstanding: about 2 MB.
const MOST: usize = 16_384;

/// Why there is no nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoNonce {
    /// The kernel gave no random bytes.
    Entropy,
    /// [`MOST`] are outstanding. The oldest is not dropped for a new one: whoever asks often would shut others out.
    Full,
}

impl From<EntropyError> for NoNonce {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

/// The outstanding ones.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<Outstanding>);

#[derive(Debug, Default)]
struct Outstanding {
    given: HashMap<Nonce, Instant>,
    /// In the order in which they were given out; those that were taken are still there, until their time is over.
    order: VecDeque<(Instant, Nonce)>,
}

impl Outstanding {
    fn forget(&mut self, now: Instant) {
        while let Some((given, nonce)) = self.order.front() {
            if now.saturating_duration_since(*given) < LIFETIME {
                return;
            }
            self.given.remove(nonce);
            self.order.pop_front();
        }
    }
}

impl Nonces {
    /// A new one.
    pub(super) fn give(&self, now: Instant) -> Result<Nonce, NoNonce> {
        let nonce = Nonce::random()?;
        let mut outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outstanding.forget(now);
        if outstanding.order.len() >= MOST {
            return Err(NoNonce::Full);
        }
        // 256 random bits come again only when the generator is broken; then nothing it gives is to be trusted.
        if outstanding.given.insert(nonce, now).is_some() {
            outstanding.given.clear();
            outstanding.order.clear();
            return Err(NoNonce::Entropy);
        }
        outstanding.order.push_back((now, nonce));
        Ok(nonce)
    }

    /// Whether it would be accepted. Only a hint, before work that would be in vain; [`Nonces::take`] decides.
    pub(super) fn is_outstanding(&self, nonce: &Nonce, now: Instant) -> bool {
        let mut outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outstanding.forget(now);
        outstanding.given.contains_key(nonce)
    }

    /// Accepts it, this once.
    pub(super) fn take(&self, nonce: &Nonce, now: Instant) -> bool {
        let mut outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outstanding.forget(now);
        outstanding.given.remove(nonce).is_some()
    }

    /// How many are outstanding.
    pub(super) fn count(&self) -> usize {
        let outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outstanding.given.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_accepted_once_and_for_a_minute() {
        let (nonces, now) = (Nonces::default(), Instant::now());
        let first = nonces.give(now).expect("a nonce");
        let second = nonces.give(now).expect("a nonce");
        assert!(first != second && nonces.count() == 2);
        assert!(nonces.is_outstanding(&first, now));
        assert!(nonces.take(&first, now + LIFETIME - Duration::from_millis(1)));
        assert!(!nonces.take(&first, now));
        assert!(!nonces.is_outstanding(&first, now));
        assert!(!nonces.take(&second, now + LIFETIME));
        assert!(!nonces.take(&Nonce::from([0; 32]), now));
        assert_eq!(nonces.count(), 0);
    }

    #[test]
    fn their_number_is_bounded_and_nobody_is_pushed_out() {
        let (nonces, now) = (Nonces::default(), Instant::now());
        let first = nonces.give(now).expect("a nonce");
        for _ in 1..MOST {
            nonces.give(now).expect("a nonce");
        }
        assert_eq!(nonces.give(now), Err(NoNonce::Full));
        assert!(nonces.take(&first, now));
        // Room comes with time.
        assert!(nonces.give(now + LIFETIME).is_ok());
    }
}
