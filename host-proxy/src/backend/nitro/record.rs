//! `enclave.json` of the state directory: which enclave is ours. Written whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const RECORD: &str = "enclave.json";
const NEW: &str = "enclave.json.new";
/// Ours has some hundred bytes.
const MAX_RECORD: u64 = 64 * 1024;

/// An enclave, recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    /// The name that it was started with; no other enclave has it.
    pub(super) name: String,
    /// What `run-enclave` reported; `None` until it has.
    pub(super) started: Option<Started>,
    /// Whether debug mode was asked for.
    pub(super) debug: bool,
    /// The program that started it and can end it.
    pub(super) nitro_cli: PathBuf,
}

/// An enclave that has booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Started {
    /// `EnclaveID`.
    pub(super) id: String,
    /// `EnclaveCID`.
    pub(super) cid: u32,
}

impl Record {
    /// What an earlier run recorded; `None` too for the record of another back-end.
    pub(super) fn read(state: &Path) -> Option<Self> {
        let file = fs::File::open(state.join(RECORD)).ok()?;
        serde_json::from_reader(io::Read::take(file, MAX_RECORD)).ok()
    }

    /// Replaces the record, readable by us alone.
    pub(super) fn write(&self, state: &Path) -> io::Result<()> {
        let new = state.join(NEW);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        // The state directory need not be in memory, and after a crash of the instance half a record would be none.
        file.sync_all()?;
        fs::rename(new, state.join(RECORD))
    }

    /// Forgets it.
    pub(super) fn remove(state: &Path) {
        let _ = fs::remove_file(state.join(RECORD));
    }
}
