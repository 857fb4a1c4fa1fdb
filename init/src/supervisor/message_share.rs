//! Termination messages of one Pod share a fixed number of bytes (K-335).

use manifest_sync::status::{ContainerState, ContainerStatus};

/// For all containers of a Pod together.
const ALL_BYTES: usize = 12_288;

/// Cuts every message to its container's share.
pub(super) fn cut<'a>(statuses: impl Iterator<Item = &'a mut ContainerStatus>, containers: usize) {
    let share = ALL_BYTES / containers.max(1);
    for status in statuses {
        let states = std::iter::once(&mut status.state).chain(&mut status.last_state);
        for state in states {
            if let ContainerState::Terminated {
                message: Some(message),
                ..
            } = state
            {
                // JSON has no half characters.
                message.truncate(message.floor_char_boundary(share));
            }
        }
    }
}
