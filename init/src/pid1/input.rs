//! What the loop hears from its sources, in two classes: facts about processes come before wishes of the host, so
//! that a stop never races a death.

use std::os::fd::OwnedFd;

use manifest_sync::exec::Request;
use manifest_sync::link::{Stream, StreamHeader};
use manifest_sync::protocol::enclave;

use crate::attestation::message::FromAttest;
use crate::net::message::FromNet;
use cloister_init::supervisor::event::Pid;

/// One thing that reached the loop.
pub(crate) enum Input {
    /// SIGCHLD: somebody can be reaped.
    Child,
    /// SIGTERM: stop the Pod.
    Terminate,
    /// The child's report pipe has something to say: an error, or its end at `exec`.
    Report(Pid),
    /// A base service wrote to its notify descriptor.
    ServiceReady(Pid),
    /// The `net` service spoke.
    Net(FromNet),
    /// The Pod's sandbox cannot be made, still: why.
    SandboxFailed(String),
    /// A command in a container, by its number, has taken too long.
    CommandLate(u64),
    /// A hook that sleeps, by its number, has slept.
    Slept(u64),
    /// The unpack worker has said something, or is gone.
    Worker(Pid),
    /// The `attest` service spoke, with a descriptor if it sent one.
    Attest(FromAttest, Option<OwnedFd>),
    /// The time for a deadline of the loop or the supervisor has come.
    Tick,
    /// Somebody connected to the control port and sent a well-formed header.
    Connection(StreamHeader, Stream),
    /// Somebody connected and sent nonsense, or nothing in time.
    ConnectionRefused,
    /// A controller, or someone who wants to be one, spoke.
    Control(ConnectionId, enclave::Input),
    /// The stream of a blob is open and answered.
    Blob {
        /// As in `NeedBlob`.
        request: u64,
        /// Size as the host says.
        size: u64,
        /// The blob's bytes.
        stream: Stream,
    },
    /// The host has connected us with the secret service.
    Broker {
        /// As in `NeedBroker`.
        request: u64,
        /// The connection, answered.
        stream: Stream,
    },
    /// Its connection is gone.
    ControlClosed(ConnectionId),
    /// The host wants a command executed, on the exec stream of this number.
    Exec(u64, Request),
    /// That stream has ended.
    ExecClosed(u64),
    /// A log stream has ended.
    LogStreamEnded,
}

/// Names a control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);
