//! All that the two sides of the link must agree on: bundle types and validation, plan, status, control
//! protocol (sans-IO), addresses and framing of the link.
//!
//! Nothing here starts a process or touches a file system; sockets appear in [`link`] only.
#![forbid(unsafe_code)]

pub mod config;
pub mod digest;
pub mod frame;
pub mod link;
pub mod log_record;
pub mod plan;
pub mod protocol;
pub mod reject;
pub mod relay;
pub mod status;
