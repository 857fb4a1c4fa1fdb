//! Opening a spool directory that an earlier process may have left: in the middle of a write, or damaged since.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::segment::Segment;
use super::spool::Spool;

impl Spool {
    /// The spool in `directory`, which is made if it is not there. A torn tail is cut off and counted; a file that is
    /// no segment any more is set aside.
    ///
    /// # Errors
    /// The directory cannot be used, or another process uses it.
    pub(super) fn open(directory: &Path, limit: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = lock(directory)?;
        let mut paths: Vec<PathBuf> = fs::read_dir(directory)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
            .collect();
        paths.sort();
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let mut torn = 0;
        for path in paths {
            match Segment::open(&path) {
                Ok((segment, cut)) => {
                    if cut > 0 {
                        log::warn!("{}: the last {cut} bytes were torn and are gone", path.display());
                    }
                    torn += cut;
                    segments.push_back(segment);
                }
                Err(error) => {
                    log::warn!("{}: {error}: set aside", path.display());
                    torn += fs::metadata(&path).map_or(0, |metadata| metadata.len());
                    fs::rename(&path, path.with_extension("damaged"))?;
                }
            }
        }
        Ok(Self::new(
            Some(directory.to_owned()),
            Some(lock),
            limit,
            segments,
            torn,
        ))
    }
}

/// flock(2) goes with the process, however it ends.
fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => io::Error::other("another host-proxy uses this log spool"),
        errno => errno.into(),
    })
}
