//! The pure part of `cloister-init`: the supervisor, which events are told, the numbers of cgroups and file systems, and what `net` reads of
//! containers' egress. It knows neither clock nor kernel.
#![forbid(unsafe_code)]

pub mod correlation;
pub mod egress;
pub mod eviction;
pub mod inodes;
pub mod resize;
pub mod resources;
pub mod supervisor;
