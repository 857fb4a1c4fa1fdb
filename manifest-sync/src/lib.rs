//! All that the two sides of the link must agree on: bundle types and validation, plan, status, control
//! protocol (sans-IO), addresses and framing of the link.
//!
//! Nothing here starts a process or touches a file system; sockets appear in [`link`] only.
#![forbid(unsafe_code)]

pub mod base64;
pub mod bundle;
pub mod byte_quantity;
pub mod config;
mod container;
mod container_env;
pub mod data;
mod decode;
pub mod digest;
pub mod downward;
pub mod duration;
pub mod egress;
pub mod env;
pub mod env_file;
pub mod exec;
pub mod expansion;
pub mod frame;
mod ingress;
mod json;
pub mod lifecycle;
pub mod link;
pub mod log_plan;
pub mod log_record;
pub mod measurement;
mod missing;
mod names;
pub mod pem;
pub mod plan;
mod pod;
pub mod pod_resources;
mod pod_volume;
pub mod probe;
pub mod protocol;
pub mod quantity;
pub mod reject;
pub mod relay;
pub mod resize;
pub mod resources;
pub mod secret_class;
mod security;
pub mod signal;
pub mod status;
mod sysctl;
pub mod trust;
pub mod update;
pub mod volume;
mod volume_mount;
