//! Exit codes of `host-proxy` and the one failure type that carries one: every way to die has a number.
//!
//! The numbers from 64 on are those of sysexits(3) where that page has a word for it.

use std::fmt;
use std::process::ExitCode;

/// How `host-proxy` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0, or the exit code of the Pod: of its first container that failed.
    Pod(u8),
    /// 64: a flag or an argument is wrong.
    Usage,
    /// 65: the bundle was rejected, by this side or by the enclave.
    Rejected,
    /// 66: an input file or an image was not found or cannot be read.
    NoInput,
    /// 69: the enclave could not be started or reached, or (client commands) no proxy runs.
    Unavailable,
    /// 70: the enclave died: it is gone and never said that its Pod has ended.
    Died,
    /// 71: this machine refused something that `host-proxy` cannot do without.
    Host,
    /// 73: a local port or socket is in use.
    InUse,
    /// 76: the enclave refused us: another controller, another protocol.
    Refused,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Pod(code) => code,
            Self::Usage => 64,
            Self::Rejected => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Died => 70,
            Self::Host => 71,
            Self::InUse => 73,
            Self::Refused => 76,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The end of a command that did not do what it was asked: one message for people and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What went wrong and what to do; may have several lines.
    pub message: String,
}

impl Failure {
    /// A failure with its message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
