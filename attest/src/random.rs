//! Randomness for keys and identities: the kernel's, through ring, never a fallback.

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};

/// The kernel gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntropyError;

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kernel's random number generator gave no bytes (getrandom(2))")
    }
}

impl std::error::Error for EntropyError {}

/// `N` random bytes from getrandom(2).
pub fn random_bytes<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| EntropyError)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::random_bytes::<32>(), super::random_bytes::<32>());
    }
}
