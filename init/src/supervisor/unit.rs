//! Names of units.

use std::fmt;

/// A unit: index into the base services or into the Pod's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitId {
    /// A base service, in order of declaration.
    Service(usize),
    /// A regular container, in spec order.
    Container(usize),
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(index) => write!(f, "service[{index}]"),
            Self::Container(index) => write!(f, "container[{index}]"),
        }
    }
}
