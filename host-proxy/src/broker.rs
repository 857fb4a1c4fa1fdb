//! Connections to the secret service: made when the enclave asks for one, relayed, not understood. What is said over them is
//! sealed to the enclave and signed by the service, so this side can lose it and nothing else.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use manifest_sync::config::CONTROL_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::relay::relay;
use tokio::net::TcpStream;

use crate::enclave::Enclave;

/// How long the service may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for this long is ended: a release is two requests.
const IDLE: Duration = Duration::from_secs(60);

/// Where the secret service is: `HOST:PORT`, the host a name or an address, IPv6 in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress(String);

impl FromStr for BrokerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let bare = host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        let valid = !host.is_empty() && (bracketed || bare) && port.parse::<u16>().is_ok_and(|port| port > 0);
        valid.then(|| Self(text.to_owned())).ok_or_else(wrong)
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Connects the enclave with the service for one request, until one of them has had enough.
pub(crate) async fn connect(
    address: &BrokerAddress,
    enclave: &Enclave,
    session: String,
    request: u64,
) -> io::Result<()> {
    let service = tokio::time::timeout(CONNECT, TcpStream::connect(&address.0))
        .await
        .unwrap_or_else(|_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {address}: {error}")))?;
    service.set_nodelay(true)?;
    let stream = enclave
        .open(CONTROL_PORT, Some(session), StreamKind::Broker { request })
        .await
        .map_err(io::Error::other)?;
    // The enclave says what came of it; an end in the middle is one that it notices.
    let (moved, result) = relay(service, stream, IDLE).await;
    log::debug!(
        "broker request {request}: {} bytes to and {} from the enclave, {result:?}",
        moved.to_link,
        moved.from_link
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:8200", "broker.example:443", "[::1]:8200"] {
            assert_eq!(
                good.parse::<BrokerAddress>().map(|address| address.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "broker",
            ":80",
            "broker:0",
            "broker:x",
            "http://broker:80",
            "::1:80",
            "a b:80",
        ] {
            assert!(bad.parse::<BrokerAddress>().is_err(), "{bad}");
        }
    }
}
