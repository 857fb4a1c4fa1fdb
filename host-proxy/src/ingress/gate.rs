//! When clients are let in. Others are reset, as from a port where nobody listens; what is open stays open. The port
//! itself stays ours all the time.

use crate::view::{Link, Snapshot};

/// When connections to the Pod's ports are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// While the Pod's Ready condition is True and it was not asked to stop.
    #[default]
    Ready,
    /// While the enclave is connected: for a Pod's own address, Kubernetes does not ask for more.
    Connected,
}

impl When {
    /// Whether clients are let in.
    pub(super) fn lets_in(self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Ready => !snapshot.stopping && snapshot.ready().is_ok(),
            Self::Connected => snapshot.session.is_some() && snapshot.link != Link::Finished,
        }
    }
}
