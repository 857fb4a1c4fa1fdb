//! One connection of the hostile host: any bytes go out, and what comes back is asserted.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use manifest_sync::frame;
use manifest_sync::link::{StreamHeader, StreamKind, StreamReply};
use manifest_sync::protocol::{FromEnclave, RefusedReason};
use serde_json::Value;

/// Longer than any deadline of the enclave, shorter than patience.
const PATIENCE: Duration = Duration::from_secs(180);
/// Largest frame that an enclave sends.
const LARGEST: usize = 16 << 20;

/// A connection.
pub(crate) struct Wire(UnixStream);

impl Wire {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Self(stream)
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &UnixStream {
        &self.0
    }

    /// Sends bytes; `false`: the other side has hung up.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.0.write_all(bytes) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("cannot send {} bytes: {error}", bytes.len()),
        }
    }

    /// Sends a frame around these bytes.
    pub(crate) fn frame(&mut self, payload: impl AsRef<[u8]>) -> bool {
        self.send(&frame::encode(payload.as_ref()))
    }

    /// Sends a message.
    pub(crate) fn say(&mut self, message: &Value) -> bool {
        self.frame(message.to_string())
    }

    /// Sends a stream header of our version.
    pub(crate) fn header(&mut self, key: Option<&str>, kind: StreamKind) -> bool {
        let header = StreamHeader::new(key.map(str::to_owned), kind);
        self.frame(serde_json::to_vec(&header).expect("a header"))
    }

    /// At least one byte, as it comes; `None`: the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.0.read(buffer) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }

    /// So many bytes; `None`: the end came before.
    pub(crate) fn read_exact(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut have = 0;
        while have < count {
            have += self.read(&mut bytes[have..])?;
        }
        Some(bytes)
    }

    /// Everything up to the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while let Some(count) = self.read(&mut buffer) {
            all.extend_from_slice(&buffer[..count]);
        }
        all
    }

    /// The next message; `None`: the end.
    pub(crate) fn hear(&mut self) -> Option<FromEnclave> {
        let length = u32::from_be_bytes(self.read_exact(4)?.try_into().expect("four bytes"));
        let length = usize::try_from(length).expect("a length");
        assert!(length <= LARGEST, "the enclave announces {length} bytes");
        let frame = self.read_exact(length)?;
        Some(serde_json::from_slice(&frame).expect("a message of the protocol"))
    }

    /// The answer to the header.
    #[track_caller]
    pub(crate) fn expect_reply(&mut self, reply: StreamReply) {
        assert_eq!(self.read_exact(1), Some(vec![reply as u8]), "expected: {reply}");
    }

    /// This answer to the header, then the end, and not one byte more.
    #[track_caller]
    pub(crate) fn expect_only(&mut self, reply: StreamReply) {
        let rest = self.rest();
        assert_eq!(rest, [reply as u8], "expected: {reply}, and nothing else");
    }

    /// The end, and not one byte before it.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert_eq!(self.rest(), b"", "expected the end");
    }

    /// After whatever the Pod has to tell: refused for this reason with a message that contains `words`, then the end.
    #[track_caller]
    pub(crate) fn expect_refused(&mut self, wanted: RefusedReason, words: &str) {
        loop {
            match self.hear() {
                Some(FromEnclave::Refused { reason, message }) => {
                    assert_eq!(reason, wanted, "{message}");
                    assert!(message.contains(words), "no {words:?} in: {message}");
                    break self.expect_closed();
                }
                Some(FromEnclave::Status { .. } | FromEnclave::Event { .. } | FromEnclave::Pong { .. }) => {}
                other => panic!("expected {wanted:?} ({words}), heard {other:?}"),
            }
        }
    }
}
