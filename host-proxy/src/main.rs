//! `host-proxy`: the launcher-side binary. Parses the command, runs it, exits with a documented code.
#![forbid(unsafe_code)]

mod blobs;
mod cli;
mod client;
mod control;
mod enclave;
mod exit;
mod http;
mod ingress;
mod logs;
mod metrics;
mod table;
mod time;
mod view;

fn main() {}
