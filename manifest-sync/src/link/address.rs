//! Where an enclave is. A port is added when it is dialled or listened to.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of an enclave, written as one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// `vsock:16`: AF_VSOCK by CID; `vsock:any` to listen on every CID (vsock(7)).
    Vsock {
        /// Context id; `None`: any.
        cid: Option<u32>,
    },
    /// `hybrid:/path`: one Unix socket in front of a VM's vsock; the host dials it and names the port.
    Hybrid {
        /// The socket.
        path: PathBuf,
    },
    /// `unix:/dir`: port P is the Unix socket `/dir/P.sock`.
    Unix {
        /// The directory.
        dir: PathBuf,
    },
}

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress(String);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an enclave's address: expected vsock:CID, vsock:any, hybrid:/path or unix:/directory",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.chars().take(200).collect());
        let (kind, rest) = text.split_once(':').ok_or_else(invalid)?;
        match kind {
            "vsock" if rest == "any" => Ok(Self::Vsock { cid: None }),
            "vsock" => rest
                .parse()
                .map(|cid| Self::Vsock { cid: Some(cid) })
                .map_err(|_| invalid()),
            "hybrid" if rest.starts_with('/') => Ok(Self::Hybrid { path: rest.into() }),
            "unix" if rest.starts_with('/') => Ok(Self::Unix { dir: rest.into() }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid: None } => f.write_str("vsock:any"),
            Self::Vsock { cid: Some(cid) } => write!(f, "vsock:{cid}"),
            Self::Hybrid { path } => write!(f, "hybrid:{}", path.display()),
            Self::Unix { dir } => write!(f, "unix:{}", dir.display()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in [
            "vsock:16",
            "vsock:any",
            "hybrid:/run/vm.sock",
            "unix:/run/cloister/web/link",
        ] {
            assert_eq!(
                text.parse::<Address>()
                    .map(|address| address.to_string())
                    .as_deref(),
                Ok(text)
            );
        }
        for text in [
            "",
            "vsock",
            "vsock:",
            "vsock:-1",
            "vsock:4294967296",
            "unix:relative",
            "tcp:1.2.3.4",
            "hybrid:",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
