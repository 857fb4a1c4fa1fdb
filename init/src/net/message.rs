//! What PID 1 and `net` tell each other, one JSON object per packet.

use std::collections::BTreeSet;

use manifest_sync::egress::EgressPolicy;
use manifest_sync::plan::{PortPlan, Protocol};
use serde::{Deserialize, Serialize};

/// PID 1 → `net`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToNet {
    /// The session key that every stream must present.
    Session {
        /// Hexadecimal.
        key: String,
    },
    /// The ports that the Pod declares; empty: there is no Pod.
    Pod {
        /// By kind.
        ports: PodPorts,
    },
    /// What the Pod may reach outside, from now on.
    Egress {
        /// The policy.
        policy: EgressPolicy,
        /// `dnsConfig.searches`, in small letters.
        searches: Vec<String>,
    },
    /// Answer to `EgressDenied`: the container has been looked for.
    EgressHeard {
        /// Of the denial.
        number: u64,
    },
    /// Ask the Pod; answered by `Probed`.
    Probe {
        /// Of this question.
        number: u64,
        /// What to ask.
        probe: NetProbe,
    },
    /// Nobody waits for this answer any more.
    Forget {
        /// Of the question.
        number: u64,
    },
}

/// The ports of a Pod, as `net` wants them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodPorts {
    /// `containerPort`s for connections.
    pub(crate) tcp: BTreeSet<u16>,
    /// Of these, where a connection begins with a PROXY protocol header.
    pub(crate) proxied: BTreeSet<u16>,
    /// `containerPort`s for datagrams.
    pub(crate) udp: BTreeSet<u16>,
}

impl<'a> FromIterator<&'a PortPlan> for PodPorts {
    fn from_iter<T: IntoIterator<Item = &'a PortPlan>>(ports: T) -> Self {
        let mut all = Self::default();
        for port in ports {
            let number = port.container_port;
            match port.protocol {
                Protocol::Tcp => all.tcp.insert(number),
                Protocol::Udp => all.udp.insert(number),
            };
            if port.proxy_protocol {
                all.proxied.insert(number);
            }
        }
        all
    }
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
        /// Whether through TLS.
        scheme: Scheme,
        /// The port.
        port: u16,
        /// Path and query, as they go onto the wire.
        path: String,
        /// Headers, in order.
        headers: Vec<(String, String)>,
        /// Milliseconds that the answer may take, redirects included.
        timeout_ms: u64,
        /// What it is for.
        purpose: Purpose,
    },
    /// What the gRPC health service says (K-265).
    Health {
        /// The port.
        port: u16,
        /// Of which service; empty: of the server.
        service: String,
        /// Milliseconds that the answer may take.
        timeout_ms: u64,
    },
}

/// How an HTTP request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scheme {
    /// In clear.
    Http,
    /// Through TLS, whatever the certificate says (K-261).
    Https,
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
    /// A container wanted something that it may not have, or that failed.
    EgressDenied {
        /// Of this denial; answered by `EgressHeard`.
        number: u64,
        /// What it was.
        kind: DeniedKind,
        /// Name or address, with a port where there is one.
        destination: String,
        /// Inode of the container's socket, when it was found.
        socket: Option<u64>,
        /// Denials since the last one that were not told.
        untold: u64,
    },
    /// Denials that were not told.
    EgressUntold {
        /// How many.
        count: u64,
    },
    /// Something is in the way of egress.
    EgressTrouble {
        /// In words.
        message: String,
    },
}

/// What was denied, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DeniedKind {
    /// A name that is not in the policy was looked up.
    Lookup,
    /// A connection to what is not in the policy.
    Connection,
    /// A TLS client on an allowed connection named another server.
    ServerName {
        /// Which.
        name: String,
    },
    /// host-proxy does not allow it.
    ByHost,
    /// It is allowed, and did not come about.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What came of a probe over the network. `said` is in our words, `output` in the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetAnswer {
    /// As wanted.
    Success {},
    /// As wanted, but an HTTPS hook had to be asked again without TLS (K-526).
    FellBack {
        /// Which port.
        port: u16,
    },
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
        said: String,
        /// In the container's; mostly nothing.
        output: String,
    },
}

impl NetAnswer {
    /// A failure of which the container says nothing.
    pub(crate) fn failure(said: String) -> Self {
        Self::Failure {
            said,
            output: String::new(),
        }
    }
}
