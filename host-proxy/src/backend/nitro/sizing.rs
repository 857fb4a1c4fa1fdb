//! vCPUs and memory of an enclave, from what its Pod may use. An enclave gets all of it at its start and keeps it: there
//! is nothing to overcommit, so limits count and not requests.
//!
//! **vCPUs.** Containers' CPU limits (requests where they are larger or there is no limit) summed by Kubernetes' rule,
//! rounded up to whole and even, at least 2: an enclave gets whole cores, and a core has two vCPUs. Containers without
//! either count nothing, as on a node.
//!
//! Limits of the Pod as a whole (`spec.resources`) count instead of these sums.
//!
//! **Memory.** Containers' memory limits summed by the same rule, which every container must therefore have; plus the
//! images, the EIF's content and the enclave's own; rounded up to 2 MiB, the huge pages it is made of. A container's
//! `emptyDir` volumes and writable layer are memory of the container, so its limit must cover them. Never less than
//! nitro-cli and its driver accept: four times the EIF, and 64 MiB.
//!
//! Values that the user gave are used as they are, or refused; below what the Pod requests Kubernetes would not start
//! it either. Below what this calculation says they are warned about.

use std::path::Path;

use serde_json::Value;

use crate::exit::{Exit, Failure};

use super::demand::Demand;
use super::images;

const MIB: u64 = 1 << 20;
/// vCPUs of a core.
const CORE: u32 = 2;
/// nitro-cli: `ENCLAVE_MEMORY_EIF_SIZE_RATIO`; the boot holds the packed and the unpacked image at once.
const EIF_RATIO: u64 = 4;
/// The driver: `NE_MIN_ENCLAVE_MEM_SIZE`, in MiB.
const LEAST_MIB: u64 = 64;
/// Kernel, base services, log rings and small volumes, in bytes: an estimate with room.
const ENCLAVE: u64 = 128 * MIB;
/// What the EIF's content takes after the boot, as a multiple of its size: ramdisks unpack to about twice their size
/// with lz4.
const EIF_UNPACKED: u64 = 2;
/// The kernel keeps 64 bytes for each page of 4 KiB.
const PAGE_SHARE: u64 = 64;
/// Smallest huge page in MiB.
const HUGE_PAGE_MIB: u64 = 2;

/// What an enclave is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// vCPUs: even, at least 2.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// The size of the enclave for the Pod of `bundle` (JSON, validated), whose images are in the OCI layout `images`.
/// `cpus` and `memory_mib` are the user's own choice.
///
/// # Errors
/// `Rejected` for a container without a memory limit, `Usage` for a choice that cannot be; each says what would do.
pub fn size(
    bundle: &[u8],
    images: Option<&Path>,
    eif_bytes: u64,
    cpus: Option<u32>,
    memory_mib: Option<u64>,
) -> Result<Size, Failure> {
    let bundle: Value = serde_json::from_slice(bundle)
        .map_err(|error| Failure::new(Exit::Rejected, format!("the bundle is not JSON: {error}")))?;
    let demand = Demand::of(&bundle);
    let cpus = choose_cpus(&demand, cpus)?;
    let overhead = images::memory(&bundle, images)
        .saturating_add(eif_bytes.saturating_mul(EIF_UNPACKED))
        .saturating_add(ENCLAVE);
    let memory_mib = choose_memory(&demand, overhead, eif_bytes, memory_mib)?;
    Ok(Size { cpus, memory_mib })
}

fn choose_cpus(demand: &Demand, chosen: Option<u32>) -> Result<u32, Failure> {
    let fits = cores(demand.milli_cpus());
    let Some(chosen) = chosen else {
        return Ok(fits);
    };
    let requested = demand.requested_milli_cpus();
    if chosen == 0 || !chosen.is_multiple_of(CORE) {
        let message = format!(
            "--cpus {chosen} is not possible: an enclave gets whole cores of {CORE} vCPUs: use --cpus {}",
            cores(u64::from(chosen) * 1000).max(cores(requested))
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    if u64::from(chosen) * 1000 < requested {
        let message = format!(
            "--cpus {chosen} is less than the containers' requests, {requested}m together: use --cpus {}",
            cores(requested)
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    if chosen < fits {
        log::warn!(
            "with --cpus {chosen} the containers cannot use their CPU limits together: {fits} would do"
        );
    }
    Ok(chosen)
}

/// Thousandths of a CPU as vCPUs of whole cores, at least one core.
fn cores(milli_cpus: u64) -> u32 {
    let cores = milli_cpus.div_ceil(1000 * u64::from(CORE)).max(1);
    u32::try_from(cores)
        .unwrap_or(u32::MAX / CORE)
        .saturating_mul(CORE)
}

fn choose_memory(
    demand: &Demand,
    overhead: u64,
    eif_bytes: u64,
    chosen: Option<u64>,
) -> Result<u64, Failure> {
    let least = eif_bytes.div_ceil(MIB).saturating_mul(EIF_RATIO).max(LEAST_MIB);
    let fits = |bytes: u64| {
        let bytes = bytes.saturating_add(overhead);
        // Of which one part in 64 is the kernel's.
        let bytes = bytes.saturating_add(bytes.div_ceil(PAGE_SHARE - 1));
        let mib = bytes.div_ceil(MIB).max(least);
        mib.div_ceil(HUGE_PAGE_MIB) * HUGE_PAGE_MIB
    };
    let Some(chosen) = chosen else {
        return match demand.unlimited() {
            None => Ok(fits(demand.memory())),
            Some((name, path)) => {
                let message = format!(
                    "container {name} has no memory limit, and an enclave's memory is fixed when it starts: set \
                     {path}.resources.limits.memory, or spec.resources.limits.memory for the Pod as a whole, or give \
                     --memory MIB for the whole enclave"
                );
                Err(Failure::new(Exit::Rejected, message))
            }
        };
    };
    let requested = demand.requested_memory();
    let mib = requested.div_ceil(MIB);
    if chosen < least || chosen < mib {
        let reason = if chosen < mib {
            format!("than the containers' requests, {mib} MiB together")
        } else if least == LEAST_MIB {
            "than any enclave may have".to_owned()
        } else {
            format!("than {EIF_RATIO} times the enclave image, which nitro-cli insists on")
        };
        let message = format!(
            "--memory {chosen} is less {reason}: use --memory {} or more",
            fits(requested)
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let wanted = fits(demand.memory());
    if chosen < wanted {
        log::warn!("with --memory {chosen} containers may be killed below their limits: {wanted} would do");
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
