//! Measuring the first bundle: who may say what runs and what runs go into PCRs of the security module, and every register
//! is locked, before anything of the bundle starts. A document holds locked registers only, so nothing can be added later
//! and nothing can be claimed that was not so.

use std::fs;

use attest::nsm::{MeasureError, Nsm, PATH};
use manifest_sync::measurement::Measurement;

/// Measures and locks. A bundle for which this fails must not run.
pub(super) fn measure(module: &Nsm, measurements: &[Measurement]) -> Result<(), MeasureError> {
    for measurement in measurements {
        module.measure(measurement.index, &measurement.data)?;
    }
    module.lock_all()?;
    hide();
    Ok(())
}

/// Base services of the image may have opened the device until now; whoever comes later has only what we hand out.
fn hide() {
    if let Err(error) = fs::remove_file(PATH) {
        log::warn!("cannot remove {PATH}: {error}");
    }
}
