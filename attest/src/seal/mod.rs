//! Sealing to a key that was made for one request: HPKE (RFC 9180), base mode, one message, on ring alone.
//!
//! Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. X25519 because every 32 bytes are a public key, so
//! there is nothing to parse, and ring refuses the few whose agreement is zero (RFC 9180 section 7.1.4); ChaCha20Poly1305
//! because it takes the same time on every CPU, and because RFC 9180 A.2 has vectors for exactly this suite. There is no
//! negotiation: another suite would be another version of the protocol.
//!
//! ring's private keys can be used once and cannot be exported. That is the rule we want: one key, one request, one answer.
//! It is also why authenticated modes, exporters and sequences of messages do not belong here.
//!
//! What is made here is wiped when dropped. ring's own state is not (ring 0.17 never wipes): a private key lives on the
//! heap until its memory is used again. The process that holds keys must therefore not be dumpable.

mod schedule;
mod sequence;

use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::random::EntropyError;
use crate::secret::Secret;
use schedule::{Schedule, shared_secret};
#[cfg(feature = "unseal")]
pub(crate) use sequence::Receiver;
pub(crate) use sequence::Sender;

/// Bytes of a public key, and of an encapsulated one (`Npk` and `Nenc`, RFC 9180 section 7.1).
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes that sealing adds: the encapsulated key in front and the tag behind (`Nt`, RFC 9180 section 7.3).
pub const OVERHEAD: usize = PUBLIC_KEY_BYTES + 16;
/// Most bytes of a message: what Kubernetes allows one Secret to hold.
pub const MAX_PLAINTEXT: usize = 1 << 20;
/// Most bytes of `info`, and of `aad`.
pub const MAX_CONTEXT: usize = 4096;

/// A public key as it travels (`SerializePublicKey`, RFC 9180 section 7.1.1).
pub type PublicKey = [u8; PUBLIC_KEY_BYTES];

/// Why a message was not sealed or opened. It says nothing of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// The kernel gave no random bytes, so there is no key.
    Entropy(EntropyError),
    /// Not 32 bytes, or one of the points with which every agreement is zero.
    PublicKey,
    /// An argument is too long: its name, and the most bytes.
    TooLong(&'static str, usize),
    /// Shorter than a key and a tag.
    Truncated,
    /// Sealed to another key or for another request, or changed on the way.
    Forged,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entropy(error) => error.fmt(f),
            Self::PublicKey => f.write_str("the public key is not an X25519 key that can be used"),
            Self::TooLong(what, most) => write!(f, "{what} is longer than {most} bytes"),
            Self::Truncated => write!(f, "the sealed message is shorter than {OVERHEAD} bytes"),
            Self::Forged => f.write_str(
                "the sealed message does not open: it is for another key or request, or was changed",
            ),
        }
    }
}

impl std::error::Error for SealError {}

/// The receiver's key, for one message. It cannot be copied, stored or printed.
pub struct ReceiverKey {
    private: EphemeralPrivateKey,
    public: PublicKey,
}

impl ReceiverKey {
    /// A new key (`GenerateKeyPair`, RFC 9180 section 4).
    ///
    /// # Errors
    ///
    /// [`SealError::Entropy`].
    pub fn generate() -> Result<Self, SealError> {
        Self::generate_from(&SystemRandom::new())
    }

    fn generate_from(random: &dyn SecureRandom) -> Result<Self, SealError> {
        let (private, public) = key_pair(random)?;
        Ok(Self { private, public })
    }

