//! `--log-sink`, `--log-spool` and `--log-spool-bytes`, and what they mean together.

use std::path::PathBuf;

use super::LogFormat;
use crate::sink::{Format, LogOptions, Spec, Target};

/// A spool in memory: enough for a sink that is slow for a moment.
const MEMORY_BYTES: u64 = 16 << 20;
/// A spool on disk: an hour of a busy Pod.
const DISK_BYTES: u64 = 256 << 20;
/// Bounds of a spool.
pub(super) const SPOOL_BYTES: (u64, u64) = (256 << 10, 1 << 40);

/// What was given.
#[derive(Default)]
pub(super) struct Logs {
    pub(super) sinks: Vec<Spec>,
    pub(super) spool: Option<PathBuf>,
    pub(super) spool_bytes: Option<u64>,
}

impl Logs {
    /// Without a sink, standard output is the one, in `format`. With others it is one only when it is asked for, by its
    /// own name or by `--log-format`.
    pub(super) fn finish(
        mut self,
        format: LogFormat,
        format_is_given: bool,
        mistakes: &mut Vec<String>,
    ) -> LogOptions {
        let printed = self
            .sinks
            .iter()
            .filter(|spec| matches!(spec.target, Target::Stdout(_)))
            .count();
        if printed > 1 || (printed > 0 && format_is_given) {
            mistakes.push(
                "--log-sink: standard output is one sink; give its format once (`--log-sink stdout,format=json`)"
                    .to_owned(),
            );
        }
        if self.sinks.is_empty() || (format_is_given && printed == 0) {
            let format = match format {
                LogFormat::Text => Format::Text,
                LogFormat::Json => Format::Json,
            };
            self.sinks.insert(0, Spec::stdout(format));
        }
        // Names are those of files and metrics.
        let mut names: Vec<String> = Vec::new();
        for spec in &mut self.sinks {
            let mut name = spec.name.clone();
            for number in 2.. {
                if !names.contains(&name) {
                    break;
                }
                name = format!("{}-{number}", spec.name);
            }
            names.push(name.clone());
            spec.name = name;
        }
        LogOptions {
            sinks: self.sinks,
            spool_bytes: self.spool_bytes.unwrap_or(if self.spool.is_some() {
                DISK_BYTES
            } else {
                MEMORY_BYTES
            }),
            spool: self.spool,
        }
    }
}
