//! Exit codes: every way to end has a number, of sysexits(3) where that page has a word for it.

use std::process::ExitCode;

/// How `cloister-broker` ends when it does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 64: a flag or an argument is wrong.
    Usage,
    /// 65: the policy file is wrong, or the state is damaged.
    Data,
    /// 66: a file cannot be read, or is not what it should be.
    NoInput,
    /// 71: this machine refused something that the broker cannot do without.
    Host,
    /// 73: an address or the state directory is in use.
    InUse,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Usage => 64,
            Exit::Data => 65,
            Exit::NoInput => 66,
            Exit::Host => 71,
            Exit::InUse => 73,
        })
    }
}

/// What went wrong, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// For people; may have several lines.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message }
    }
}
