//! A set of secrets as bytes: what is sealed. Not JSON, whose readers and writers leave copies behind.
//!
//! Integers are big-endian: `u16` count; then for each secret `u8` length of the name, the name, `u32` length of the value,
//! the value. Nothing follows.

use std::fmt;

use super::name::{Names, SecretName};
use crate::seal::MAX_PLAINTEXT;
use crate::secret::Secret;

/// Bytes in front of all secrets, and of each one beside its name and value.
const HEAD: usize = 2;
const EACH: usize = 1 + 4;

/// Why a set was not written or read. It says nothing of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetError {
    /// Longer than [`MAX_PLAINTEXT`].
    TooLong,
    /// It ends inside a secret, or something follows the last one.
    Malformed,
    /// Not the secrets that were asked for, or not in their order.
    OtherNames,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the set of secrets is larger than {MAX_PLAINTEXT} bytes"),
            Self::Malformed => f.write_str("the set of secrets is malformed"),
            Self::OtherNames => f.write_str("the set holds other secrets than were asked for"),
        }
    }
}

impl std::error::Error for SetError {}

/// Writes a set.
///
/// # Errors
///
/// [`SetError::TooLong`].
pub fn encode_set(secrets: &[(SecretName, Secret)]) -> Result<Secret, SetError> {
    let lengths = secrets
        .iter()
        .map(|(name, value)| EACH + name.as_str().len() + value.expose().len());
    let length = HEAD + lengths.sum::<usize>();
    if length > MAX_PLAINTEXT {
        return Err(SetError::TooLong);
    }
    // Exactly as large as it gets: a buffer that grows leaves a copy behind.
    let mut set = Secret::new(Vec::with_capacity(length));
    let bytes = set.bytes_mut();
    bytes.extend(
        u16::try_from(secrets.len())
            .map_err(|_| SetError::TooLong)?
            .to_be_bytes(),
    );
    for (name, value) in secrets {
        let (name, value) = (name.as_str().as_bytes(), value.expose());
        bytes.push(u8::try_from(name.len()).map_err(|_| SetError::TooLong)?);
        bytes.extend_from_slice(name);
        bytes.extend(
            u32::try_from(value.len())
                .map_err(|_| SetError::TooLong)?
                .to_be_bytes(),
        );
        bytes.extend_from_slice(value);
    }
    Ok(set)
}

/// Reads a set, which has to be of `names`, in their order.
///
/// # Errors
///
/// [`SetError`] says what is wrong.
pub fn decode_set(set: &Secret, names: &Names) -> Result<Vec<(SecretName, Secret)>, SetError> {
    let mut rest = set.expose();
    let count = u16::from_be_bytes(*chunk(&mut rest)?);
    if usize::from(count) != names.as_slice().len() {
        return Err(SetError::OtherNames);
    }
    let mut secrets = Vec::with_capacity(names.as_slice().len());
    for name in names.as_slice() {
        let [length] = *chunk(&mut rest)?;
        if take(&mut rest, length.into())? != name.as_str().as_bytes() {
            return Err(SetError::OtherNames);
        }
        let length = u32::from_be_bytes(*chunk(&mut rest)?);
        let value = take(
            &mut rest,
            usize::try_from(length).map_err(|_| SetError::Malformed)?,
        )?;
        secrets.push((name.clone(), Secret::new(value.to_vec())));
    }
    if rest.is_empty() {
        Ok(secrets)
    } else {
        Err(SetError::Malformed)
    }
}

fn chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], SetError> {
    let (taken, after) = rest.split_first_chunk().ok_or(SetError::Malformed)?;
    *rest = after;
    Ok(taken)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], SetError> {
    let (taken, after) = rest.split_at_checked(count).ok_or(SetError::Malformed)?;
    *rest = after;
    Ok(taken)
}
