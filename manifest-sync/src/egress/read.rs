//! `spec.egress` of an EnclavePolicy, in the words of Cilium's network policies.

use std::collections::BTreeSet;

use super::{EgressPolicy, EgressRule, NameSelector, Network, PROXY_PORT, RESOLVER_PORT};
use crate::decode::Node;
use crate::plan::{Plan, Protocol};

/// Rules at most; the whole policy travels in one packet inside of the enclave.
const MAX_RULES: usize = 64;
/// Names, or networks, of one rule.
const MAX_DESTINATIONS: usize = 128;
/// Names and networks of all rules together.
const MAX_ALL: usize = 512;
/// Ports of all rules together: each is a listener for each name.
const MAX_PORTS: usize = 64;

/// Fields of Cilium's that mean something which an enclave cannot do, or not yet.
const UNSUPPORTED: [&str; 8] = [
    "toEndpoints",
    "toEntities",
    "toServices",
    "toCIDRSet",
    "toGroups",
    "toNodes",
    "toRequires",
    "icmps",
];

/// Reads `egress`, a list of rules.
pub(crate) fn read(node: &Node<'_>) -> EgressPolicy {
    let rules: Vec<EgressRule> = node.list(MAX_RULES).iter().map(rule).collect();
    let destinations: usize = rules
        .iter()
        .map(|rule| rule.names.len() + rule.networks.len())
        .sum();
    let policy = EgressPolicy { rules };
    if destinations > MAX_ALL {
        node.error(format!(
            "has {destinations} names and networks; at most {MAX_ALL} are accepted"
        ));
    }
    if policy.ports().len() > MAX_PORTS {
        node.error(format!(
            "has {} different ports; at most {MAX_PORTS} are accepted",
            policy.ports().len()
        ));
    }
    policy
}

fn rule(node: &Node<'_>) -> EgressRule {
    node.fields(&["toFQDNs", "toCIDR", "toPorts"], &[], &UNSUPPORTED);
    let names: Vec<_> = node
        .list_of("toFQDNs", MAX_DESTINATIONS)
        .iter()
        .filter_map(selector)
        .collect();
    let networks: Vec<_> = node
        .list_of("toCIDR", MAX_DESTINATIONS)
        .iter()
        .filter_map(network)
        .collect();
    match (node.get("toFQDNs").is_some(), node.get("toCIDR").is_some()) {
        (false, false) => node.error("needs toFQDNs or toCIDR: what may be reached"),
        (true, true) => node.error("has toFQDNs and toCIDR: make it two rules, as Cilium does"),
        _ => {}
    }
    EgressRule {
        names,
        networks,
        ports: ports(node),
    }
}

fn selector(node: &Node<'_>) -> Option<NameSelector> {
    node.fields(&["matchName", "matchPattern"], &[], &[]);
    match (node.text_of("matchName"), node.text_of("matchPattern")) {
        (Some(name), None) => {
            let selector = NameSelector::name(&name);
            if selector.is_none() {
                node.error_at(
                    "matchName",
                    format!(
                        "`{name}` is not a DNS name; patterns go into matchPattern, addresses into toCIDR"
                    ),
                );
            }
            selector
        }
        (None, Some(pattern)) => {
            let selector = NameSelector::pattern(&pattern);
            if selector.is_none() {
                node.error_at(
                    "matchPattern",
                    format!(
                        "`{pattern}` is not a pattern of DNS names: `*` stands for characters of one label, `**.` at \
                         the beginning for several labels"
                    ),
                );
            }
            selector
        }
        _ => {
            node.error("needs one of matchName and matchPattern");
            None
        }
    }
}

fn network(node: &Node<'_>) -> Option<Network> {
    match node.text()?.parse::<Network>() {
        Ok(network) if network.is_loopback() => {
            node.error("is the Pod itself, which needs no rule");
            None
        }
        Ok(network) => Some(network),
        Err(message) => {
            node.error(message);
            None
        }
    }
}

fn ports(node: &Node<'_>) -> BTreeSet<u16> {
    let Some(list) = node.get("toPorts") else {
        node.error_at(
            "toPorts",
            "is required: an enclave listens for each port that may be reached",
        );
        return BTreeSet::new();
    };
    let mut all = BTreeSet::new();
    for entry in list.list(MAX_PORTS) {
        entry.fields(
            &["ports"],
            &[],
            &[
                "rules",
                "serverNames",
                "terminatingTLS",
                "originatingTLS",
                "listener",
            ],
        );
        let ports = entry.list_of("ports", MAX_PORTS);
        if ports.is_empty() {
            entry.error_at("ports", "needs at least one port");
        }
        all.extend(ports.iter().filter_map(port));
    }
    all
}

fn port(node: &Node<'_>) -> Option<u16> {
    node.fields(&["port", "protocol"], &[], &["endPort"]);
    if let Some(protocol) = node.text_of("protocol")
        && !matches!(protocol.as_str(), "TCP" | "ANY")
    {
        node.error_at(
            "protocol",
            "must be TCP (or ANY, which means TCP here): nothing else leaves an enclave",
        );
    }
    let field = node.get("port");
    // A text, as Cilium writes it; a number says the same.
    let number = match &field {
        Some(field) => field
            .value
            .as_u64()
            .or_else(|| field.value.as_str()?.parse().ok()),
        None => None,
    };
    let port = number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port > 0);
    if port.is_none() {
        node.error_at("port", "must be a number from 1 to 65535");
    }
    port
}

/// A port cannot be both the Pod's and the other side's: both are listeners on the one loopback of the enclave.
pub(crate) fn check_ports(pod: &Node<'_>, plan: &Plan) {
    let Some(egress) = &plan.egress else { return };
    let mut taken = egress.ports();
    taken.extend([RESOLVER_PORT, PROXY_PORT]);
    for container in plan.all_containers() {
        for port in &container.ports {
            let number = port.container_port;
            let clashes = match port.protocol {
                Protocol::Tcp => taken.contains(&number),
                Protocol::Udp => number == RESOLVER_PORT,
            };
            if clashes {
                pod.error_at(
                    "spec",
                    format!(
                        "containerPort {number} of container {} is needed for spec.egress of the EnclavePolicy: all of an \
                         enclave has one loopback interface. Let the container listen on another port, and name {number} \
                         as its hostPort",
                        container.name
                    ),
                );
            }
        }
    }
}
