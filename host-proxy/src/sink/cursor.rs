//! What a sink has, on disk: survives `kill -9` at any moment. Two slots are written in turn, each with a number and a
//! checksum, so that a torn write leaves the one before.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Bytes of a slot. Both lie within one sector.
const SLOT_BYTES: usize = 96;

/// How far a sink is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Everything before this place of the spool is delivered.
    pub(super) accepted: u64,
    /// Everything from `accepted` to before this place may be delivered: it was on its way.
    pub(super) tried: u64,
    /// Boot of the last record that was delivered; empty: none was.
    pub(super) boot: String,
    /// Its sequence.
    pub(super) sequence: u64,
}

/// The file of one sink.
pub(super) struct Cursor {
    file: File,
    version: u64,
    mark: Mark,
    dirty: bool,
}

impl Cursor {
    /// The cursor in `path`, which is made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let mut slots = Vec::new();
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            if file.read_exact_at(&mut bytes, (slot * SLOT_BYTES) as u64).is_ok() {
                slots.extend(decode(&bytes));
            }
        }
        let newest = slots.into_iter().max_by_key(|(version, _)| *version);
        let (version, mark) = newest.unwrap_or_default();
        Ok(Self {
            file,
            version,
            mark,
            dirty: false,
        })
    }

    /// The newest mark.
    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Keeps a mark; the process may be killed afterwards, the machine may not before [`Cursor::sync`].
    pub(super) fn store(&mut self, mark: Mark) {
        if mark == self.mark {
            return;
        }
        self.version += 1;
        let slot = self.version % 2 * SLOT_BYTES as u64;
        if let Err(error) = self.file.write_all_at(&encode(self.version, &mark), slot) {
            log::warn!("the place of a log sink cannot be kept: {error}");
        }
        self.mark = mark;
        self.dirty = true;
    }

    /// Writes to the disk what the kernel still holds.
    pub(super) fn sync(&mut self) {
        if std::mem::take(&mut self.dirty)
            && let Err(error) = self.file.sync_data()
        {
            log::warn!("the place of a log sink cannot be kept: {error}");
        }
    }
}

fn encode(version: u64, mark: &Mark) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let mut boot = [0; 32];
    for (to, from) in boot.iter_mut().zip(mark.boot.bytes()) {
        *to = from;
    }
    let numbers = [version, mark.accepted, mark.tried, mark.sequence];
    let fields = numbers.iter().flat_map(|number| number.to_be_bytes()).chain(boot);
    for (to, from) in slot.iter_mut().zip(fields) {
        *to = from;
    }
    let checksum = crc32fast::hash(&slot[..64]).to_be_bytes();
    slot[64..68].copy_from_slice(&checksum);
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Mark)> {
    let number = |at: usize| {
        slot.get(at..)?
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes))
    };
    if slot.get(64..68)? != crc32fast::hash(slot.get(..64)?).to_be_bytes() {
        return None;
    }
    let boot = slot.get(32..64)?;
    let boot = String::from_utf8(boot.to_vec()).ok()?;
    let mark = Mark {
        accepted: number(8)?,
        tried: number(16)?,
        boot: boot.trim_end_matches('\0').to_owned(),
        sequence: number(24)?,
    };
    Some((number(0)?, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_mark_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("one.cursor");
        let mark = |accepted| Mark {
            accepted,
            tried: accepted + 5,
            boot: "ab".repeat(16),
            sequence: 3,
        };
        let mut cursor = Cursor::open(&path).expect("opened");
        assert_eq!(*cursor.mark(), Mark::default());
        for accepted in 1..=4 {
            cursor.store(mark(accepted));
        }
        cursor.sync();
        assert_eq!(*Cursor::open(&path).expect("opened").mark(), mark(4));
        // Version 4 is in slot 0.
        let file = File::options().write(true).open(&path).expect("opened");
        file.write_all_at(b"torn", 12).expect("written");
        assert_eq!(*Cursor::open(&path).expect("opened").mark(), mark(3));
    }
}
