//! `spec.ingress` of an EnclavePolicy: what the enclave does with connections to the Pod's ports.
//!
//! ```yaml
//! ingress:
//!   - port: 8080
//!     proxyProtocol: V2
//! ```

use crate::decode::Node;
use crate::plan::{Plan, Protocol};

/// Reads the list in `spec` and marks the ports of the plan.
pub(crate) fn apply(spec: &Node<'_>, plan: &mut Plan) {
    let mut seen = Vec::new();
    for entry in spec.list_of("ingress", 256) {
        entry.fields(&["port", "proxyProtocol"], &[], &[]);
        let number = entry.get("port").and_then(|node| node.int(1, 65535));
        if entry.get("port").is_none() {
            entry.error_at("port", "is required");
        }
        let proxied = match entry.text_of("proxyProtocol").as_deref() {
            None => false,
            Some("V2") => true,
            Some(_) => {
                entry.error_at("proxyProtocol", "must be V2, or be left out");
                false
            }
        };
        let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else {
            continue;
        };
        if seen.contains(&number) {
            entry.error_at("port", format!("{number} appears twice"));
        }
        seen.push(number);
        let containers = plan.init_containers.iter_mut().chain(&mut plan.containers);
        let mut ports = containers
            .flat_map(|container| &mut container.ports)
            .filter(|port| port.container_port == number && port.protocol == Protocol::Tcp)
            .peekable();
        if ports.peek().is_none() {
            entry.error_at(
                "port",
                format!("no container of the Pod declares the TCP port {number}"),
            );
        }
        for port in ports {
            port.proxy_protocol = proxied;
        }
    }
}
