//! The Nitro back-end: an enclave on EC2, started, looked at and ended by AWS's `nitro-cli`. What it must
//! never do: decide how the Pod runs; that is the enclave's business.
//!
//! ```text
//! start ─► enclave.json {name} ─► run-enclave ─► enclave.json {name, id, cid}
//!                                      └ fails, hangs: whatever got that name is terminated
//! ```
//!
//! The name is recorded before the enclave exists, so that one that was left behind by a killed host-proxy is found by
//! it and ended at the next start.

mod capture;
mod cli;
mod demand;
mod explain;
mod images;
mod options;
mod record;
mod sizing;
mod turn;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use manifest_sync::digest::hex;
use manifest_sync::link::Address;

use crate::announce::say;
use crate::backend::Probe;
use crate::exit::{Exit, Failure};
use cli::{Launch, NitroCli};
pub use options::{Options, eif_bytes};
use record::{Record, Started};
pub use sizing::{Size, size};
use watch::{Seen, Watch};

/// What an earlier enclave left behind and a new one must not see.
const STALE: [&str; 3] = ["exit", "session", "logs.cursor"];
/// Lowest CID of an enclave: below are those of vsock(7) and of the parent instance.
const FIRST_CID: u32 = 4;
/// How long an earlier enclave may take to disappear after it was told to.
const GONE: Duration = Duration::from_secs(10);

/// An enclave of a state directory. Clones share what was last seen of it.
#[derive(Debug, Clone)]
pub struct Enclave {
    state: PathBuf,
    watch: Arc<Watch>,
}

impl Enclave {
    /// The enclave of a state directory, whether it runs or not.
    pub fn of(state: &Path) -> Self {
        Self {
            state: state.to_path_buf(),
            watch: Arc::default(),
        }
    }

    /// Where it listens: the CID that `run-enclave` reported.
    ///
    /// # Errors
    /// `Unavailable` when no enclave of this state directory has been started.
    pub fn address(&self) -> Result<Address, Failure> {
        let started = Record::read(&self.state).and_then(|record| record.started);
        match started {
            Some(started) => Ok(Address::Vsock {
                cid: Some(started.cid),
            }),
            None => {
                let message = format!(
                    "no enclave was started in {}: start one with `host-proxy up`",
                    self.state.display()
                );
                Err(Failure::new(Exit::Unavailable, message))
            }
        }
    }

    /// Whether it runs. Asks `nitro-cli`, but not more than twice a second: what it said last is remembered. While it
    /// does not answer, an enclave stays what it was last seen to be, at first running: only the link can tell then.
    pub fn probe(&self) -> Probe {
        match Record::read(&self.state) {
            Some(record) if record.started.is_some() => self.watch.now(&record).into_probe(),
            // A start that was interrupted leaves nothing that could be picked up.
            _ => Probe::Absent,
        }
    }

    /// One message for people when it is gone. Never waits: `nitro-cli` is asked by a thread, and the answer is that of
    /// the last time, so a new caller may have to ask again half a second later.
    pub fn obituary(&self) -> Option<String> {
        let record = Record::read(&self.state)?;
        let id = record.started.as_ref().map(|started| started.id.as_str())?;
        match self.watch.lately(&record) {
            Seen::Running => None,
            Seen::Gone(how) => Some(obituary(id, record.debug, &how)),
        }
    }

    /// Whether it was started in debug mode, in which it protects nothing.
    pub fn is_debug(&self) -> bool {
        Record::read(&self.state).is_some_and(|record| record.debug)
    }

    /// Starts it; returns when it has said that it booted, which takes `nitro-cli` seconds to minutes.
    ///
    /// # Errors
    /// `NoInput` for an image that cannot be read, `Usage` for an impossible CID, `InUse` when it runs already, `Host`
    /// when the state directory cannot be written, and `Unavailable` for everything that `nitro-cli` says.
    pub fn start(&self, options: &Options, size: &Size) -> Result<(), Failure> {
        let eif_bytes = eif_bytes(&options.eif)?;
        self.start_within(options, size, options::patience(eif_bytes, size))
    }

    /// Ends it at once, whatever it does.
    pub fn terminate(&self) {
        let Some(record) = Record::read(&self.state) else {
            return;
        };
        if let Err(error) = end(&record) {
            log::warn!("the enclave {} may still run: {error}", record.name);
        }
        self.watch.forget();
    }

