//! What a Pod may reach outside: the `egress` part of an EnclavePolicy, its names and networks, and whether one of them
//! covers a destination. Pure; the enclave enforces it, and host-proxy uses the same matching for its own list.

mod network;
mod read;
mod selector;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::network::Network;
pub(crate) use self::read::{check_ports, read};
pub use self::selector::{NameSelector, is_name, normalize};

/// Where the resolver of an enclave with an egress policy listens, UDP and TCP port 53. Not 127.0.0.1, where a container may
/// have a resolver of its own.
pub const RESOLVER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 53);
/// Port of the resolver.
pub const RESOLVER_PORT: u16 = 53;
/// Port, at the resolver's address, for programs that want an HTTP proxy.
pub const PROXY_PORT: u16 = 3128;

/// What a Pod may reach. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EgressPolicy {
    /// A destination is allowed when one of them covers it.
    pub rules: Vec<EgressRule>,
}

/// One entry of `egress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EgressRule {
    /// `toFQDNs`.
    pub names: Vec<NameSelector>,
    /// `toCIDR`.
    pub networks: Vec<Network>,
    /// `toPorts`: TCP ports, at least one.
    pub ports: BTreeSet<u16>,
}

impl EgressPolicy {
    /// The ports at which a name may be reached; empty: it may not. `name` is [`normalize`]d.
    pub fn ports_of_name(&self, name: &str) -> BTreeSet<u16> {
        let covers = |rule: &&EgressRule| rule.names.iter().any(|selector| selector.matches(name));
        self.rules
            .iter()
            .filter(covers)
            .flat_map(|rule| &rule.ports)
            .copied()
            .collect()
    }

    /// Whether a name may be reached at a port.
    pub fn allows_name(&self, name: &str, port: u16) -> bool {
        self.ports_of_name(name).contains(&port)
    }

    /// Whether an address may be reached at a port, as an address.
    pub fn allows_address(&self, address: IpAddr, port: u16) -> bool {
        let covers = |rule: &EgressRule| {
            rule.ports.contains(&port) && rule.networks.iter().any(|network| network.contains(address))
        };
        self.rules.iter().any(covers)
    }

    /// Names without a pattern: they are known before anybody asks for them.
    pub fn fixed_names(&self) -> BTreeSet<&str> {
        let selectors = self.rules.iter().flat_map(|rule| &rule.names);
        selectors
            .filter_map(|selector| match selector {
                NameSelector::Name(name) => Some(name.as_str()),
                NameSelector::Pattern(_) => None,
            })
            .collect()
    }

    /// Networks that may be reached.
    pub fn networks(&self) -> BTreeSet<Network> {
        self.rules
            .iter()
            .flat_map(|rule| &rule.networks)
            .copied()
            .collect()
    }

    /// Ports at which networks may be reached.
    pub fn network_ports(&self) -> BTreeSet<u16> {
        let with_networks = self.rules.iter().filter(|rule| !rule.networks.is_empty());
        with_networks.flat_map(|rule| &rule.ports).copied().collect()
    }

    /// All ports of all rules.
    pub fn ports(&self) -> BTreeSet<u16> {
        self.rules.iter().flat_map(|rule| &rule.ports).copied().collect()
    }
}

#[cfg(test)]
mod tests;
