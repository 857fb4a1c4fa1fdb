//! What PID 1 and `net` tell each other, one JSON object per packet.

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
    /// Ask the Pod; answered by `Probed`.
    Probe {
        /// Of this question.
        number: u64,
        /// What to ask.
        probe: NetProbe,
    },
}

/// A probe over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetProbe {
    /// Whether a TCP port accepts.
    Connect {
        /// The port.
        port: u16,
        /// Milliseconds that the answer may take.
        timeout_ms: u64,
    },
    /// An HTTP request.
    Get {
        /// The port.
        port: u16,
        /// Path and query.
        path: String,
        /// Headers, in order.
        headers: Vec<(String, String)>,
        /// Milliseconds that the answer may take, redirects included.
        timeout_ms: u64,
        /// What it is for.
        purpose: Purpose,
    },
}

/// What an HTTP request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// The status matters.
    Probe,
    /// Any answer will do (K-225).
    Hook,
}

/// `net` → PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromNet {
    /// Answer to `Probe`.
    Probed {
        /// Of the question.
        number: u64,
        /// What came of it.
        answer: NetAnswer,
    },
}

/// What came of a probe over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetAnswer {
    /// As wanted.
    Success {},
    /// As wanted, with something that somebody should see.
    Warning {
        /// In our words.
        said: String,
        /// In the container's.
        output: String,
    },
    /// Not as wanted, or not in time.
    Failure {
        /// In our words.
        output: String,
    },
}
