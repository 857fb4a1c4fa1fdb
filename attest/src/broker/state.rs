//! The ledger on disk. A change is complete in a file of its own before it takes the name of the old one, and both the file
//! and the directory have reached the disk before anybody relies on it (rename(2), fsync(2)): a broker that is killed at any
//! moment finds either the old ledger or the new one, and no secret has left on a generation that is not remembered.
//!
//! The directory belongs to one broker at a time; a lock says so.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::ledger::{GenerationError, Ledger};
use crate::release::Binding;

/// Most bytes of a ledger: some ten thousand applications.
const MAX_LEDGER: u64 = 8 << 20;
const LEDGER: &str = "generations.json";
const NEXT: &str = "generations.json.next";
const LOCK: &str = "lock";
const VERSION: u32 = 1;

/// Why there is no ledger, or a change was not kept.
#[derive(Debug)]
pub enum StateError {
    /// A file or the directory: its path, and why.
    Io(PathBuf, io::Error),
    /// Another broker uses the directory.
    InUse(PathBuf),
    /// The ledger is damaged: its path, and how.
    Damaged(PathBuf, String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::InUse(path) => write!(
                f,
                "{}: another broker uses this directory: give each its own, or stop the other",
                path.display()
            ),
            Self::Damaged(path, how) => write!(
                f,
                "{}: damaged ({how}): restore it from a backup; without it, a host could go back to an older bundle",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StateError {}

/// Why a bundle gets no secrets now.
#[derive(Debug)]
pub(super) enum AdmitError {
    /// The generation is wrong.
    Generation(GenerationError),
    /// The generation could not be remembered.
    State(StateError),
}

/// The file's form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    applications: Ledger,
}

/// The ledger, and where it is kept.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    ledger: Mutex<Ledger>,
    /// Beside the lock, which is held while the disk is busy.
    applications: AtomicUsize,
    /// Held as long as this is.
    _lock: File,
}

impl State {
    /// Reads the ledger of a directory, which has to exist. One without a ledger gets an empty one.
    ///
    /// # Errors
    ///
    /// [`StateError`] says why the broker must not start.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let at = |name: &str| directory.join(name);
        let wrong = |name: &'static str| move |error| StateError::Io(directory.join(name), error);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(at(LOCK));
        let lock = lock.map_err(wrong(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(wrong(LOCK)(error)),
        }
        let ledger = match read(&at(LEDGER)) {
            Ok(bytes) => parse(&bytes).map_err(|how| StateError::Damaged(at(LEDGER), how))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Shows at once, not at the first release, that nothing can be written here.
                write(directory, &Ledger::default()).map_err(wrong(LEDGER))?;
                Ledger::default()
            }
            Err(error) => return Err(wrong(LEDGER)(error)),
        };
        Ok(Self {
            directory: directory.to_owned(),
            applications: AtomicUsize::new(ledger.len()),
            ledger: Mutex::new(ledger),
            _lock: lock,
        })
    }

    /// Judges a bundle, and remembers it; when this returns, the disk has it.
    pub(super) fn admit(&self, binding: &Binding, minimum: Option<u64>) -> Result<(), AdmitError> {
        // Held while the disk is busy: two changes must not overtake each other.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let new = ledger.judge(binding, minimum).map_err(AdmitError::Generation)?;
        if let Some(seen) = new {
            let mut next = ledger.clone();
            next.remember(&binding.application, seen);
            write(&self.directory, &next)
                .map_err(|error| AdmitError::State(StateError::Io(self.directory.join(LEDGER), error)))?;
            self.applications.store(next.len(), Relaxed);
            *ledger = next;
        }
        Ok(())
    }

    /// How many applications were seen.
    pub fn applications(&self) -> usize {
        self.applications.load(Relaxed)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_LEDGER + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Ledger, String> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_LEDGER) {
        return Err(format!("more than {MAX_LEDGER} bytes"));
    }
    let form: Form = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match form.version {
        VERSION => Ok(form.applications),
        other => Err(format!("version {other}; this broker knows {VERSION}")),
    }
}

fn write(directory: &Path, ledger: &Ledger) -> io::Result<()> {
    let form = Form {
        version: VERSION,
        applications: ledger.clone(),
    };
    let mut bytes = serde_json::to_vec_pretty(&form)?;
    bytes.push(b'\n');
    let next = directory.join(NEXT);
    let mut file = File::create(&next)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&next, directory.join(LEDGER))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Application;

    fn binding(generation: u64) -> Binding {
        Binding {
            bundle: [1; 48],
            generation,
            names: [0; 48],
            application: Application::try_from("web".to_owned()).expect("a name"),
        }
    }

    #[test]
    fn what_was_admitted_is_known_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = State::open(directory.path()).expect("a state");
        assert!(matches!(State::open(directory.path()), Err(StateError::InUse(_))));
        state.admit(&binding(7), None).expect("admitted");
        drop(state);
        // What a broker that was killed leaves behind.
        fs::write(directory.path().join(NEXT), "{\"version\": 1, \"appl").expect("written");
        let state = State::open(directory.path()).expect("a state");
        assert_eq!(state.applications(), 1);
        let refused = state.admit(&binding(6), None);
        assert!(matches!(
            refused,
            Err(AdmitError::Generation(GenerationError::RolledBack(6, 7)))
        ));
        state.admit(&binding(7), None).expect("admitted again");
        state.admit(&binding(8), None).expect("admitted");
    }

    #[test]
    fn a_damaged_ledger_stops_the_broker() {
        for text in [
            "",
            "{}",
            "{\"version\": 2, \"applications\": {}}",
            "{\"version\": 1, \"applications\": {\"web\": {\"generation\": 1}}}",
            "{\"version\": 1, \"applications\": {\"web\": {\"generation\": 1, \"bundle\": \"00\"}}}",
            "{\"version\": 1, \"applications\": {}, \"more\": 1}",
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join(LEDGER), text).expect("written");
            let refused = State::open(directory.path()).map(|_| ());
            assert!(matches!(refused, Err(StateError::Damaged(..))), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_not_admitted() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = State::open(directory.path()).expect("a state");
        // Nobody can make a file of this name now, not even root.
        fs::create_dir(directory.path().join(NEXT)).expect("made");
        let refused = state.admit(&binding(7), None);
        assert!(matches!(refused, Err(AdmitError::State(_))));
        fs::remove_dir(directory.path().join(NEXT)).expect("removed");
        // It was not remembered either: another one of the same generation is the first.
        let other = Binding {
            bundle: [2; 48],
            ..binding(7)
        };
        state.admit(&other, None).expect("admitted");
        assert!(State::open(Path::new("/nowhere")).is_err());
    }
}