    /// What the sender needs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Opens the one message (`OpenBase`, RFC 9180 section 6.1). `sealed` is as [`seal`] returns it; `info` and `aad` have to
    /// be what the sender gave.
    ///
    /// # Errors
    ///
    /// [`SealError::Forged`] for everything that was not sealed to this key with these arguments.
    pub fn open(self, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Secret, SealError> {
        bounded("info", info, MAX_CONTEXT)?;
        bounded("aad", aad, MAX_CONTEXT)?;
        bounded("the sealed message", sealed, MAX_PLAINTEXT + OVERHEAD)?;
        if sealed.len() < OVERHEAD {
            return Err(SealError::Truncated);
        }
        let (encapsulated, ciphertext) = sealed.split_at(PUBLIC_KEY_BYTES);
        let shared = agree(self.private, encapsulated, encapsulated, &self.public)?;
        let (key, nonce) = cipher(&Schedule::base(&shared, info))?;
        let mut message = Secret::new(ciphertext.to_vec());
        let opened = key.open_in_place(nonce, Aad::from(aad), message.bytes_mut());
        let length = opened.map_err(|_unspecified| SealError::Forged)?.len();
        message.bytes_mut().truncate(length);
        Ok(message)
    }
}

/// Seals one message (`SealBase`, RFC 9180 section 6.1): the encapsulated key, then the ciphertext with its tag.
///
/// # Errors
///
/// [`SealError`] says which argument cannot be used.
pub fn seal(receiver: &[u8], info: &[u8], aad: &[u8], message: &[u8]) -> Result<Vec<u8>, SealError> {
    seal_from(&SystemRandom::new(), receiver, info, aad, message)
}

fn seal_from(
    random: &dyn SecureRandom,
    receiver: &[u8],
    info: &[u8],
    aad: &[u8],
    message: &[u8],
) -> Result<Vec<u8>, SealError> {
    bounded("info", info, MAX_CONTEXT)?;
    bounded("aad", aad, MAX_CONTEXT)?;
    bounded("the message", message, MAX_PLAINTEXT)?;
    let (private, encapsulated) = key_pair(random)?;
    let shared = agree(private, receiver, &encapsulated, receiver)?;
    let (key, nonce) = cipher(&Schedule::base(&shared, info))?;
    // The buffer holds the message until it is encrypted in place, so it has to be wiped if that fails; and it must not
    // grow, because what it leaves behind is not wiped.
    let mut sealed = Zeroizing::new(Vec::with_capacity(message.len() + OVERHEAD));
    sealed.extend_from_slice(&encapsulated);
    sealed.extend_from_slice(message);
    let (_, body) = sealed.split_at_mut(PUBLIC_KEY_BYTES);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body);
    let tag = tag.map_err(|_unspecified| SealError::TooLong("the message", MAX_PLAINTEXT))?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(std::mem::take(&mut *sealed))
}

fn bounded(what: &'static str, bytes: &[u8], most: usize) -> Result<(), SealError> {
    if bytes.len() > most {
        return Err(SealError::TooLong(what, most));
    }
    Ok(())
}

fn key_pair(random: &dyn SecureRandom) -> Result<(EphemeralPrivateKey, PublicKey), SealError> {
    let no_entropy = |_unspecified| SealError::Entropy(EntropyError);
    let private = EphemeralPrivateKey::generate(&X25519, random).map_err(no_entropy)?;
    let public = private.compute_public_key().map_err(no_entropy)?;
    let public = public.as_ref().try_into().map_err(|_| SealError::PublicKey)?;
    Ok((private, public))
}

/// `Encap` and `Decap` without the encoding (RFC 9180 section 4.1): both hash the encapsulated and the receiver's key, in
/// this order.
fn agree(
    own: EphemeralPrivateKey,
    peer: &[u8],
    encapsulated: &[u8],
    receiver: &[u8],
) -> Result<Zeroizing<[u8; schedule::HASH_BYTES]>, SealError> {
    let peer = UnparsedPublicKey::new(&X25519, peer);
    agree_ephemeral(own, &peer, |dh| shared_secret(dh, encapsulated, receiver))
        .map_err(|_unspecified| SealError::PublicKey)
}

/// The cipher and the nonce of the first message, the only one (`ComputeNonce(0)`, RFC 9180 section 5.2).
fn cipher(schedule: &Schedule) -> Result<(LessSafeKey, Nonce), SealError> {
    let key =
        UnboundKey::new(&CHACHA20_POLY1305, &*schedule.key).map_err(|_unspecified| SealError::Forged)?;
    Ok((
        LessSafeKey::new(key),
        Nonce::assume_unique_for_key(*schedule.nonce),
    ))
}

#[cfg(test)]
mod tests;
