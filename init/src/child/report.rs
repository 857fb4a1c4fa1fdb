//! What went wrong on the way to exec: a stage, what was being done, and the kernel's reason. It crosses the report
//! pipe as one small JSON object; an empty pipe means that the program was executed.

use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// Longest detail that is reported.
const MAX_DETAIL: usize = 512;

/// Where a child failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Reading its description.
    Description,
    /// Becoming a session leader.
    Session,
    /// Joining its cgroup.
    Cgroup,
    /// Entering the namespaces of a running container.
    Join,
    /// The overlay of the image's layers.
    Overlay,
    /// /proc, /dev and /sys.
    SystemMounts,
    /// A volume or managed file.
    Mount,
    /// Changing the root.
    Root,
    /// Resource limits.
    Limits,
    /// Resolving user and groups.
    User,
    /// The working directory.
    Directory,
    /// Changing user and groups.
    Identity,
    /// The filter of system calls.
    Filter,
    /// Capability sets.
    Capabilities,
    /// Closing what the program must not inherit.
    Descriptors,
    /// Executing the program.
    Exec,
}

impl Stage {
    fn words(self) -> &'static str {
        match self {
            Self::Description => "reading the description",
            Self::Session => "starting a session",
            Self::Cgroup => "joining the cgroup",
            Self::Join => "entering the container",
            Self::Overlay => "mounting the image",
            Self::SystemMounts => "mounting /proc, /dev and /sys",
            Self::Mount => "mounting a volume",
            Self::Root => "entering the root file system",
            Self::Limits => "setting limits",
            Self::User => "resolving the user",
            Self::Directory => "entering the working directory",
            Self::Identity => "changing user and groups",
            Self::Filter => "filtering system calls",
            Self::Capabilities => "setting capabilities",
            Self::Descriptors => "closing descriptors",
            Self::Exec => "exec",
        }
    }
}

/// A failure inside the child.
#[derive(Debug)]
pub(crate) struct Failure {
    stage: Stage,
    detail: String,
    error: Option<io::Error>,
}

impl Failure {
    /// A failure that is not the kernel's.
    pub(crate) fn said(stage: Stage, detail: String) -> Self {
        Self {
            stage,
            detail,
            error: None,
        }
    }
}

/// Puts stage and object to an error.
pub(crate) trait StageExt<T> {
    /// `detail` names what was being done, or to what.
    fn at(self, stage: Stage, detail: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> StageExt<T> for Result<T, E> {
    fn at(self, stage: Stage, detail: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            stage,
            detail: detail.to_owned(),
            error: Some(error.into()),
        })
    }
}

/// What crosses the pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Where.
    pub(crate) stage: Stage,
    /// errno(3), 0 if it was not the kernel.
    pub(crate) errno: i32,
    detail: String,
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        let errno = failure
            .error
            .as_ref()
            .and_then(io::Error::raw_os_error)
            .unwrap_or(0);
        let detail = match (&failure.error, errno) {
            (Some(error), 0) => format!("{}: {error}", failure.detail),
            _ => failure.detail,
        };
        Self {
            stage: failure.stage,
            errno,
            detail: detail.chars().take(MAX_DETAIL).collect(),
        }
    }
}

impl Report {
    /// Writes it into the pipe; a parent that is gone cannot be told.
    pub(crate) fn send(&self, pipe: &OwnedFd) {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if let Ok(pipe) = pipe.try_clone() {
            let _ = std::fs::File::from(pipe).write_all(&bytes);
        }
    }

    /// Reads what came through the pipe.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage.words(), self.detail)?;
        if self.errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_where_what_and_why() {
        let failed: Result<(), Failure> = Err(io::Error::from_raw_os_error(2)).at(Stage::Exec, "\"/no\"");
        let report = Report::from(failed.expect_err("failed"));
        assert_eq!(
            report.to_string(),
            "exec: \"/no\": No such file or directory (os error 2)"
        );
        let bytes = serde_json::to_vec(&report).expect("json");
        assert_eq!(Report::decode(&bytes), Some(report));
        assert_eq!(Report::decode(b"garbage"), None);
    }
}
