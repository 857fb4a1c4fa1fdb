//! Conformance cases that need processes, from Kubernetes' own test suites: a test's name starts with the id of its
//! case (`lc_001_…` for LC-001). Cases about time alone are transcripts of the supervisor, and cases about pure rules
//! are unit tests where the rule lives; `cargo xtask conformance` finds them all and prints a table.

mod backoff;
mod conditions;
mod environment;
mod exec;
mod hooks;
mod init_containers;
mod names;
mod probes;
mod resources;
mod restart;
mod restart_all;
mod script;
mod security;
mod sidecars;
mod termination;
mod termination_message;
mod turns;
mod updates;
mod volumes;
