//! Measuring the first bundle: who may say what runs and what runs go into PCRs of the security module, and every register
//! is locked, before anything of the bundle starts. A document holds locked registers only, so nothing can be added later
//! and nothing can be claimed that was not so.

use attest::nsm::MeasureError;
use manifest_sync::measurement::Measurement;

use super::security_module::Module;

/// Measures and locks. A bundle for which this fails must not run.
pub(super) fn measure(module: &Module, measurements: &[Measurement]) -> Result<(), MeasureError> {
    for measurement in measurements {
        module.nsm.measure(measurement.index, &measurement.data)?;
    }
    module.nsm.lock_all()?;
    module.hide();
    Ok(())
}
