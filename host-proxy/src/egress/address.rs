//! Addresses that egress keeps away from: this machine's own, and those that belong to its platform. A name that leads to one
//! of them is as good as a host that lets the Pod at its metadata service (SSRF), so what counts is the address that is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether egress must not go there unless it was told to.
pub(super) fn is_kept(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_kept_v4(address) || is_own(IpAddr::V4(address)),
        IpAddr::V6(address) => is_kept_v6(address) || is_own(IpAddr::V6(address)),
    }
}

fn is_kept_v4(address: Ipv4Addr) -> bool {
    // Azure's, Alibaba's and Oracle's metadata and agents; everybody else's are link-local.
    const PLATFORM: [Ipv4Addr; 3] = [
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    // 0/8 is this machine (RFC 1122, section 3.2.1.3), 240/4 nobody's, and its last address the broadcast.
    address.octets()[0] == 0
        || address.octets()[0] >= 240
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || PLATFORM.contains(&address)
}

fn is_kept_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_kept_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Unspecified, loopback, and IPv4 in the form that nobody uses any more.
        [0, 0, 0, 0, 0, 0, _, _] => true,
        // EC2's metadata, time and DNS (fd00:ec2::254 and its neighbours).
        [0xfd00, 0x0ec2, ..] => true,
        // IPv4 through NAT64 (RFC 6052) and 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        _ => address.is_unicast_link_local() || address.is_multicast(),
    }
}

/// Whether the address is one of this machine's interfaces: what listens there does so for others. The kernel chooses the address
/// itself as the source of a packet to it; connecting a UDP socket sends none (udp(7)).
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let source = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_its_platform_are_kept_away_from() {
        for kept in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.170.23",
            "168.63.129.16",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
        ] {
            assert!(is_kept(kept.parse().expect("an address")), "{kept}");
        }
        for free in [
            "192.0.2.1",
            "10.255.255.254",
            "198.51.100.7",
            "2001:db8::1",
            "fd12:3456::1",
            "64:ff9b::c000:201",
            "::ffff:192.0.2.1",
        ] {
            assert!(!is_kept(free.parse().expect("an address")), "{free}");
        }
    }
}
