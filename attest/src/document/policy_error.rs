//! Why a genuine document is refused all the same.

use std::fmt;
use std::time::Duration;

use super::policy::MIN_NONCE;
use crate::hex::Hex;
use crate::nsm::PcrValue;
use crate::time::UnixTime;

/// What a policy or an exchange demands and a document does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    /// Made too long ago.
    Stale {
        /// When it was made.
        time: UnixTime,
        /// The time that the verifier was given.
        now: UnixTime,
        /// How old it may be.
        most: Duration,
    },
    /// Made too far in the future.
    Ahead {
        /// When it was made.
        time: UnixTime,
        /// The time that the verifier was given.
        now: UnixTime,
        /// How far ahead it may be.
        most: Duration,
    },
    /// Made in debug mode.
    Debug,
    /// A PCR that has to have a value is not in the document.
    PcrMissing(u8),
    /// A PCR has another value.
    Pcr {
        /// Which one.
        index: u8,
        /// Its value.
        found: PcrValue,
        /// The values that it may have.
        allowed: Vec<PcrValue>,
    },
    /// The verifier's nonce has so few bytes that it does not show freshness.
    NonceTooShort(usize),
    /// Another nonce, or none.
    Nonce,
    /// Other user data, or none.
    UserData,
    /// Another public key, or none.
    PublicKey,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { time, now, most } => write!(
                f,
                "the document was made at {time}, and it is {now}: more than {} s ago; ask for a new one",
                most.as_secs()
            ),
            Self::Ahead { time, now, most } => write!(
                f,
                "the document was made at {time}, and it is {now}: more than {} s ahead; check the verifier's clock",
                most.as_secs()
            ),
            Self::Debug => f.write_str(
                "the enclave runs in debug mode (PCR0 is zero): its host can read along; start it without debug mode",
            ),
            Self::PcrMissing(index) => write!(
                f,
                "PCR{index} is not in the document: only locked registers are; the image does not lock it, or it is \
                 another image"
            ),
            Self::Pcr {
                index,
                found,
                allowed,
            } => {
                write!(f, "PCR{index} is {}, expected ", Hex(found))?;
                for (position, value) in allowed.iter().enumerate() {
                    let separator = if position == 0 { "" } else { " or " };
                    write!(f, "{separator}{}", Hex(value))?;
                }
                f.write_str(match index {
                    0..=2 => ": another image runs, or the expected values are of another build",
                    3 => ": the parent instance has another role",
                    4 => ": it runs on another instance",
                    8 => ": the image was signed by somebody else",
                    _ => ": something else was measured into it",
                })
            }
            Self::NonceTooShort(length) => write!(
                f,
                "a nonce of {length} bytes shows nothing: give out {MIN_NONCE} random bytes at least"
            ),
            Self::Nonce => f.write_str(
                "the document has another nonce than the one that was given out, or none: it was made for another exchange",
            ),
            Self::UserData => f.write_str("the document has other user data than expected, or none"),
            Self::PublicKey => f.write_str("the document has another public key than expected, or none"),
        }
    }
}

impl std::error::Error for PolicyError {}
