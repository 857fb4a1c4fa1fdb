//! Sealed logs: batches that only the log back-end can read, whatever stores and forwards them.
//!
//! ```text
//! "CLSL" | u8 version | 32 bytes: the encapsulated key | u64 number | u64 records before | u32 records | u32 bytes of text |
//! u64 records lost | u8 flags (bit 0: last) | u8 name length | name of the container | ciphertext | 16 bytes: tag
//! ```
//! All integers are big-endian. Everything before the ciphertext is authenticated and legible to everybody. The
//! encapsulated key names the *source*: one container in one boot of an enclave. Its batches are numbered from 0, so that
//! what is missing, moved or repeated shows; *records lost* are those that the enclave itself has dropped by then because
//! nobody had fetched them. The cipher is HPKE's (RFC 9180) as in [`crate::seal`], with `info` [`INFO`]. HPKE's base mode does
//! not say who sealed: anybody who knows the public key can make a source of their own, but nobody can add to, change or
//! read one of an enclave's.

#[cfg(feature = "unseal")]
use crate::seal::PUBLIC_KEY_BYTES;
use crate::seal::{PublicKey, SealError, Sender};

#[cfg(feature = "unseal")]
mod unseal;
#[cfg(feature = "unseal")]
pub use unseal::{Batch, Finding, Opener, PrivateKey, Rest};

/// What the cipher is bound to: nothing else sealed to the same key opens as a log.
pub const INFO: &[u8] = b"cloister: sealed log, version 1";

const MAGIC: [u8; 4] = *b"CLSL";
const VERSION: u8 = 1;
const LAST: u8 = 1;
/// Longest name: that of a container is a DNS label.
const MAX_NAME: usize = 63;
#[cfg(feature = "unseal")]
const TAG_BYTES: usize = 16;

/// What everybody may know of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Whose output it is.
    pub container: &'a str,
    /// Records in the batches before it.
    pub before: u64,
    /// Records in it.
    pub records: u32,
    /// Bytes of their text.
    pub text_bytes: u32,
    /// Records that the enclave had dropped by then, after sealing them.
    pub lost: u64,
    /// Nothing follows it.
    pub last: bool,
}

/// Seals the batches of one source.
pub struct Sealer(Sender);

impl Sealer {
    /// A new source.
    ///
    /// # Errors
    ///
    /// `receiver` is no key, or there is no randomness.
    pub fn new(receiver: &PublicKey) -> Result<Self, SealError> {
        Sender::new(receiver, INFO).map(Self)
    }

    /// Seals the next batch; `records` are as in the log stream.
    ///
    /// # Errors
    ///
    /// The name is too long, or there were too many batches.
    pub fn seal(&mut self, header: &Header<'_>, records: &[u8]) -> Result<Vec<u8>, SealError> {
        let name = header.container.as_bytes();
        let name_length = u8::try_from(name.len())
            .ok()
            .filter(|_| name.len() <= MAX_NAME)
            .ok_or(SealError::TooLong("the container's name", MAX_NAME))?;
        let mut out = Vec::with_capacity(256 + records.len());
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.extend_from_slice(self.0.encapsulated());
        out.extend_from_slice(&self.0.next().to_be_bytes());
        out.extend_from_slice(&header.before.to_be_bytes());
        out.extend_from_slice(&header.records.to_be_bytes());
        out.extend_from_slice(&header.text_bytes.to_be_bytes());
        out.extend_from_slice(&header.lost.to_be_bytes());
        out.push(if header.last { LAST } else { 0 });
        out.push(name_length);
        out.extend_from_slice(name);
        self.0.seal_onto(out, records)
    }
}

/// A batch that nobody has opened.
#[cfg(feature = "unseal")]
struct Unopened<'a> {
    source: PublicKey,
    number: u64,
    unverified: Header<'a>,
    associated: &'a [u8],
    sealed: &'a [u8],
}

#[cfg(feature = "unseal")]
impl<'a> Unopened<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        if take(&mut rest)? != MAGIC || take(&mut rest)? != [VERSION] {
            return None;
        }
        let source = take::<PUBLIC_KEY_BYTES>(&mut rest)?;
        let number = u64::from_be_bytes(take(&mut rest)?);
        let before = u64::from_be_bytes(take(&mut rest)?);
        let records = u32::from_be_bytes(take(&mut rest)?);
        let text_bytes = u32::from_be_bytes(take(&mut rest)?);
        let lost = u64::from_be_bytes(take(&mut rest)?);
        let [flags, name_length] = take(&mut rest)?;
        let (name, sealed) = rest.split_at_checked(usize::from(name_length))?;
        let associated = bytes.get(..bytes.len() - sealed.len())?;
        (sealed.len() >= TAG_BYTES).then_some(())?;
        Some(Self {
            source,
            number,
            unverified: Header {
                container: std::str::from_utf8(name).ok()?,
                before,
                records,
                text_bytes,
                lost,
                last: flags & LAST != 0,
            },
            associated,
            sealed,
        })
    }
}

#[cfg(feature = "unseal")]
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests;
