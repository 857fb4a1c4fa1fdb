//! What an observer sees at one tick. Both sides write it, and it has to be the same.

use std::fmt;
use std::rc::Rc;

/// What was done in one tick, and what the status says afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Observation {
    /// Containers that were started, in this order.
    pub(crate) starts: Vec<usize>,
    /// Containers that were sent their stop signal. Order within a tick says nothing: they are stopped concurrently.
    pub(crate) terminated: Vec<usize>,
    pub(crate) killed: Vec<usize>,
    /// Container and kind.
    pub(crate) asked: Vec<(usize, usize)>,
    pub(crate) status: Option<Rc<Status>>,
    /// Whether the Pod has failed, once it is over.
    pub(crate) finished: Option<bool>,
}

impl Observation {
    pub(crate) fn sort(&mut self) {
        self.terminated.sort_unstable();
        self.killed.sort_unstable();
        self.asked.sort_unstable();
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) phase: &'static str,
    /// Conditions.
    pub(crate) is_ready: bool,
    pub(crate) is_initialized: bool,
    pub(crate) units: Vec<UnitStatus>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UnitStatus {
    pub(crate) restarts: usize,
    pub(crate) ready: bool,
    pub(crate) started: bool,
    pub(crate) state: State,
    pub(crate) last: Option<State>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Reason.
    Waiting(String),
    Running,
    /// Reason and exit code.
    Terminated(String, i32),
}

impl fmt::Debug for UnitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} restarts={}", self.state, self.restarts)?;
        if let Some(last) = &self.last {
            write!(f, " last={last:?}")?;
        }
        let flags = [(self.started, " started"), (self.ready, " ready")];
        flags
            .iter()
            .filter(|(holds, _)| *holds)
            .try_for_each(|(_, name)| f.write_str(name))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(reason) => write!(f, "waiting:{reason}"),
            Self::Running => f.write_str("running"),
            Self::Terminated(reason, code) => write!(f, "terminated:{reason}:{code}"),
        }
    }
}
