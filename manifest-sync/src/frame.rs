//! Length-prefixed frames: `u32` big-endian length, then that many bytes. Sans-IO, incremental, bounded: the length is
//! checked before anything is kept, and memory grows with what has arrived, never with what was announced.

use std::fmt;

/// Largest control message.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Largest bundle on the wire: one of [`crate::bundle::MAX_BYTES`] in a signed envelope.
pub const MAX_BUNDLE_BYTES: usize = crate::trust::envelope::MAX_BYTES;

const PREFIX_BYTES: usize = 4;

/// A frame was announced that is larger than its reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// Announced size in bytes.
    pub announced: usize,
    /// Most that is taken here.
    pub maximum: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a frame of {} bytes is larger than the {} that are taken here",
            self.announced, self.maximum
        )
    }
}

impl std::error::Error for TooLarge {}

/// One frame around `payload`, in one buffer: two writes would be two packets on vsock.
pub fn encode(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(PREFIX_BYTES + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Takes bytes as they come and gives frames.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    maximum: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameDecoder {
    /// Takes frames up to [`MAX_FRAME_BYTES`].
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            maximum: MAX_FRAME_BYTES,
        }
    }

    /// Changes the largest frame taken, from the next [`FrameDecoder::next_frame`] on.
    pub fn set_maximum(&mut self, bytes: usize) {
        self.maximum = bytes;
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame. After an error the decoder is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, TooLarge> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let announced = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if announced > self.maximum {
            return Err(TooLarge {
                announced,
                maximum: self.maximum,
            });
        }
        if self.buffer.len() < PREFIX_BYTES + announced {
            return Ok(None);
        }
        let rest = self.buffer.split_off(PREFIX_BYTES + announced);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.drain(..PREFIX_BYTES);
        Ok(Some(frame))
    }

    /// Bytes kept for a frame that is not complete.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_length_is_checked_before_the_body_arrives() {
        for announced in [MAX_FRAME_BYTES + 1, 1 << 31, u32::MAX as usize] {
            let mut decoder = FrameDecoder::new();
            decoder.push(&u32::try_from(announced).expect("fits").to_be_bytes());
            assert_eq!(
                decoder.next_frame(),
                Err(TooLarge {
                    announced,
                    maximum: MAX_FRAME_BYTES
                })
            );
        }
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        let mut decoder = FrameDecoder::new();
        decoder.push(&encode(b""));
        assert_eq!(decoder.next_frame(), Ok(Some(Vec::new())));
        assert_eq!(decoder.next_frame(), Ok(None));
    }

    proptest! {
        #[test]
        fn frames_survive_any_chunking(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
            chunk in 1usize..50,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| encode(payload)).collect();
            let mut decoder = FrameDecoder::new();
            let mut frames = Vec::new();
            for piece in bytes.chunks(chunk) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().expect("small") {
                    frames.push(frame);
                }
            }
            prop_assert_eq!(frames, payloads);
            prop_assert_eq!(decoder.pending(), 0);
        }
    }
}
