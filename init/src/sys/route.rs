//! Routes: networks outside that arrive here. One rtnetlink(7) message instead of a netlink library.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use manifest_sync::egress::Network;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Length of `nlmsghdr`, of `rtmsg`, and of the head of an attribute.
const HEADER: usize = 16;
const ROUTE: usize = 12;
const ATTRIBUTE: usize = 4;

/// Makes every address of a network local (`ip route add local NETWORK dev lo`): a listener at all addresses gets connections
/// to it, and sees where they were meant to go. Needs nothing of the kernel beyond IP itself. One that is there already is
/// no error.
pub(crate) fn add_local(network: Network) -> io::Result<()> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let lo = nix::net::if_::if_nametoindex("lo")?;
    send(netlink.as_raw_fd(), &message(network, lo), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let count = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // NLMSG_ERROR with a negated errno; 0 is the acknowledgement (netlink(7)).
    let code = answer
        .get(..count)
        .and_then(|answer| answer.get(HEADER..HEADER + 4))
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) if -code == libc::EEXIST => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// `RTM_NEWROUTE`.
fn message(network: Network, interface: u32) -> Vec<u8> {
    let (family, address) = match network.address() {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let length = HEADER + ROUTE + ATTRIBUTE + address.len() + ATTRIBUTE + 4;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut bytes = Vec::with_capacity(length);
    let word = |number: usize| u32::try_from(number).unwrap_or(0).to_ne_bytes();
    let half = |number: i32| u16::try_from(number).unwrap_or(0).to_ne_bytes();
    bytes.extend_from_slice(&word(length));
    bytes.extend_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
    bytes.extend_from_slice(&half(flags));
    // Sequence and port.
    bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    let byte = |number: i32| u8::try_from(number).unwrap_or(0);
    bytes.extend_from_slice(&[
        byte(family),
        network.prefix(),
        0,
        0,
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_HOST,
        libc::RTN_LOCAL,
        0,
        0,
        0,
        0,
    ]);
    for (kind, data) in [
        (libc::RTA_DST, address.as_slice()),
        (libc::RTA_OIF, &interface.to_ne_bytes()),
    ] {
        bytes.extend_from_slice(&u16::try_from(ATTRIBUTE + data.len()).unwrap_or(0).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_as_long_as_it_says() {
        for text in ["10.0.0.0/8", "2001:db8::/32"] {
            let bytes = message(text.parse().expect("a network"), 1);
            let said = u32::from_ne_bytes(bytes[..4].try_into().expect("four"));
            assert_eq!(bytes.len(), said as usize, "{text}");
            assert_eq!(bytes.len() % 4, 0, "attributes are aligned");
        }
    }
}
