//! A security module that fails, for tests: it stands in front of another one and spoils what it says. What a real device
//! would hardly ever do has to be seen to be refused.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::SecurityModule;
use super::message::{ErrorCode, Response};
use super::software::{read_request, write_answer};
use crate::nsm::message::Request;

/// `EIO` of Linux, which the driver returns when the device answers nonsense.
const EIO: i32 = 5;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The device cannot be used: `EIO`.
    InputOutput,
    /// Every answer takes this long. A real driver waits for two minutes at most.
    Slow(Duration),
    /// Every answer is these bytes.
    Garbage(Vec<u8>),
    /// Every answer ends after so many bytes.
    Cut(usize),
    /// Every request is refused.
    Refusal(ErrorCode),
    /// One bit of this PCR is reported wrongly, when it is described or extended.
    WrongPcr(u16),
    /// This PCR is said to be open, whatever it is.
    OpenPcr(u16),
    /// Locks are acknowledged and not applied.
    NoLock,
    /// Random bytes are zeros.
    ZeroRandom,
}

/// Spoils the answers of another module.
#[derive(Debug)]
pub struct FaultyModule<M> {
    inner: M,
    fault: Mutex<Fault>,
}

impl<M: SecurityModule> FaultyModule<M> {
    /// In front of `inner`.
    pub fn new(inner: M, fault: Fault) -> Self {
        let fault = Mutex::new(fault);
        Self { inner, fault }
    }

    /// From now on, another fault.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Changes an answer that is not a refusal.
    fn changed(&self, request: &[u8], change: impl FnOnce(&mut Response)) -> io::Result<Vec<u8>> {
        let answer = self.inner.exchange(request)?;
        Ok(match Response::decode(&answer) {
            Ok(mut response) => {
                change(&mut response);
                write_answer(&Ok(response))
            }
            Err(_) => answer,
        })
    }

    /// Changes the answer if the request is about this PCR.
    fn about(&self, request: &[u8], pcr: u16, change: fn(&mut Response)) -> io::Result<Vec<u8>> {
        match read_request(request) {
            Ok(Request::DescribePcr { index } | Request::ExtendPcr { index, .. }) if index == pcr => {
                self.changed(request, change)
            }
            _ => self.inner.exchange(request),
        }
    }
}

impl<M: SecurityModule> SecurityModule for FaultyModule<M> {
    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match fault {
            Fault::None => self.inner.exchange(request),
            Fault::InputOutput => Err(io::Error::from_raw_os_error(EIO)),
            Fault::Slow(time) => {
                std::thread::sleep(time);
                self.inner.exchange(request)
            }
            Fault::Garbage(bytes) => Ok(bytes),
            Fault::Cut(length) => {
                let mut answer = self.inner.exchange(request)?;
                answer.truncate(length);
                Ok(answer)
            }
            Fault::Refusal(code) => Ok(write_answer(&Err(code))),
            Fault::WrongPcr(index) => self.about(request, index, |response| {
                if let Response::DescribePcr(super::Pcr { value, .. }) | Response::ExtendPcr(value) = response
                    && let Some(last) = value.last_mut()
                {
                    *last ^= 1;
                }
            }),
            Fault::OpenPcr(index) => self.about(request, index, |response| {
                if let Response::DescribePcr(pcr) = response {
                    pcr.locked = false;
                }
            }),
            Fault::NoLock => match read_request(request) {
                Ok(Request::LockPcr { .. }) => Ok(write_answer(&Ok(Response::LockPcr))),
                Ok(Request::LockPcrs { .. }) => Ok(write_answer(&Ok(Response::LockPcrs))),
                _ => self.inner.exchange(request),
            },
            Fault::ZeroRandom => self.changed(request, |response| {
                if let Response::GetRandom(random) = response {
                    random.fill(0);
                }
            }),
        }
    }
}

#[cfg(test)]
#[path = "faulty_tests.rs"]
mod tests;
