//! One log file: appended to, rotated, and taken up again where an earlier process was killed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::files::Spot;
use crate::time;

/// Lines are collected up to this many bytes before they are written.
const BUFFER_BYTES: usize = 64 << 10;
/// What is compared at most with what would be written again; a batch is smaller.
const MAX_PENDING: u64 = 64 << 20;

/// The current file of one instance of one container.
pub(super) struct LogFile {
    directory: PathBuf,
    attempt: u32,
    file: File,
    inode: u64,
    /// Length, with what is in the buffer and without what is pending.
    bytes: u64,
    buffer: Vec<u8>,
    /// In the file beyond what was noted: the first of these bytes that have not been recognised yet.
    pending: Vec<u8>,
}

impl LogFile {
    /// The file in `directory`; `spot` is what was noted of it.
    pub(super) fn open(directory: PathBuf, attempt: u32, spot: Option<Spot>) -> io::Result<Self> {
        remove_older(&directory, attempt);
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o640)
            .open(directory.join(format!("{attempt}.log")))?;
        let metadata = file.metadata()?;
        // Another inode: the file was rotated after the note was made, so this one began later.
        let noted = spot
            .filter(|spot| spot.inode == metadata.ino() && spot.bytes <= metadata.len())
            .map_or(0, |spot| spot.bytes);
        let beyond = metadata.len() - noted;
        let mut pending = Vec::new();
        let mut bytes = metadata.len();
        if beyond <= MAX_PENDING {
            pending = vec![0; usize::try_from(beyond).unwrap_or(0)];
            file.read_exact_at(&mut pending, noted)?;
            bytes = noted;
        }
        Ok(Self {
            directory,
            attempt,
            inode: metadata.ino(),
            file,
            bytes,
            buffer: Vec::new(),
            pending,
        })
    }

    /// Which instance.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Its length after [`LogFile::flush`].
    pub(super) fn spot(&self) -> Spot {
        Spot {
            inode: self.inode,
            bytes: self.bytes,
        }
    }

    /// Whether a line of this length makes it larger than `limit`; an empty file takes any line.
    pub(super) fn would_exceed(&self, line: usize, limit: u64) -> bool {
        self.bytes > 0 && self.bytes + line as u64 > limit
    }

    /// Adds a line, unless it is there.
    pub(super) fn push(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        if !self.pending.is_empty() {
            if self.pending.starts_with(line) {
                self.pending.drain(..line.len());
                self.bytes += line.len() as u64;
                return Ok(());
            }
            let pending = std::mem::take(&mut self.pending);
            if line.starts_with(&pending) {
                // Torn in the middle.
                rest = line.get(pending.len()..).unwrap_or_default();
            } else if pending.last() != Some(&b'\n') {
                self.buffer.push(b'\n');
                self.bytes += 1;
            }
            self.bytes += pending.len() as u64;
        }
        self.buffer.extend_from_slice(rest);
        self.bytes += rest.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is collected.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Gives the file a name with the time, as the kubelet does, begins a new one, and removes the oldest above
    /// `max_files`.
    pub(super) fn rotate(&mut self, max_files: usize) -> io::Result<()> {
        self.flush()?;
        let current = self.directory.join(format!("{}.log", self.attempt));
        let mut seconds = time::now();
        let rotated = loop {
            let rotated = self
                .directory
                .join(format!("{}.log.{}", self.attempt, stamp(seconds)));
            if !rotated.exists() {
                break rotated;
            }
            // Twice in a second; names must stay in order.
            seconds += 1;
        };
        fs::rename(&current, rotated)?;
        *self = Self::open(std::mem::take(&mut self.directory), self.attempt, None)?;
        let mut old = rotated_files(&self.directory, self.attempt);
        old.sort();
        let surplus = (old.len() + 1).saturating_sub(max_files);
        for path in old.iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// `20261121-030440`
fn stamp(seconds: u64) -> String {
    let text = time::format_rfc3339(seconds);
    text.replace('T', "-")
        .chars()
        .enumerate()
        .filter(|(index, character)| character.is_ascii_digit() || (*character == '-' && *index == 10))
        .map(|(_, character)| character)
        .collect()
}

fn rotated_files(directory: &Path, attempt: u32) -> Vec<PathBuf> {
    let prefix = format!("{attempt}.log.");
    names(directory)
        .filter(|name| name.starts_with(&prefix))
        .map(|name| directory.join(name))
        .collect()
}

/// The kubelet keeps the logs of an instance and of the one before it.
fn remove_older(directory: &Path, attempt: u32) {
    for name in names(directory) {
        let of = name
            .split('.')
            .next()
            .and_then(|number| number.parse::<u32>().ok());
        if name.contains(".log") && of.is_some_and(|of| of.saturating_add(1) < attempt) {
            let _ = fs::remove_file(directory.join(name));
        }
    }
}

fn names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_sort_by_time() {
        assert_eq!(stamp(1_795_230_280), "20261121-030440");
    }
}
