//! Many messages to one key (`Context.Seal` and `Context.Open`, RFC 9180 section 5.2): the agreement is made once, and each
//! message has a number, from which its nonce comes. The sender never uses a number twice; the receiver says which message
//! it has before it, since any of them may be missing.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use super::schedule::Schedule;
use super::{PublicKey, SealError, agree, key_pair};

/// Bytes of a nonce (`Nn`, RFC 9180 section 7.3).
const NONCE_BYTES: usize = 12;

struct Context {
    key: LessSafeKey,
    base_nonce: Zeroizing<[u8; NONCE_BYTES]>,
}

impl Context {
    fn new(schedule: Schedule) -> Result<Self, SealError> {
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, &*schedule.key).map_err(|_unspecified| SealError::Forged)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            base_nonce: schedule.nonce,
        })
    }

    /// `ComputeNonce` (RFC 9180 section 5.2).
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = *self.base_nonce;
        for (byte, number) in nonce.iter_mut().rev().zip(number.to_be_bytes().iter().rev()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals messages 0, 1, 2 …
pub(crate) struct Sender {
    context: Context,
    encapsulated: PublicKey,
    next: u64,
}

impl Sender {
    /// `SetupBaseS` (RFC 9180 section 5.1.1).
    pub(crate) fn new(receiver: &PublicKey, info: &[u8]) -> Result<Self, SealError> {
        let (private, encapsulated) = key_pair(&SystemRandom::new())?;
        let shared = agree(private, receiver, &encapsulated, receiver)?;
        Ok(Self {
            context: Context::new(Schedule::base(&shared, info))?,
            encapsulated,
            next: 0,
        })
    }

    /// What the receiver needs.
    pub(crate) fn encapsulated(&self) -> &PublicKey {
        &self.encapsulated
    }

    /// Number of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Appends `message`, encrypted, and its tag to `out`, all of which so far is authenticated with it.
    pub(crate) fn seal_onto(&mut self, mut out: Vec<u8>, message: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = self.context.nonce(self.next);
        // RFC 9180 section 5.2: a number that would come twice must not.
        self.next = self.next.checked_add(1).ok_or(SealError::Forged)?;
        let head = out.len();
        out.extend_from_slice(message);
        let (associated, body) = out.split_at_mut(head);
        let sealed = self
            .context
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&*associated), body);
        let tag = sealed.map_err(|_unspecified| SealError::TooLong("the message", super::MAX_PLAINTEXT))?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }
}

/// Opens messages of one [`Sender`], in any order.
#[cfg(feature = "unseal")]
pub(crate) struct Receiver(Context);

#[cfg(feature = "unseal")]
impl Receiver {
    /// `SetupBaseR` (RFC 9180 section 5.1.1).
    pub(crate) fn new(
        private: &x25519_dalek::StaticSecret,
        encapsulated: &PublicKey,
        info: &[u8],
    ) -> Result<Self, SealError> {
        let shared = private.diffie_hellman(&(*encapsulated).into());
        // RFC 9180 section 7.1.4.
        if !shared.was_contributory() {
            return Err(SealError::PublicKey);
        }
        let public = x25519_dalek::PublicKey::from(private);
        let shared = super::schedule::shared_secret(shared.as_bytes(), encapsulated, public.as_bytes());
        Ok(Self(Context::new(Schedule::base(&shared, info))?))
    }

    /// Opens message `number`.
    pub(crate) fn open(&self, number: u64, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut message = sealed.to_vec();
        let opened = self
            .0
            .key
            .open_in_place(self.0.nonce(number), Aad::from(associated), &mut message);
        let length = opened.map_err(|_unspecified| SealError::Forged)?.len();
        message.truncate(length);
        Ok(message)
    }
}
