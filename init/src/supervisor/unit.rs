//! Names of units.

use std::fmt;

/// A unit: index into the base services or into one of the Pod's lists of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitId {
    /// A base service, in order of declaration.
    Service(usize),
    /// An init container or sidecar, in spec order.
    Init(usize),
    /// A regular container, in spec order.
    Container(usize),
    /// An ephemeral container, in spec order.
    Ephemeral(usize),
}

impl UnitId {
    /// Where the Pod's spec has a container of this name; `None` for a base service.
    pub fn field_path(self, name: &str) -> Option<String> {
        match self {
            Self::Service(_) => None,
            Self::Init(_) => Some(format!("spec.initContainers{{{name}}}")),
            Self::Ephemeral(_) => Some(format!("spec.ephemeralContainers{{{name}}}")),
            Self::Container(_) => Some(format!("spec.containers{{{name}}}")),
        }
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(index) => write!(f, "service[{index}]"),
            Self::Init(index) => write!(f, "init container[{index}]"),
            Self::Ephemeral(index) => write!(f, "ephemeral container[{index}]"),
            Self::Container(index) => write!(f, "container[{index}]"),
        }
    }
}
