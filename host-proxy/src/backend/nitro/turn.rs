//! One `run-enclave` at a time. While an enclave boots, nitro-cli listens for its sign of life on vsock port 9000 of the
//! parent, which only one process can: of two starts at the same moment one fails with E36 (aws-nitro-enclaves-cli
//! issue 516). Several units that start with the instance would meet there.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The directory of nitro-cli's sockets: those who may start enclaves may write to it. In a launcher Pod it is the
/// container's own, and then the kubelet's restart has to do.
const SOCKETS: &str = "/run/nitro_enclaves";
const LOCK: &str = "cloister.lock";

/// Waits for our turn, at most so long; best effort. It lasts until the file is dropped.
pub(super) fn take(patience: Duration) -> Option<File> {
    let sockets =
        std::env::var_os("NITRO_CLI_SOCKETS_PATH").map_or_else(|| PathBuf::from(SOCKETS), PathBuf::from);
    take_in(&sockets, patience)
}

fn take_in(sockets: &Path, patience: Duration) -> Option<File> {
    let path = sockets.join(LOCK);
    // flock(2) needs no write permission, and the file may be another user's.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .or_else(|_| File::open(&path))
        .inspect_err(|error| log::debug!("cannot lock {}: {error}", path.display()))
        .ok()?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_never_for_ever() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let first = take_in(directory.path(), Duration::ZERO);
        assert!(first.is_some());
        assert!(take_in(directory.path(), Duration::from_millis(100)).is_none());
        drop(first);
        assert!(take_in(directory.path(), Duration::ZERO).is_some());
        assert!(take_in(&directory.path().join("absent"), Duration::from_secs(60)).is_none());
    }
}
