//! What is counted of one port.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use manifest_sync::plan::Protocol;
use manifest_sync::relay::Direction;

use crate::cli::Publish;

/// Counts of one port at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortCounts {
    /// Port of the Pod.
    pub container: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it listens outside.
    pub listen: SocketAddr,
    /// Connections accepted, or clients whose datagrams began a conversation.
    pub connections: u64,
    /// Of these, not relayed because the enclave or the container refused.
    pub refused: u64,
    /// Open now.
    pub open: u64,
    /// Bytes from outside to the Pod.
    pub bytes_in: u64,
    /// Bytes from the Pod to the outside.
    pub bytes_out: u64,
    /// Datagrams that were not carried: the Pod was not ready, or too many came at once.
    pub dropped_datagrams: u64,
}

/// Counters of one port; shared by its connections.
pub(super) struct Port {
    pub(super) container: u16,
    protocol: Protocol,
    pub(super) listen: SocketAddr,
    pub(super) connections: AtomicU64,
    pub(super) refused: AtomicU64,
    open: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    pub(super) dropped_datagrams: AtomicU64,
}

impl Port {
    pub(super) fn new(publish: Publish, listen: SocketAddr) -> Self {
        Self {
            container: publish.container,
            protocol: publish.protocol,
            listen,
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            open: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            dropped_datagrams: AtomicU64::new(0),
        }
    }

    pub(super) fn counts(&self) -> PortCounts {
        PortCounts {
            container: self.container,
            protocol: self.protocol,
            listen: self.listen,
            connections: self.connections.load(Relaxed),
            refused: self.refused.load(Relaxed),
            open: self.open.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            dropped_datagrams: self.dropped_datagrams.load(Relaxed),
        }
    }

    pub(super) fn moved(&self, direction: Direction, bytes: u64) {
        let counter = match direction {
            Direction::ToLink => &self.bytes_in,
            Direction::FromLink => &self.bytes_out,
        };
        counter.fetch_add(bytes, Relaxed);
    }

    /// Counts one more as open until it is dropped.
    pub(super) fn open(&self) -> Open<'_> {
        self.open.fetch_add(1, Relaxed);
        Open(self)
    }
}

/// One that is open.
pub(super) struct Open<'a>(&'a Port);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
