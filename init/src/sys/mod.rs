//! Thin wrappers of system calls, one man page each, and the only `unsafe` of `cloister-init`.
#![expect(
    unsafe_code,
    reason = "descriptors by number, clone(2) and ioctl(2) have no safe wrapper"
)]

pub(crate) mod descendant;
pub(crate) mod fd;
pub(crate) mod join;
pub(crate) mod kill;
pub(crate) mod loopback;
pub(crate) mod module;
pub(crate) mod mount;
pub(crate) mod power;
pub(crate) mod proc;
pub(crate) mod reap;
pub(crate) mod route;
pub(crate) mod seccomp;
pub(crate) mod signal;
pub(crate) mod spawn;
