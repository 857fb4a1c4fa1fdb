//! Files in the kubelet's layout, `NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log` in the CRI format, rotated as the kubelet
//! does. What reads a node's log files reads these.
//!
//! Exactly once, even after `kill -9`: each batch ends with a note of every file's length. What a file has beyond its
//! note was written by a process that was killed before it could note it, is compared with what would be written, and
//! is not written again.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cri;
use super::cursor::Mark;
use super::item::{Batch, Body, Origin};
use super::log_file::LogFile;
use super::output::{Delivered, Trouble};
use super::spec::Files;

/// Containers with files of their own; a hostile enclave could name any number.
const MAX_CONTAINERS: usize = 128;
/// The directory of those above it.
const OTHERS: &str = "others";
/// The directory of notices that are not about one container.
const NOTICES: &str = "cloister";

/// Directory, files and their lengths.
pub(super) struct FilesOutput {
    options: Files,
    note_path: PathBuf,
    note: Note,
    open: BTreeMap<String, LogFile>,
    pod: String,
}

/// What is certain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Note {
    accepted: u64,
    boot: String,
    sequence: u64,
    files: BTreeMap<String, Spot>,
}

/// How long a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spot {
    pub(super) inode: u64,
    pub(super) bytes: u64,
}

impl FilesOutput {
    /// Goes on where the note in `note_path` ends, if there is one.
    pub(super) fn new(options: Files, note_path: PathBuf) -> Self {
        let note = std::fs::read(&note_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            options,
            note_path,
            note: note.unwrap_or_default(),
            open: BTreeMap::new(),
            pod: String::new(),
        }
    }

    /// Where the note ends.
    pub(super) fn mark(&self) -> Option<Mark> {
        (!self.note.boot.is_empty()).then(|| Mark {
            accepted: self.note.accepted,
            tried: self.note.accepted,
            boot: self.note.boot.clone(),
            sequence: self.note.sequence,
        })
    }

    /// Goes on at `place` of a spool that may count anew.
    pub(super) fn start(&mut self, place: u64) {
        self.note.accepted = place;
    }

    /// Writes a batch.
    pub(super) fn deliver(&mut self, batch: &Batch) -> Result<Delivered, Trouble> {
        self.write(batch).map_err(|error| {
            // What was written and not noted will be found in the files.
            self.open.clear();
            Trouble::later(format!("{}: {error}", self.options.directory.display()))
        })?;
        Ok(Delivered::whole(batch))
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let pod = pod_directory(&batch.origin);
        if pod != self.pod {
            self.open.clear();
            self.pod = pod;
        }
        // After an error within the batch, its first part may be noted already.
        let noted = if self.note.boot == batch.origin.boot {
            self.note.accepted
        } else {
            0
        };
        let mut items = batch.items.iter().peekable();
        while let Some(item) = items.next() {
            if item.next <= noted {
                continue;
            }
            let mut line = Vec::new();
            match &item.body {
                Body::Run(run) => {
                    let name = self.file(&run.container, Some(run.attempt))?;
                    let head = cri::head(run);
                    for (place, record) in (item.index..).zip(run.as_ref().records()) {
                        if place >= noted {
                            line.clear();
                            cri::line(&head, &record, &mut line);
                            self.push(&name, &line, batch, place)?;
                        }
                    }
                }
                Body::Notice(notice) => {
                    let name = self.file(notice.container.as_deref().unwrap_or(NOTICES), None)?;
                    cri::notice(notice, &mut line);
                    self.push(&name, &line, batch, item.index)?;
                    // A notice made again would have another time, and what follows would not be recognised. There may
                    // be several at one place.
                    if items.peek().is_none_or(|after| after.next > item.next) {
                        self.save(batch, item.next)?;
                    }
                }
            }
        }
        self.save(batch, batch.end())
    }

    /// Adds the line at `place` to the open file `name`, which is rotated before it is too long.
    fn push(&mut self, name: &str, line: &[u8], batch: &Batch, place: u64) -> io::Result<()> {
        let full = self
            .open
            .get(name)
            .is_some_and(|file| file.would_exceed(line.len(), self.options.max_bytes));
        if full {
            // Everything before this line is certain before the file gets another name.
            self.save(batch, place)?;
        }
        let Some(file) = self.open.get_mut(name) else {
            return Ok(());
        };
        if full {
            file.rotate(self.options.max_files)?;
        }
        file.push(line)
    }

    /// Opens the file of a container's instance, of the newest for `None`; returns its directory's name.
    fn file(&mut self, container: &str, attempt: Option<u32>) -> io::Result<String> {
        let name = match container {
            known if self.open.contains_key(known) => known,
            _ if self.open.len() >= MAX_CONTAINERS => OTHERS,
            new => new,
        };
        let attempt = attempt
            .or_else(|| self.open.get(name).map(LogFile::attempt))
            .unwrap_or(0);
        if self
            .open
            .get(name)
            .is_none_or(|file| file.attempt() != attempt && name != OTHERS)
        {
            if let Some(mut old) = self.open.remove(name) {
                old.flush()?;
            }
            let directory = self.options.directory.join(&self.pod).join(name);
            // As a node has them: whoever collects logs reads them.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&directory)?;
            let spot = self.note.files.get(&self.key(name, attempt)).copied();
            self.open
                .insert(name.to_owned(), LogFile::open(directory, attempt, spot)?);
        }
        Ok(name.to_owned())
    }

    fn key(&self, container: &str, attempt: u32) -> String {
        format!("{}/{container}/{attempt}.log", self.pod)
    }

    /// Everything before `place` is in the files: notes their lengths. Either the old note or the new one: rename(2).
    fn save(&mut self, batch: &Batch, place: u64) -> io::Result<()> {
        let mut files = BTreeMap::new();
        let names: Vec<String> = self.open.keys().cloned().collect();
        for name in names {
            if let Some(file) = self.open.get_mut(&name) {
                file.flush()?;
                let (attempt, spot) = (file.attempt(), file.spot());
                files.insert(self.key(&name, attempt), spot);
            }
        }
        // Files that were not opened since the start keep their note.
        let prefix = format!("{}/", self.pod);
        for (key, spot) in &self.note.files {
            let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
            let container = directory.strip_prefix(&prefix);
            if container.is_some_and(|name| !self.open.contains_key(name)) {
                files.insert(key.clone(), *spot);
            }
        }
        let sequence = batch.last_sequence(place);
        let same_boot = self.note.boot == batch.origin.boot;
        self.note = Note {
            accepted: place,
            boot: batch.origin.boot.clone(),
            sequence: sequence.unwrap_or(if same_boot { self.note.sequence } else { 0 }),
            files,
        };
        let new = self.note_path.with_extension("files.new");
        std::fs::write(&new, serde_json::to_vec(&self.note)?)?;
        std::fs::rename(new, &self.note_path)
    }
}

/// `NAMESPACE_POD_UID`, as the kubelet names it. The names were checked when they were received.
fn pod_directory(origin: &Origin) -> String {
    format!("{}_{}_{}", origin.namespace, origin.pod, origin.uid)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
