//! System call filters (seccomp(2)): which calls a process has, decided before it is executed. Pure, but for the
//! installation, which is [`crate::sys::seccomp`]'s.
//!
//! Every process of a container has the [`floor`] at least; nothing takes a filter away again, not even root. A filter is
//! assembled in the process that it is for: the table is a constant, and 400 numbers take some 20 µs.

mod assemble;
mod floor;
mod profile;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use self::assemble::Instruction;
use self::assemble::{Action, Rule, assemble};

/// Which filter a process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Profile {
    /// What leads out of a container, or into the kernel, and nothing else is closed: `Unconfined` and privileged.
    Floor,
    /// The container ecosystem's default on top of the floor: `RuntimeDefault`.
    RuntimeDefault,
    /// For a base service without capabilities. It may use the security module, if it holds it.
    Service,
}

/// The program for a profile. `capabilities` are those of the bounding set, by name with `CAP_`: the default profile
/// opens with them what they are good for.
pub(crate) fn program(profile: Profile, capabilities: &[String]) -> Vec<Instruction> {
    let (mut rules, other, newer) = match profile {
        Profile::Floor => (Rules::new(), Action::Allow, None),
        Profile::RuntimeDefault => (profile::rules(capabilities), profile::OTHER, Some(profile::NEWER)),
        Profile::Service => (profile::service(), profile::OTHER, Some(profile::NEWER)),
    };
    floor::lay(&mut rules, other, profile == Profile::Service);
    assemble(&rules, other, newer)
}

/// Rules by number of the call.
type Rules = BTreeMap<u32, Rule>;

#[cfg(test)]
mod tests;
