//! Measuring the first bundle: who may say what runs and what runs go into PCRs of the security module, and every register
//! is locked, before anything of the bundle starts. A document holds locked registers only, so nothing can be added later
//! and nothing can be claimed that was not so.

use std::fmt;

use attest::nsm::{Nsm, NsmError};
use manifest_sync::measurement::Measurement;

/// Why a bundle could not be measured. It must not run.
#[derive(Debug)]
pub(super) enum MeasureError {
    /// A register is not as a new machine has it: somebody has used it.
    Used(u16),
    /// The security module did not extend a register.
    Extend(u16, NsmError),
    /// A register does not hold what it was extended with.
    Value(u16),
    /// The security module did not lock the registers.
    Lock(NsmError),
    /// It says that it did, and this one is not.
    Open(u64),
    /// The security module did not say how it is.
    Describe(NsmError),
}

impl fmt::Display for MeasureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(index) => write!(f, "PCR{index} is not empty and open any more"),
            Self::Extend(index, error) => write!(f, "cannot extend PCR{index}: {error}"),
            Self::Value(index) => write!(f, "PCR{index} does not hold what it was extended with"),
            Self::Lock(error) => write!(f, "cannot lock the PCRs: {error}"),
            Self::Open(index) => write!(
                f,
                "PCR{index} is not locked although the module says that it locked all"
            ),
            Self::Describe(error) => write!(f, "cannot ask for the PCRs: {error}"),
        }
    }
}

/// Extends, compares, locks all, and looks again.
pub(super) fn measure(module: &Nsm, measurements: &[Measurement]) -> Result<(), MeasureError> {
    for measurement in measurements {
        let index = measurement.index;
        let before = module.describe_pcr(index).map_err(MeasureError::Describe)?;
        if before.locked || before.value.iter().any(|byte| *byte != 0) {
            return Err(MeasureError::Used(index));
        }
        module
            .extend_pcr(index, &measurement.data)
            .map_err(|error| MeasureError::Extend(index, error))?;
    }
    let registers = module.describe().map_err(MeasureError::Describe)?.max_pcrs;
    let range = u16::try_from(registers).unwrap_or(u16::MAX);
    module.lock_pcrs(range).map_err(MeasureError::Lock)?;
    let locked = module.describe().map_err(MeasureError::Describe)?.locked_pcrs;
    if let Some(open) = (0..registers).find(|index| !locked.contains(index)) {
        return Err(MeasureError::Open(open));
    }
    for measurement in measurements {
        let after = module
            .describe_pcr(measurement.index)
            .map_err(MeasureError::Describe)?;
        if !after.locked || after.value != measurement.value() {
            return Err(MeasureError::Value(measurement.index));
        }
    }
    hide();
    Ok(())
}

/// Base services of the image may have opened the device until now; whoever comes later has only what we hand out.
fn hide() {
    if let Err(error) = std::fs::remove_file(attest::nsm::PATH) {
        log::warn!("cannot remove {}: {error}", attest::nsm::PATH);
    }
}
