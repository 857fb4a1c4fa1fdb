//! What PID 1 tells `net`, one JSON object per packet.

use serde::{Deserialize, Serialize};

/// PID 1 → `net`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToNet {
    /// The session key that every stream must present.
    Session {
        /// Hexadecimal.
        key: String,
    },
    /// The TCP ports that the Pod declares; empty: there is no Pod.
    Pod {
        /// `containerPort`s.
        ports: Vec<u16>,
    },
}
