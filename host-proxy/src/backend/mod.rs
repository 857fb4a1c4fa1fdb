//! Back-ends: how an enclave comes to be. `local` makes one of namespaces on this machine.

pub mod local;
