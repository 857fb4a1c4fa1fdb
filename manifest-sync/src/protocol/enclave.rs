//! The enclave's end: bytes from the host become [`Input`]s. Any bytes are survived; the first that make no sense end
//! the conversation with one reason.

use serde_json::Value;

use super::{FromEnclave, GateCondition, RefusedReason, ToEnclave, VERSION};
use crate::frame::{self, FrameDecoder, MAX_BUNDLE_BYTES, MAX_FRAME_BYTES};
use crate::json;
use crate::reject::clip;

/// What the host wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Its first message, of our version.
    Hello {
        /// The session key it presents.
        session: Option<String>,
        /// It has all events up to this sequence.
        events_after: u64,
    },
    /// A whole bundle, or a signed envelope around one.
    Apply {
        /// Its exact bytes, for [`crate::trust::verify`].
        bundle: Vec<u8>,
    },
    /// A blob cannot be served.
    BlobUnavailable {
        /// Which request.
        request: u64,
        /// Why.
        message: String,
    },
    /// No connection to the secret service can be made.
    BrokerUnavailable {
        /// Which request.
        request: u64,
        /// Why.
        message: String,
    },
    /// Stop the Pod.
    Stop {
        /// Overrides the Pod's grace period.
        grace_seconds: Option<u32>,
    },
    /// Set a condition.
    SetCondition {
        /// To be returned.
        request: u64,
        /// The condition.
        condition: GateCondition,
    },
    /// The final status has arrived.
    FinishedAck,
    /// Wants a Pong.
    Ping {
        /// To be returned.
        nonce: u64,
    },
    /// The conversation is over: answer Refused and close.
    Violation {
        /// For programs.
        reason: RefusedReason,
        /// For people.
        message: String,
    },
}

/// Largest Hello: until one has come, the sender may be anybody.
pub const MAX_HELLO_BYTES: usize = 4096;

/// One conversation.
#[derive(Debug)]
pub struct Conversation {
    decoder: FrameDecoder,
    state: State,
}

#[derive(Debug)]
enum State {
    Hello,
    Open,
    /// The next frame is a bundle or an envelope of this size.
    Bundle(usize),
    Over,
}

/// One message, ready to be sent.
pub fn encode(message: &FromEnclave) -> Vec<u8> {
    frame::encode(&super::json(message))
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl Conversation {
    /// Nothing has been said yet.
    pub fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_maximum(MAX_HELLO_BYTES);
        Self {
            decoder,
            state: State::Hello,
        }
    }

    /// What these bytes, after all before them, mean.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<Input> {
        let mut inputs = Vec::new();
        if matches!(self.state, State::Over) {
            return inputs;
        }
        self.decoder.push(bytes);
        loop {
            let input = match self.decoder.next_frame() {
                Ok(None) => return inputs,
                Ok(Some(frame)) => self.handle_frame(frame),
                Err(error) => Some(violation(RefusedReason::Malformed, error.to_string())),
            };
            let over = matches!(input, Some(Input::Violation { .. }));
            inputs.extend(input);
            if over {
                self.state = State::Over;
                return inputs;
            }
        }
    }

    fn handle_frame(&mut self, frame: Vec<u8>) -> Option<Input> {
        if let State::Bundle(size) = self.state {
            self.state = State::Open;
            self.decoder.set_maximum(MAX_FRAME_BYTES);
            if frame.len() != size {
                let message = format!("Apply announced {size} bytes and {} came", frame.len());
                return Some(violation(RefusedReason::Malformed, message));
            }
            return Some(Input::Apply { bundle: frame });
        }
        match (&self.state, read(&frame)) {
            (_, Err(violation)) => Some(violation),
            (
                State::Hello,
                Ok(ToEnclave::Hello {
                    version,
                    session,
                    events_after,
                }),
            ) => {
                if version != VERSION {
                    return Some(wrong_version(version));
                }
                self.state = State::Open;
                self.decoder.set_maximum(MAX_FRAME_BYTES);
                Some(Input::Hello {
                    session,
                    events_after,
                })
            }
            (State::Hello, Ok(_)) => Some(violation(
                RefusedReason::Malformed,
                "the first message must be Hello",
            )),
            (_, Ok(message)) => self.handle_message(message),
        }
    }

    fn handle_message(&mut self, message: ToEnclave) -> Option<Input> {
        Some(match message {
            ToEnclave::Hello { .. } => violation(RefusedReason::Malformed, "Hello may be said only once"),
            ToEnclave::Apply { size } => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > MAX_BUNDLE_BYTES {
                    let message = format!(
                        "a bundle of {size} bytes is larger than the {MAX_BUNDLE_BYTES} that are taken"
                    );
                    return Some(violation(RefusedReason::Malformed, message));
                }
                self.state = State::Bundle(size);
                self.decoder.set_maximum(size);
                return None;
            }
            ToEnclave::BlobUnavailable { request, message } => Input::BlobUnavailable { request, message },
            ToEnclave::BrokerUnavailable { request, message } => {
                Input::BrokerUnavailable { request, message }
            }
            ToEnclave::Stop { grace_seconds } => Input::Stop { grace_seconds },
            ToEnclave::SetCondition { request, condition } => Input::SetCondition { request, condition },
            ToEnclave::FinishedAck {} => Input::FinishedAck,
            ToEnclave::Ping { nonce } => Input::Ping { nonce },
        })
    }
}

fn violation(reason: RefusedReason, message: impl Into<String>) -> Input {
    Input::Violation {
        reason,
        // It quotes what came, and has to fit in the frame that says so.
        message: clip(message.into()),
    }
}

fn wrong_version(version: u32) -> Input {
    violation(
        RefusedReason::Version,
        format!("version {version} is not spoken here: use version {VERSION}"),
    )
}

/// One message. serde would take a list for a message with its fields in order: it is none.
fn read(frame: &[u8]) -> Result<ToEnclave, Input> {
    let unreadable =
        |what: String| violation(RefusedReason::Malformed, format!("unreadable message: {what}"));
    let tree = json::parse(frame, MAX_FRAME_BYTES, "the message").map_err(unreadable)?;
    if !tree.is_object() {
        return Err(unreadable("it is no JSON object".to_owned()));
    }
    // A Hello of another version may have other fields: its sender is to learn that, not that it cannot spell.
    let version = tree.get("version").and_then(Value::as_u64);
    let version = version.and_then(|version| u32::try_from(version).ok());
    serde_json::from_value(tree).map_err(|error| match version {
        Some(version) if version != VERSION => wrong_version(version),
        _ => unreadable(error.to_string()),
    })
}
