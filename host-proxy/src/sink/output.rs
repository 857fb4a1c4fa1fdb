//! What a sink does with a batch, whatever its kind.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::cursor::Mark;
use super::files::FilesOutput;
use super::item::Batch;
use super::loki::LokiOutput;
use super::otlp::OtlpOutput;
use super::progress::Progress;
use super::spec::{Spec, Target};
use super::stdout::StdoutOutput;
use super::syslog::SyslogOutput;

/// A batch that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivered {
    /// After a restart, it goes on from here.
    pub(super) accepted: u64,
    /// Nothing before this place will have to be sent again, whatever happens to the connection.
    pub(super) safe: u64,
    /// Records that were refused while the others were taken, and why.
    pub(super) refused: Option<(u64, String)>,
}

impl Delivered {
    /// All of it, for good.
    pub(super) fn whole(batch: &Batch) -> Self {
        Self {
            accepted: batch.end(),
            safe: batch.end(),
            refused: None,
        }
    }
}

/// A batch that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It may work later.
    Retry {
        /// For people.
        reason: String,
        /// What the server asked for.
        after: Option<Duration>,
        /// Everything from this place on may have been taken, or not.
        doubt: Option<u64>,
    },
    /// It never will.
    Refused {
        /// For people.
        reason: String,
    },
    /// Half of it may.
    TooLarge {
        /// For people.
        reason: String,
    },
}

impl Trouble {
    /// It may work later, and nothing was taken.
    pub(super) fn later(reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: reason.into(),
            after: None,
            doubt: None,
        }
    }
}

/// The kinds.
pub(super) enum Output {
    Stdout(StdoutOutput),
    Files(FilesOutput),
    Syslog(SyslogOutput),
    Otlp(OtlpOutput),
    Loki(LokiOutput),
}

impl Output {
    /// Makes what `spec` says; `directory` is for what it has to remember.
    ///
    /// # Errors
    /// A file that it needs cannot be read.
    pub(super) fn new(spec: &Spec, directory: &Path) -> io::Result<Self> {
        Ok(match &spec.target {
            Target::Stdout(format) => Self::Stdout(StdoutOutput::new(*format)),
            Target::Files(files) => {
                let state = directory.join(format!("{}.files", spec.name));
                Self::Files(FilesOutput::new(files.clone(), state))
            }
            Target::Syslog(syslog) => Self::Syslog(SyslogOutput::new(syslog)?),
            Target::Otlp(endpoint) => Self::Otlp(OtlpOutput::new(endpoint)?),
            Target::Loki(loki) => Self::Loki(LokiOutput::new(loki)?),
        })
    }

    /// Where it knows itself to be, when it knows better than its cursor.
    pub(super) fn mark(&self) -> Option<Mark> {
        match self {
            Self::Files(files) => files.mark(),
            _ => None,
        }
    }

    /// It goes on at `place` of the spool.
    pub(super) fn start(&mut self, place: u64) {
        if let Self::Files(files) = self {
            files.start(place);
        }
    }

    /// Delivers a batch.
    pub(super) async fn deliver(
        &mut self,
        batch: &Batch,
        progress: &mut Progress,
    ) -> Result<Delivered, Trouble> {
        match self {
            Self::Stdout(stdout) => Ok(stdout.deliver(batch)),
            Self::Files(files) => files.deliver(batch),
            Self::Syslog(syslog) => syslog.deliver(batch, progress).await,
            Self::Otlp(otlp) => otlp.deliver(batch).await,
            Self::Loki(loki) => loki.deliver(batch).await,
        }
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self) {
        if let Self::Stdout(stdout) = self {
            stdout.finish();
        }
    }
}
