//! What opens every stream: the dialler's header (length-prefixed JSON) and the listener's answer (one byte).

use std::net::SocketAddr;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::json;
use crate::protocol::VERSION;

/// Largest header.
pub const MAX_HEADER_BYTES: usize = 4096;

/// The first bytes of every stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamHeader {
    /// [`VERSION`].
    pub version: u32,
    /// The session key, hex; needed for everything but `control`, whose Hello carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What the stream is for.
    pub stream: StreamKind,
    /// After the answer both sides say their ends in the stream ([`super::Stream::framed`]): the link does not carry
    /// them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub framed: bool,
}

impl StreamHeader {
    /// A header of this version.
    pub fn new(session: Option<String>, stream: StreamKind) -> Self {
        Self {
            version: VERSION,
            session,
            stream,
            framed: false,
        }
    }
}

/// What a stream is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum StreamKind {
    /// The control conversation.
    Control {},
    /// Log records, enclave to host.
    Logs {
        /// Only this container; `None`: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
        /// Records with a greater sequence.
        after: u64,
        /// Go on when everything is delivered.
        follow: bool,
    },
    /// A blob, host to enclave, to its end.
    Blob {
        /// As asked for by `NeedBlob`.
        request: u64,
        /// Size in bytes, as the host says.
        size: u64,
    },
    /// A connection to the secret service, both ways.
    Broker {
        /// As asked for by `NeedBroker`.
        request: u64,
    },
    /// A client's connection to a port of the Pod.
    Ingress {
        /// `containerPort`.
        port: u16,
        /// The client, as the host says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<SocketAddr>,
    },
    /// A client's datagrams to a port of the Pod and back, each behind its length ([`crate::relay::datagrams`]).
    Datagrams {
        /// `containerPort`.
        port: u16,
    },
    /// A connection that the Pod will want to make, both ways: the enclave keeps it until then, and says where to
    /// ([`crate::link::EgressTarget`]).
    Egress {},
    /// A command in a container, both ways ([`crate::exec`]).
    Exec {},
}

impl StreamKind {
    /// Whether two programs that do not know of the link speak over the stream, each until it ends its direction.
    pub fn is_relayed(&self) -> bool {
        matches!(self, Self::Ingress { .. } | Self::Egress {})
    }
}

/// The listener's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamReply {
    /// The stream is open.
    Accepted = 0,
    /// The header makes no sense.
    Malformed = 1,
    /// Its version is not spoken here.
    Version = 2,
    /// The session key is absent or wrong.
    NotYourSession = 3,
    /// Nobody listens there.
    NoSuchTarget = 4,
    /// Too many streams.
    Busy = 5,
    /// The header or the target took too long.
    Timeout = 6,
    /// There is no Pod yet.
    NoPod = 7,
    /// The Pod may reach nothing outside.
    NoEgress = 8,
    /// The trust policy lets the host start no processes.
    NoExec = 9,
}

impl StreamReply {
    const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Malformed,
        Self::Version,
        Self::NotYourSession,
        Self::NoSuchTarget,
        Self::Busy,
        Self::Timeout,
        Self::NoPod,
        Self::NoEgress,
        Self::NoExec,
    ];
}

impl fmt::Display for StreamReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Malformed => "the header makes no sense",
            Self::Version => "this version of the protocol is not spoken here",
            Self::NotYourSession => {
                "the session key is absent or wrong: another controller holds the enclave"
            }
            Self::NoSuchTarget => "connection refused: nothing listens on that port",
            Self::Busy => "too many streams",
            Self::Timeout => "timed out",
            Self::NoPod => "no Pod is running, or it does not declare that port",
            Self::NoEgress => "the Pod may reach nothing outside",
            Self::NoExec => "its trust policy does not say `allowDebugExec: true`",
        })
    }
}

/// Why there is no header.
#[derive(Debug)]
pub enum HeaderError {
    /// The connection failed or ended.
    Io(io::Error),
    /// It is larger than [`MAX_HEADER_BYTES`].
    TooLarge(u32),
    /// It is not a header.
    Malformed(String),
    /// It is of another version.
    Version(u32),
}

impl HeaderError {
    /// What to answer.
    pub fn reply(&self) -> StreamReply {
        match self {
            Self::Version(_) => StreamReply::Version,
            Self::Io(_) | Self::TooLarge(_) | Self::Malformed(_) => StreamReply::Malformed,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "no stream header: {error}"),
            Self::TooLarge(size) => write!(f, "a stream header of {size} bytes is too large"),
            Self::Malformed(error) => write!(f, "malformed stream header: {error}"),
            Self::Version(version) => {
                write!(
                    f,
                    "stream header of version {version}: this side speaks version {VERSION}"
                )
            }
        }
    }
}

