//! The `unpack` applet: makes one image available in the layer store, then exits. Parses archives, so it holds nothing
//! but its socket (fd 3) and the store, and only the capabilities that file owners, modes and attributes need
//! (`CAP_SYS_ADMIN` for `trusted.` attributes, with [`message::Owners::Keep`] only).

pub(crate) mod message;

use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::ExitCode;

use caps::{CapSet, Capability, CapsHashSet};
use manifest_sync::digest::Digest;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use rootfs::BlobSource;

use self::message::{FromWorker, Image, Owners, ToWorker};

/// Largest packet, bytes.
const PACKET: usize = 64 << 10;

/// Runs the applet. Exit code 0 after `Ready`, 1 after `Failed` or when PID 1 is gone.
pub(crate) fn main() -> ExitCode {
    let Some(socket) = crate::sys::fd::inherited(3) else { return ExitCode::FAILURE };
    let mut link = Link(socket);
    let (answer, code) = match work(&mut link) {
        Ok(image) => (FromWorker::Ready(image), ExitCode::SUCCESS),
        Err(message) => {
            (FromWorker::Failed { message: message.chars().take(256).collect() }, ExitCode::FAILURE)
        }
    };
    if link.send(&answer).is_err() { ExitCode::FAILURE } else { code }
}
