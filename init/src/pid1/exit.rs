//! Every way in which `cloister-init` can end, as a number that the host can read.

/// Exit code of PID 1 (with `end: Exit`), or the last word on the console before the machine goes off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// The Pod has ended and its final status was acknowledged, or nobody came for it in time.
    Finished = 0,
    /// A boot step failed.
    Boot = 100,
    /// The configuration file is absent or invalid.
    Configuration = 101,
    /// The control listener cannot be bound.
    Listen = 102,
    /// The event loop lost a source it cannot live without.
    EventLoop = 103,
    /// The trust policy is absent or invalid.
    Policy = 104,
    /// The bundle could not be measured.
    Measurement = 105,
}

impl ExitCode {
    /// The sentence for the console.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Finished => "the Pod has ended",
            Self::Boot => "a boot step failed",
            Self::Configuration => "the configuration is absent or invalid",
            Self::Listen => "the control listener cannot be bound",
            Self::EventLoop => "an event source was lost",
            Self::Policy => "the trust policy is absent or invalid",
            Self::Measurement => "the bundle could not be measured",
        }
    }
}
