//! The host's end: bytes from the enclave become messages. The enclave is not trusted by the host either.

use std::fmt;

use super::{FromEnclave, ToEnclave, VERSION};
use crate::frame::{self, FrameDecoder, TooLarge};

/// One conversation.
#[derive(Debug, Default)]
pub struct Conversation {
    decoder: FrameDecoder,
    greeted: bool,
}

/// Why the enclave cannot be understood.
#[derive(Debug)]
pub enum ProtocolError {
    /// A frame above the maximum.
    TooLarge(TooLarge),
    /// A frame that is no message.
    Unreadable(serde_json::Error),
    /// Its first message was neither Welcome nor Refused, or Welcome came twice.
    OutOfOrder,
    /// It speaks another version.
    Version(u32),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(error) => write!(f, "{error}"),
            Self::Unreadable(error) => write!(f, "unreadable message: {error}"),
            Self::OutOfOrder => f.write_str("a message came out of order"),
            Self::Version(version) => write!(f, "the enclave speaks version {version}, this side {VERSION}"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// One message, ready to be sent.
pub fn encode(message: &ToEnclave) -> Vec<u8> {
    frame::encode(&super::json(message))
}

/// `Apply` and the bundle or signed envelope that follows it, ready to be sent. `None`: it is larger than the enclave takes.
pub fn encode_apply(bundle: &[u8]) -> Option<Vec<u8>> {
    let size = u32::try_from(bundle.len())
        .ok()
        .filter(|_| bundle.len() <= frame::MAX_BUNDLE_BYTES)?;
    let mut bytes = encode(&ToEnclave::Apply { size });
    bytes.extend_from_slice(&frame::encode(bundle));
    Some(bytes)
}

impl Conversation {
    /// Nothing has been heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// The next message. After an error the conversation is over.
    pub fn next_message(&mut self) -> Result<Option<FromEnclave>, ProtocolError> {
        let Some(frame) = self.decoder.next_frame().map_err(ProtocolError::TooLarge)? else {
            return Ok(None);
        };
        let message = serde_json::from_slice(&frame).map_err(ProtocolError::Unreadable)?;
        match (&message, self.greeted) {
            (FromEnclave::Welcome { version, .. }, false) if *version == VERSION => self.greeted = true,
            (FromEnclave::Welcome { version, .. }, false) => return Err(ProtocolError::Version(*version)),
            (FromEnclave::Refused { .. }, _) => {}
            (FromEnclave::Welcome { .. }, true) | (_, false) => return Err(ProtocolError::OutOfOrder),
            (_, true) => {}
        }
        Ok(Some(message))
    }
}
