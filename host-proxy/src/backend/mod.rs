//! Back-ends: how an enclave comes to be. `local` makes one of namespaces on this machine, `nitro` one on EC2.

pub mod local;
pub mod nitro;
