//! The enclave's end: what the host may say when, and how much input may wait.

use super::{MAX_MESSAGE_BYTES, STDIN_WINDOW, ToEnclave, Violation};
use crate::frame::FrameDecoder;

/// Takes the host's bytes and gives its messages.
#[derive(Debug)]
pub struct EnclaveEnd {
    decoder: FrameDecoder,
    expected: Expected,
    /// Input that has come and was not said to be taken, in bytes.
    waiting: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Request,
    Stdin,
    Nothing,
}

impl Default for EnclaveEnd {
    fn default() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_maximum(MAX_MESSAGE_BYTES);
        Self {
            decoder,
            expected: Expected::Request,
            waiting: 0,
        }
    }
}

impl EnclaveEnd {
    /// Adds bytes that arrived; gives the messages that are complete.
    ///
    /// # Errors
    /// What the host has done wrong. This end is of no more use afterwards.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Vec<ToEnclave>, Violation> {
        self.decoder.push(bytes);
        let mut messages = Vec::new();
        while let Some(frame) = self.decoder.next_frame().map_err(Violation::TooLarge)? {
            let message = ToEnclave::decode(&frame)?;
            self.expected = match (self.expected, &message) {
                (Expected::Request, ToEnclave::Request(request)) if request.stdin => Expected::Stdin,
                (Expected::Request, ToEnclave::Request(_)) | (Expected::Stdin, ToEnclave::StdinEnd) => {
                    Expected::Nothing
                }
                (Expected::Stdin, ToEnclave::Stdin(bytes)) => {
                    self.waiting += bytes.len();
                    Expected::Stdin
                }
                _ => return Err(Violation::OutOfOrder),
            };
            if self.waiting > STDIN_WINDOW {
                return Err(Violation::Window);
            }
            messages.push(message);
        }
        Ok(messages)
    }

    /// So much input is said to be taken: the host may send as much again.
    pub fn taken(&mut self, bytes: usize) {
        self.waiting = self.waiting.saturating_sub(bytes);
    }
}
