//! `--backend` and the options that only some back-ends have.

use std::path::PathBuf;

use super::Backend;
use crate::backend::nitro;
use crate::backend::qemu::{self, Accelerator};

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Local,
    Qemu,
    Nitro,
}

/// Options that only some back-ends have.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) init: Option<PathBuf>,
    pub(super) policy: Option<PathBuf>,
    pub(super) eif: Option<PathBuf>,
    pub(super) cpus: Option<u32>,
    pub(super) memory_mib: Option<u64>,
    pub(super) accelerator: Option<Accelerator>,
    pub(super) cid: Option<u32>,
    pub(super) debug: bool,
}

impl Machine {
    /// The back-end with its options. One that it does not have is a mistake: it would be ignored otherwise.
    pub(super) fn finish(self, kind: Kind, mistakes: &mut Vec<String>) -> Backend {
        let (name, allowed): (_, &[&str]) = match kind {
            Kind::Local => ("local", &["init", "policy"]),
            Kind::Qemu => ("qemu", &["eif", "cpus", "memory", "accel"]),
            Kind::Nitro => ("nitro", &["eif", "cpus", "memory", "cid", "debug-mode"]),
        };
        for (flag, given) in [
            ("init", self.init.is_some()),
            ("policy", self.policy.is_some()),
            ("eif", self.eif.is_some()),
            ("cpus", self.cpus.is_some()),
            ("memory", self.memory_mib.is_some()),
            ("accel", self.accelerator.is_some()),
            ("cid", self.cid.is_some()),
            ("debug-mode", self.debug),
        ] {
            if given && !allowed.contains(&flag) {
                mistakes.push(format!("--{flag}: the back-end {name} does not have it"));
            }
        }
        if kind != Kind::Local && self.eif.is_none() {
            mistakes.push(format!(
                "the enclave image is missing: the back-end {name} needs `--eif FILE`"
            ));
        }
        let eif = self.eif.unwrap_or_default();
        match kind {
            Kind::Local => Backend::Local {
                init: self.init,
                policy: self.policy,
            },
            Kind::Qemu => Backend::Qemu(qemu::Options {
                eif,
                cpus: self.cpus,
                memory_mib: self.memory_mib,
                accelerator: self.accelerator.unwrap_or_default(),
            }),
            Kind::Nitro => Backend::Nitro {
                options: nitro::Options {
                    eif,
                    debug: self.debug,
                    cid: self.cid,
                    ..nitro::Options::default()
                },
                cpus: self.cpus,
                memory_mib: self.memory_mib,
            },
        }
    }
}
