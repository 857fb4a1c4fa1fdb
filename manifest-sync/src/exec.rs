//! What is said on an `exec` stream: a command for a container, its input and outputs, its end. Sans-IO.
//!
//! ```text
//! host                                      enclave
//! Request ──────────────────────────────►
//!                  ◄────────────── Started | Failed (and the stream ends)
//! Stdin … StdinEnd ─────────────────────►
//!                  ◄── Stdout, Stderr, Taken …  Exited (and the stream ends)
//! ```
//!
//! Every message is a frame ([`crate::frame`]) of at most [`MAX_MESSAGE_BYTES`]: one byte that says what it is, then its
//! content. Input has a window: at most [`STDIN_WINDOW`] bytes are on their way that the enclave has not said to have
//! [`FromEnclave::Taken`], so that a command that does not read never keeps the enclave from hearing that the host has gone.
//! The end of the stream, in whatever direction, ends the command; a half-close means nothing else.

mod enclave;
mod host;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frame;
use crate::json;

pub use enclave::EnclaveEnd;
pub use host::HostEnd;

/// Largest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024;
/// Input that may be on its way, in bytes.
pub const STDIN_WINDOW: usize = 32 * 1024;
/// Most data in one message that this side sends, in bytes: small enough for several commands at once.
pub const CHUNK_BYTES: usize = 8 * 1024;

/// A command for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Which container; `None`: the Pod's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Program and arguments, as they are: no shell, no expansion.
    pub command: Vec<String>,
    /// Whether it gets an input; otherwise it reads an end at once.
    #[serde(default)]
    pub stdin: bool,
}

/// Host → enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToEnclave {
    /// The first message.
    Request(Request),
    /// Some input; never empty.
    Stdin(Vec<u8>),
    /// There is no more.
    StdinEnd,
}

/// Enclave → host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromEnclave {
    /// It is being executed.
    Started(Started),
    /// What it writes.
    Stdout(Vec<u8>),
    /// What it writes for people.
    Stderr(Vec<u8>),
    /// So many bytes of input have left the window.
    Taken(u32),
    /// It has ended; the last message.
    Exited {
        /// Its exit code, or 128 and the signal that ended it.
        code: u8,
    },
    /// It was not executed; the last message.
    Failed(Failed),
}

/// Where the command runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Started {
    /// Name of the container.
    pub container: String,
    /// When the request named none: all that there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

/// Why it was not executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failed {
    /// For programs.
    pub reason: FailedReason,
    /// For people.
    pub message: String,
}

/// Why it was not executed, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailedReason {
    /// The Pod has no such container, or the request is none.
    Invalid,
    /// The container does not run.
    NotRunning,
    /// The container has no such program.
    NotFound,
    /// It has, and it cannot be executed.
    CannotExecute,
    /// The enclave could not start it.
    Failed,
}

/// The other side has said what it may not say. The stream is of no more use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A message is larger than [`MAX_MESSAGE_BYTES`].
    TooLarge(frame::TooLarge),
    /// It is no message.
    Malformed(String),
    /// It is not what comes now.
    OutOfOrder,
    /// More is on its way than the window takes.
    Window,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(error) => error.fmt(f),
            Self::Malformed(error) => write!(f, "malformed message: {error}"),
            Self::OutOfOrder => f.write_str("a message that does not come now"),
            Self::Window => write!(f, "more than {STDIN_WINDOW} bytes of input at once"),
        }
    }
}

impl std::error::Error for Violation {}

const REQUEST: u8 = 0;
const STDIN: u8 = 1;
const STDIN_END: u8 = 2;

const STARTED: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const TAKEN: u8 = 3;
const EXITED: u8 = 4;
const FAILED: u8 = 5;

impl ToEnclave {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => json_message(REQUEST, request),
            Self::Stdin(bytes) => message(STDIN, bytes),
            Self::StdinEnd => message(STDIN_END, &[]),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Violation> {
        match split(bytes)? {
            (REQUEST, content) => {
                let request: Request = object(content)?;
                request.check().map_err(malformed)?;
                Ok(Self::Request(request))
            }
            (STDIN, content @ [_, ..]) => Ok(Self::Stdin(content.to_vec())),
            (STDIN_END, []) => Ok(Self::StdinEnd),
            (kind, _) => Err(unknown(kind)),
        }
    }
}

impl FromEnclave {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started(started) => json_message(STARTED, started),
            Self::Stdout(bytes) => message(STDOUT, bytes),
            Self::Stderr(bytes) => message(STDERR, bytes),
            Self::Taken(count) => message(TAKEN, &count.to_be_bytes()),
            Self::Exited { code } => message(EXITED, &[*code]),
            Self::Failed(failed) => json_message(FAILED, failed),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Violation> {
        match split(bytes)? {
            (STARTED, content) => Ok(Self::Started(object(content)?)),
            (STDOUT, content) => Ok(Self::Stdout(content.to_vec())),
            (STDERR, content) => Ok(Self::Stderr(content.to_vec())),
            (TAKEN, content) => match content.try_into() {
                Ok(count) => Ok(Self::Taken(u32::from_be_bytes(count))),
                Err(_) => Err(unknown(TAKEN)),
            },
            (EXITED, [code]) => Ok(Self::Exited { code: *code }),
            (FAILED, content) => Ok(Self::Failed(object(content)?)),
            (kind, _) => Err(unknown(kind)),
        }
    }
}

impl Request {
    /// Whether it can be executed at all; the error is for people.
    ///
    /// # Errors
    /// No command; a NUL character in it; more bytes than a message takes.
    pub fn check(&self) -> Result<(), String> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err("no command specified".to_owned());
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            return Err("a NUL character is not allowed in a command".to_owned());
        }
        match serde_json::to_vec(self) {
            Ok(text) if text.len() < MAX_MESSAGE_BYTES => Ok(()),
            _ => Err(format!(
                "the command is longer than {MAX_MESSAGE_BYTES} bytes: put it into a script of the container, or into \
                 its standard input"
            )),
        }
    }
}

fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    frame::encode(&[&[kind], content].concat())
}

fn json_message(kind: u8, content: &impl Serialize) -> Vec<u8> {
    message(kind, &serde_json::to_vec(content).unwrap_or_default())
}

fn split(bytes: &[u8]) -> Result<(u8, &[u8]), Violation> {
    let (kind, content) = bytes.split_first().ok_or_else(|| malformed("it is empty"))?;
    Ok((*kind, content))
}

/// serde would take lists for objects with their fields in order, and duplicate keys.
fn object<T: for<'de> Deserialize<'de>>(content: &[u8]) -> Result<T, Violation> {
    let tree = json::parse(content, MAX_MESSAGE_BYTES, "the message").map_err(malformed)?;
    if !tree.is_object() {
        return Err(malformed("it is no JSON object"));
    }
    serde_json::from_value(tree).map_err(|error| malformed(error.to_string()))
}

fn malformed(what: impl Into<String>) -> Violation {
    Violation::Malformed(what.into())
}

fn unknown(kind: u8) -> Violation {
    malformed(format!("no message of type {kind} looks like this"))
}
