//! Log sinks: what the follower reads goes into a spool, bounded, in memory or on disk, and from there to each sink at
//! the sink's own speed.
//!
//! ```text
//! enclave ─► follower ─► spool (segments, oldest dropped first) ─┬─► sink (thread, cursor) ─► stdout
//!                                                                ├─► sink (thread, cursor) ─► files
//!                                                                └─► …
//! ```
//!
//! What may be lost, and when it is counted: docs/logs.md. Nothing here talks to the enclave.

mod backoff;
mod block;
mod connect;
mod counts;
mod cri;
mod cursor;
mod files;
mod http;
mod item;
mod log_file;
mod loki;
mod options;
mod otlp;
mod output;
mod pipeline;
mod place;
mod progress;
mod reader;
mod recover;
mod runner;
mod segment;
mod spec;
mod spool;
mod stdout;
mod syslog;
mod writer;

pub use counts::{Counts, LogCounts, Received, SinkCounts};
pub use item::Origin;
pub use options::bytes;
pub use pipeline::{LogOptions, Pipeline};
pub use spec::{Endpoint, Files, Format, Loki, Server, Spec, Syslog, Target, Tls};
pub use spool::SpoolCounts;

pub(crate) use item::{Cause, Notice};
pub(crate) use stdout::notice_line;

#[cfg(test)]
mod tests;
