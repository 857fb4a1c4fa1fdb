//! `nitro-cli` as functions: arguments in, its JSON out (`src/common/json_output.rs` of aws-nitro-enclaves-cli,
//! 1.1 or later for names).
//! What it prints is parsed here and nowhere else.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::FIRST_CID;
use super::capture::{self, Output};
use super::record::Record;
use super::sizing::Size;

/// How long `describe-enclaves` may take; it waits 3 s itself for each enclave that does not answer, and an instance
/// has at most four.
const DESCRIBE: Duration = Duration::from_secs(15);
/// How long `terminate-enclave` may take: all of the enclave's memory is given back.
const TERMINATE: Duration = Duration::from_secs(60);
/// Longest `EnclaveID` that is believed; a real one has 39 characters.
const MAX_ID: usize = 128;

/// The program.
#[derive(Debug, Clone)]
pub(super) struct NitroCli {
    program: PathBuf,
}

/// What `run-enclave` is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch<'a> {
    pub(super) eif: &'a Path,
    pub(super) size: &'a Size,
    pub(super) cid: Option<u32>,
    pub(super) name: &'a str,
    pub(super) debug: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Error {
    /// It cannot be executed.
    Spawn(PathBuf, io::Error),
    /// It was killed at its deadline; what it had said on standard error.
    Deadline(Duration, String),
    /// It failed; what it said on standard error.
    Failed(String),
    /// It succeeded and said something that is not the JSON we know.
    Garbled(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(program, error) => write!(f, "cannot run {}: {error}", program.display()),
            Self::Deadline(patience, _) => {
                write!(f, "nitro-cli did not end within {} s", patience.as_secs())
            }
            Self::Failed(stderr) => match super::explain::code(stderr) {
                Some(code) => write!(f, "nitro-cli failed with {code}"),
                None => write!(f, "nitro-cli failed"),
            },
            Self::Garbled(what) => write!(f, "nitro-cli's answer makes no sense: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// One element of `describe-enclaves`. More members (measurements, CPUs) are of no use here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Described {
    #[serde(rename = "EnclaveName")]
    name: Option<String>,
    /// `EnclaveID`.
    #[serde(rename = "EnclaveID")]
    pub(super) id: String,
    /// `RUNNING`, `TERMINATING` or `EMPTY`.
    #[serde(rename = "State")]
    pub(super) state: String,
}

impl Described {
    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        self.state == "RUNNING"
    }
}

#[derive(Deserialize)]
struct RunInfo {
    #[serde(rename = "EnclaveID")]
    id: String,
    #[serde(rename = "EnclaveCID")]
    cid: u64,
}

impl NitroCli {
    /// The program at a path, or of that name in `PATH`.
    pub(super) fn new(program: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
        }
    }

    /// Starts an enclave; its id and CID.
    pub(super) fn run_enclave(
        &self,
        launch: &Launch<'_>,
        patience: Duration,
    ) -> Result<(String, u32), Error> {
        let mut command = Command::new(&self.program);
        command.arg("run-enclave").arg("--eif-path").arg(launch.eif);
        command.args(["--cpu-count", &launch.size.cpus.to_string()]);
        command.args(["--memory", &launch.size.memory_mib.to_string()]);
        command.args(["--enclave-name", launch.name]);
        if let Some(cid) = launch.cid {
            command.args(["--enclave-cid", &cid.to_string()]);
        }
        if launch.debug {
            command.arg("--debug-mode");
        }
        let output = self.output(command, patience)?;
        succeeded(&output)?;
        let info: RunInfo = parse(&output.stdout)?;
        checked(&info.id)?;
        match u32::try_from(info.cid) {
            Ok(cid) if cid >= FIRST_CID => Ok((info.id, cid)),
            _ => Err(Error::Garbled(format!("the EnclaveCID {}", info.cid))),
        }
    }

    /// The enclave of `record` as `describe-enclaves` shows it: by its id, or by its name while it has none.
    ///
    /// # Errors
    /// Also when it is not in a list that is incomplete: nitro-cli prints those that answered and then fails (E38, E39).
    pub(super) fn find(&self, record: &Record) -> Result<Option<Described>, Error> {
        let mut command = Command::new(&self.program);
        command.arg("describe-enclaves");
        let output = self.output(command, DESCRIBE)?;
        let list: Result<Vec<Described>, Error> = parse(&output.stdout);
        let ours = |one: &Described| match &record.started {
            Some(started) => one.id == started.id,
            None => one.name.as_deref() == Some(&record.name),
        };
        let found = list
            .as_ref()
            .ok()
            .and_then(|list| list.iter().find(|one| ours(one)));
        if let Some(found) = found {
            checked(&found.id)?;
            return Ok(Some(found.clone()));
        }
        succeeded(&output)?;
        list.map(|_| None)
    }

    /// Ends an enclave.
    pub(super) fn terminate(&self, id: &str) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        command.args(["terminate-enclave", "--enclave-id", id]);
        let output = self.output(command, TERMINATE)?;
        succeeded(&output)
    }

    fn output(&self, mut command: Command, patience: Duration) -> Result<Output, Error> {
        let output = capture::run(&mut command, patience)
            .map_err(|error| Error::Spawn(self.program.clone(), error))?;
        match output.status {
            Some(_) => Ok(output),
            None => Err(Error::Deadline(patience, text(&output.stderr))),
        }
    }
}

fn succeeded(output: &Output) -> Result<(), Error> {
    match output.status {
        Some(status) if status.success() => Ok(()),
        _ => Err(Error::Failed(text(&output.stderr))),
    }
}

fn parse<T: DeserializeOwned>(stdout: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(stdout).map_err(|error| Error::Garbled(error.to_string()))
}

/// An id becomes an argument again: it must not look like a flag.
fn checked(id: &str) -> Result<(), Error> {
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && !id.starts_with('-') && (1..=MAX_ID).contains(&id.len()) {
        Ok(())
    } else {
        Err(Error::Garbled("the EnclaveID".to_owned()))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
