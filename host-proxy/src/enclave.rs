//! Opening streams to the enclave: dial, header, the one byte that says whether it was accepted.

use std::fmt;
use std::io;
use std::time::Duration;

use manifest_sync::link::{
    Address, Stream, StreamHeader, StreamKind, StreamReply, dial, read_reply, write_header,
};
use thiserror::Error;

/// How long the enclave may take to accept a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Nobody listens there, or the link is broken.
    #[error("cannot open a stream to the enclave: {0}")]
    Link(#[source] io::Error),
    /// The enclave said no.
    #[error("the enclave refused the stream: {0}")]
    Refused(StreamReply),
    /// No answer.
    #[error("the enclave did not answer within {} s", OPEN_TIMEOUT.as_secs())]
    Timeout,
}

/// An enclave by its address; cheap to clone.
#[derive(Debug, Clone)]
pub struct Enclave {
    address: Address,
}

impl Enclave {
    /// The enclave at `address`.
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    /// Opens a stream of `kind` to `port`.
    pub async fn open(
        &self,
        port: u32,
        session: Option<String>,
        kind: StreamKind,
    ) -> Result<Stream, OpenError> {
        let opening = async {
            let mut stream = dial(&self.address, port, OPEN_TIMEOUT)
                .await
                .map_err(OpenError::Link)?;
            let mut header = StreamHeader::new(session, kind);
            header.framed = !stream.has_half_close() && header.stream.is_relayed();
            write_header(&mut stream, &header)
                .await
                .map_err(OpenError::Link)?;
            match read_reply(&mut stream).await.map_err(OpenError::Link)? {
                StreamReply::Accepted if header.framed => Ok(stream.framed()),
                StreamReply::Accepted => Ok(stream),
                reply => Err(OpenError::Refused(reply)),
            }
        };
        tokio::time::timeout(OPEN_TIMEOUT, opening)
            .await
            .unwrap_or(Err(OpenError::Timeout))
    }
}

impl fmt::Display for Enclave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
