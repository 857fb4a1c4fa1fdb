//! The pure part of `cloister-init`: the supervisor, which events are told, and the numbers of cgroups. It knows neither clock nor kernel.
#![forbid(unsafe_code)]

pub mod correlation;
pub mod eviction;
pub mod resize;
pub mod resources;
pub mod supervisor;
