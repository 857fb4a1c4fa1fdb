//! All that the two sides of the link must agree on: bundle types and validation, plan, status, control
//! protocol (sans-IO), addresses and framing of the link.
//!
//! Nothing here starts a process or touches a file system; sockets appear in [`link`] only.
#![forbid(unsafe_code)]

pub mod base64;
pub mod bundle;
pub mod config;
mod container;
mod decode;
pub mod digest;
pub mod env;
pub mod expansion;
pub mod frame;
mod json;
pub mod link;
pub mod log_record;
pub mod measurement;
pub mod pem;
pub mod plan;
mod pod;
pub mod protocol;
pub mod quantity;
pub mod reject;
pub mod relay;
pub mod resources;
pub mod status;
pub mod trust;
pub mod volume;
