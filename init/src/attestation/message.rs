//! What PID 1 and the `attest` service tell each other, one JSON object per packet, with a descriptor where it says so.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use attest::nsm::{Device, Nsm, RemoteModule};
use attest::release::{Application, Names};
use serde::{Deserialize, Serialize};

/// PID 1 → `attest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToAttest {
    /// The security module; PID 1 has no descriptor of it any more. With its descriptor.
    Module(ModuleKind),
    /// The bundle that has been measured: what every document says.
    Identity {
        /// Digest of the bundle.
        bundle: String,
        /// Its generation; 0 when it has none.
        generation: u64,
        /// Name of the application.
        application: Application,
        /// Head of the history of bundles.
        history: [u8; 32],
    },
    /// A container's socket, already listening. With its descriptor.
    Socket {
        /// Name of the container: whoever connects is this one.
        container: String,
    },
    /// Secrets are wanted. With a connection to the broker, which the host has made.
    Release {
        /// Names the answer.
        request: u64,
        /// Which secrets.
        secrets: Names,
        /// Ed25519 key that the broker's answer has to be signed with.
        broker_key: [u8; 32],
    },
}

/// What is behind the module's descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ModuleKind {
    /// `/dev/nsm`.
    Device,
    /// A connection to another process, which has one.
    Socket,
}

impl ModuleKind {
    /// What asks the module behind a descriptor.
    pub(crate) fn attach(self, descriptor: OwnedFd) -> io::Result<Nsm> {
        Ok(match self {
            Self::Device => Nsm::new(Device::from(descriptor)),
            Self::Socket => Nsm::new(RemoteModule::new(UnixStream::from(descriptor))?),
        })
    }
}

/// `attest` → PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromAttest {
    /// The secrets, as a sealed file in memory that holds the set ([`attest::release::encode_set`]). With its descriptor.
    Released {
        /// As asked for.
        request: u64,
    },
    /// There are none.
    Failed {
        /// As asked for.
        request: u64,
        /// Why, in words that are safe to publish.
        message: String,
    },
}
