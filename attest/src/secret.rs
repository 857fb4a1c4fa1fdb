//! Secret bytes: wiped when dropped, never printed, copied or serialised.

use zeroize::{Zeroize as _, Zeroizing};

use crate::random::EntropyError;

/// Wipes a text that may be a secret, for a type that has to hold it as a text.
pub fn wipe(text: &mut String) {
    text.zeroize();
}

/// Secret bytes. No `Debug`, `Clone` or `Serialize` on purpose; equality takes the same time whatever differs.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `bytes`; copies made before are the caller's to wipe.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// `length` random bytes from getrandom(2).
    ///
    /// # Errors
    /// The kernel gave none.
    pub fn random(length: usize) -> Result<Self, EntropyError> {
        use ring::rand::SecureRandom as _;
        let mut bytes = Zeroizing::new(vec![0; length]);
        ring::rand::SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_unspecified| EntropyError)?;
        Ok(Self(bytes))
    }

    /// The bytes, for the one place that uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to decrypt in place. They must not grow: what a larger buffer leaves behind is not wiped.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let differ = self
            .0
            .iter()
            .zip(other.0.iter())
            .fold(0, |all, (a, b)| all | (a ^ b));
        self.0.len() == other.0.len() && std::hint::black_box(differ) == 0
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn equality_is_of_length_and_content() {
        assert!(Secret::new(vec![1, 2]) == Secret::new(vec![1, 2]));
        assert!(Secret::new(vec![1, 2]) != Secret::new(vec![1, 3]));
        assert!(Secret::new(vec![1, 2]) != Secret::new(vec![1]));
        assert!(Secret::random(32).is_ok_and(|secret| secret.expose().len() == 32));
    }
}
