//! What PID 1 has told `net`.

use manifest_sync::protocol::session::Sessions;

use super::message::PodPorts;

/// Nothing is allowed before it was said.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) sessions: Option<Sessions>,
    pub(super) ports: PodPorts,
}

impl Rules {
    /// Whether a stream presents the key of the session.
    pub(super) fn is_ours(&self, key: Option<&str>) -> bool {
        let sessions = self.sessions.as_ref();
        key.is_some_and(|key| sessions.is_some_and(|sessions| sessions.is_key(key)))
    }
}