    fn start_within(&self, options: &Options, size: &Size, patience: Duration) -> Result<(), Failure> {
        if let Some(cid) = options.cid.filter(|cid| *cid < FIRST_CID) {
            let message = format!("--cid {cid} cannot be an enclave's: use {FIRST_CID} or more");
            return Err(Failure::new(Exit::Usage, message));
        }
        self.clear()?;
        self.watch.forget();
        let nitro_cli = options.program();
        let mut record = Record {
            name: self.new_name()?,
            started: None,
            debug: options.debug,
            nitro_cli: nitro_cli.clone(),
        };
        self.prepare(&record)?;
        if options.debug {
            say(
                "warning: DEBUG MODE: this machine can read the enclave's console, and its attestation shows zeroed \
                 PCRs: never give it real secrets",
            );
        }
        let launch = Launch {
            eif: &options::absolute(&options.eif),
            size,
            cid: options.cid,
            name: &record.name,
            debug: options.debug,
        };
        // Held until the enclave runs, see there.
        let turn = turn::take(patience);
        let result = NitroCli::new(&nitro_cli).run_enclave(&launch, patience);
        drop(turn);
        let (id, cid) = match result {
            Ok(started) => started,
            Err(error) => {
                self.abandon(&record, &error);
                return Err(unavailable(&explain::start(&error, size)));
            }
        };
        record.started = Some(Started { id, cid });
        if let Err(error) = record.write(&self.state) {
            // Nobody would ever find it again.
            if let Err(error) = end(&record) {
                log::warn!("the enclave {} may still run: {error}", record.name);
            }
            return Err(self.host(&error));
        }
        if let (true, Some(started)) = (record.debug, &record.started) {
            say(&format!(
                "its console: {} console --enclave-id {}",
                nitro_cli.display(),
                started.id
            ));
        }
        Ok(())
    }

    /// After a start that failed: the enclave may have come up in spite of it.
    fn abandon(&self, record: &Record, error: &cli::Error) {
        let ended = match error {
            cli::Error::Spawn(..) => Ok(()),
            _ => end(record),
        };
        if let Err(error) = &ended {
            log::warn!("an enclave named {} may still run: {error}", record.name);
        }
        // After a deadline its process goes on without us and is not listed yet: the next start must know the name.
        if ended.is_ok() && !matches!(error, cli::Error::Deadline(..)) {
            Record::remove(&self.state);
        }
    }

    /// Makes sure that no enclave of an earlier start is left: its CPUs and memory would be missing.
    fn clear(&self) -> Result<(), Failure> {
        let Some(record) = Record::read(&self.state) else {
            return Ok(());
        };
        let deadline = Instant::now() + GONE;
        // No answer: `run-enclave` will say what is wrong.
        while let Ok(Some(found)) = NitroCli::new(&record.nitro_cli).find(&record) {
            if found.is_running() && record.started.is_some() {
                let message = format!("the enclave {} of {} runs", found.id, self.state.display());
                return Err(Failure::new(Exit::InUse, message));
            }
            if Instant::now() > deadline {
                let message = format!(
                    "an earlier enclave, {}, does not end: try `nitro-cli terminate-enclave --enclave-id {}`",
                    found.id, found.id
                );
                return Err(unavailable(&message));
            }
            if found.is_running() {
                log::warn!("ending the enclave {}, whose start was interrupted", found.id);
                let _ = end(&record);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn prepare(&self, record: &Record) -> Result<(), Failure> {
        for name in STALE {
            match std::fs::remove_file(self.state.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(self.host(&error)),
                _ => {}
            }
        }
        record.write(&self.state).map_err(|error| self.host(&error))
    }

    /// A name for people that no other enclave has.
    fn new_name(&self) -> Result<String, Failure> {
        let random: [u8; 4] = attest::random_bytes()
            .map_err(|error| Failure::new(Exit::Host, format!("cannot name the enclave: {error}")))?;
        let pod = self.state.file_name().unwrap_or_default().to_string_lossy();
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let pod: String = pod.chars().filter(plain).take(63).collect();
        Ok(format!("cloister-{pod}-{}", hex(&random)))
    }

    fn host(&self, error: &std::io::Error) -> Failure {
        let message = format!("cannot prepare {}: {error}", self.state.display());
        Failure::new(Exit::Host, message)
    }
}

/// Ends the enclave of `record`, if there is one.
fn end(record: &Record) -> Result<(), cli::Error> {
    let nitro_cli = NitroCli::new(&record.nitro_cli);
    if let Some(started) = &record.started {
        return nitro_cli.terminate(&started.id);
    }
    match nitro_cli.find(record)? {
        Some(found) => nitro_cli.terminate(&found.id),
        None => Ok(()),
    }
}

fn obituary(id: &str, debug: bool, how: &str) -> String {
    let console = if debug {
        "its console went with it: next time run `nitro-cli console --enclave-id` beside it from the start"
    } else {
        "why cannot be seen from outside; to read its console run it with --debug-mode, without real secrets, and \
         `nitro-cli console --enclave-id` beside it"
    };
    format!("the enclave {id} died ({how}); {console}")
}

fn unavailable(message: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!("cannot start a Nitro enclave: {message}"),
    )
}

#[cfg(test)]
mod tests;
