//! Writing a measurement for good: extend, lock, and look whether it is there. A measurement that only seems to be there would
//! let a verifier believe something that did not happen, so whatever is odd is an error.

use std::fmt;

use ring::digest::{Context, SHA384};

use super::{Nsm, NsmError, PCR_BYTES, PcrValue};

/// Why a PCR does not hold a measurement.
#[derive(Debug)]
pub enum MeasureError {
    /// The module failed or refused: the PCR, and how.
    Module(u16, NsmError),
    /// The PCR was not open and zero before.
    NotFresh(u16),
    /// The PCR has another value than SHA-384(zeros || data) afterwards.
    WrongValue(u16),
    /// The PCR can still be changed afterwards, or is not in the list of locked ones.
    NotLocked(u16),
}

impl fmt::Display for MeasureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(index, error) => write!(f, "PCR{index}: {error}"),
            Self::NotFresh(index) => write!(f, "PCR{index} was written or locked before"),
            Self::WrongValue(index) => write!(f, "PCR{index} does not hold what was measured into it"),
            Self::NotLocked(index) => write!(f, "PCR{index} is not locked"),
        }
    }
}

impl std::error::Error for MeasureError {}

impl Nsm {
    /// Extends a fresh PCR with `data`, locks it, and reads it back. Returns its value, SHA-384(zeros || data).
    ///
    /// # Errors
    ///
    /// [`MeasureError`]; the PCR may have been written by then.
    pub fn measure(&self, index: u16, data: &[u8]) -> Result<PcrValue, MeasureError> {
        let module = |error| MeasureError::Module(index, error);
        let before = self.describe_pcr(index).map_err(module)?;
        if before.locked || before.value != [0; PCR_BYTES] {
            return Err(MeasureError::NotFresh(index));
        }
        let expected = extended(&before.value, data);
        if self.extend_pcr(index, data).map_err(module)? != expected {
            return Err(MeasureError::WrongValue(index));
        }
        self.lock_pcr(index).map_err(module)?;
        let after = self.describe_pcr(index).map_err(module)?;
        if after.value != expected {
            return Err(MeasureError::WrongValue(index));
        }
        if !after.locked {
            return Err(MeasureError::NotLocked(index));
        }
        Ok(expected)
    }

    /// Locks every PCR, and looks whether they are: nothing can be measured afterwards.
    ///
    /// # Errors
    ///
    /// [`MeasureError`] names the first PCR that is still open.
    pub fn lock_all(&self) -> Result<(), MeasureError> {
        let count = self
            .describe()
            .map_err(|error| MeasureError::Module(0, error))?
            .max_pcrs;
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        self.lock_pcrs(count)
            .map_err(|error| MeasureError::Module(count, error))?;
        let locked = self
            .describe()
            .map_err(|error| MeasureError::Module(0, error))?
            .locked_pcrs;
        match (0..count).find(|index| !locked.contains(&u64::from(*index))) {
            Some(index) => Err(MeasureError::NotLocked(index)),
            None => Ok(()),
        }
    }
}

/// SHA-384(value || data): what extending means.
pub(super) fn extended(value: &PcrValue, data: &[u8]) -> PcrValue {
    let mut hash = Context::new(&SHA384);
    hash.update(value);
    hash.update(data);
    let mut new = [0; PCR_BYTES];
    new.copy_from_slice(hash.finish().as_ref());
    new
}
