//! What is said on an egress stream before its bytes. The host opens such streams ahead of need and the enclave keeps them;
//! for a connection it takes one, says where to, and hears one byte.

use std::net::IpAddr;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::egress::is_name;

/// Largest request: a name has 253 bytes.
const MAX_REQUEST_BYTES: usize = 512;

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressTarget {
    /// A name, or an address.
    pub host: EgressHost,
    /// TCP port, not 0.
    pub port: u16,
}

/// What a connection goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EgressHost {
    /// A name as [`crate::egress::normalize`] leaves it: the host looks it up.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for EgressHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for EgressTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What the host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EgressReply {
    /// What follows are the bytes of the connection.
    Connected = 0,
    /// The request makes no sense.
    Malformed = 1,
    /// host-proxy's own list does not have it.
    NotAllowed = 2,
    /// The name leads to an address that host-proxy keeps to itself, and to no other.
    Forbidden = 3,
    /// Nobody knows the name.
    NoSuchName = 4,
    /// Nobody listens there.
    ConnectionRefused = 5,
    /// There is no way to it.
    Unreachable = 6,
    /// No answer in time.
    Timeout = 7,
    /// Too many connections.
    Busy = 8,
}

impl EgressReply {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connected,
        Self::Malformed,
        Self::NotAllowed,
        Self::Forbidden,
        Self::NoSuchName,
        Self::ConnectionRefused,
        Self::Unreachable,
        Self::Timeout,
        Self::Busy,
    ];
}

impl fmt::Display for EgressReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Malformed => "the request makes no sense to host-proxy",
            Self::NotAllowed => "host-proxy's own list does not allow it",
            Self::Forbidden => "it leads to an address that host-proxy keeps to itself",
            Self::NoSuchName => "no such name",
            Self::ConnectionRefused => "connection refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "no answer in time",
            Self::Busy => "too many connections",
        })
    }
}

/// Says where to.
pub async fn write_target(stream: &mut (impl AsyncWrite + Unpin), target: &EgressTarget) -> io::Result<()> {
    stream
        .write_all(&crate::frame::encode(&serde_json::to_vec(target)?))
        .await
}

/// Reads where to. Waits for as long as nobody wants a connection.
pub async fn read_target(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<EgressTarget> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_REQUEST_BYTES {
        return Err(invalid(format!("an egress request of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    let target: EgressTarget = serde_json::from_slice(&bytes)?;
    let named = match &target.host {
        EgressHost::Name(name) => is_name(name),
        EgressHost::Address(_) => true,
    };
    if named && target.port > 0 {
        Ok(target)
    } else {
        Err(invalid("an egress request without a name or a port".to_owned()))
    }
}

/// Answers.
pub async fn write_egress_reply(
    stream: &mut (impl AsyncWrite + Unpin),
    reply: EgressReply,
) -> io::Result<()> {
    stream.write_all(&[reply as u8]).await
}

/// Reads the answer; an unknown one is an error.
pub async fn read_egress_reply(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<EgressReply> {
    let byte = stream.read_u8().await?;
    EgressReply::ALL
        .into_iter()
        .find(|reply| *reply as u8 == byte)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("unknown egress reply {byte}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_target_is_read_as_it_was_written_and_nothing_else_is() {
        let targets = [
            EgressHost::Name("api.example.com".into()),
            EgressHost::Address("10.1.2.3".parse().expect("one")),
            EgressHost::Address("2001:db8::1".parse().expect("one")),
        ];
        for host in targets {
            let target = EgressTarget { host, port: 443 };
            let mut bytes = Vec::new();
            write_target(&mut bytes, &target).await.expect("memory");
            assert_eq!(read_target(&mut bytes.as_slice()).await.expect("whole"), target);
            for cut in 0..bytes.len() {
                assert!(read_target(&mut &bytes[..cut]).await.is_err());
            }
        }
        for bad in [
            &br#"{"host":{"name":"127.0.0.1"},"port":1}"#[..],
            br#"{"host":{"name":"a\nb"},"port":1}"#,
            br#"{"host":{"name":"a.b"},"port":0}"#,
            br#"{"host":{"name":"a.b"},"port":1,"x":1}"#,
            br#"{"host":{"file":"/"},"port":1}"#,
            b"",
        ] {
            let bytes = crate::frame::encode(bad);
            assert!(read_target(&mut bytes.as_slice()).await.is_err(), "{bad:?}");
        }
        assert!(read_target(&mut &[0xff; 16][..]).await.is_err(), "too large");
    }
}