impl std::error::Error for HeaderError {}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Sends a header.
pub async fn write_header(stream: &mut (impl AsyncWrite + Unpin), header: &StreamHeader) -> io::Result<()> {
    stream
        .write_all(&crate::frame::encode(&serde_json::to_vec(header)?))
        .await
}

/// Reads a header. The caller bounds the time.
pub async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<StreamHeader, HeaderError> {
    let size = stream.read_u32().await?;
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    if length > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLarge(size));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<StreamHeader, HeaderError> {
    let tree = json::parse(bytes, MAX_HEADER_BYTES, "the header").map_err(HeaderError::Malformed)?;
    // Whatever else it says, a header of another version gets that answer and no other.
    let version = tree.get("version").and_then(Value::as_u64);
    match version.and_then(|version| u32::try_from(version).ok()) {
        Some(version) if version != VERSION => return Err(HeaderError::Version(version)),
        _ => {}
    }
    // serde would take lists for objects with their fields in order.
    if !tree.is_object() || !tree.get("stream").is_some_and(Value::is_object) {
        return Err(HeaderError::Malformed(
            "it is no JSON object with a `stream`".to_owned(),
        ));
    }
    let header: StreamHeader =
        serde_json::from_value(tree).map_err(|error| HeaderError::Malformed(error.to_string()))?;
    if header.framed && !header.stream.is_relayed() {
        return Err(HeaderError::Malformed(
            "only ingress and egress streams can be framed".to_owned(),
        ));
    }
    Ok(header)
}

/// Answers a header.
pub async fn write_reply(stream: &mut (impl AsyncWrite + Unpin), reply: StreamReply) -> io::Result<()> {
    stream.write_all(&[reply as u8]).await
}

/// Reads the answer; an unknown one is an error.
pub async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<StreamReply> {
    let byte = stream.read_u8().await?;
    StreamReply::ALL
        .into_iter()
        .find(|reply| *reply as u8 == byte)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("unknown stream reply {byte}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn headers_are_read_as_they_were_written() {
        let kinds = [
            StreamKind::Control {},
            StreamKind::Logs {
                container: Some("web".into()),
                after: 7,
                follow: true,
            },
            StreamKind::Blob {
                request: 3,
                size: 1 << 40,
            },
            StreamKind::Broker { request: 4 },
            StreamKind::Ingress {
                port: 8080,
                client: Some(([192, 0, 2, 7], 40000).into()),
            },
            StreamKind::Egress {},
            StreamKind::Exec {},
        ];
        for kind in kinds {
            let mut header = StreamHeader::new(Some("00ff".into()), kind);
            header.framed = matches!(header.stream, StreamKind::Egress {});
            let mut bytes = Vec::new();
            write_header(&mut bytes, &header).await.expect("memory");
            assert_eq!(read_header(&mut bytes.as_slice()).await.expect("whole"), header);
            for cut in 0..bytes.len() {
                assert!(matches!(
                    read_header(&mut &bytes[..cut]).await,
                    Err(HeaderError::Io(_))
                ));
            }
        }
    }

    #[tokio::test]
    async fn nonsense_gets_the_answer_that_says_which() {
        let cases: [(Vec<u8>, StreamReply); 6] = [
            (crate::frame::encode(b"{}"), StreamReply::Malformed),
            (
                crate::frame::encode(br#"{"version":2,"anything":[]}"#),
                StreamReply::Version,
            ),
            (
                crate::frame::encode(br#"{"version":1,"stream":{"kind":"shell"}}"#),
                StreamReply::Malformed,
            ),
            (
                crate::frame::encode(br#"{"version":1,"stream":{"kind":"control"},"x":1}"#),
                StreamReply::Malformed,
            ),
            (
                crate::frame::encode(br#"{"version":1,"stream":{"kind":"control"},"framed":true}"#),
                StreamReply::Malformed,
            ),
            (u32::MAX.to_be_bytes().to_vec(), StreamReply::Malformed),
        ];
        for (bytes, reply) in cases {
            let error = read_header(&mut bytes.as_slice()).await.expect_err("nonsense");
            assert_eq!(error.reply(), reply, "{error}");
        }
    }
}
