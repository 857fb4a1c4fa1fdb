//! The kernel's tables of sockets (proc_net(5)): which socket is at the other end of a connection on loopback.

use std::net::{IpAddr, SocketAddr};

/// The two that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// A connection's client.
    Tcp,
    /// A datagram's sender.
    Udp,
}

/// Whoever speaks to us, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// How.
    pub(super) transport: Transport,
    /// Its address.
    pub(super) peer: SocketAddr,
    /// Ours.
    pub(super) ours: SocketAddr,
}

impl Client {
    /// The one at the other end of a connection.
    pub(super) fn of(stream: &tokio::net::TcpStream) -> std::io::Result<Self> {
        Ok(Self {
            transport: Transport::Tcp,
            peer: stream.peer_addr()?,
            ours: stream.local_addr()?,
        })
    }
}

/// Most bytes of a table that are read: some ten thousand sockets.
const MAX_TABLE: u64 = 2 << 20;

/// The inode of the client's socket.
pub(super) fn find(client: Client) -> Option<u64> {
    let Client {
        transport,
        peer,
        ours,
    } = client;
    let names = match transport {
        Transport::Tcp => ["tcp", "tcp6"],
        Transport::Udp => ["udp", "udp6"],
    };
    names.iter().find_map(|name| {
        use std::io::Read as _;
        let mut table = String::new();
        let file = std::fs::File::open(format!("/proc/net/{name}")).ok()?;
        file.take(MAX_TABLE).read_to_string(&mut table).ok()?;
        search(&table, transport, peer, ours)
    })
}

fn search(table: &str, transport: Transport, peer: SocketAddr, ours: SocketAddr) -> Option<u64> {
    let is = |field: &str, wanted: SocketAddr| same(field, wanted, false);
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (local, remote) = (fields.nth(1)?, fields.next()?);
        let found = match transport {
            Transport::Tcp => is(local, peer) && is(remote, ours),
            // A sender that has not said where it sends has no address of its own.
            Transport::Udp => same(local, peer, true),
        };
        let inode = fields.nth(6)?;
        // 0: the process has closed it.
        found
            .then(|| inode.parse().ok())
            .flatten()
            .filter(|inode| *inode > 0)
    })
}

/// Whether a field `ADDRESS:PORT`, hexadecimal, is this address; IPv4 addresses may be written as IPv6 ones.
fn same(field: &str, wanted: SocketAddr, or_any: bool) -> bool {
    let Some((address, port)) = field.split_once(':') else {
        return false;
    };
    if u16::from_str_radix(port, 16).ok() != Some(wanted.port()) {
        return false;
    }
    let words = |octets: &[u8]| -> String {
        octets
            .chunks(4)
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap_or_default())))
            .collect()
    };
    let any = or_any && address.bytes().all(|digit| digit == b'0');
    any || match wanted.ip() {
        IpAddr::V4(ip) => address == words(&ip.octets()) || address == words(&ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => address == words(&ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 111 1 0
   1: 0100007F:9C40 0100807F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0
   2: 0100807F:01BB 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 65532        0 333 1 0
   3: 0100007F:9C41 0100807F:01BB 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:9C42 0000000000000000FFFF00000100807F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 444 1 0
";
    const UDP: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  10: 0100007F:AAAA 3500007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 555 2 0 0
  11: 00000000:BBBB 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 666 2 0 0
";

    #[test]
    fn the_client_is_found_and_not_our_own_end() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let ours = at("127.128.0.1:443");
        let tcp = |table, peer| search(table, Transport::Tcp, at(peer), ours);
        assert_eq!(tcp(TCP, "127.0.0.1:40000"), Some(222));
        assert_eq!(tcp(TCP, "127.0.0.1:40001"), None, "closed");
        assert_eq!(tcp(TCP, "127.0.0.1:40002"), None);
        assert_eq!(tcp(TCP6, "127.0.0.1:40002"), Some(444), "an IPv6 socket");
        let udp = |peer| search(UDP, Transport::Udp, at(peer), at("127.0.0.53:53"));
        assert_eq!(udp("127.0.0.1:43690"), Some(555));
        assert_eq!(udp("127.0.0.1:48059"), Some(666), "not connected");
        assert_eq!(udp("127.0.0.1:1"), None);
        assert_eq!(search("", Transport::Tcp, ours, ours), None);
    }
}
