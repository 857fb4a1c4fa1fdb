//! The pure part of `cloister-init`: the supervisor. It knows neither clock nor kernel.
#![forbid(unsafe_code)]

pub mod supervisor;
