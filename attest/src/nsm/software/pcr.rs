//! 32 PCRs and the rules of their locks, as the real module has them (`nsm-check.rs` of `aws-nitro-enclaves-nsm-api`; QEMU's
//! `hw/virtio/virtio-nsm.c` where that says nothing). Pure.

use super::super::message::{ErrorCode, PCR_BYTES, Pcr, PcrValue};
use crate::nsm::measure::extended;

/// How many there are.
pub(super) const COUNT: u16 = 32;
/// The first one that is not the platform's: those below are locked at boot.
const OWN: u16 = 16;

#[derive(Debug)]
pub(super) struct Pcrs(Vec<Pcr>);

impl Pcrs {
    /// As at boot: the platform's are set and locked, the others open and zero.
    pub(super) fn boot(platform: &[(u16, PcrValue)]) -> Self {
        let value = |index| {
            let set = platform.iter().find(|(known, _)| *known == index);
            set.map_or([0; PCR_BYTES], |(_, value)| *value)
        };
        let pcr = |index| Pcr {
            locked: index < OWN,
            value: if index < OWN { value(index) } else { [0; PCR_BYTES] },
        };
        Self((0..COUNT).map(pcr).collect())
    }

    pub(super) fn describe(&self, index: u16) -> Result<&Pcr, ErrorCode> {
        self.0.get(usize::from(index)).ok_or(ErrorCode::InvalidIndex)
    }

    fn open(&mut self, index: u16) -> Result<&mut Pcr, ErrorCode> {
        match self.0.get_mut(usize::from(index)) {
            None => Err(ErrorCode::InvalidIndex),
            Some(pcr) if pcr.locked => Err(ErrorCode::ReadOnlyIndex),
            Some(pcr) => Ok(pcr),
        }
    }

    pub(super) fn extend(&mut self, index: u16, data: &[u8]) -> Result<PcrValue, ErrorCode> {
        let pcr = self.open(index)?;
        pcr.value = extended(&pcr.value, data);
        Ok(pcr.value)
    }

    /// A locked one cannot be locked again.
    pub(super) fn lock(&mut self, index: u16) -> Result<(), ErrorCode> {
        self.open(index)?.locked = true;
        Ok(())
    }

    /// All below `range`; here, those that are locked are no error.
    pub(super) fn lock_below(&mut self, range: u16) -> Result<(), ErrorCode> {
        let below = self
            .0
            .get_mut(..usize::from(range))
            .ok_or(ErrorCode::InvalidIndex)?;
        below.iter_mut().for_each(|pcr| pcr.locked = true);
        Ok(())
    }

    /// The locked ones: all that a document shows.
    pub(super) fn locked(&self) -> impl Iterator<Item = (u16, &PcrValue)> {
        let locked = (0..COUNT).zip(&self.0).filter(|(_, pcr)| pcr.locked);
        locked.map(|(index, pcr)| (index, &pcr.value))
    }
}
