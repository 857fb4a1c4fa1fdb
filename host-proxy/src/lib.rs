//! The launcher side of Cloister: everything that `host-proxy` does, as a library so that its rooms have doors.
//! Whatever an enclave sends is data here; nothing is decided that the enclave should decide.
#![forbid(unsafe_code)]

pub mod announce;
pub mod backend;
pub mod blobs;
pub mod broker;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod client;
pub mod control;
pub mod egress;
pub mod enclave;
pub mod exec;
pub mod exit;
pub mod file;
pub mod http;
pub mod ingress;
pub mod inspect;
pub mod logs;
pub mod metrics;
pub mod place;
pub mod room;
pub mod run;
pub mod serving;
pub mod signal;
pub mod signing;
pub mod sink;
pub mod source;
pub mod table;
pub mod time;
pub mod unseal;
pub mod up;
pub mod view;
