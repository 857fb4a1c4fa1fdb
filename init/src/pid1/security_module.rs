//! The security module at boot: its random bytes go into the kernel's pool before anything draws from it, and an enclave
//! that cannot prove what it is says so.

use std::fs;
use std::io;

use attest::nsm::{Nsm, NsmError};

/// What is written here is mixed into the pool (random(4)); the kernel's own driver of the module adds the credit.
const POOL: &str = "/dev/urandom";
/// Where the kernel says what it takes the time from.
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Clocks that no guest can be lied to by without the hypervisor's help. `hpet` and `acpi_pm` are devices that a host
/// emulates; `jiffies` loses time.
const CLOCKS: [&str; 3] = ["kvm-clock", "tsc", "arch_sys_counter"];

/// Opens the module, mixes entropy, reports the mode. A machine without a module is no error: it cannot attest, and says
/// so. A module that does not answer is one.
pub(super) fn open() -> io::Result<Option<Nsm>> {
    let module = match Nsm::open() {
        Ok(module) => module,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::info!(
                "boot: there is no {}: nobody can verify this enclave",
                attest::nsm::PATH
            );
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    fs::write(POOL, module.random().map_err(explain)?)?;
    let image = module.describe_pcr(0).map_err(explain)?;
    if image.value.iter().all(|byte| *byte == 0) {
        log::warn!("boot: DEBUG MODE: the host reads this console, and no verifier accepts this enclave");
    }
    Ok(Some(module))
}

/// Says when the time comes from where it should not: certificates are judged by it.
pub(super) fn check_clock() -> io::Result<()> {
    let clock = fs::read_to_string(CLOCK)?;
    if !CLOCKS.contains(&clock.trim()) {
        log::warn!(
            "boot: the clock is {}, which is not one of: {}",
            clock.trim(),
            CLOCKS.join(", ")
        );
    }
    Ok(())
}

fn explain(error: NsmError) -> io::Error {
    match error {
        NsmError::Device(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
