//! The PROXY protocol, version 2 (haproxy's proxy-protocol.txt): what a connection begins with so that its server knows
//! the client. The address is what the host says it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
/// Version 2, command LOCAL: no client is known.
const VERSION_AND_LOCAL: u8 = 0x20;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header of a connection from `client` to `port` of the Pod.
pub(super) fn header(client: Option<SocketAddr>, port: u16) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(client) = client else {
        header.extend([VERSION_AND_LOCAL, 0, 0, 0]);
        return header;
    };
    let (family, addresses) = match client.ip().to_canonical() {
        IpAddr::V4(ip) => (
            TCP_OVER_IPV4,
            [ip.octets(), Ipv4Addr::LOCALHOST.octets()].concat(),
        ),
        IpAddr::V6(ip) => (
            TCP_OVER_IPV6,
            [ip.octets(), Ipv6Addr::LOCALHOST.octets()].concat(),
        ),
    };
    let ports = [client.port().to_be_bytes(), port.to_be_bytes()].concat();
    header.extend([VERSION_AND_COMMAND, family, 0]);
    // 12 or 36 bytes.
    header.push(u8::try_from(addresses.len() + ports.len()).unwrap_or(u8::MAX));
    header.extend(addresses);
    header.extend(ports);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(client: &str) -> Vec<u8> {
        let header = header(Some(client.parse().expect("an address")), 8080);
        assert_eq!(header[..12], SIGNATURE);
        header[12..].to_vec()
    }

    #[test]
    fn ipv4() {
        let ports = [0x9c, 0x40, 0x1f, 0x90];
        let expected = [&[0x21, 0x11, 0, 12, 192, 0, 2, 7, 127, 0, 0, 1][..], &ports].concat();
        assert_eq!(of("192.0.2.7:40000"), expected);
        assert_eq!(of("[::ffff:192.0.2.7]:40000"), expected);
    }

    #[test]
    fn ipv6() {
        let header = of("[2001:db8::1]:40000");
        assert_eq!(header[..4], [0x21, 0x21, 0, 36]);
        assert_eq!(header.len(), 4 + 36);
        assert_eq!(header[4..8], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(header[36..], [0x9c, 0x40, 0x1f, 0x90]);
    }

    #[test]
    fn nobody() {
        assert_eq!(header(None, 8080)[12..], [0x20, 0, 0, 0]);
    }
}
