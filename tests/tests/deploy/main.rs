//! `deploy/` is what users copy, so every file of it is checked here: against Kubernetes' schema, against the rules that
//! the schema does not know, and against what `host-proxy` really understands.

mod confined;
mod files;
mod kubernetes;
mod launcher;
mod seccomp;
mod unit;
