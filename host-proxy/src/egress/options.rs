//! What host-proxy was told about egress.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use manifest_sync::egress::{NameSelector, Network, is_name, normalize};
use manifest_sync::link::{EgressHost, EgressTarget};

use super::address;

/// The options of `up` and `serve`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EgressOptions {
    /// `--egress-allow`: the second wall. Empty: what the enclave's policy allows.
    pub allow: Vec<Allow>,
    /// `--egress-local`: addresses of this machine, or of its platform, that may be reached all the same.
    pub local: Vec<Network>,
    /// `--resolve`.
    pub resolve: Vec<Resolve>,
}

/// One `--egress-allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// `none`: nothing, as far as no other allows it.
    Nothing,
    /// `NAME`, `PATTERN`, each with `:PORT` if not every port.
    Name(NameSelector, Option<u16>),
    /// `NETWORK` or `[NETWORK]:PORT`.
    Network(Network, Option<u16>),
}

/// One `--resolve NAME:PORT:ADDRESS`, as curl has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    name: String,
    port: u16,
    address: IpAddr,
}

impl EgressOptions {
    /// Whether the list has a target.
    pub(super) fn allows(&self, target: &EgressTarget) -> bool {
        let port_fits = |port: &Option<u16>| port.is_none_or(|port| port == target.port);
        let has = |allow: &Allow| match (allow, &target.host) {
            (Allow::Name(selector, port), EgressHost::Name(name)) => {
                selector.matches(name) && port_fits(port)
            }
            (Allow::Network(network, port), EgressHost::Address(address)) => {
                network.contains(*address) && port_fits(port)
            }
            _ => false,
        };
        self.allow.is_empty() || self.allow.iter().any(has)
    }

    /// Whether an address may be dialled.
    pub(super) fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.local.iter().any(|network| network.contains(address)) || !address::is_kept(address)
    }

    /// The addresses that were given for a name and port.
    pub(super) fn resolved(&self, name: &str, port: u16) -> impl Iterator<Item = IpAddr> {
        let given = self.resolve.iter();
        given
            .filter(move |one| one.port == port && one.name == name)
            .map(|one| one.address)
    }
}

impl FromStr for Allow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Nothing);
        }
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network, None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                let number = port.parse().ok().filter(|port| *port > 0);
                let wrong = || format!("`{port}` is not a port");
                (host, Some(number.ok_or_else(wrong)?))
            }
            None => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(network) = bare.unwrap_or(host).parse() {
            return Ok(Self::Network(network, port));
        }
        let selector = if host.contains('*') {
            NameSelector::pattern(host)
        } else {
            NameSelector::name(host)
        };
        let wrong = || {
            format!(
                "`{text}` is not NAME[:PORT], PATTERN[:PORT], NETWORK or [NETWORK]:PORT, for instance *.example.com:443"
            )
        };
        selector
            .map(|selector| Self::Name(selector, port))
            .ok_or_else(wrong)
    }
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not NAME:PORT:ADDRESS, for instance api.example.com:443:192.0.2.1");
        let mut parts = text.splitn(3, ':');
        let (Some(name), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let name = normalize(name);
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address: IpAddr = bare.unwrap_or(address).parse().map_err(|_| wrong())?;
        match port.parse() {
            Ok(port) if port > 0 && is_name(&name) => Ok(Self { name, port, address }),
            _ => Err(wrong()),
        }
    }
}

/// An address for `--egress-local` is a network of one.
pub(crate) fn local(text: &str) -> Result<Network, String> {
    match text.parse::<SocketAddr>() {
        Ok(_) => Err(format!("`{text}` has a port; it is for all ports")),
        Err(_) => text.parse(),
    }
}
