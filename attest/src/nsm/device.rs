//! The platform's module: `/dev/nsm` and the one ioctl of its driver (`include/uapi/linux/nsm.h`).
#![expect(unsafe_code, reason = "ioctl(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use super::{MAX_REQUEST, MAX_RESPONSE, SecurityModule};

/// The open device. Whoever has it can have documents made, so it is never passed on to a container.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// As open(2).
    pub fn open_at(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        Ok(Self(file.into()))
    }
}

impl From<OwnedFd> for Device {
    fn from(device: OwnedFd) -> Self {
        Self(device)
    }
}

impl SecurityModule for Device {
    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        call(&self.0, request)
    }
}

/// `struct nsm_iovec`.
#[repr(C)]
struct NsmIovec {
    address: u64,
    length: u64,
}

/// `struct nsm_raw`.
#[repr(C)]
struct NsmRaw {
    request: NsmIovec,
    response: NsmIovec,
}

nix::ioctl_readwrite!(nsm_raw, 0x0a, 0, NsmRaw);

/// Sends a request and returns the answer. The driver takes one at a time, and waits up to 120 s for the device.
fn call(device: &OwnedFd, request: &[u8]) -> io::Result<Vec<u8>> {
    debug_assert!(
        request.len() <= MAX_REQUEST,
        "checked by the caller; the driver says EMSGSIZE"
    );
    let mut response = vec![0; MAX_RESPONSE];
    let mut message = NsmRaw {
        request: NsmIovec {
            address: request.as_ptr() as u64,
            length: request.len() as u64,
        },
        response: NsmIovec {
            address: response.as_mut_ptr() as u64,
            length: response.len() as u64,
        },
    };
    // SAFETY: both buffers outlive the call, and the kernel reads and writes no more than their lengths.
    unsafe { nsm_raw(device.as_raw_fd(), &raw mut message) }?;
    let length = usize::try_from(message.response.length).unwrap_or(usize::MAX);
    if length > response.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the answer is longer than its buffer",
        ));
    }
    response.truncate(length);
    Ok(response)
}
