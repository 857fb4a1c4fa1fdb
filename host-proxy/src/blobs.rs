//! The blob store: files of an OCI image layout, by digest and by nothing else. The enclave names a digest that
//! has been parsed, never a path, and verifies what it gets; this side need not be believed.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use manifest_sync::digest::Digest;
use nix::fcntl::OFlag;
use thiserror::Error;

/// Why a blob cannot be served.
#[derive(Debug, Error)]
pub enum BlobError {
    /// There is no image layout at all.
    #[error("{digest} is wanted, but no images were given: add --images DIR")]
    NoLayout {
        /// What was wanted.
        digest: Digest,
    },
    /// The layout does not hold it.
    #[error("{} is not there: the image layout does not hold what the bundle names", path.display())]
    Absent {
        /// Where it would be.
        path: PathBuf,
    },
    /// It is there and is no regular file (a symbolic link, a device).
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Where it is.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot read {}", path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// From open(2) or fstat(2).
        #[source]
        source: io::Error,
    },
}

/// Serves blobs of one image layout, or of none.
#[derive(Debug, Clone)]
pub struct BlobStore {
    layout: Option<PathBuf>,
}

impl BlobStore {
    /// A store over the layout directory `layout`.
    pub fn new(layout: Option<&Path>) -> Self {
        Self {
            layout: layout.map(Path::to_owned),
        }
    }

    /// Opens `blobs/<algorithm>/<hex>` for reading. Links are not followed, nothing but regular files is served.
    pub fn open(&self, digest: &Digest) -> Result<File, BlobError> {
        let Some(layout) = &self.layout else {
            return Err(BlobError::NoLayout {
                digest: digest.clone(),
            });
        };
        let path = layout.join("blobs").join(digest.algorithm()).join(digest.hex());
        // O_NONBLOCK: opening a FIFO must not wait for a writer; for regular files it means nothing (open(2)).
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match File::options().read(true).custom_flags(flags.bits()).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BlobError::Absent { path }),
            // open(2): ELOOP when the last component is a symbolic link and O_NOFOLLOW is given.
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
                return Err(BlobError::NotAFile { path });
            }
            Err(source) => return Err(BlobError::Read { path, source }),
        };
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(BlobError::NotAFile { path }),
            Err(source) => Err(BlobError::Read { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    #[test]
    fn only_regular_files_of_the_layout_are_served() {
        let dir = tempfile::tempdir().expect("a directory");
        let blobs = dir.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("blobs");
        let store = BlobStore::new(Some(dir.path()));
        let good = Digest::sha256(b"good");
        fs::write(blobs.join(good.hex()), b"good").expect("written");
        let mut text = String::new();
        store
            .open(&good)
            .expect("open")
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "good");

        let link = Digest::sha256(b"link");
        std::os::unix::fs::symlink("/etc/passwd", blobs.join(link.hex())).expect("link");
        assert!(matches!(store.open(&link), Err(BlobError::NotAFile { .. })));
        let directory = Digest::sha256(b"directory");
        fs::create_dir(blobs.join(directory.hex())).expect("directory");
        assert!(matches!(store.open(&directory), Err(BlobError::NotAFile { .. })));
        let fifo = Digest::sha256(b"fifo");
        nix::unistd::mkfifo(&blobs.join(fifo.hex()), nix::sys::stat::Mode::S_IRUSR).expect("fifo");
        assert!(matches!(store.open(&fifo), Err(BlobError::NotAFile { .. })));

        assert!(matches!(
            store.open(&Digest::sha256(b"absent")),
            Err(BlobError::Absent { .. })
        ));
        assert!(matches!(
            BlobStore::new(None).open(&good),
            Err(BlobError::NoLayout { .. })
        ));
    }
}
