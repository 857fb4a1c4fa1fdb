//! The host's end: what the enclave may say when, and how much input may be sent.

use super::{FromEnclave, MAX_MESSAGE_BYTES, STDIN_WINDOW, Violation};
use crate::frame::FrameDecoder;

/// Takes the enclave's bytes and gives its messages.
#[derive(Debug)]
pub struct HostEnd {
    decoder: FrameDecoder,
    expected: Expected,
    /// Input that was sent and not taken yet, in bytes.
    sent: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Start,
    Output,
    Nothing,
}

impl Default for HostEnd {
    fn default() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_maximum(MAX_MESSAGE_BYTES);
        Self {
            decoder,
            expected: Expected::Start,
            sent: 0,
        }
    }
}

impl HostEnd {
    /// Adds bytes that arrived; gives the messages that are complete.
    ///
    /// # Errors
    /// What the enclave has done wrong. This end is of no more use afterwards.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Vec<FromEnclave>, Violation> {
        self.decoder.push(bytes);
        let mut messages = Vec::new();
        while let Some(frame) = self.decoder.next_frame().map_err(Violation::TooLarge)? {
            let message = FromEnclave::decode(&frame)?;
            self.expected = match (self.expected, &message) {
                (Expected::Start, FromEnclave::Started(_)) => Expected::Output,
                (Expected::Start, FromEnclave::Failed(_))
                | (Expected::Output, FromEnclave::Exited { .. }) => Expected::Nothing,
                (Expected::Output, FromEnclave::Stdout(_) | FromEnclave::Stderr(_)) => Expected::Output,
                (Expected::Output, FromEnclave::Taken(count)) => {
                    let count = usize::try_from(*count).unwrap_or(usize::MAX);
                    self.sent = self.sent.checked_sub(count).ok_or(Violation::Window)?;
                    Expected::Output
                }
                _ => return Err(Violation::OutOfOrder),
            };
            messages.push(message);
        }
        Ok(messages)
    }

    /// How many bytes of input may be sent now.
    pub fn room(&self) -> usize {
        STDIN_WINDOW.saturating_sub(self.sent)
    }

    /// So many are sent; never more than there is [`HostEnd::room`] for.
    pub fn sending(&mut self, bytes: usize) {
        self.sent += bytes;
    }
}
