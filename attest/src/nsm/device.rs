//! The one ioctl of the driver (`include/uapi/linux/nsm.h`).
#![expect(unsafe_code, reason = "ioctl(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Largest request and answer of the driver, bytes. A longer answer would be cut without a word.
const MAX_REQUEST: usize = 0x1000;
const MAX_RESPONSE: usize = 0x3000;

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
pub(super) fn call(device: &OwnedFd, request: &[u8]) -> io::Result<Vec<u8>> {
    if request.len() > MAX_REQUEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the request is longer than 4096 bytes",
        ));
    }
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
