//! The pure part of `cloister-init`: the supervisor, and the numbers of cgroups. It knows neither clock nor kernel.
#![forbid(unsafe_code)]

pub mod resources;
pub mod supervisor;
