//! What was last seen of an enclave, and when to look again: looking means running a program, and callers ask often.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::Probe;

use super::cli::{Error, NitroCli};
use super::record::Record;

/// How long a look is good for.
const FRESH: Duration = Duration::from_millis(500);

/// What is known of an enclave that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It runs, or nothing says that it does not.
    Running,
    /// It does not, and how that is known.
    Gone(String),
}

impl Seen {
    pub(super) fn into_probe(self) -> Probe {
        match self {
            Self::Running => Probe::Running,
            Self::Gone(how) => Probe::Ended(how),
        }
    }
}

/// Shared by the clones of an enclave.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// Counts looks, so that one that was overtaken changes nothing.
    look: u64,
    looking: bool,
    /// When the last look ended.
    at: Option<Instant>,
    seen: Option<Seen>,
}

impl Last {
    /// The number of a look that is due: the caller must look.
    fn due(&mut self) -> Option<u64> {
        if self.looking || self.at.is_some_and(|at| at.elapsed() < FRESH) {
            return None;
        }
        self.looking = true;
        self.look += 1;
        Some(self.look)
    }

    fn known(&self) -> Seen {
        self.seen.clone().unwrap_or(Seen::Running)
    }
}

impl Watch {
    /// What is seen now, or was half a second ago.
    pub(super) fn now(&self, record: &Record) -> Seen {
        let due = self.lock().due();
        if let Some(look) = due {
            self.look(look, record);
        }
        self.lock().known()
    }

    /// What was seen last, without waiting; a thread looks again when it is time to.
    pub(super) fn lately(self: &Arc<Self>, record: &Record) -> Seen {
        let due = self.lock().due();
        if let Some(look) = due {
            let (watch, record) = (Arc::clone(self), record.clone());
            let looking = std::thread::Builder::new()
                .name("nitro-watch".to_owned())
                .spawn(move || watch.look(look, &record));
            if let Err(error) = looking {
                log::warn!("cannot look after the enclave: {error}");
                self.lock().looking = false;
            }
        }
        self.lock().known()
    }

    /// Forgets what was seen: something was done to the enclave.
    pub(super) fn forget(&self) {
        let mut last = self.lock();
        let look = last.look + 1;
        *last = Last {
            look,
            ..Last::default()
        };
    }

    fn look(&self, look: u64, record: &Record) {
        let found = NitroCli::new(&record.nitro_cli).find(record);
        let mut last = self.lock();
        if last.look != look {
            return;
        }
        last.looking = false;
        last.at = Some(Instant::now());
        match found {
            Ok(Some(found)) if found.is_running() => last.seen = Some(Seen::Running),
            Ok(Some(found)) => last.seen = Some(Seen::Gone(format!("nitro-cli says {}", found.state))),
            Ok(None) => {
                last.seen = Some(Seen::Gone("nitro-cli does not list it any more".to_owned()));
            }
            // The state directory outlived the program: starting an enclave will say so clearly.
            Err(Error::Spawn(program, error))
                if last.seen.is_none() && error.kind() == ErrorKind::NotFound =>
            {
                last.seen = Some(Seen::Gone(format!("{} is not there", program.display())));
            }
            Err(error) => log::warn!("cannot see whether the enclave {} runs: {error}", record.name),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
